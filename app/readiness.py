"""What a process knows of its own health: whether it may be sent work, and what it lacks (REL-16).

Each check has a name and, where it measures, a limit from the settings. What another process
could do no better is only `degraded`: a full outbox or a bus that is down is no reason to take
the API out of rotation, since every process would leave with it. What this process cannot do
without `fails`: a database that answers in time, with a schema that this code can work on.
"""

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum, unique
from typing import Any, Final, cast

import asyncpg
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.util import greenlet_spawn

from app import migrate
from app.core import clock, logging, metrics
from app.core.database import Connections, was_dead_already
from app.settings import Settings

KEPT_SECONDS: Final = 1.0
"""How long an answer of the database is given again, whoever asks and however often."""

_ASK: Final = """
    select (select version_num from alembic_version) as revision, events_for, deliveries_for
    from longest_waits()
"""
_OF_ANOTHER_SCHEMA: Final = (
    asyncpg.UndefinedColumnError,
    asyncpg.UndefinedFunctionError,
    asyncpg.UndefinedTableError,
)
_BROKEN: Final = (asyncpg.PostgresError, asyncpg.InterfaceError, SQLAlchemyError, OSError)
_log = logging.get_logger(__name__)


@unique
class Verdict(StrEnum):
    """What is said of a check, and of a process by its worst check."""

    OK = "ok"
    DEGRADED = "degraded"
    FAIL = "fail"

    @property
    def severity(self) -> int:
        """How bad it is, from 0."""
        return _BY_SEVERITY.index(self)


