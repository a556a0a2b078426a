"""One pool, two lanes, one shape of transaction.

Commands change several things and speak ORM over an `AsyncSession`. Hot reads speak Core,
compiled once at import, on the driver's own connection from the same pool: the same guarded
read costs a fraction of the session's CPU there. Both lanes begin with the same statement,
which checks the caller's access and sets the tenant (`app.security.guards`).
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final, Protocol, cast
from uuid import UUID

import asyncpg
from sqlalchemy import ExceptionContext, Integer, Select, bindparam, event, literal_column, select
from sqlalchemy.dialects.postgresql import asyncpg as asyncpg_dialect
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import DBAPIError, DisconnectionError
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import Session, UOWTransaction
from sqlalchemy.pool import ConnectionPoolEntry, PoolProxiedConnection
from sqlalchemy.sql.base import Executable
from sqlalchemy.util import greenlet_spawn

from app.core.problems import OutcomeUnknown

_DIALECT: Final = asyncpg_dialect.dialect()  # type: ignore[no-untyped-call]  # SQLAlchemy leaves dialects untyped
_LONGEST_PAGE: Final = literal_column("101", Integer)
"""The most that a page shows, and the row after it; the planner has to see it, so no parameter."""


class Query:
    """A Core statement, composed with named parameters and compiled once, at import.

    `alone` is the same read for a request that asks nothing else: it checks the access, reads,
    leaves its audit row and commits in one round trip (`app.security.audit`).
    """

    __slots__ = ("_defaults", "alone", "names", "sql")

    def __init__(self, statement: Executable, *, alone: "Query | None" = None) -> None:
        self.alone = alone
        compiled = statement.compile(dialect=_DIALECT)  # type: ignore[attr-defined]  # every Core statement compiles
        self.sql: str = str(compiled)
        self.names: tuple[str, ...] = tuple(compiled.positiontup or ())
        self._defaults: dict[str, Any] = {
            name: value for name, value in compiled.params.items() if value is not None
        }

    def arguments(self, values: Mapping[str, object]) -> list[object]:
        """The values in the order of the placeholders; a literal of the statement fills its own."""
        return [values[n] if n in values else self._defaults.get(n) for n in self.names]


def paged(statement: Select[*tuple[Any, ...]]) -> Select[*tuple[Any, ...]]:
    """Cut an ordered statement to as many rows as the parameter `limit` says.

    The one plan that serves all values does not know the limit, so the database would plan for a
    tenth of the table. The inner limit says what is known: the plan walks an index, and stops at
    the outer one.
    """
    longest = statement.limit(_LONGEST_PAGE).subquery("longest")
    return select(longest).limit(bindparam("limit", type_=Integer))


class Opening(Protocol):
    """What opens a transaction whose caller this process knows: the access check, as a statement.

    The database raises CALLER_CHANGED when what the process remembers is not true any more.
    """

    def statement(self) -> str:
        """BEGIN and the check together, with the values written into it."""
        ...

    def parameters(self) -> Mapping[str, object]:
        """The check's values, for a read that makes it by itself."""
        ...


CALLER_CHANGED: Final = "SW001"
"""The SQLSTATE of an access check that found somebody other than the process remembered."""


