"""The server's own limits, over real sockets: heads that never end, and headers that lie."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus

import pytest
import uvicorn
from fastapi import FastAPI
from httpx import AsyncClient

from app import serving
from app.core import clock
from app.settings import Settings
from tests.processes import free_port

CALLERS = 200
PATIENCE_SECONDS = 0.5
UNFINISHED = b"GET /livez HTTP/1.1\r\nHost: 127.0.0.1\r\n"


@pytest.fixture
async def url(
    app: FastAPI, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[str]:
    """A server in this process that has less patience than ours."""
    monkeypatch.setattr(serving.Heads, "patience_seconds", PATIENCE_SECONDS)
    port = free_port()
    config = serving.configuration(app, settings.model_copy(update={"port": port}))
    # Its lifespan would close the pool that other tests go on using.
    config.lifespan = "off"
    server = uvicorn.Server(config)
    async with _running(server):
        yield f"http://127.0.0.1:{port}"


@asynccontextmanager
async def _running(server: uvicorn.Server) -> AsyncIterator[None]:
    server.config.load()
    server.lifespan = server.config.lifespan_class(server.config)
    await server.startup()
    ticking = asyncio.create_task(server.main_loop())
    try:
        yield
    finally:
        server.should_exit = True
        await ticking
        await server.shutdown()


async def connect(url: str, *sent: bytes) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
    writer.writelines(sent)
    await writer.drain()
    return reader, writer


async def seconds_until_closed(url: str, *sent: bytes) -> tuple[float, bytes]:
    """How long the server bears a caller, and what it says to them."""
    began = clock.monotonic()
    reader, writer = await connect(url, *sent)
    async with asyncio.timeout(PATIENCE_SECONDS * 20):
        said = await reader.read()
    writer.close()
    return clock.monotonic() - began, said


async def test_api_02_two_hundred_who_never_finish_are_hung_up_on(url: str) -> None:
    waits = [asyncio.create_task(seconds_until_closed(url, UNFINISHED)) for _ in range(CALLERS)]
    async with AsyncClient(base_url=url, trust_env=False) as client:
        during = [await client.get("/livez") for _ in range(20)]

    borne = await asyncio.gather(*waits)

    assert [answer.status_code for answer in during] == [HTTPStatus.OK] * 20
    assert all(said == b"" for _, said in borne)
    assert min(seconds for seconds, _ in borne) >= PATIENCE_SECONDS * 0.9


@pytest.mark.parametrize("sent", [b"", b"G", UNFINISHED + b"X-A: b"])
async def test_api_02_wherever_a_head_stops_the_caller_is_hung_up_on(url: str, sent: bytes) -> None:
    _, said = await seconds_until_closed(url, sent)
    assert said == b""


async def test_api_02_a_second_head_has_its_time_too(url: str) -> None:
    _, said = await seconds_until_closed(url, UNFINISHED, b"\r\n", UNFINISHED)
    assert said.startswith(b"HTTP/1.1 200 OK")
    assert said.count(b"HTTP/1.1") == 1


async def test_api_02_a_head_that_drips_in_time_is_read(url: str) -> None:
    reader, writer = await connect(url)
    for octet in UNFINISHED + b"\r\n":
        writer.write(bytes([octet]))
        await writer.drain()
    assert await reader.readline() == b"HTTP/1.1 200 OK\r\n"
    writer.close()


async def test_api_03_no_answer_names_the_server(url: str) -> None:
    async with AsyncClient(base_url=url, trust_env=False) as client:
        for path in ("/livez", "/nowhere", "/v1/me"):
            assert "server" not in (await client.get(path)).headers
