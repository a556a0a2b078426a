"""What the calendar asks: forms are given when their day comes near, and expire when it is over.

A worker calls this again and again, and several may at once: nobody gets a form of one day
twice, because the database keeps it, and nobody is asked what they are being asked already.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Final
from uuid import UUID
from zoneinfo import ZoneInfo

from sqlalchemy import Date, DateTime, Row, Select, null, or_, select, union_all
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from app import events
from app.core import clock
from app.core.ids import new_id
from app.core.problems import Invalid
from app.domain.instruments import Instrument
from app.domain.intake import UNDER_WAY
from app.domain.measurement import (
    FOLLOWED_UP_FOR,
    LONGEST_WINDOW_DAYS,
    Asked,
    MeasurementSchedule,
    Stay,
    asked_between,
)
from app.models.assessments import Assessment, AssessmentState
from app.models.audit import AuditAction
from app.models.intakes import Enrollment, Intake
from app.models.participants import Participant
from app.models.programs import Program
from app.security import audit
from app.services import instruments, measurements
from app.services.assessments.reading import TABLE, is_for_staff
from app.services.assessments.telling import record
from app.services.instruments import InstrumentUnavailable

HORIZON: Final = timedelta(days=7)
"""How far ahead forms are given, before they open: an app can plan a reminder, no more."""

BATCH: Final = 200
_OPEN: Final = (AssessmentState.ASSIGNED, AssessmentState.IN_PROGRESS)
_FOREVER: Final = datetime.max.replace(tzinfo=UTC)
_SCHEDULE: Final = "assessment:schedule"
_EXPIRE: Final = "assessment:expire"


_STAYS: Final = union_all(
    select(
        Intake.id,
        Intake.participant_id,
        Intake.program_id,
        Intake.created_at.label("intake_at"),
        null().cast(Date).label("started_on"),
        null().cast(Date).label("ended_on"),
    ).where(Intake.state.in_(sorted(UNDER_WAY))),
    select(
        Enrollment.id,
        Enrollment.participant_id,
        Enrollment.program_id,
        null().cast(DateTime(timezone=True)).label("intake_at"),
        Enrollment.started_on,
        Enrollment.ended_on,
    ),
).subquery("stay")
"""Everybody who is in an intake or an enrollment, or was."""


@dataclass(frozen=True, slots=True)
class _Form:
    """One form that somebody is to be given."""

    participant_id: UUID
    program_id: UUID
    asked: Asked


@dataclass(frozen=True, slots=True)
class _Known:
    """One form of an instrument that somebody has, or has filled in lately."""

    on: date | None
    taken_at: datetime | None
    open_until: datetime | None

    def stands_for(self, asked: Asked, now: datetime) -> bool:
        """Whether nothing is to be asked beside it: it is the same, or filled in, or open."""
        opens_at = asked.window.opens_at
        return (
            self.on == asked.on
            or (self.taken_at is not None and self.taken_at >= opens_at)
            or (self.open_until is not None and self.open_until > max(opens_at, now))
        )


async def give_due(db: AsyncSession, *, after: UUID) -> tuple[int, UUID | None]:
    """Give a batch of people what their programs ask by the calendar, up to the horizon.

    Gives how many forms were given, and after whom the next batch begins; None when this was the
    last. An instrument that is switched off, or was withdrawn, is left out.
    """
    now = clock.now()
    rows = (await db.execute(_stays(now).where(_STAYS.c.id > after).limit(BATCH))).all()
    schedules = await measurements.schedules_of(db, {row.program_id for row in rows})
    wanted = [form for row in rows for form in _forms(row, schedules[row.program_id], now)]
    missing = list(_missing(wanted, await _known(db, wanted, now), now))
    definitions = await _definitions(db, {form.asked.instrument for form in missing})
    given = 0
    for form in missing:
        instrument = definitions[form.asked.instrument]
        if instrument is not None:
            given += await _give(db, form, instrument, now)
    return given, rows[-1].id if len(rows) == BATCH else None


async def expire_due(db: AsyncSession) -> int:
    """Say of forms whose window has ended that they expired; gives how many.

    The clock alone has closed them already; this is for whoever waits for the event. Somebody
    who is answering at this moment is not waited for.
    """
    now = clock.now()
    found = await db.scalars(
        select(Assessment)
        .where(Assessment.state.in_(_OPEN), Assessment.expires_at <= now)
        .order_by(Assessment.expires_at)
        .limit(BATCH)
        .with_for_update(skip_locked=True, key_share=True)
    )
    expired = found.all()
    for assessment in expired:
        assessment.state = AssessmentState.EXPIRED
        assessment.updated_at = now
    await db.flush()
    for assessment in expired:
        await record(db, assessment, _EXPIRE, "assessment.expired")
    return len(expired)


def _stays(now: datetime) -> Select[UUID, UUID, UUID, datetime, date, date, bool, str]:
    """Everybody whom a calendar may ask something, and the days that it hangs on."""
    last = (now - FOLLOWED_UP_FOR).date()
    return (
        select(*_STAYS.c, Program.is_part2, Participant.time_zone)
        .join(Program, Program.id == _STAYS.c.program_id)
        .join(Participant, Participant.id == _STAYS.c.participant_id)
        .where(or_(_STAYS.c.ended_on.is_(None), _STAYS.c.ended_on >= last))
        .order_by(_STAYS.c.id)
    )


def _forms(
    row: Row[UUID, UUID, UUID, datetime, date, date, bool, str],
    schedule: MeasurementSchedule,
    now: datetime,
) -> Iterator[_Form]:
    zone = ZoneInfo(row.time_zone)
    stay = Stay(
        intake_on=None if row.intake_at is None else row.intake_at.astimezone(zone).date(),
        started_on=row.started_on,
        ended_on=row.ended_on,
        is_part2=row.is_part2,
    )
    for asked in asked_between(schedule, stay, zone=zone, now=now, until=now + HORIZON):
        yield _Form(row.participant_id, row.program_id, asked)


async def _known(
    db: AsyncSession, wanted: Sequence[_Form], now: datetime
) -> dict[tuple[UUID, str], list[_Known]]:
    """What the people of these forms have of the same instruments."""
    since = now - timedelta(days=LONGEST_WINDOW_DAYS)
    rows = await db.execute(
        select(
            Assessment.participant_id,
            Assessment.instrument_key,
            Assessment.occasion_on,
            Assessment.taken_at,
            Assessment.state,
            Assessment.expires_at,
        ).where(
            Assessment.participant_id.in_({form.participant_id for form in wanted}),
            Assessment.instrument_key.in_({form.asked.instrument for form in wanted}),
            or_(
                Assessment.state.in_(_OPEN),
                Assessment.taken_at >= since,
                Assessment.occasion_on >= since.date(),
            ),
        )
    )
    known: dict[tuple[UUID, str], list[_Known]] = {}
    for row in rows:
        open_until = (row.expires_at or _FOREVER) if row.state in _OPEN else None
        each = _Known(row.occasion_on, row.taken_at, open_until)
        known.setdefault((row.participant_id, row.instrument_key), []).append(each)
    return known


def _missing(
    wanted: Sequence[_Form], known: dict[tuple[UUID, str], list[_Known]], now: datetime
) -> Iterator[_Form]:
    """Leave out what somebody has; of two that would be open together, the earlier is given."""
    for form in wanted:
        theirs = known.setdefault((form.participant_id, form.asked.instrument), [])
        if not any(each.stands_for(form.asked, now) for each in theirs):
            theirs.append(_Known(form.asked.on, None, form.asked.window.expires_at))
            yield form


async def _definitions(db: AsyncSession, keys: Collection[str]) -> Mapping[str, Instrument | None]:
    """The definitions that may be given today; None for one that may not."""
    found: dict[str, Instrument | None] = {}
    for key in sorted(keys):
        try:
            found[key] = await instruments.assignable_instrument(db, key)
        except (Invalid, InstrumentUnavailable):
            found[key] = None
    return found


async def _give(db: AsyncSession, form: _Form, instrument: Instrument, now: datetime) -> int:
    """Give one form, unless another worker was quicker; gives how many."""
    asked = form.asked
    assessment_id = await db.scalar(
        insert(Assessment)
        .values(
            id=new_id(),
            participant_id=form.participant_id,
            program_id=form.program_id,
            instrument_key=instrument.key,
            instrument_version=instrument.version,
            is_validated=instrument.is_validated,
            is_for_staff=is_for_staff(instrument),
            state=AssessmentState.ASSIGNED,
            occasion=asked.occasion,
            occasion_on=asked.on,
            opens_at=asked.window.opens_at,
            due_at=asked.window.due_at,
            expires_at=asked.window.expires_at,
            revision=1,
            version=1,
            created_at=now,
            updated_at=now,
        )
        .on_conflict_do_nothing()
        .returning(Assessment.id)
    )
    if assessment_id is None:
        return 0
    participant_id = form.participant_id
    await audit.record(
        db,
        AuditAction.CREATE,
        _SCHEDULE,
        TABLE,
        assessment_id,
        participant_id=participant_id,
        version=1,
    )
    await events.record(
        db, "assessment.assigned", assessment_id, participant_id=participant_id, version=1
    )
    return 1
