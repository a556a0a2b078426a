"""What wakes a process: hints of a kind, and LISTEN on PostgreSQL, where they come from.

The bus carries hints and nothing else. The database is the truth: a hint that is lost costs a
moment, because heads are compared every two seconds, and everything is compared after each time
at which hints may have been lost (WS-11, WS-12).
"""

import asyncio
from collections.abc import Callable, Mapping
from enum import StrEnum, unique
from typing import Any, Final, Protocol

import asyncpg
from sqlalchemy.ext.asyncio import AsyncEngine

from app.core import logging
from app.core.database import connection_lost

HEARTBEAT_SECONDS: Final = 10.0
HEARTBEAT_TIMEOUT: Final = 3.0
CONNECT_TIMEOUT: Final = 3.0
BRIDGE_LOCK: Final = 7_023_141
"""The advisory lock of the one process that carries hints from PostgreSQL to NATS."""

_log = logging.get_logger(__name__)


@unique
class Channel(StrEnum):
    """What is told, and how its payload reads."""

    ROOMS = "stepwell_rooms"
    """`<organization>:<room>:<seq>`: a room's log has grown to here."""

    ACCESS = "stepwell_access"
    """`sign_in:<id>`, `account:<id>` or `room_member:<room>:<account>`: access has ended."""

    POSITIONS = "stepwell_positions"
    """`<organization>:<position>`: events have their positions up to here."""

    PRESENCE = "stepwell_presence"
    """`<organization>:<room>:<member>:<state>`: somebody came, writes or went."""


class Listener(Protocol):
    """Who is woken."""

    def hear(self, channel: Channel, payload: str) -> None:
        """Take a hint; called on the event loop, and must not wait."""

    def listen_again(self) -> None:
        """Hints may have been lost: compare everything with the database."""


class Bus(Protocol):
    """A source of hints."""

    async def listen(self, listener: Listener) -> None:
        """Pass hints on until the connection is lost; raises when there is none to be had.

        Whoever calls it calls it again: it is one step of a supervised loop.
        """


class PostgresBus:
    """LISTEN on a connection of its own.

    The driver tells nobody when that connection is killed, so it is asked every ten seconds, and
    says itself when the other end hangs up.
    """

    def __init__(self, engine: AsyncEngine, *, heartbeat: float = HEARTBEAT_SECONDS) -> None:
        self._engine = engine
        self._heartbeat = heartbeat

    async def listen(self, listener: Listener) -> None:
        connection = await self._connect()
        try:
            await self.follow(connection, listener.hear)
            listener.listen_again()
            await self.outlast(connection)
        finally:
            connection.terminate()

    async def _connect(self) -> asyncpg.Connection:
        _, arguments = self._engine.dialect.create_connect_args(self._engine.url)
        return await asyncpg.connect(
            **_plain(arguments),
            timeout=CONNECT_TIMEOUT,
            command_timeout=HEARTBEAT_TIMEOUT,
            server_settings={"application_name": "stepwell-listener"},
        )

    async def listen_alone(self, pass_on: Callable[[Channel, str], None]) -> bool:
        """Do the same if no other process does, until the connection is lost.

        Answers whether it did: another process may hold the lock.
        """
        connection = await self._connect()
        try:
            if not await connection.fetchval("select pg_try_advisory_lock($1)", BRIDGE_LOCK):
                return False
            await self.follow(connection, pass_on)
            _log.info("bus_bridge_opened")
            await self.outlast(connection)
        finally:
            connection.terminate()
        return True

    async def follow(
        self, connection: asyncpg.Connection, pass_on: Callable[[Channel, str], None]
    ) -> None:
        """Listen on every channel."""

        def hear(_connection: object, _pid: int, channel: str, payload: object) -> None:
            pass_on(Channel(channel), str(payload))

        for channel in Channel:
            await connection.add_listener(channel.value, hear)

    async def outlast(self, connection: asyncpg.Connection) -> None:
        """Return once the connection has died."""
        lost = asyncio.Event()
        connection.add_termination_listener(lambda _: lost.set())
        while not (lost.is_set() or connection.is_closed()):
            try:
                async with asyncio.timeout(self._heartbeat):
                    await lost.wait()
            except TimeoutError:
                if not await _answers(connection):
                    break
        _log.warning("bus_connection_lost", kind="postgres")


async def _answers(connection: asyncpg.Connection) -> bool:
    try:
        await connection.fetchval("select 1")
    except Exception as error:
        if not connection_lost(error):
            raise
        return False
    return True


def _plain(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The driver's own arguments, without those that SQLAlchemy adds for itself."""
    own = {"prepared_statement_cache_size", "prepared_statement_name_func", "async_fallback"}
    return {name: value for name, value in arguments.items() if name not in own}
