"""What an app does to sign in, for tests that sign in for real."""

import base64
import hashlib
import secrets
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from http import HTTPStatus
from uuid import UUID

import asyncpg
from fastapi import FastAPI
from httpx import ASGITransport, AsyncClient, Response
from sqlalchemy import select

from app.core import clock
from app.core.embedded import EmbeddedServer
from app.models.accounts import Account
from app.security import passwords
from tests.factories import Make, Person

PASSWORD = "seven quiet herons at dusk"  # noqa: S105 (nobody's)
FORM = {"Content-Type": "application/x-www-form-urlencoded"}
_hashes: dict[str, str] = {}


def email_of(person: Person) -> str:
    """The address that the factories give to an account."""
    assert person.account_id is not None
    return f"{person.account_id.hex}@example.org"


async def give_password(make: Make, person: Person, password: str = PASSWORD) -> str:
    """Let somebody sign in with a password; returns their user name."""
    if password not in _hashes:
        _hashes[password] = await passwords.hash_password(password)
    async with make.transaction() as db:
        account = (await db.scalars(select(Account).where(Account.id == person.account_id))).one()
        account.password_hash = _hashes[password]
    # The factories index the address as it is written, which is its normal form.
    return email_of(person)


@dataclass
class Device:
    """An app on a device, at an address of its own: others' failures do not slow it."""

    http: AsyncClient
    client_id: str = "stepwell-spa"
    verifier: str = field(default_factory=lambda: secrets.token_urlsafe(48))

    @property
    def code_challenge(self) -> str:
        digest = hashlib.sha256(self.verifier.encode()).digest()
        return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()

    async def begin(self, username: str, **fields: str | None) -> Response:
        """The first step of a sign-in; without a password unless one is given."""
        body = {
            "client_id": self.client_id,
            "code_challenge": self.code_challenge,
            "code_challenge_method": "S256",
            "username": username,
            **fields,
        }
        return await self.http.post("/oauth/challenge", json=body)

    async def answer(self, auth_session: str, password: str) -> Response:
        """The password's step."""
        body = {"auth_session": auth_session, "password": password}
        return await self.http.post("/oauth/challenge", json=body)

    async def code(self, username: str, password: str = PASSWORD, **fields: str | None) -> str:
        """The code of a sign-in that succeeds."""
        response = await self.begin(username, password=password, **fields)
        assert response.status_code == HTTPStatus.OK, response.text
        return str(response.json()["authorization_code"])

    async def token(self, **form: str) -> Response:
        """A request to the token endpoint."""
        return await self.http.post("/oauth/token", data={"client_id": self.client_id, **form})

    async def exchange(self, code: str, verifier: str | None = None) -> Response:
        """A code for tokens."""
        return await self.token(
            grant_type="authorization_code", code=code, code_verifier=verifier or self.verifier
        )

    async def refresh(self, refresh_token: str, **form: str) -> Response:
        """A refresh token for a new pair."""
        return await self.token(grant_type="refresh_token", refresh_token=refresh_token, **form)

    async def sign_in(
        self, username: str, password: str = PASSWORD, **fields: str | None
    ) -> "Tokens":
        """The tokens of a sign-in that succeeds."""
        response = await self.exchange(await self.code(username, password, **fields))
        assert response.status_code == HTTPStatus.OK, response.text
        return Tokens.of(response)

    async def status_of(self, tokens: "Tokens") -> int:
        """How the API answers to whoever holds these tokens."""
        response = await self.http.get("/v1/me", headers=tokens.header)
        return response.status_code


@dataclass(frozen=True)
class Tokens:
    """A pair of tokens."""

    access: str
    refresh: str
    scope: str

    @classmethod
    def of(cls, response: Response) -> "Tokens":
        assert response.status_code == HTTPStatus.OK, response.text
        body = response.json()
        return cls(body["access_token"], body["refresh_token"], body["scope"])

    @property
    def header(self) -> Mapping[str, str]:
        return {"Authorization": f"Bearer {self.access}"}


@asynccontextmanager
async def device(app: FastAPI, address: str | None = None) -> AsyncIterator[Device]:
    """A device at an address that no other test uses."""
    b, c = secrets.randbelow(256), secrets.randbelow(256)
    host = address or f"10.{b}.{c}.7"
    transport = ASGITransport(app=app, raise_app_exceptions=False, client=(host, 50_000))
    async with AsyncClient(transport=transport, base_url="http://testserver") as http:
        yield Device(http)


@asynccontextmanager
async def later(by: timedelta) -> AsyncIterator[None]:
    """A stretch of the test that happens later."""
    clock.shift_process(by)
    try:
        yield
    finally:
        clock.shift_process(-by)


async def audited(server: EmbeddedServer, organization_id: UUID) -> list[str]:
    """What an auditor reads of an organization: each event as `subtype outcome`."""
    connection = await asyncpg.connect(
        host=str(server.socket_dir), user="postgres", database="stepwell"
    )
    try:
        rows = await connection.fetch(
            "select subtype, outcome from stepwell.audit_event"
            " where organization_id = $1 order by id",
            organization_id,
        )
    finally:
        await connection.close()
    return [f"{row['subtype']} {row['outcome']}" for row in rows]
