"""What the database refuses, as answers.

Nothing of an error's text leaves this module: PostgreSQL and the driver put the offending values
into it (`Key (email)=(…)`), whatever `hide_parameters` says. What is read is the SQLSTATE and the
name of the constraint, both of which are ours.
"""

from collections.abc import Iterator

import asyncpg
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.orm.exc import StaleDataError

from app.core.problems.base import Problem
from app.core.problems.standard import (
    Conflict,
    Internal,
    Invalid,
    PreconditionFailed,
    QueryTimeout,
    ServiceBusy,
)

_constraints: dict[str, type[Problem]] = {}


def constraint_problem(constraint: str, problem: type[Problem]) -> None:
    """Say what it means when a constraint fires; call it where the problem is defined."""
    known = _constraints.setdefault(constraint, problem)
    if known.slug != problem.slug:
        raise ValueError(f"{constraint} already means {known.slug}")
    _constraints[constraint] = problem


def from_database_error(error: BaseException) -> Problem | None:
    """The problem that a database error means, or None when it is no database error.

    An error that nobody foresaw is Internal: a statement of ours that PostgreSQL cannot run, or
    a row that a policy kept out (42501).
    """
    if isinstance(error, StaleDataError):
        return PreconditionFailed()
    if isinstance(error, PoolTimeoutError | OSError):
        # No connection is free, or none can be made: TimeoutError and refused sockets are OSError.
        return ServiceBusy()
    if isinstance(error, DBAPIError) and error.connection_invalidated:
        return ServiceBusy()
    for cause in _chain(error):
        if isinstance(cause, asyncpg.PostgresError):
            return _from_postgres(cause)
        if isinstance(cause, asyncpg.InterfaceError | asyncpg.InternalClientError | OSError):
            # A killed connection surfaces as any of these (REL-14).
            return ServiceBusy()
    return Internal() if isinstance(error, SQLAlchemyError) else None


def sqlstate(error: BaseException) -> str | None:
    """The five characters by which PostgreSQL names what happened."""
    for cause in _chain(error):
        if isinstance(cause, asyncpg.PostgresError):
            state: str | None = cause.sqlstate
            return state
    return None


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The error, and under it the driver's: SQLAlchemy wraps the driver's error twice."""
    yield error
    if isinstance(error, DBAPIError):
        inner: BaseException | None = error.orig
        while inner is not None:
            yield inner
            inner = inner.__cause__


def _from_postgres(error: asyncpg.PostgresError) -> Problem:  # noqa: PLR0911  # the table of security.md 7.4
    constraint = getattr(error, "constraint_name", None)
    if constraint in _constraints:
        return _constraints[constraint]()
    state = error.sqlstate or ""
    if isinstance(error, asyncpg.InvalidCachedStatementError) or state in {"40001", "40P01"}:
        # The transaction was repeated already, where it could be.
        return ServiceBusy()
    if state == "57014":
        return QueryTimeout()
    if state == "55P03" or state[:2] in {"08", "53", "57", "58"} or _is_out_of_disk(error):
        return ServiceBusy()
    if state in {"23505", "23P01"}:
        return Conflict()
    if state in {"23503", "23514"} or state[:2] == "22":
        return Invalid()
    return Internal()


def _is_out_of_disk(error: asyncpg.PostgresError) -> bool:
    return error.sqlstate == "XX000" and "could not extend" in str(error)


def is_our_mistake(error: BaseException) -> bool:
    """Whether validation let through what the database had to refuse, or a policy stopped us."""
    state = sqlstate(error) or ""
    constraint = next((getattr(cause, "constraint_name", None) for cause in _chain(error)), None)
    return constraint not in _constraints and (
        state in {"23503", "23514", "42501"} or state[:2] == "22"
    )