class Lane:
    """A transaction on the driver's connection, for statements that were compiled at import.

    One that was not begun yet begins with its first statement, in the same round trip as the
    access check. A read that can stand alone is not even that: see `Query.alone`.
    """

    __slots__ = ("_connection", "_transaction", "info")

    def __init__(
        self,
        connection: asyncpg.Connection | None,
        info: dict[Any, Any] | None = None,
        transaction: "LaneTransaction | None" = None,
    ) -> None:
        self._connection = connection
        self._transaction = transaction
        self.info: dict[Any, Any] = {} if info is None else info

    async def one(self, query: Query, **values: object) -> asyncpg.Record | None:
        """The first row, or None."""
        if self._transaction is not None and query.alone is not None:
            rows = await self._transaction.read_alone(query.alone, values)
            return rows[0] if rows else None
        return await self.fetchrow(query.sql, *query.arguments(values))

    async def all(self, query: Query, **values: object) -> list[asyncpg.Record]:
        """Every row."""
        if self._transaction is not None and query.alone is not None:
            return await self._transaction.read_alone(query.alone, values)
        return await self.fetch(query.sql, *query.arguments(values))

    async def value(self, query: Query, **values: object) -> Any:  # noqa: ANN401 (what the column holds)
        """The first column of the first row, or None."""
        return await self.fetchval(query.sql, *query.arguments(values))

    async def fetch(self, sql: str, *arguments: object) -> list[asyncpg.Record]:
        """Every row of a statement with numbered parameters."""
        return await (self._connection or await self.begun()).fetch(sql, *arguments)

    async def fetchrow(self, sql: str, *arguments: object) -> asyncpg.Record | None:
        """Its first row, or None."""
        return await (self._connection or await self.begun()).fetchrow(sql, *arguments)

    async def fetchval(self, sql: str, *arguments: object) -> Any:  # noqa: ANN401 (what the column holds)
        """The first column of its first row, or None."""
        return await (self._connection or await self.begun()).fetchval(sql, *arguments)

    async def execute(self, sql: str, *arguments: object) -> str:
        """Run it for its effect; returns the command's tag."""
        return await (self._connection or await self.begun()).execute(sql, *arguments)

    async def begun(self, *, together_with: str = "") -> asyncpg.Connection:
        """The driver's connection, inside the transaction, which begins now if it has not.

        A statement may travel `together_with` the beginning; if it fails, nothing has begun.
        """
        if self._connection is None:
            transaction = cast("LaneTransaction", self._transaction)
            self._connection = await transaction.begin(together_with)
            # From here on every statement belongs to what was begun.
            self._transaction = None
        return self._connection

    @property
    def has_begun(self) -> bool:
        """Whether the transaction has begun."""
        return self._connection is not None


Handle = AsyncSession | Lane
"""A transaction in either lane."""


async def in_lane(handle: Handle) -> Lane:
    """The driver's lane of a transaction, whichever lane it was opened in.

    In the driver's lane nothing is sent for this; a session begins if it has not.
    """
    return handle if isinstance(handle, Lane) else await lane_of(handle)


def connection_lost(error: BaseException) -> bool:
    """Whether the server went away, so that nothing can be known of a statement under way.

    A killed backend surfaces as several classes, hardly ever as the expected one (REL-14).
    """
    if isinstance(error, DBAPIError):
        return error.connection_invalidated or (
            error.__cause__ is not None and connection_lost(error.__cause__)
        )
    if isinstance(error, asyncpg.PostgresError):
        state = error.sqlstate or ""
        return state[:2] in {"08", "57"} and state != "57014"
    return isinstance(
        error, ConnectionError | OSError | TimeoutError | asyncpg.InterfaceError
    ) or isinstance(error.__cause__, ConnectionError)


def was_dead_already(error: BaseException) -> bool:
    """Whether a pooled connection had died before it was asked, so that a new one may do.

    Who has waited in vain does not wait a second time: the first answer is as late as it may be.
    """
    return connection_lost(error) and not isinstance(error, TimeoutError)


class Connections:
    """The process's pool. Its role owns nothing and cannot bypass row-level security."""

    def __init__(self, url: str, *, size: int = 8, application_name: str = "stepwell") -> None:
        self.engine = create_async_engine(
            url,
            pool_size=size,
            max_overflow=0,
            pool_timeout=2,
            pool_recycle=1800,
            # No ping before use: the first statement of every transaction is the access check,
            # and it is repeated once on a fresh connection when the pooled one has died.
            pool_pre_ping=False,
            hide_parameters=True,
            connect_args={
                "timeout": 3,
                "command_timeout": 10,
                "server_settings": {
                    "application_name": application_name,
                    "timezone": "UTC",
                    # Literals are written by hand in one place, which relies on it.
                    "standard_conforming_strings": "on",
                    "search_path": "stepwell",
                    "statement_timeout": "5000",
                    "lock_timeout": "2000",
                    "idle_in_transaction_session_timeout": "10000",
                    "jit": "off",
                    # A plan that was made while a table was small would go on reading it from
                    # end to end while it grows; what is asked here has an index, or few rows.
                    "enable_seqscan": "off",
                    # One plan for all values: planning anew costs more than a page of a list.
                    "plan_cache_mode": "force_generic_plan",
                },
            },
        )
        event.listen(self.engine.sync_engine, "handle_error", _hang_up)
        event.listen(self.engine.sync_engine, "checkout", _replace_the_dead)
        self.sessions = async_sessionmaker(self.engine, expire_on_commit=False)

    async def begin_command(self) -> "CommandTransaction":
        """Begin in the ORM's lane; nothing is sent before the first statement."""
        return CommandTransaction(self.sessions())

    async def begin_lane(self) -> "LaneTransaction":
        """Begin in the driver's lane, at once."""
        transaction = LaneTransaction(self)
        await transaction.lane.begun()
        return transaction

    def open_lane(self, opening: Opening) -> "LaneTransaction":
        """A transaction in the driver's lane that begins with its first statement."""
        return LaneTransaction(self, opening)

    @asynccontextmanager
    async def command(self) -> AsyncIterator[AsyncSession]:
        """A transaction in the ORM's lane, committed at the end, rolled back on an exception."""
        transaction = await self.begin_command()
        try:
            yield transaction.handle
        except BaseException as error:
            await transaction.roll_back(error)
            raise
        await transaction.commit()

    @asynccontextmanager
    async def lane(self) -> AsyncIterator[Lane]:
        """A transaction in the driver's lane, committed at the end, rolled back on an exception."""
        transaction = await self.begin_lane()
        try:
            yield transaction.lane
        except BaseException as error:
            await transaction.roll_back(error)
            raise
        await transaction.commit()

    async def close(self) -> None:
        """Close every connection."""
        await self.engine.dispose()


