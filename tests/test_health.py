"""Health, with each dependency broken in turn (REL-16); `faults` has a database that hangs."""

import dataclasses
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from http import HTTPStatus

import pytest
from fastapi import FastAPI
from httpx import ASGITransport, AsyncClient, Response

from app.core import clock
from app.core.database import Connections
from app.core.embedded import EmbeddedServer
from app.main import create_app
from app.runtime import Runtime
from tests.watching import watch

PROBES = ("/livez", "/startupz", "/readyz")
NO_LONGER = 1.5
"""Seconds."""
NOWHERE = "postgresql+asyncpg://stepwell_api@127.0.0.1:1/stepwell"


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as stack:
        yield stack


async def started(stack: AsyncExitStack, runtime: Runtime, url: str, size: int = 2) -> FastAPI:
    """An application that has started, over a pool of its own."""
    connections = Connections(url, size=size, application_name="stepwell-health")
    stack.push_async_callback(connections.close)
    app = create_app(dataclasses.replace(runtime, connections=connections))
    app.state.has_started = True
    return app


async def probe(app: FastAPI) -> dict[str, int]:
    """What each probe answers; none of them takes long or gives details."""
    transport = ASGITransport(app=app, raise_app_exceptions=False)
    async with AsyncClient(transport=transport, base_url="http://testserver") as client:
        return {path: await _status(client, path) for path in PROBES}


async def _status(client: AsyncClient, path: str) -> int:
    began = clock.monotonic()
    answer: Response = await client.get(path)
    assert clock.monotonic() - began < NO_LONGER
    is_ok = answer.status_code == HTTPStatus.OK
    assert answer.json() == {"status": "ok" if is_ok else "fail"}
    return answer.status_code


def answers(live: int, startup: int, ready: int) -> dict[str, int]:
    return dict(zip(PROBES, (live, startup, ready), strict=True))


async def test_rel_16_all_is_well(
    stack: AsyncExitStack, runtime: Runtime, server: EmbeddedServer
) -> None:
    app = await started(stack, runtime, server.url(role="stepwell_api"))
    assert await probe(app) == answers(200, 200, 200)


async def test_rel_16_a_process_that_has_not_started(
    stack: AsyncExitStack, runtime: Runtime, server: EmbeddedServer
) -> None:
    app = await started(stack, runtime, server.url(role="stepwell_api"))
    app.state.has_started = False
    assert await probe(app) == answers(200, 503, 200)


async def test_rel_16_a_process_that_is_draining(
    stack: AsyncExitStack, runtime: Runtime, server: EmbeddedServer
) -> None:
    app = await started(stack, runtime, server.url(role="stepwell_api"))
    app.state.is_draining = True
    assert await probe(app) == answers(200, 200, 503)


@pytest.mark.parametrize(
    "url", [NOWHERE, NOWHERE.replace("127.0.0.1:1/stepwell", "/stepwell?host=/nowhere")]
)
async def test_rel_16_a_database_that_is_not_there(
    stack: AsyncExitStack, runtime: Runtime, url: str
) -> None:
    app = await started(stack, runtime, url)
    assert await probe(app) == answers(200, 200, 503)


async def test_rel_16_a_pool_without_a_free_connection(
    stack: AsyncExitStack, runtime: Runtime, server: EmbeddedServer
) -> None:
    app = await started(stack, runtime, server.url(role="stepwell_api"), size=1)
    connections = app.state.runtime.connections
    async with connections.lane():
        assert await probe(app) == answers(200, 200, 503)
    assert await probe(app) == answers(200, 200, 200)


async def test_rel_16_connections_that_died_in_the_pool_are_replaced(
    stack: AsyncExitStack, runtime: Runtime, server: EmbeddedServer
) -> None:
    app = await started(stack, runtime, server.url(role="stepwell_api"))
    assert await probe(app) == answers(200, 200, 200)
    async with watch(server) as watcher:
        assert await watcher.terminate("stepwell-health") > 0
    # The first to ask may meet the dead one; nobody meets it twice.
    assert (await probe(app))["/livez"] == HTTPStatus.OK
    assert await probe(app) == answers(200, 200, 200)
