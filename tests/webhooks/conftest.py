"""An application that accepts receivers on this machine, and the worker's place beside it."""

from collections.abc import AsyncIterator

import pytest
from fastapi import FastAPI

from app.core import embedded
from app.domain.roles import StaffRole
from app.jobs.workplace import Workplace
from app.main import create_app, make_runtime
from app.runtime import Runtime
from app.settings import Settings
from tests.factories import Make, Person
from tests.working import set_aside_what_others_left, workplace


@pytest.fixture(scope="module")
async def local_runtime(
    server: embedded.EmbeddedServer, settings: Settings
) -> AsyncIterator[Runtime]:
    local = settings.model_copy(update={"allow_local_webhooks": True})
    runtime = make_runtime(local, server.url(role="stepwell_api"))
    yield runtime
    await runtime.connections.close()


@pytest.fixture(scope="module")
def app(local_runtime: Runtime) -> FastAPI:
    return create_app(local_runtime)


@pytest.fixture
async def make(app: FastAPI, local_runtime: Runtime) -> AsyncIterator[Make]:
    make = await Make.organization(app, local_runtime)
    yield make
    await make.close()


@pytest.fixture
async def place(server: embedded.EmbeddedServer, settings: Settings) -> AsyncIterator[Workplace]:
    await set_aside_what_others_left(server)
    async with workplace(server, settings) as place:
        yield place


@pytest.fixture
async def administrator(make: Make) -> Person:
    return await make.staff(StaffRole.ADMINISTRATOR)
