"""Attendance: what proves that somebody was there, and the minutes that follow from it.

Evidence is appended, never edited; only an open stretch is closed, once. The minutes are computed
from all of it whenever they are asked for, so late evidence counts and doubled evidence does not.
A participant reads their own line and no other.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import cache
from itertools import groupby
from typing import Final
from uuid import UUID

import asyncpg
from sqlalchemy import (
    ColumnElement,
    Text,
    Uuid,
    and_,
    bindparam,
    exists,
    func,
    literal,
    or_,
    select,
    true,
    union,
    update,
)
from sqlalchemy.dialects.postgresql import TIMESTAMP, insert
from sqlalchemy.ext.asyncio import AsyncSession

from app import events
from app.core import clock
from app.core.database import Handle, Lane, Query, in_lane
from app.core.ids import new_id
from app.core.problems import FieldError, Invalid, NotFound
from app.domain.attendance import (
    AttendanceStatus,
    Interval,
    Judgment,
    Span,
    default_attendance_policy,
    judge,
    reckon,
)
from app.domain.roles import RoomKind
from app.models.audit import AuditAction
from app.models.rooms import Room
from app.models.sessions import (
    Attendance,
    Booking,
    EvidenceSource,
    PlaceState,
    Session,
    SessionState,
)
from app.schemas.attendance import AttendanceLine, AttendanceRead, PresenceStatement
from app.security import audit
from app.security.access import COMPILED, Viewer, reach_parameters
from app.security.permissions import Permission
from app.security.principal import Principal, Reach
from app.services.sessions import sessions_visible_to, visible_sessions

TABLE: Final = "attendance"
_MINUTE: Final = timedelta(minutes=1)
_INSTANT: Final = TIMESTAMP(timezone=True)


class InvalidPresence(Invalid):
    """The stretch ends before it begins, or has not ended yet."""

    slug, title = "invalid-presence", "The stretch of presence is not possible"


async def read_attendance(lane: Lane, principal: Principal, session_id: UUID) -> AttendanceRead:
    """What the evidence says of everybody in a session whom the caller may know of.

    Raises NotFound.
    """
    reach, parameters = principal.reach, reach_parameters(principal)
    is_staff = principal.is_staff
    session = await lane.one(_session(reach, is_staff=is_staff), session=session_id, **parameters)
    if session is None:
        raise NotFound
    rows = await lane.all(_evidence(reach), session=session_id, **parameters)
    lines = [
        _line(session, participant_id, list(evidence))
        for participant_id, evidence in groupby(rows, key=lambda row: row["participant_id"])
    ]
    return AttendanceRead(session_id=session_id, lines=lines)


async def state_presence(
    db: AsyncSession, principal: Principal, session_id: UUID, request: PresenceStatement
) -> Attendance:
    """Let one who leads a session state that somebody who had a place in it was there.

    Raises NotFound or InvalidPresence.
    """
    had_a_place = exists().where(
        Booking.session_id == Session.id, Booking.participant_id == request.participant_id
    )
    query = select(Session.id).where(
        Session.id == session_id, sessions_visible_to(principal), had_a_place
    )
    if await db.scalar(query) is None:
        raise NotFound
    now = clock.now()
    if request.left_at < request.joined_at:
        raise InvalidPresence(errors=[FieldError("/left_at", "ends_before_it_begins")])
    if request.left_at > now:
        raise InvalidPresence(errors=[FieldError("/left_at", "in_the_future")])
    stated = Attendance(
        id=new_id(),
        session_id=session_id,
        participant_id=request.participant_id,
        source=EvidenceSource.STAFF_STATEMENT,
        stated_by=principal.account_id,
        joined_at=request.joined_at,
        left_at=request.left_at,
        recorded_at=now,
    )
    db.add(stated)
    await db.flush()
    await audit.record(
        db,
        AuditAction.CREATE,
        Permission.ATTENDANCE_STATE,
        TABLE,
        stated.id,
        participant_id=stated.participant_id,
    )
    await events.record(db, "attendance.stated", stated.id, participant_id=stated.participant_id)
    return stated


async def begin_presence(
    handle: Handle, room_id: UUID, connection_id: UUID, participant_id: UUID, at: datetime
) -> bool:
    """Note that a connection of a participant entered a session's room.

    Other rooms prove nothing, and neither does entering twice: then nothing is written and the
    answer is False.
    """
    lane = await in_lane(handle)
    evidence_id = await lane.value(
        _BEGIN,
        id=new_id(),
        room=room_id,
        connection=connection_id,
        participant=participant_id,
        at=at,
    )
    if evidence_id is None:
        return False
    await audit.record(
        handle,
        AuditAction.CREATE,
        "attendance:observe",
        TABLE,
        evidence_id,
        participant_id=participant_id,
    )
    return True


async def end_presence(
    handle: Handle, connection_id: UUID, at: datetime, *, room_id: UUID | None = None
) -> int:
    """Close what a connection has open, in one room or in every one; gives how many there were."""
    lane = await in_lane(handle)
    closed = await lane.all(_END, connection=connection_id, at=at, room=room_id)
    for row in closed:
        await audit.record(
            handle,
            AuditAction.UPDATE,
            "attendance:observe",
            TABLE,
            row["id"],
            participant_id=row["participant_id"],
        )
    return len(closed)


@cache
def _session(reach: Reach, *, is_staff: bool) -> Query:
    return Query(
        select(Session.starts_at, Session.ends_at, Session.state).where(
            Session.id == bindparam("session", type_=Uuid),
            visible_sessions(COMPILED, reach, is_staff=is_staff),
        )
    )


@cache
def _evidence(reach: Reach) -> Query:
    """Everybody with a place in a session, or with evidence of having been there without one."""
    session_id = bindparam("session", type_=Uuid)
    people = union(
        select(Booking.participant_id).where(
            Booking.session_id == session_id, Booking.state == PlaceState.BOOKED
        ),
        select(Attendance.participant_id).where(Attendance.session_id == session_id),
    ).subquery()
    proves = and_(
        Attendance.session_id == session_id, Attendance.participant_id == people.c.participant_id
    )
    statement = (
        select(people.c.participant_id, Attendance.joined_at, Attendance.left_at)
        .outerjoin_from(people, Attendance, proves)
        .where(_knows(COMPILED, people.c.participant_id, reach))
        .order_by(people.c.participant_id, Attendance.joined_at)
    )
    return audit.read_many(statement, Permission.ATTENDANCE_READ, TABLE)


def _knows(who: Viewer, participant_id: ColumnElement[UUID], reach: Reach) -> ColumnElement[bool]:
    """Whoever leads the session knows who was in it; a participant knows of themselves."""
    if reach & (Reach.MEMBER | Reach.ORGANIZATION):
        return true()
    return participant_id == who.me


def _begin() -> Query:
    at = bindparam("at", type_=_INSTANT)
    found = select(
        bindparam("id", type_=Uuid),
        Room.session_id,
        bindparam("participant", type_=Uuid),
        literal(EvidenceSource.ROOM_PRESENCE.value, Text),
        bindparam("connection", type_=Uuid),
        at,
        at,
    ).where(Room.id == bindparam("room", type_=Uuid), Room.kind == RoomKind.SESSION)
    columns = (
        "id",
        "session_id",
        "participant_id",
        "source",
        "connection_id",
        "joined_at",
        "recorded_at",
    )
    return Query(
        insert(Attendance)
        .from_select(columns, found, include_defaults=False)
        .on_conflict_do_nothing()  # one open stretch for a connection and a session
        .returning(Attendance.id)
    )


def _end() -> Query:
    room_id = bindparam("room", type_=Uuid)
    here = Attendance.session_id.in_(select(Room.session_id).where(Room.id == room_id))
    return Query(
        update(Attendance)
        .where(
            Attendance.connection_id == bindparam("connection", type_=Uuid),
            Attendance.left_at.is_(None),
            or_(room_id.is_(None), here),
        )
        .values(left_at=func.greatest(bindparam("at", type_=_INSTANT), Attendance.joined_at))
        .returning(Attendance.id, Attendance.participant_id)
    )


_BEGIN: Final = _begin()
_END: Final = _end()


def _line(
    session: asyncpg.Record, participant_id: UUID, evidence: Sequence[asyncpg.Record]
) -> AttendanceLine:
    span = Span(session["starts_at"], session["ends_at"])
    presence = reckon(
        (
            Interval(row["joined_at"], row["left_at"])
            for row in evidence
            if row["joined_at"] is not None
        ),
        span,
    )
    if session["state"] == SessionState.CANCELED:
        verdict = _undecided(AttendanceStatus.CANCELLED_BY_PROGRAM)
    elif clock.now() < span.starts_at:
        verdict = _undecided(AttendanceStatus.SCHEDULED)
    elif clock.now() < span.ends_at:
        verdict = _undecided(AttendanceStatus.IN_PROGRESS)
    else:
        verdict = judge(default_attendance_policy(), presence, span)
    return AttendanceLine(
        participant_id=participant_id,
        minutes=presence.proven // _MINUTE,
        unexplained_minutes=presence.unexplained // _MINUTE,
        first_seen_at=presence.first_seen_at,
        last_seen_at=presence.last_seen_at,
        status=verdict.status,
        is_late=verdict.is_late,
        has_left_early=verdict.has_left_early,
        needs_confirmation=verdict.needs_confirmation,
    )


def _undecided(status: AttendanceStatus) -> Judgment:
    """What can be said of a session that has not run its course."""
    return Judgment(status, is_late=False, has_left_early=False, needs_confirmation=False)
