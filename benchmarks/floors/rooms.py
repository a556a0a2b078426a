"""Floors: rooms on bare `websockets`, that broadcast at once or commit each message first.

`python -m benchmarks.floors.rooms PORT` broadcasts. With FLOOR_DATABASE_URL set, every message
is a row, committed before anybody sees it. Who connects to /<room> is in that room.
"""

import asyncio
import os
import signal
import sys
from collections import defaultdict
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from http import HTTPStatus
from typing import Final

import asyncpg
import uvloop
from websockets.asyncio.server import ServerConnection, broadcast, serve
from websockets.exceptions import ConnectionClosedError
from websockets.http11 import Request, Response

from benchmarks.driver import connect, driver_url
from benchmarks.floors.records import DATABASE_URL

Keep = Callable[[str, str], Awaitable[None]]

_SCHEMA: Final = """
create table message (
    id bigint generated always as identity primary key,
    room text not null,
    body text not null,
    at timestamptz not null default now()
)
"""


async def make_table(url: str) -> None:
    """Make the table of the floor that commits."""
    db = await connect(url)
    try:
        await db.execute(_SCHEMA)
    finally:
        await db.close()


async def main(port: int) -> None:
    """Serve until asked to end."""
    end = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, end.set)
    async with AsyncExitStack() as stack:
        member = _members(await _keeper(stack))
        async with serve(
            member, "127.0.0.1", port, compression=None, process_request=_answer_knocks
        ):
            await end.wait()


def _members(keep: Keep | None) -> Callable[[ServerConnection], Awaitable[None]]:
    rooms: defaultdict[str, set[ServerConnection]] = defaultdict(set)

    async def member(socket: ServerConnection) -> None:
        room = socket.request.path if socket.request else "/"
        rooms[room].add(socket)
        try:
            async for message in socket:
                if keep is not None:
                    await keep(room, str(message))
                broadcast(rooms[room], message)
        except ConnectionClosedError:
            return  # The harness hangs up without a closing handshake.
        finally:
            rooms[room].discard(socket)

    return member


async def _keeper(stack: AsyncExitStack) -> Keep | None:
    url = os.environ.get(DATABASE_URL)
    if url is None:
        return None
    pool: asyncpg.Pool[asyncpg.Record] = await stack.enter_async_context(
        asyncpg.create_pool(driver_url(url), min_size=8, max_size=8)
    )

    async def keep(room: str, body: str) -> None:
        await pool.execute("insert into message (room, body) values ($1, $2)", room, body)

    return keep


def _answer_knocks(socket: ServerConnection, request: Request) -> Response | None:
    """A request for / asks whether the server is ready; all others open sockets."""
    return socket.respond(HTTPStatus.OK, "") if request.path == "/" else None


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1])))
