"""Synthetic organizations and people, with plausible defaults: a test names what it is about.

People are put into the database as sign-in would have left them; everything after that goes
over HTTP, as a client would do it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from types import TracebackType
from typing import Self
from uuid import UUID

from fastapi import FastAPI
from httpx import ASGITransport, AsyncClient, Response
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from app.core import clock
from app.core.ids import new_id
from app.domain.roles import AccountKind, CareTeamRole, StaffRole
from app.models.accounts import Account, AccountState, SignIn
from app.models.organizations import Environment, KeyPurpose, Organization
from app.models.participants import CareTeamMember, Participant
from app.models.programs import Program
from app.models.staff import StaffMember
from app.runtime import Runtime
from app.security import seals
from app.security.scopes import ScopeSet
from app.security.tokens import AccessClaims
from tests.tracer import repeated

FULL_SCOPE = {
    AccountKind.STAFF: ScopeSet.parse("user/*.cruds"),
    AccountKind.PARTICIPANT: ScopeSet.parse("patient/*.cruds"),
}


class Person(AsyncClient):
    """A client that is signed in as one person."""

    def __init__(
        self,
        app: FastAPI,
        token: str,
        *,
        account_id: UUID,
        sign_in_id: UUID,
        **ids: UUID | None,
    ) -> None:
        super().__init__(
            transport=ASGITransport(app=app, raise_app_exceptions=False),
            base_url="http://testserver",
            headers={"Authorization": f"Bearer {token}"},
        )
        self.token = token
        self.account_id = account_id
        self.sign_in_id = sign_in_id
        self.staff_member_id = ids.get("staff_member_id")
        self.participant_id = ids.get("participant_id")


@dataclass
class Make:
    """One organization, and whoever a test needs in it."""

    app: FastAPI
    runtime: Runtime
    organization_id: UUID
    people: list[Person] = field(default_factory=list)
    _program: Program | None = None

    @classmethod
    @repeated
    async def organization(cls, app: FastAPI, runtime: Runtime) -> Self:
        """A fresh development organization."""
        organization_id = new_id()
        make = cls(app, runtime, organization_id)
        async with make.transaction() as db:
            db.add(
                Organization(
                    organization_id=organization_id,
                    slug=f"org-{organization_id.hex}",
                    name="Cedar Bridge",
                    environment=Environment.DEVELOPMENT,
                    created_at=clock.now(),
                )
            )
        return make

    def transaction(self) -> "_Transaction":
        """A transaction of the organization, as the API's role."""
        return _Transaction(self)

    @repeated
    async def staff(
        self,
        *roles: StaffRole,
        is_licensed: bool = True,
        supervisor: Person | None = None,
        scope: str | None = None,
    ) -> Person:
        """A signed-in staff member; a clinician unless roles are named."""
        staff_member_id = new_id()
        async with self.transaction() as db:
            account = await self._account(db, AccountKind.STAFF)
            key = await seals.organization_key(db, KeyPurpose.STAFF)
            now = clock.now()
            db.add(
                StaffMember(
                    id=staff_member_id,
                    account_id=account.id,
                    roles=[role.value for role in (roles or (StaffRole.CLINICIAN,))],
                    supervisor_id=supervisor.staff_member_id if supervisor else None,
                    is_independently_licensed=is_licensed,
                    created_at=now,
                    updated_at=now,
                    **seals.sealed(key, "staff_member", staff_member_id, name="Robin Vale"),
                )
            )
            sign_in = await self._sign_in(db, account, scope)
        return self._person(account, sign_in, staff_member_id=staff_member_id)

    @repeated
    async def participant(
        self,
        *,
        team: Sequence[Person] = (),
        given_name: str = "Jordan",
        alias: str = "Blue Heron",
        scope: str | None = None,
    ) -> Person:
        """A signed-in participant, with a care team."""
        participant_id = new_id()
        async with self.transaction() as db:
            account = await self._account(db, AccountKind.PARTICIPANT)
            key = await seals.participant_key(db, participant_id)
            now = clock.now()
            db.add(
                Participant(
                    id=participant_id,
                    account_id=account.id,
                    time_zone="America/Denver",
                    home_state="US-CO",
                    sensitivity=[],
                    created_at=now,
                    updated_at=now,
                    **seals.sealed(
                        key,
                        "participant",
                        participant_id,
                        given_name=given_name,
                        family_name="Reed",
                        alias=alias,
                        email="jordan@example.org",
                    ),
                )
            )
            await db.flush()
            for member in team:
                db.add(
                    CareTeamMember(
                        id=new_id(),
                        participant_id=participant_id,
                        staff_member_id=member.staff_member_id,
                        role=CareTeamRole.CLINICIAN,
                        started_at=now,
                    )
                )
            sign_in = await self._sign_in(db, account, scope)
        return self._person(account, sign_in, participant_id=participant_id)

    @repeated
    async def program(self, **fields: object) -> Program:
        """A program that is open."""
        now = clock.now()
        program = Program(
            id=new_id(),
            slug=f"evening-{new_id().hex[-6:]}",
            name="Adult Evening",
            level_of_care="intensive_outpatient",
            hours_per_week=9,
            time_zone="America/Denver",
            admission_policy="admission-default",
            opens_on=now.date(),
            created_at=now,
            updated_at=now,
            **fields,
        )
        async with self.transaction() as db:
            db.add(program)
        return program

    async def close(self) -> None:
        """Close every client."""
        for person in self.people:
            await person.aclose()

    async def _account(self, db: AsyncSession, kind: AccountKind) -> Account:
        account_id = new_id()
        email = f"{account_id.hex}@example.org"
        key = await seals.organization_key(db, KeyPurpose.STAFF)
        account = Account(
            id=account_id,
            kind=kind,
            login_index=seals.login_index(db, email),
            state=AccountState.ACTIVE,
            password_hash="unusable",  # noqa: S106 (no password opens it)
            created_at=clock.now(),
            **seals.sealed(key, "account", account_id, email=email),
        )
        db.add(account)
        await db.flush()
        return account

    async def _sign_in(self, db: AsyncSession, account: Account, scope: str | None) -> SignIn:
        now = clock.wall()
        sign_in = SignIn(
            id=new_id(),
            account_id=account.id,
            client_id="stepwell-spa",
            scope=scope or str(FULL_SCOPE[account.kind]),
            acr="iop:1",
            amr=["pwd"],
            authenticated_at=now,
            last_seen_at=now,
            idle_seconds=1800,
            expires_at=now + timedelta(hours=12),
        )
        db.add(sign_in)
        await db.flush()
        return sign_in

    def token_of(self, person: Person, *, scope: str) -> str:
        """Another access token of the same sign-in, for an application that may do less."""
        return self._token(person.account_id, person.sign_in_id, 1, scope)

    def _token(self, account_id: UUID, sign_in_id: UUID, version: int, scope: str) -> str:
        now = clock.wall()
        claims = AccessClaims(
            sub=account_id,
            organization_id=self.organization_id,
            sign_in_id=sign_in_id,
            version=version,
            client_id="stepwell-spa",
            scope=ScopeSet.parse(scope),
            auth_time=now,
            acr="iop:1",
            amr=("pwd",),
            jti=new_id(),
            iat=now,
            exp=now + timedelta(minutes=5),
        )
        return self.runtime.issuer.issue(claims, now)

    def _person(self, account: Account, sign_in: SignIn, **ids: UUID | None) -> Person:
        token = self._token(account.id, sign_in.id, sign_in.version, sign_in.scope)
        person = Person(self.app, token, account_id=account.id, sign_in_id=sign_in.id, **ids)
        self.people.append(person)
        return person


class _Transaction:
    """A transaction of one organization, opened as a service would find it."""

    def __init__(self, make: Make) -> None:
        self._make = make
        self._command = make.runtime.connections.command()

    async def __aenter__(self) -> AsyncSession:
        db = await self._command.__aenter__()
        await db.execute(text("select enter_organization(:id)"), {"id": self._make.organization_id})
        db.info.update(
            organization_id=self._make.organization_id,
            account_id=None,
            vault=self._make.runtime.vault,
        )
        return db

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._command.__aexit__(kind, error, trace)


def problem_of(response: Response) -> str:
    """The slug of the problem that a response carries."""
    return str(response.json()["type"]).removeprefix("/problems/")
