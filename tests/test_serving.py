"""The server's own limits, over real sockets: heads that never end, and headers that lie."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus

import pytest
import uvicorn
from fastapi import FastAPI
from httpx import AsyncClient

from app import serving
from app.core import clock
from app.core.embedded import EmbeddedServer
from app.main import create_app, make_runtime
from app.runtime import Runtime
from app.settings import Misconfigured, Settings
from tests.factories import Make
from tests.processes import free_port
from tests.watching import Watcher, watch

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


@pytest.fixture
async def watcher(server: EmbeddedServer) -> AsyncIterator[Watcher]:
    async with watch(server) as watcher:
        yield watcher


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


async def test_api_02_a_head_that_drips_in_time_is_read(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serving.Heads, "patience_seconds", 30)
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


# Who the caller says they are (API-03)


@asynccontextmanager
async def behind(
    settings: Settings, runtime: Runtime, *trusted: str, **changed: int
) -> AsyncIterator[str]:
    """A server that believes these proxies, and whoever asks it is one of them or is not."""
    port = free_port()
    settings = settings.model_copy(update={"port": port, "trusted_proxies": trusted, **changed})
    url = runtime.connections.engine.url.render_as_string(hide_password=False)
    own = make_runtime(settings, url)
    config = serving.configuration(create_app(own), settings)
    config.lifespan = "off"
    async with _running(uvicorn.Server(config)):
        yield f"http://127.0.0.1:{port}"
    await own.connections.close()


@pytest.mark.parametrize(
    ("trusted", "source"),
    [
        ((), "127.0.0.0/24"),
        (("192.0.2.1",), "127.0.0.0/24"),
        (("127.0.0.1",), "203.0.113.0/24"),
    ],
)
async def test_api_03_the_audit_trail_believes_trusted_proxies_only(
    settings: Settings,
    make: Make,
    watcher: Watcher,
    trusted: tuple[str, ...],
    source: str,
) -> None:
    participant = await make.participant()
    headers = {**participant.headers, "X-Forwarded-For": "203.0.113.9", "Forwarded": "for=1.2.3.4"}
    async with (
        behind(settings, make.runtime, *trusted) as url,
        AsyncClient(base_url=url, trust_env=False, headers=headers) as client,
    ):
        answer = await client.get(f"/v1/participants/{participant.participant_id}")

    assert answer.status_code == HTTPStatus.OK
    recorded = await watcher.connection.fetchval(
        "select source from stepwell.audit_event where participant_id = $1 order by id desc",
        participant.participant_id,
    )
    assert recorded == source


async def test_api_03_another_address_in_a_header_buys_no_more_requests(
    settings: Settings, runtime: Runtime
) -> None:
    async with (
        behind(settings, runtime, network_requests=3) as url,
        AsyncClient(base_url=url, trust_env=False) as client,
    ):
        answers = [
            await client.post(
                "/oauth/token", data={}, headers={"X-Forwarded-For": f"203.0.{number}.9"}
            )
            for number in range(6)
        ]

    assert HTTPStatus.TOO_MANY_REQUESTS in {answer.status_code for answer in answers}


def test_a_port_that_is_taken_is_a_sentence(app: FastAPI, settings: Settings) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = settings.model_copy(update={"port": other.getsockname()[1]})
        with pytest.raises(Misconfigured, match="another process listens there") as refused:
            serving.run(app, taken, said=pytest.fail)

    [sentence] = refused.value.sentences
    assert sentence.startswith(f"Port {taken.port} of 127.0.0.1 cannot be had")