def caller_changed(error: BaseException | None) -> bool:
    """Whether an access check found that the process remembers somebody who has changed."""
    return isinstance(error, asyncpg.PostgresError) and error.sqlstate == CALLER_CHANGED


def may_be_repeated(error: BaseException) -> bool:
    """Whether the whole transaction may run again: it lost a race, or met a changed schema.

    The database has undone it, and said so before anything became visible (REL-04). A caller
    who is not who they were when the process met them is met anew.
    """
    cause = error.__cause__ if isinstance(error, DBAPIError) else error
    while cause is not None and not isinstance(cause, asyncpg.PostgresError):
        cause = cause.__cause__
    return caller_changed(cause) or isinstance(
        cause,
        asyncpg.SerializationError
        | asyncpg.DeadlockDetectedError
        | asyncpg.exceptions.InvalidCachedStatementError,
    )


class Transaction(Protocol):
    """A transaction that somebody else ends: exactly one of the two, exactly once."""

    @property
    def handle(self) -> Handle:
        """What services work on."""
        ...

    async def commit(self) -> None:
        """Make it true; raises OutcomeUnknown when the connection died while doing so."""
        ...

    async def roll_back(self, error: BaseException) -> None:
        """Undo it, because of `error`."""
        ...


class CommandTransaction:
    """A transaction in the ORM's lane."""

    __slots__ = ("handle",)

    def __init__(self, db: AsyncSession) -> None:
        self.handle = db

    async def commit(self) -> None:
        try:
            await self.handle.commit()
        except BaseException as error:
            await self.roll_back(error)
            if connection_lost(error):
                raise OutcomeUnknown from error
            raise
        await self.handle.close()

    async def roll_back(self, _error: BaseException) -> None:
        await self.handle.close()


