"""A signing key is replaced while everybody works, and nobody is refused (AUTH-09).

Where processes do not share the ring's directory, a rotation is a row of rolling restarts. While
one is under way, processes of two neighboring steps serve side by side. `test_turning_processes`
has processes that share it.
"""

import asyncio
import dataclasses
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from datetime import timedelta
from http import HTTPStatus
from pathlib import Path

import pytest
from fastapi import FastAPI
from httpx import ASGITransport, AsyncClient, HTTPError

from app.core import clock
from app.core.embedded import EmbeddedServer
from app.core.ids import new_id
from app.main import create_app, make_runtime
from app.security.keyring import KeyRing, KeyState, SigningKey
from app.security.tokens import Issuer
from app.settings import Settings
from tests.factories import Make, Person
from tests.processes import ApiProcess, api_processes

PROCESSES = 4
REQUESTS_OF_A_STEP = 50


def steps() -> Sequence[KeyRing]:
    """A rotation: the next key is published, then it signs, then the old one is gone."""
    old, new = SigningKey.generate(KeyState.ACTIVE), SigningKey.generate(KeyState.NEXT)
    return (
        KeyRing([old]),
        KeyRing([old, new]),
        KeyRing([old.in_state(KeyState.RETIRING), new.in_state(KeyState.ACTIVE)]),
        KeyRing([new.in_state(KeyState.ACTIVE)]),
    )


def token_of(person: Person, make: Make, issuer: Issuer) -> str:
    """Another token of the same sign-in, as a process with this ring gives it out."""
    now = clock.wall()
    claims = make.runtime.verifier.verify(person.token, now)
    fresh = dataclasses.replace(claims, jti=new_id(), iat=now, exp=now + timedelta(minutes=5))
    return issuer.issue(fresh, now)


@pytest.fixture
async def apps(
    server: EmbeddedServer, settings: Settings, tmp_path: Path
) -> AsyncIterator[Sequence[FastAPI]]:
    """An application at each step of a rotation."""
    apps = []
    for number, ring in enumerate(steps()):
        directory = tmp_path / str(number)
        directory.mkdir()
        ring.save(directory)
        at_step = settings.model_copy(update={"token_keys_dir": directory})
        apps.append(create_app(make_runtime(at_step, server.url(role="stepwell_api"))))
    yield apps
    for app in apps:
        await app.state.runtime.connections.close()


async def status_at(app: FastAPI, token: str) -> int:
    transport = ASGITransport(app=app, raise_app_exceptions=False)
    headers = {"Authorization": f"Bearer {token}"}
    async with AsyncClient(
        transport=transport, base_url="http://testserver", headers=headers
    ) as http:
        return (await http.get("/v1/me")).status_code


@pytest.mark.parametrize(
    ("by", "at"), [(by, at) for by in range(4) for at in range(4) if abs(by - at) <= 1]
)
async def test_auth_09_processes_of_neighboring_steps_take_each_others_tokens(
    apps: Sequence[FastAPI], make: Make, by: int, at: int
) -> None:
    token = token_of(await make.staff(), make, apps[by].state.runtime.issuer)
    assert await status_at(apps[at], token) == HTTPStatus.OK


async def test_auth_09_a_token_of_a_key_that_is_gone_is_refused(
    apps: Sequence[FastAPI], make: Make
) -> None:
    person = await make.staff()
    old = token_of(person, make, apps[1].state.runtime.issuer)
    new = token_of(person, make, apps[2].state.runtime.issuer)

    assert [await status_at(app, old) for app in apps] == [200, 200, 200, 401]
    assert [await status_at(app, new) for app in apps] == [401, 200, 200, 200]


class Fleet:
    """Processes that are replaced one by one, each by one that knows the ring of today."""

    def __init__(self, server: EmbeddedServer, settings: Settings, directory: Path) -> None:
        self.serving: dict[int, ApiProcess] = {}
        self.issuers: dict[int, Issuer] = {}
        self._server = server
        self._settings = settings
        self._directory = directory
        self._running: dict[int, AsyncExitStack] = {}

    async def roll(self, ring: KeyRing) -> None:
        """Bring every process to a ring, in turn; the old one leaves when the new one serves."""
        ring.save(self._directory)
        issuer = self._settings.issuer
        for number in range(PROCESSES):
            leaving = self._running.get(number)
            own = self._running[number] = AsyncExitStack()
            successor = api_processes(
                self._server,
                self._settings,
                token_keys_dir=str(self._directory),
                account_requests="1000000",
            )
            (self.serving[number],) = await own.enter_async_context(successor)
            self.issuers[number] = Issuer(ring, issuer, issuer)
            if leaving is not None:
                await leaving.aclose()

    async def close(self) -> None:
        for own in self._running.values():
            await own.aclose()


async def ask(fleet: Fleet, make: Make, person: Person, number: int) -> AsyncIterator[int]:
    """Ask a process without end, with tokens that each process of its time gives out."""
    while True:
        for issuer in list(fleet.issuers.values()):
            token = token_of(person, make, issuer)
            try:
                async with fleet.serving[number].client(token) as client:
                    yield (await client.get("/v1/me")).status_code
            except HTTPError:
                continue  # it was leaving; its successor serves already


@pytest.mark.long
async def test_auth_09_a_rotation_under_load_refuses_nobody(
    server: EmbeddedServer, settings: Settings, make: Make, tmp_path: Path
) -> None:
    person, statuses = await make.staff(), Counter[int]()
    fleet = Fleet(server, settings, tmp_path)

    async def load(number: int) -> None:
        async for status in ask(fleet, make, person, number):
            statuses[status] += 1

    first, *others = steps()
    await fleet.roll(first)
    loads = [asyncio.create_task(load(number)) for number in range(PROCESSES)]
    for ring in others:
        await fleet.roll(ring)
        # What was given out before this step has been used up by then.
        enough = statuses.total() + REQUESTS_OF_A_STEP
        while statuses.total() < enough:
            await asyncio.gather(*(process.until_ready() for process in fleet.serving.values()))
    for each in loads:
        each.cancel()
    await asyncio.gather(*loads, return_exceptions=True)
    await fleet.close()

    assert statuses[HTTPStatus.OK] > len(others) * REQUESTS_OF_A_STEP
    assert set(statuses) == {HTTPStatus.OK}
