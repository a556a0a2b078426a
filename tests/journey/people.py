"""People and their devices: each knows one API process, signs in there, and speaks HTTP.

A device remembers everything that it was ever told, so that in the end it can be asked whether
it has heard of somebody whom it must not know.
"""

import asyncio
import base64
import hashlib
import secrets
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final

from httpx import AsyncClient, Response
from websockets.typing import Origin

from tests.clients.chat import ChatClient, Frame
from tests.journey.story import Story, Surprise, word

BROWSER: Final = "stepwell-spa"
PHONE: Final = "stepwell-mobile"
BROWSER_ORIGIN: Final = "http://localhost:3000"
_RENEW_BEFORE_SECONDS: Final = 60
_PAGE: Final = 100

Body = dict[str, Any]
Pause = Callable[[float], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back: a status, and a body if there is one."""

    status: int
    body: Any
    etag: str | None

    def __getitem__(self, name: str) -> Any:  # noqa: ANN401 (JSON)
        return self.body[name]


class Person:
    """Somebody with one device."""

    def __init__(self, story: Story, name: str, email: str, address: str, app: str) -> None:
        self.name, self.email = name, email
        self.heard: list[str] = []
        self.password = f"{secrets.token_hex(4)} lanterns over {secrets.token_hex(4)}"
        self._story, self._app = story, app
        self._origin = BROWSER_ORIGIN if app == BROWSER else None
        self._http = AsyncClient(
            base_url=address,
            headers={} if self._origin is None else {"Origin": self._origin},
            timeout=30,
            trust_env=False,
        )
        self._tokens: Body = {}
        self._renew_at = 0.0
        self.me: Body = {}

    @property
    def given_name(self) -> str:
        """What they are called."""
        return self.name.partition(" ")[0]

    async def close(self) -> None:
        """Put the device away."""
        await self._http.aclose()

    # Signing in

    async def accept(self, token: str) -> Answer:
        """Choose a password with the secret of an invitation."""
        return await self.post(
            "/v1/invitations/accept",
            {"token": token, "password": self.password},
            expect=HTTPStatus.NO_CONTENT,
        )

    async def sign_in(self) -> Body:
        """Sign in with PKCE: name the account, answer the challenge, exchange the code."""
        verifier = secrets.token_urlsafe(48)
        digest = hashlib.sha256(verifier.encode()).digest()
        asked = await self.post(
            "/oauth/challenge",
            {
                "client_id": self._app,
                "code_challenge": base64.urlsafe_b64encode(digest).rstrip(b"=").decode(),
                "code_challenge_method": "S256",
                "username": self.email,
            },
            expect=HTTPStatus.BAD_REQUEST,
        )
        self._story.expect(
            asked["error"] == "insufficient_authorization" and asked["next"] == ["password"],
            f"the challenge does not ask {self.given_name} for a password: {asked.body}",
        )
        code = await self.post(
            "/oauth/challenge",
            {"auth_session": asked["auth_session"], "password": self.password},
            expect=HTTPStatus.OK,
        )
        await self._exchange(
            grant_type="authorization_code",
            code=code["authorization_code"],
            code_verifier=verifier,
        )
        self.me = (await self.get("/v1/me")).body
        return self.me

    async def renew(self) -> int:
        """Turn the refresh token into the next pair; gives the seconds that it is good for."""
        await self._exchange(
            grant_type="refresh_token", refresh_token=self._tokens["refresh_token"]
        )
        lifetime: int = self._tokens["expires_in"]
        return lifetime

    async def _exchange(self, **form: str) -> None:
        response = await self._http.post("/oauth/token", data={"client_id": self._app, **form})
        self._tokens = self._check("POST", "/oauth/token", response, HTTPStatus.OK).body
        lifetime = self._tokens["expires_in"]
        self._renew_at = time.monotonic() + lifetime - _RENEW_BEFORE_SECONDS

    async def _authorization(self) -> dict[str, str]:
        if not self._tokens:
            return {}
        if time.monotonic() > self._renew_at:
            await self.renew()
        return {"Authorization": f"Bearer {self._tokens['access_token']}"}

    # Speaking HTTP

    async def get(self, path: str, *, expect: int = HTTPStatus.OK) -> Answer:
        """Read something."""
        response = await self._http.get(path, headers=await self._authorization())
        return self._check("GET", path, response, expect)

    async def all_of(self, path: str) -> list[Body]:
        """Read every page of a list."""
        separator = "&" if "?" in path else "?"
        first = f"{path}{separator}limit={_PAGE}"
        page = await self.get(first)
        items = list(page["items"])
        while page["next_cursor"] is not None:
            page = await self.get(f"{first}&cursor={page['next_cursor']}")
            items += page["items"]
        return items

    async def post(
        self, path: str, body: Body | None = None, *, expect: int = HTTPStatus.CREATED
    ) -> Answer:
        """Make or do something, once, however often the network repeats it."""
        headers = {**await self._authorization(), "Idempotency-Key": secrets.token_hex(16)}
        response = await self._http.post(path, json=body, headers=headers)
        return self._check("POST", path, response, expect)

    async def patch(
        self, path: str, body: Body, version: int, *, expect: int = HTTPStatus.OK
    ) -> Answer:
        """Change something that was read in this version."""
        headers = {**await self._authorization(), "If-Match": f'"{version}"'}
        response = await self._http.patch(path, json=body, headers=headers)
        return self._check("PATCH", path, response, expect)

    async def put(
        self, path: str, body: Body, version: int, *, expect: int = HTTPStatus.OK
    ) -> Answer:
        """Replace something that was read in this version."""
        headers = {**await self._authorization(), "If-Match": f'"{version}"'}
        response = await self._http.put(path, json=body, headers=headers)
        return self._check("PUT", path, response, expect)

    def _check(self, method: str, path: str, response: Response, expect: int) -> Answer:
        self._story.requests += 1
        self.heard.append(response.text)
        if response.status_code != expect:
            raise Surprise(
                f"{method} {path} by {self.name} was answered {word(response.status_code)}"
                f" where {word(expect)} was expected: {response.text[:2_000]}"
            )
        body = response.json() if response.content else None
        return Answer(response.status_code, body, response.headers.get("ETag"))

    # Being in rooms

    def chat(self, socket_address: str, pause: Pause = asyncio.sleep) -> ChatClient:
        """A live connection of this device, to any of the processes; `pause` before it resumes."""
        return ChatClient(
            socket_address,
            self._ticket,
            history=self._history,
            pause=pause,
            origin=None if self._origin is None else Origin(self._origin),
        )

    async def _ticket(self) -> str:
        ticket: str = (await self.post("/v1/realtime/tickets"))["ticket"]
        return ticket

    async def _history(self, room_id: str, after_seq: int, until_seq: int) -> list[Frame]:
        entries = await self.entries(room_id, after_seq)
        return [entry for entry in entries if entry["seq"] <= until_seq]

    async def entries(self, room_id: str, after_seq: int = 0) -> list[Frame]:
        """A room's log by REST, as far as this person may see it."""
        entries: list[Frame] = []
        while True:
            page = await self.get(
                f"/v1/rooms/{room_id}/entries?after_seq={after_seq}&limit={_PAGE}"
            )
            entries += page["items"]
            if not page["items"]:
                return entries
            after_seq = entries[-1]["seq"]
