"""The HTTP load: a fixed number of requests over a fixed number of kept-alive connections.

It is closed-loop and bounded, and reads no more of an answer than its status and length, so that
it costs less than the cheapest floor.
"""

import asyncio
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import Final

CONNECTIONS: Final = 16
_HOST: Final = "127.0.0.1"


class UnexpectedAnswer(Exception):
    """A server answered something else than the measurement is about."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back."""

    status: int
    body: bytes


@dataclass(frozen=True)
class Exchange:
    """One kind of request and the answer that it must get.

    `request` makes the bytes of request `n`; `n` is never given twice to one server, so an
    idempotency key can be made of it. `accepts` looks at the first body of every turn: to
    measure an empty list or an error is to measure nothing.
    """

    request: Callable[[int], bytes]
    status: int
    accepts: Callable[[bytes], bool]


def request_bytes(
    method: str, path: str, *, headers: Mapping[str, str] | None = None, body: bytes = b""
) -> bytes:
    """A complete HTTP/1.1 request; a body is JSON."""
    lines = [f"{method} {path} HTTP/1.1", f"Host: {_HOST}", "Accept: application/json"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    if body:
        lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
    return "\r\n".join([*lines, "", ""]).encode() + body


def parse_head(head: bytes) -> tuple[int, int]:
    """The status and the length of the body of an answer, from its head."""
    status = int(head[9:12])
    lowered = head.lower()
    start = lowered.find(b"\r\ncontent-length:")
    if start < 0:
        if b"\r\ntransfer-encoding:" in lowered:
            raise UnexpectedAnswer("The harness reads no chunked answers.")
        return status, 0
    end = lowered.index(b"\r\n", start + 2)
    return status, int(head[start + 17 : end])


async def ask(port: int, request: bytes) -> Answer:
    """Send one request over a connection of its own."""
    async with aclosing(_Connection(port)) as connection:
        return await connection.ask(request)


async def drive(
    port: int, exchange: Exchange, *, first: int, count: int, connections: int = CONNECTIONS
) -> list[float]:
    """Send requests `first` to `first + count - 1`; return the seconds that each one took.

    Raises UnexpectedAnswer at the first answer that is not the one expected.
    """
    numbers = iter(range(first, first + count))
    seconds: list[float] = []
    async with asyncio.TaskGroup() as group:
        for _ in range(connections):
            group.create_task(_keep_asking(port, exchange, numbers, first, seconds))
    return seconds


async def _keep_asking(
    port: int, exchange: Exchange, numbers: Iterator[int], first: int, seconds: list[float]
) -> None:
    async with aclosing(_Connection(port)) as connection:
        for number in numbers:
            request = exchange.request(number)
            sent_at = time.perf_counter()
            answer = await connection.ask(request)
            seconds.append(time.perf_counter() - sent_at)
            if answer.status != exchange.status or (
                number == first and not exchange.accepts(answer.body)
            ):
                raise UnexpectedAnswer(
                    f"{answer.status} to request {number}: {answer.body[:500]!r}"
                )


class _Connection:
    """One kept-alive connection, opened at the first request."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, request: bytes) -> Answer:
        if self._streams is None:
            self._streams = await asyncio.open_connection(_HOST, self._port)
        reader, writer = self._streams
        writer.write(request)
        status, length = parse_head(await reader.readuntil(b"\r\n\r\n"))
        return Answer(status, await reader.readexactly(length) if length else b"")

    async def aclose(self) -> None:
        if self._streams is not None:
            _, writer = self._streams
            writer.close()
