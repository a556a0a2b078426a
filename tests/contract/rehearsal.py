"""An application that answers as it would, and leaves nothing behind.

Thousands of requests meet the same world, whatever they would have changed, because each
transaction is undone where it would have been committed. The database, its rights and its
constraints are the real ones.
"""

from typing_extensions import override

from app.core.database import CommandTransaction, Connections, LaneTransaction


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
        await self.roll_back(_Undone())


class Rehearsal(Connections):
    """Connections whose transactions come to nothing."""

    @override
    async def begin_command(self) -> CommandTransaction:
        return _RehearsedCommand(self.sessions())

    @override
    async def begin_lane(self, first: str = "begin") -> LaneTransaction:
        transaction = await super().begin_lane(first)
        transaction.__class__ = _RehearsedLane
        return transaction
