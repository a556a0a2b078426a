"""Series: sessions that repeat at one time on the wall of one place.

"Tuesdays at 17:00 in Denver" stays that across both changes of the clocks (design, invariant 10).
Sessions are made ahead up to a horizon, which a job keeps moving, with everybody who leads or
belongs to the group at that moment in them.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from sqlalchemy import ColumnElement, and_, select
from sqlalchemy.ext.asyncio import AsyncSession

from app import events
from app.core import clock
from app.core.ids import new_id
from app.core.problems import Conflict, FieldError, Invalid, NotFound
from app.domain import recurrence
from app.models.audit import AuditAction
from app.models.groups import GroupFacilitator, GroupMember
from app.models.sessions import Series, Session, SessionState
from app.schemas.series import SeriesCreate
from app.schemas.types import EARLIEST
from app.security import audit
from app.security.access import groups_visible_to
from app.security.permissions import Permission
from app.security.principal import Principal
from app.services import bookings, groups, sessions

TABLE: Final = "series"
HORIZON: Final = timedelta(days=90)

_POINTERS: Final = {
    "unknown_zone": "/time_zone",
    "duration_out_of_range": "/duration_minutes",
    "zone_on_a_wall_time": "/local_start",
    "start_not_whole_minute": "/local_start",
    "start_out_of_range": "/local_start",
    "start_not_in_rule": "/local_start",
}


class InvalidSeries(Invalid):
    """The recurrence cannot be read or is not allowed; the error's code says why."""

    slug, title = "invalid-series", "The recurrence is not usable"


class SeriesEnded(Conflict):
    """The series was ended before."""

    slug, title = "series-ended", "The series has ended"


async def create_series(db: AsyncSession, principal: Principal, request: SeriesCreate) -> Series:
    """Schedule a group's sessions up to the horizon, and book everybody who belongs there.

    The group is locked, so that nobody joins it between the list of members and their
    bookings. Raises NotFound, GroupClosed, InvalidSeries, StaffBooked or ParticipantBooked.
    """
    group = await groups.get_group(db, principal, request.group_id, lock=True)
    if group.closed_at is not None:
        raise groups.GroupClosed
    now = clock.now()
    series = Series(
        id=new_id(),
        expanded_until=now + HORIZON,
        created_at=now,
        updated_at=now,
        **request.model_dump(),
    )
    try:
        recurrence.validate(_recurrence(series))
    except recurrence.InvalidRecurrence as refused:
        pointer = _POINTERS.get(refused.code, "/rule")
        raise InvalidSeries(errors=[FieldError(pointer, refused.code)]) from None
    db.add(series)
    await db.flush()
    scheduled = await _schedule(db, series, after=EARLIEST)
    for staff_member_id, theirs in await _facilitators(db, scheduled, group.id):
        await bookings.assign(db, theirs, staff_member_id)
    members = await _members(db, scheduled, group.id)
    for participant_id, theirs in members:
        await bookings.book(db, theirs, participant_id)
    await _record(db, series, AuditAction.CREATE, [member for member, _ in members])
    await events.record(db, "series.created", series.id, version=series.version)
    return series


async def get_series(
    db: AsyncSession, principal: Principal, series_id: UUID, *, lock: bool = False
) -> Series:
    """Load a series of a group the caller may see; another one does not exist."""
    query = select(Series).where(
        Series.id == series_id, groups_visible_to(principal, Series.group_id)
    )
    if lock:
        query = query.with_for_update(key_share=True).execution_options(populate_existing=True)
    series = await db.scalar(query)
    if series is None:
        raise NotFound
    return series


async def end_series(db: AsyncSession, principal: Principal, series_id: UUID) -> Series:
    """Cancel what the series would still have brought; what has begun goes on.

    Raises NotFound or SeriesEnded.
    """
    series = await get_series(db, principal, series_id, lock=True)
    if series.ended_at is not None:
        raise SeriesEnded
    await groups.hold(db, series.group_id)
    now = clock.now()
    series.ended_at = series.updated_at = now
    coming = await db.scalars(
        select(Session)
        .where(
            Session.series_id == series.id,
            Session.starts_at > now,
            Session.state == SessionState.SCHEDULED,
        )
        .order_by(Session.id)
        .with_for_update(key_share=True)
    )
    booked = await sessions.cancel_all(db, coming.all())
    await db.flush()
    await _record(db, series, AuditAction.UPDATE, booked)
    await events.record(db, "series.ended", series.id, version=series.version)
    return series


async def series_behind(db: AsyncSession) -> Sequence[UUID]:
    """The series whose horizon is to move: a day at a time, so that there is little to do."""
    behind = select(Series.id).where(_is_behind(clock.now()))
    return (await db.scalars(behind.order_by(Series.id).limit(50))).all()


