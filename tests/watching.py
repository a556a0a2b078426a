"""What the database itself sees, for tests that must know it: who waits, who holds what.

A superuser's connection of its own, which no fault that a test makes can reach. Waiting is
asking again, after a moment in which whoever is waited for has the processor.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Final

import asyncpg

from app.core.embedded import EmbeddedServer

PATIENCE: Final = 15
"""Seconds after which something that should have happened has not."""
_BLOCKED: Final = """
    select pid from pg_stat_activity
    where datname = 'stepwell' and wait_event_type = 'Lock' and query ilike $1
"""
_IDLE_IN_TRANSACTION: Final = """
    select count(*) from pg_stat_activity
    where datname = 'stepwell' and state like 'idle in transaction%' and application_name = $1
"""


async def a_moment() -> None:
    """Let others work between two questions; nothing depends on how long it is."""
    await asyncio.sleep(0.01)


class Watcher:
    """A superuser who looks."""

    def __init__(self, connection: asyncpg.Connection) -> None:
        self.connection = connection

    async def until_blocked(self, statement: str = "%", count: int = 1) -> Sequence[int]:
        """Wait until `count` statements like this one wait for a lock; returns their backends."""
        async with asyncio.timeout(PATIENCE):
            while True:
                found = await self.connection.fetch(_BLOCKED, statement)
                if len(found) >= count:
                    return [row["pid"] for row in found]
                await a_moment()

    async def until_gone(self, pid: int) -> None:
        """Wait until a backend has ended, and with it everything that it held."""
        await self.until("select not exists (select from pg_stat_activity where pid = $1)", pid)

    async def until(self, question: str, *arguments: object) -> None:
        """Wait until the database says that something is so."""
        async with asyncio.timeout(PATIENCE):
            while not await self.connection.fetchval(question, *arguments):
                await a_moment()

    async def idle_in_transaction(self, application_name: str) -> int:
        """How many connections of an application hold a transaction and do nothing with it."""
        count: int = await self.connection.fetchval(_IDLE_IN_TRANSACTION, application_name)
        return count

    async def terminate(self, application_name: str) -> int:
        """End every connection of an application; returns how many there were."""
        count: int = await self.connection.fetchval(
            "select count(pg_terminate_backend(pid, 5000)) from pg_stat_activity"
            " where application_name = $1",
            application_name,
        )
        return count


@asynccontextmanager
async def watch(server: EmbeddedServer) -> AsyncIterator[Watcher]:
    """Look at the test's database."""
    connection = await asyncpg.connect(
        host=str(server.socket_dir), user="postgres", database="stepwell"
    )
    try:
        yield Watcher(connection)
    finally:
        await connection.close()
