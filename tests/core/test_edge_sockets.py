"""The edge behind a real server: what only raw bytes can say (API-01, API-04)."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from typing import Any

import pytest
import uvicorn
from fastapi import FastAPI, Request

from app.core import problems
from app.core.edge import Edge, EdgeConfig

HOST = b"Host: localhost\r\n"
GOOD = b"GET /pots HTTP/1.1\r\n" + HOST + b"\r\n"


@pytest.fixture
async def port() -> AsyncIterator[int]:
    """A server of its own on loopback, stopped when the test ends."""
    app = FastAPI(openapi_url=None, redirect_slashes=False)

    @app.get("/pots")
    async def pots() -> list[int]:
        return [1, 2]

    @app.post("/pots")
    async def create(request: Request) -> int:
        return len(await request.body())

    problems.install(app)
    app.add_middleware(Edge, config=EdgeConfig(hosts=("localhost",)))
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(
        app, log_config=None, access_log=False, server_header=False, lifespan="off", ws="none"
    )
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    yield listener.getsockname()[1]
    server.should_exit = True
    await serving


Answer = tuple[int, dict[str, str], bytes]


async def read_answer(reader: asyncio.StreamReader, *, is_head: bool = False) -> Answer:
    """Read one answer: status, headers, body."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    headers = {
        name.lower(): value for name, value in (one.split(": ", 1) for one in head[1:] if one)
    }
    length = 0 if is_head else int(headers.get("content-length", "0"))
    return int(head[0].split()[1]), headers, await reader.readexactly(length)


async def say(port: int, raw: bytes, *, hangs_up: bool = False) -> Answer:
    """Send bytes and read the answer; then the server hangs up, or serves the next request."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        async with asyncio.timeout(10):
            writer.write(raw)
            answer = await read_answer(reader, is_head=raw.startswith(b"HEAD"))
            if hangs_up:
                assert await reader.read() == b""
            else:
                writer.write(GOOD)
                assert (await read_answer(reader))[0] == 200
        return answer
    finally:
        writer.close()


def code(body: bytes) -> Any:  # noqa: ANN401  # whatever the server has sent
    return json.loads(body)["code"]


async def test_a_request_and_the_next_on_the_same_connection(port: int) -> None:
    status, headers, body = await say(port, GOOD)
    assert (status, body) == (200, b"[1,2]")
    assert headers["x-content-type-options"] == "nosniff"
    assert "server" not in headers


async def test_head_has_a_length_and_no_body(port: int) -> None:
    status, headers, _ = await say(port, GOOD.replace(b"GET", b"HEAD"))
    assert (status, headers["content-length"]) == (200, "5")


@pytest.mark.parametrize("size", [20_000, 2_000_000])
async def test_api_01_a_flood_of_headers(port: int, size: int) -> None:
    flood = b"".join(b"X-%d: %s\r\n" % (n, b"p" * 990) for n in range(size // 1000))
    raw = b"GET /pots HTTP/1.1\r\n" + HOST + flood + b"\r\n"
    status, _, body = await say(port, raw, hangs_up=True)
    assert (status, code(body)) == (431, "headers_too_large")


async def test_api_01_headers_at_the_limit(port: int) -> None:
    pad = 16 * 1024 - len("host" + "localhost" + "x") - 8
    for extra, expected in ((0, 200), (1, 431)):
        raw = b"GET /pots HTTP/1.1\r\n" + HOST + b"X: " + b"p" * (pad + extra) + b"\r\n\r\n"
        assert (await say(port, raw, hangs_up=expected == 431))[0] == expected


async def test_api_01_a_long_url(port: int) -> None:
    for size, expected in ((4096, 404), (4097, 414)):
        raw = b"GET /" + b"a" * (size - 1) + b" HTTP/1.1\r\n" + HOST + b"\r\n"
        assert (await say(port, raw))[0] == expected


async def test_api_01_a_chunked_body_is_counted_while_it_is_read(port: int) -> None:
    head = b"POST /pots HTTP/1.1\r\n" + HOST
    head += b"Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    for size, expected in ((1024 * 1024, 200), (1024 * 1024 + 1, 413)):
        body = b'"' + b"x" * (size - 2) + b'"'
        chunks = [body[at : at + 65536] for at in range(0, size, 65536)]
        sent = b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\n\r\n"
        answer = await say(port, head + sent, hangs_up=expected == 413)
        assert answer[0] == expected


async def test_api_01_a_body_that_announces_too_much_is_not_read(port: int) -> None:
    raw = b"POST /pots HTTP/1.1\r\n" + HOST
    raw += b"Content-Type: application/json\r\nContent-Length: 150000000\r\n\r\n{"
    status, headers, body = await say(port, raw, hangs_up=True)
    assert (status, code(body)) == (413, "content_too_large")
    assert headers["connection"] == "close"


@pytest.mark.parametrize(
    "hosts", [b"", b"Host: evil.example\r\n", HOST + HOST, HOST + b"Host: evil.example\r\n"]
)
async def test_api_01_no_host_another_host_two_hosts(port: int, hosts: bytes) -> None:
    status, _, body = await say(port, b"GET /pots HTTP/1.1\r\n" + hosts + b"\r\n")
    assert (status, code(body)) == (400, "misdirected_host")


@pytest.mark.parametrize(
    "headers",
    [
        b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n",
        b"Content-Length: 2\r\nContent-Length: 3\r\n",
        b"Content-Length: -1\r\n",
        b"Content-Length: 1, 2\r\n",
        b"Transfer-Encoding: chunked, identity\r\n",
        b"Transfer-Encoding: xchunked\r\n",
    ],
)
async def test_api_04_smuggling_is_refused_and_hung_up_on(port: int, headers: bytes) -> None:
    raw = b"POST /pots HTTP/1.1\r\n" + HOST + b"Content-Type: application/json\r\n" + headers
    assert (await say(port, raw + b"\r\n{}", hangs_up=True))[0] == 400


@pytest.mark.parametrize("raw_path", [b"/pots%00", b"/pots%ff", b"/%ed%a0%80"])
async def test_fuzz_04_paths_over_the_wire(port: int, raw_path: bytes) -> None:
    status, _, body = await say(port, b"GET " + raw_path + b" HTTP/1.1\r\n" + HOST + b"\r\n")
    assert (status, code(body)) == (400, "bad_request")
