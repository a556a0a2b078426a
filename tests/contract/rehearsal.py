"""An application that answers as it would, and leaves nothing behind.

Thousands of requests meet the same world, whatever they would have changed, because each
transaction is undone where it would have been committed. The database, its rights and its
constraints are the real ones.
"""

import asyncpg
from typing_extensions import override

from app.core.database import CommandTransaction, Connections, LaneTransaction, Opening


class _Undone(Exception):
    """Why a transaction is rolled back that went well."""


class _RehearsedCommand(CommandTransaction):
    __slots__ = ()

    @override
    async def commit(self) -> None:
        await self.handle.flush()
        await self.roll_back(_Undone())


class _RehearsedLane(LaneTransaction):
    __slots__ = ()

    @override
    async def commit(self) -> None:
        await self.confirm()
        if self.last_words:
            await self.lane.execute(self.last_words)
        await self.roll_back(_Undone())

    @override
    async def _read_once(self, sql: str, arguments: list[object]) -> list[asyncpg.Record]:
        # The statement would commit by itself: it runs where somebody else can undo it.
        transaction = await self._connections.begin_lane()
        try:
            return await transaction.lane.fetch(sql, *arguments)
        finally:
            await transaction.roll_back(_Undone())


class Rehearsal(Connections):
    """Connections whose transactions come to nothing."""

    @override
    async def begin_command(self) -> CommandTransaction:
        return _RehearsedCommand(self.sessions())

    @override
    async def begin_lane(self) -> LaneTransaction:
        transaction = _RehearsedLane(self)
        await transaction.lane.begun()
        return transaction

    @override
    def open_lane(self, opening: Opening) -> LaneTransaction:
        return _RehearsedLane(self, opening)
