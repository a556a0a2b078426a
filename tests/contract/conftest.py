"""The world, the operations, and an application that only rehearses."""

from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Final

import pytest
from fastapi import FastAPI

from app.core.embedded import EmbeddedServer
from app.main import create_app
from app.runtime import Runtime
from app.security import keys
from app.security.acquaintances import Acquaintances
from app.security.rate_limits import Quota, RateLimits
from app.security.vault import Vault
from app.settings import Settings
from tests.contract.flight import Flight, fly
from tests.contract.matrix import Matrix, ask_everything
from tests.contract.operations import Operation, operations_of
from tests.contract.people import World
from tests.contract.rehearsal import Rehearsal
from tests.contract.world import build
from tests.tracer import untraced
from tests.working import workplace

_PLENTY: Final = Quota("plenty", 1_000_000)


@pytest.fixture(scope="session")
def operations(app: FastAPI) -> tuple[Operation, ...]:
    return operations_of(app)


@pytest.fixture(scope="session")
async def world(app: FastAPI, runtime: Runtime) -> AsyncIterator[World]:
    world = await build(app, runtime)
    yield world
    for clinic in (world.clinic, world.elsewhere):
        await clinic.make.close()


@pytest.fixture(scope="session")
async def rehearsal(
    world: World, server: EmbeddedServer, settings: Settings, runtime: Runtime
) -> AsyncIterator[FastAPI]:
    """The application over the world, in which nothing that is asked comes to pass."""
    assert world.clinic.circles
    connections = Rehearsal(server.url(role="stepwell_api"), size=4)
    # A vault of its own: what it remembers of keys that were never committed must not spread.
    vault = Vault(keys.load(settings).root)
    yield create_app(
        replace(
            runtime,
            connections=connections,
            vault=vault,
            limits=RateLimits(runtime.connections, account=_PLENTY, network=_PLENTY),
            acquaintances=Acquaintances(),
        )
    )
    await connections.close()


@pytest.fixture(scope="session")
async def matrix(world: World, rehearsal: FastAPI, operations: tuple[Operation, ...]) -> Matrix:
    """Every question about who may do what, with its answer."""
    with untraced():
        return await ask_everything(rehearsal, world, operations)


@pytest.fixture(scope="session")
async def flight(  # noqa: PLR0913, PLR0917 (everything there is)
    app: FastAPI,
    runtime: Runtime,
    server: EmbeddedServer,
    settings: Settings,
    matrix: Matrix,
    operations: tuple[Operation, ...],
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[Flight]:
    """Everything asked for good, once, in a world of its own."""
    world = await build(app, runtime)
    async with workplace(server, settings) as place:
        directory = tmp_path_factory.mktemp("mail")
        yield await fly(app, world, matrix, operations, server, place, directory)
    for clinic in (world.clinic, world.elsewhere):
        await clinic.make.close()


@pytest.fixture
def say(
    request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]
) -> Callable[[str], None]:
    """Tell whoever runs the tests what they counted."""
    reporter = request.config.pluginmanager.get_plugin("terminalreporter")

    def tell(line: str) -> None:
        if reporter is not None:  # a process of several that run the tests has none
            with capsys.disabled():
                reporter.write_line(line)

    return tell