async def extend(db: AsyncSession, series_id: UUID) -> int:
    """Move the horizon of one series; gives how many sessions came into it.

    Nobody is there to be refused: whoever has another place at that time is left out of the
    session, and `session.conflicted` says so. A series that somebody else moves or ends at this
    moment is left to them.
    """
    now = clock.now()
    series = await db.scalar(
        select(Series)
        .where(Series.id == series_id, _is_behind(now))
        .with_for_update(skip_locked=True, key_share=True)
    )
    if series is None:
        return 0
    await groups.hold(db, series.group_id)
    after, series.expanded_until = series.expanded_until, now + HORIZON
    series.updated_at = now
    scheduled = await _schedule(db, series, after=after)
    for staff_member_id, theirs in await _facilitators(db, scheduled, series.group_id):
        clashes = await bookings.staff_clashes(db, theirs, staff_member_id)
        await bookings.assign(db, _without(theirs, clashes), staff_member_id)
        for session in clashes:
            await events.record(db, "session.conflicted", session.id)
    members = await _members(db, scheduled, series.group_id)
    for participant_id, theirs in members:
        clashes = await bookings.participant_clashes(db, theirs, participant_id)
        await bookings.book(db, _without(theirs, clashes), participant_id)
        for session in clashes:
            await events.record(db, "session.conflicted", session.id, participant_id=participant_id)
    if scheduled:
        await _record(db, series, AuditAction.UPDATE, [member for member, _ in members])
    return len(scheduled)


def _is_behind(now: datetime) -> ColumnElement[bool]:
    return and_(
        Series.ended_at.is_(None),
        Series.expanded_until < now + HORIZON - timedelta(days=1),
    )


async def _record(
    db: AsyncSession, series: Series, action: AuditAction, participant_ids: Sequence[UUID] = ()
) -> None:
    await audit.record(
        db,
        action,
        Permission.SESSION_MANAGE,
        TABLE,
        series.id,
        participant_ids=participant_ids or None,
        version=series.version,
    )


async def _schedule(db: AsyncSession, series: Series, *, after: datetime) -> list[Session]:
    now = clock.now()
    scheduled = [
        Session(
            id=new_id(),
            series_id=series.id,
            group_id=series.group_id,
            title=series.title,
            kind=series.kind,
            modality=series.modality,
            state=SessionState.SCHEDULED if each.ends_at > now else SessionState.ENDED,
            local_start=each.local_start,
            time_zone=series.time_zone,
            starts_at=each.starts_at,
            ends_at=each.ends_at,
            created_at=now,
            updated_at=now,
        )
        for each in recurrence.expand(
            _recurrence(series), after=after, before=series.expanded_until
        )
    ]
    db.add_all(scheduled)
    await db.flush()
    for session in scheduled:
        await events.record(db, "session.scheduled", session.id, version=session.version)
    return scheduled


async def _facilitators(
    db: AsyncSession, scheduled: Sequence[Session], group_id: UUID
) -> list[tuple[UUID, list[Session]]]:
    """Who leads the group now, with the sessions that end after they began to."""
    found = await db.execute(
        select(GroupFacilitator.staff_member_id, GroupFacilitator.started_at)
        .where(GroupFacilitator.group_id == group_id, GroupFacilitator.ended_at.is_(None))
        .order_by(GroupFacilitator.staff_member_id)
    )
    return [(row.staff_member_id, _since(scheduled, row.started_at)) for row in found.all()]


async def _members(
    db: AsyncSession, scheduled: Sequence[Session], group_id: UUID
) -> list[tuple[UUID, list[Session]]]:
    """Who belongs to the group, with the sessions that end after they came into it."""
    found = await db.execute(
        select(GroupMember.participant_id, GroupMember.started_at)
        .where(GroupMember.group_id == group_id, GroupMember.ended_at.is_(None))
        .order_by(GroupMember.participant_id)
    )
    return [(row.participant_id, _since(scheduled, row.started_at)) for row in found.all()]


def _since(scheduled: Sequence[Session], start: datetime) -> list[Session]:
    return [session for session in scheduled if session.ends_at > start]


def _without(scheduled: Sequence[Session], clashes: Sequence[Session]) -> list[Session]:
    return [session for session in scheduled if session not in clashes]


def _recurrence(series: Series) -> recurrence.Series:
    return recurrence.Series(
        starts_local=series.local_start,
        duration_minutes=series.duration_minutes,
        zone=series.time_zone,
        rule=series.rule,
        excluded=tuple(series.excluded),
        added=tuple(series.added),
    )