_BY_SEVERITY: Final = (Verdict.OK, Verdict.DEGRADED, Verdict.FAIL)


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at; both durations in seconds, for what is measured."""

    name: str
    verdict: Verdict
    seconds: float | None = None
    limit_seconds: float | None = None

    @classmethod
    def of(cls, name: str, *, is_well: bool, otherwise: Verdict) -> "Check":
        """A check of something that is so or is not."""
        return cls(name, Verdict.OK if is_well else otherwise)

    @classmethod
    def within(cls, name: str, seconds: float, limit_seconds: float) -> "Check":
        """A check of a delay, which degrades when it is over its limit."""
        verdict = Verdict.OK if seconds <= limit_seconds else Verdict.DEGRADED
        return cls(name, verdict, seconds, limit_seconds)


@dataclass(frozen=True, slots=True)
class Report:
    """Every check of a process at one moment."""

    checks: tuple[Check, ...]

    @property
    def verdict(self) -> Verdict:
        """The worst of all."""
        return max((check.verdict for check in self.checks), key=lambda verdict: verdict.severity)

    @property
    def is_ready(self) -> bool:
        """Whether work may be sent; what is only degraded still does it."""
        return self.verdict is not Verdict.FAIL

    def shown(self, *, to_operator: bool) -> dict[str, Any]:
        """What is answered: one word to everybody, the checks to an operator only."""
        answer: dict[str, Any] = {"status": self.verdict}
        if to_operator:
            answer["checks"] = [
                {
                    "name": check.name,
                    "status": check.verdict,
                    "seconds": check.seconds,
                    "limit_seconds": check.limit_seconds,
                }
                for check in self.checks
            ]
        return answer


class Link:
    """Whether something that should be connected is, and for how long it has not been."""

    def __init__(self) -> None:
        self._lost_at: float | None = clock.monotonic()

    def is_up(self) -> None:
        """It is connected from now on."""
        self._lost_at = None

    def is_down(self) -> None:
        """It is not, unless that was known before."""
        if self._lost_at is None:
            self._lost_at = clock.monotonic()

    @property
    def seconds_down(self) -> float:
        """For how long it has not been connected; 0 while it is."""
        return 0.0 if self._lost_at is None else clock.monotonic() - self._lost_at


@dataclass(frozen=True, slots=True)
class _Answer:
    """What the database said, and when; ages in seconds."""

    at: float
    took: float
    revision: str | None
    events_for: float
    deliveries_for: float


class Readiness:
    """Asks the database in one round trip, and once for all who ask within a second."""

    def __init__(
        self,
        connections: Connections,
        settings: Settings,
        own_checks: Callable[[], Iterable[Check]],
        *,
        kept_seconds: float = KEPT_SECONDS,
    ) -> None:
        """`own_checks` looks at what this process knows without asking; it is never kept."""
        self._connections = connections
        self._settings = settings
        self._own_checks = own_checks
        self.kept_seconds = kept_seconds
        self._answer: _Answer | None = None
        self._looking: asyncio.Task[_Answer | None] | None = None
        self._leaving: set[asyncio.Task[_Answer]] = set()

    async def report(self) -> Report:
        """Every check, in a second at most; also written to the metrics."""
        answer = await self._kept_or_asked()
        report = Report((*self._of_database(answer), *self._own_checks()))
        for check in report.checks:
            metrics.CHECKS.labels(check.name).set(check.verdict.severity)
        if answer is not None:
            metrics.OUTBOX_AGE.set(answer.events_for)
            metrics.DELIVERIES_AGE.set(answer.deliveries_for)
        return report

    async def _kept_or_asked(self) -> _Answer | None:
        """The last answer if it is fresh; no answer is never kept, so that an end is seen."""
        if self._answer is not None and clock.monotonic() - self._answer.at < self.kept_seconds:
            return self._answer
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._look())
        self._answer = await asyncio.shield(self._looking)
        return self._answer

    async def _look(self) -> _Answer | None:
        asking = asyncio.create_task(self._ask())
        await asyncio.wait({asking}, timeout=self._settings.database_limit.total_seconds())
        if asking.done():
            return _answer_of(asking)
        # To take leave of a server that does not answer takes time, which the caller does not
        # have.
        self._leaving.add(asking)
        asking.add_done_callback(self._leaving.discard)
        asking.cancel()
        return None

    async def _ask(self) -> _Answer:
        began = clock.monotonic()
        try:
            row = await self._fetch()
        except Exception as error:
            if not was_dead_already(error):
                raise
            row = await self._fetch()
        now = clock.monotonic()
        return _Answer(
            at=now,
            took=now - began,
            revision=None if row is None else row["revision"],
            events_for=0.0 if row is None else row["events_for"],
            deliveries_for=0.0 if row is None else row["deliveries_for"],
        )

    async def _fetch(self) -> asyncpg.Record | None:
        """The row; None where there is no such thing, in a database of another schema."""
        pooled = await self._connections.engine.raw_connection()
        try:
            return await cast("asyncpg.Connection", pooled.driver_connection).fetchrow(_ASK)
        except _OF_ANOTHER_SCHEMA:
            return None
        except BaseException:
            # A statement may still be under way: only a new connection is clean.
            await greenlet_spawn(pooled.invalidate)
            raise
        finally:
            pooled.close()

    def _of_database(self, answer: _Answer | None) -> list[Check]:
        limit = self._settings.database_limit.total_seconds()
        if answer is None:
            return [Check("database", Verdict.FAIL, None, limit)]
        settings = self._settings
        return [
            Check("database", Verdict.OK, answer.took, limit),
            Check("schema", _schema(answer.revision)),
            Check.within("outbox", answer.events_for, settings.outbox_limit.total_seconds()),
            Check.within(
                "deliveries", answer.deliveries_for, settings.deliveries_limit.total_seconds()
            ),
        ]


def _answer_of(asked: asyncio.Task[_Answer]) -> _Answer | None:
    """What was answered; None, and a line in the log, when the database could not."""
    try:
        return asked.result()
    except _BROKEN as error:
        _log.warning("database_not_ready", **logging.describe(error))
        return None


def _schema(revision: str | None) -> Verdict:
    """An older schema lacks what this code needs; a later one was made to bear it (REL-30)."""
    if revision == migrate.head():
        return Verdict.OK
    return Verdict.FAIL if revision is None or revision in migrate.known() else Verdict.DEGRADED
