"""One PostgreSQL for the run, migrated once; an application over it; people who can sign in.

Nothing of our own is mocked: the application connects as `stepwell_api`, which owns nothing.
Tests make their own organization, so that none sees another's rows and none has to clean up.
"""

import os
from collections.abc import AsyncIterator, Generator, Iterator
from datetime import timedelta

import hypothesis
import pytest
from fastapi import FastAPI
from httpx import ASGITransport, AsyncClient
from xdist.remote import Producer  # type: ignore[import-untyped]  # it has no types

from app import migrate
from app.core import embedded
from app.main import create_app, make_runtime
from app.runtime import Runtime
from app.settings import Settings
from tests.distribution import ByFile, in_order
from tests.factories import Make
from tests.tracer import traced_once

# A machine under load is slow; only a wrong answer may fail a law.
hypothesis.settings.register_profile("stepwell", deadline=None)
hypothesis.settings.load_profile("stepwell")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> ByFile:
    """Keep together what shares dear fixtures, whatever `--dist` says."""
    return ByFile(config, log)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """In a process of several, begin with what should come first."""
    if hasattr(config, "workerinput"):
        in_order(items)


@pytest.hookimpl(wrapper=True)
def pytest_fixture_setup(
    fixturedef: pytest.FixtureDef[object], request: pytest.FixtureRequest
) -> Generator[None, object, object]:
    """Trace what a fixture does the first time that it is made, and not for every test."""
    which = getattr(request, "param_index", 0)
    with traced_once((fixturedef.baseid, fixturedef.argname, which)):
        return (yield)


@pytest.fixture(scope="session")
def server() -> Iterator[embedded.EmbeddedServer]:
    """A PostgreSQL of our own, with the roles of production and the whole schema."""
    with embedded.temporary(major=int(os.environ.get("STEPWELL_TEST_MAJOR", "18"))) as server:
        migrate.upgrade(server.url(role="stepwell_migrate"))
        yield server


@pytest.fixture(scope="session")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Development settings with keys of their own."""
    return Settings(
        data_dir=tmp_path_factory.mktemp("keys"),
        # Every test comes from one address.
        network_requests=1_000_000,
        # Tests leave events lying that no worker sees, and applications that nobody starts.
        outbox_limit=timedelta(days=365),
        deliveries_limit=timedelta(days=365),
        listener_limit=timedelta(days=1),
    )


@pytest.fixture(scope="session")
async def runtime(server: embedded.EmbeddedServer, settings: Settings) -> AsyncIterator[Runtime]:
    """The process's pool and keys, as the API's role."""
    runtime = make_runtime(settings, server.url(role="stepwell_api"))
    yield runtime
    await runtime.connections.close()


@pytest.fixture(scope="session")
def app(runtime: Runtime) -> FastAPI:
    """The application, in process."""
    return create_app(runtime)


@pytest.fixture
async def client(app: FastAPI) -> AsyncIterator[AsyncClient]:
    """Somebody without a token."""
    transport = ASGITransport(app=app, raise_app_exceptions=False)
    async with AsyncClient(transport=transport, base_url="http://testserver") as client:
        yield client


@pytest.fixture
async def make(app: FastAPI, runtime: Runtime) -> AsyncIterator[Make]:
    """Makes an organization and people in it, and clients who are signed in as them."""
    make = await Make.organization(app, runtime)
    yield make
    await make.close()
