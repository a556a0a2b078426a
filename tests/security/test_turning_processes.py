"""Keys are replaced by `stepwell keys` while real processes serve, and none is restarted."""

import asyncio
import base64
import json
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from datetime import timedelta
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import Final, TypeVar

import pytest
from httpx import AsyncClient
from sqlalchemy import select
from typer.testing import CliRunner

from app import migrate
from app.cli import cli
from app.core import clock, embedded
from app.jobs.rewrapping import rewrap
from app.main import create_app, make_runtime
from app.models.organizations import OrganizationKey
from app.security.keyring import RING_FILE
from app.security.rootfiles import RootFiles, RootState
from app.security.sealing import LocalRootKey
from app.security.turning import Rewrapped
from app.settings import Settings
from tests.factories import Make
from tests.processes import ApiProcess, api_processes
from tests.routers.signing_in import Device, Tokens, give_password
from tests.watching import PATIENCE, a_moment
from tests.working import workplace

LONG_ENOUGH: Final = timedelta(minutes=20)
T = TypeVar("T")
UNLIMITED: Final = {"account_requests": "1000000", "network_requests": "1000000"}


@pytest.fixture(autouse=True)
async def impatient() -> AsyncIterator[None]:
    async with asyncio.timeout(120):
        yield


async def stepwell(*words: str, **environment: str) -> tuple[int, str]:
    """An operator's command: its exit status and everything it says."""
    done = await asyncio.to_thread(CliRunner().invoke, cli, words, env=environment)
    return done.exit_code, done.output


async def until(question: Callable[[], Awaitable[T]], answer: Callable[[T], bool]) -> T:
    """Ask again until the answer is this one."""
    async with asyncio.timeout(PATIENCE):
        while not answer(found := await question()):
            await a_moment()
    return found


def kid_of(tokens: Tokens) -> str:
    header = tokens.access.partition(".")[0]
    kid: str = json.loads(base64.urlsafe_b64decode(header + "=="))["kid"]
    return kid


@pytest.fixture(scope="module")
def own_server() -> Iterator[embedded.EmbeddedServer]:
    """A database whose every key is wrapped by a root key that this test may replace."""
    with embedded.temporary() as server:
        migrate.upgrade(server.url(role="stepwell_migrate"))
        yield server


@pytest.fixture(scope="module")
def own_settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return Settings(data_dir=tmp_path_factory.mktemp("own-keys"))


@pytest.fixture(scope="module")
async def serving(
    own_server: embedded.EmbeddedServer, own_settings: Settings
) -> AsyncIterator[Sequence[ApiProcess]]:
    """Two processes that are there before and after everything that is done here."""
    async with api_processes(own_server, own_settings, 2, **UNLIMITED) as processes:
        yield processes


@pytest.fixture
async def own_make(
    own_server: embedded.EmbeddedServer, own_settings: Settings
) -> AsyncIterator[Make]:
    runtime = make_runtime(own_settings, own_server.url(role="stepwell_api"))
    make = await Make.organization(create_app(runtime), runtime)
    yield make
    await make.close()
    await runtime.connections.close()


# The key that signs


async def test_auth_09_the_signing_key_is_replaced_while_processes_serve(
    serving: Sequence[ApiProcess], own_settings: Settings, own_make: Make
) -> None:
    directory = own_settings.data_dir / "keys" / "tokens"
    environment = {"STEPWELL_DATA_DIR": str(own_settings.data_dir)}
    username = await give_password(own_make, await own_make.staff())

    async def turn(*options: str) -> None:
        status, said = await stepwell("keys", "rotate-signing", *options, **environment)
        assert status == 0, said

    async with serving[0].client() as first, serving[1].client() as second:
        before = await Device(first).sign_in(username)
        old = kid_of(before)
        assert await published(first) == {old}

        await turn()
        both = await until(partial(published, first), lambda kids: len(kids) == 2)
        (new,) = both - {old}
        assert kid_of(await Device(first).sign_in(username)) == old
        status, said = await stepwell("keys", "rotate-signing", **environment)
        assert status == 1
        assert "is not known to all: come back at" in said

        backdate_ring(directory)
        await turn()
        # Neither was started anew. Whichever is first to sign with the new key, both take it.
        after = await until_signed_by(new, Device(second), await Device(second).sign_in(username))
        for client in (first, second):
            assert await published(client) == {old, new}
            assert [await Device(client).status_of(each) for each in (before, after)] == [200, 200]

        await turn("--now")
        for client in (first, second):
            await until(partial(published, client), lambda kids: kids == {new})
            assert await Device(client).status_of(after) == HTTPStatus.OK
            # Its time was not over: whoever says `--now` wants it refused.
            assert await Device(client).status_of(before) == HTTPStatus.UNAUTHORIZED