class LaneTransaction:
    """A transaction on the driver's connection."""

    __slots__ = ("_connections", "_is_checked", "_opening", "_pooled", "lane", "last_words")

    def __init__(self, connections: Connections, opening: Opening | None = None) -> None:
        self._connections = connections
        self._opening = opening
        self._pooled: PoolProxiedConnection | None = None
        self._is_checked = opening is None
        self.last_words = ""
        """A statement that travels with COMMIT."""
        self.lane = Lane(None, transaction=self)

    @property
    def handle(self) -> Lane:
        return self.lane

    async def begin(self, together_with: str = "") -> asyncpg.Connection:
        """Begin, and check the access when there is an opening.

        A pooled connection may have died since it was used: nothing has happened yet, so the
        statement is repeated once on a fresh one.
        """
        first = "begin" if self._opening is None else self._opening.statement()
        if together_with:
            first = f"{first}; {together_with}"
        try:
            return await self._begin_once(first)
        except Exception as error:
            if not was_dead_already(error):
                raise
            return await self._begin_once(first)

    async def read_alone(self, query: Query, values: Mapping[str, object]) -> list[asyncpg.Record]:
        """Check the access, read and commit in one statement, on a connection of its own.

        When the connection dies the read is repeated once: at worst its trace stands twice.
        """
        opening = cast("Opening", self._opening)
        arguments = query.arguments({**values, **opening.parameters()})
        try:
            rows = await self._read_once(query.sql, arguments)
        except Exception as error:
            if not was_dead_already(error):
                raise
            rows = await self._read_once(query.sql, arguments)
        self._is_checked = True
        return rows

    async def confirm(self) -> None:
        """Make sure that the access has been checked, whatever was or was not asked."""
        if not self._is_checked:
            await self.lane.begun()

    async def commit(self) -> None:
        await self.confirm()
        if self._pooled is None:
            return
        try:
            await self.lane.execute(f"{self.last_words}; commit" if self.last_words else "commit")
        except BaseException as error:
            await self.roll_back(error)
            if connection_lost(error):
                raise OutcomeUnknown from error
            raise
        self._give_back()

    async def roll_back(self, error: BaseException) -> None:
        if self._pooled is None:
            return
        connection = _driver_of(self._pooled)
        try:
            if isinstance(error, TimeoutError):
                # The server does not answer: neither would it answer to ROLLBACK.
                connection.terminate()
                await greenlet_spawn(self._pooled.invalidate)
            elif isinstance(error, asyncio.CancelledError) or connection.is_closed():
                # A statement may still be under way: only a new connection is clean.
                await greenlet_spawn(self._pooled.invalidate)
            elif connection.is_in_transaction():
                await connection.execute("rollback")
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
            # The connection died while failing: the server has rolled back already.
            await greenlet_spawn(self._pooled.invalidate)
        finally:
            self._give_back()

    async def _begin_once(self, first: str) -> asyncpg.Connection:
        self._pooled = await self._connections.engine.raw_connection()
        connection = _driver_of(self._pooled)
        try:
            await connection.execute(first)
        except BaseException as error:
            await self.roll_back(error)
            raise
        self._is_checked = True
        return connection

    async def _read_once(self, sql: str, arguments: list[object]) -> list[asyncpg.Record]:
        self._pooled = await self._connections.engine.raw_connection()
        try:
            rows = await _driver_of(self._pooled).fetch(sql, *arguments)
        except BaseException as error:
            await self.roll_back(error)
            raise
        self._give_back()
        return rows

    def _give_back(self) -> None:
        # The driver's transaction has ended: there is nothing for the pool to send.
        pooled, self._pooled = self._pooled, None
        if pooled is not None:
            pooled.close()


def _driver_of(pooled: PoolProxiedConnection) -> asyncpg.Connection:
    return cast("asyncpg.Connection", pooled.driver_connection)


async def driver_connection(db: AsyncSession) -> asyncpg.Connection:
    """The driver's connection under a command's transaction.

    SQLAlchemy sends BEGIN with its first statement, so one must have run before (the access
    check always has); otherwise what is done here would stand outside the transaction.
    """
    return _driver_of(await (await db.connection()).get_raw_connection())


async def lane_of(db: AsyncSession) -> Lane:
    """The driver's lane inside a command's transaction."""
    return Lane(await driver_connection(db), db.info)


def _hang_up(context: ExceptionContext) -> None:
    """A connection whose server does not answer is not asked to roll back: it is closed.

    The session would send ROLLBACK, and wait as long again.
    """
    if isinstance(context.original_exception, TimeoutError) and context.connection is not None:
        _driver_of(context.connection.connection).terminate()
        context.is_disconnect = True
        context.invalidate_pool_on_disconnect = False


def _replace_the_dead(
    connection: DBAPIConnection, _record: ConnectionPoolEntry, _proxy: PoolProxiedConnection
) -> None:
    """A connection that is known to have died in the pool is replaced before anybody asks it.

    Without this, who meets a dead one and tries again may meet the next, when all died together.
    """
    if cast("asyncpg.Connection", connection.driver_connection).is_closed():
        raise DisconnectionError


@event.listens_for(Session, "before_flush")
def _name_the_organization(session: Session, _flush: UOWTransaction, _instances: object) -> None:
    """New rows belong to the organization whose transaction this is."""
    organization_id: UUID | None = session.info.get("organization_id")
    for row in session.new:
        if getattr(row, "organization_id", organization_id) is None:
            row.organization_id = organization_id