async def published(by: AsyncClient) -> set[str]:
    """The names of the keys that a process says verify."""
    keys = (await by.get("/.well-known/jwks.json")).json()["keys"]
    return {key["kid"] for key in keys}


async def until_signed_by(kid: str, device: Device, tokens: Tokens) -> Tokens:
    """Renew tokens until this key has signed them."""
    async with asyncio.timeout(PATIENCE):
        while kid_of(tokens) != kid:
            await a_moment()
            tokens = Tokens.of(await device.refresh(tokens.refresh))
    return tokens


def backdate_ring(directory: Path) -> None:
    entries = json.loads((directory / RING_FILE).read_text())
    for entry in entries:
        entry["since"] = clock.render(clock.wall() - LONG_ENOUGH)
    (directory / RING_FILE).write_text(json.dumps(entries))


# The root key


async def name_of(process: ApiProcess, reader: str) -> str:
    """A participant's sealed name, as a process reads it to somebody."""
    async with process.client(reader) as client:
        answer = await client.get("/v1/participants")
    assert answer.status_code == HTTPStatus.OK, answer.text
    (participant,) = answer.json()["items"]
    name: str = participant["given_name"]
    return name


async def test_phi_05_the_root_key_is_replaced_while_processes_serve(
    own_server: embedded.EmbeddedServer,
    own_settings: Settings,
    own_make: Make,
    serving: Sequence[ApiProcess],
) -> None:
    files, (warm, cold) = RootFiles(own_settings.data_dir / "keys" / "root.key"), serving
    old = LocalRootKey.load(files.wrapping).id
    environment = {
        "STEPWELL_DATA_DIR": str(own_settings.data_dir),
        "STEPWELL_WORKER_DATABASE_URL": own_server.url(role="stepwell_worker"),
    }

    async def turn() -> str:
        status, said = await stepwell("keys", "rotate-root", **environment)
        assert status == 0, said
        return said

    clinician = await own_make.staff()
    await own_make.participant(team=[clinician])
    username = await give_password(own_make, clinician)
    other = await Make.organization(own_make.app, own_make.runtime)
    stranger = await other.staff()

    name = await name_of(warm, clinician.token)
    assert "is published, and will wrap" in await turn()
    status, said = await stepwell("keys", "rotate-root", **environment)
    assert (status, "come back at" in said) == (1, True)

    backdate(files.next)
    assert "keys of organizations were wrapped anew" in await turn()
    assert await roots_in_use(own_make, other) == {LocalRootKey.load(files.wrapping).id}
    # One process has the organization's key already; the other meets the new root key now.
    assert await name_of(warm, clinician.token) == name
    assert await name_of(cold, clinician.token) == name

    backdate(files.retiring)
    assert f"Nothing in the database names {old}" in await turn()
    assert files.states().keys() == {RootState.WRAPPING}
    async with cold.client(stranger.token) as client:
        assert (await client.get("/v1/me")).status_code == HTTPStatus.OK

    # One that starts now has never seen the old key: it reads, and finds who signs in.
    async with api_processes(own_server, own_settings, 1, **UNLIMITED) as (fresh,):
        assert await name_of(fresh, clinician.token) == name
        async with fresh.client() as client:
            await Device(client).sign_in(username)


def backdate(path: Path) -> None:
    at = (clock.wall() - LONG_ENOUGH).timestamp()
    os.utime(path, (at, at))


async def roots_in_use(*makes: Make) -> set[str]:
    """The root keys that organizations' keys name."""
    found = set()
    for make in makes:
        async with make.transaction() as db:
            found |= set((await db.scalars(select(OrganizationKey.root_key_id))).all())
    return found


async def test_phi_05_an_organization_that_is_busy_is_left_and_done_the_next_time(
    own_server: embedded.EmbeddedServer, own_settings: Settings, own_make: Make
) -> None:
    files = RootFiles(own_settings.data_dir / "keys" / "root.key")
    await own_make.staff()
    other = await Make.organization(own_make.app, own_make.runtime)
    await other.staff()
    old = LocalRootKey.load(files.wrapping).id
    files.publish()
    files.activate()

    async with workplace(own_server, own_settings) as place:
        async with own_make.transaction() as db:
            await db.execute(select(OrganizationKey).with_for_update())
            during = await rewrap(place)
        before = await roots_in_use(own_make), await roots_in_use(other)
        afterwards = await rewrap(place)
    new = LocalRootKey.load(files.wrapping).id
    files.retire()

    assert during.left == 1
    assert before == ({old}, {new})
    assert afterwards == Rewrapped(1, 0)
    assert await roots_in_use(own_make, other) == {new}
