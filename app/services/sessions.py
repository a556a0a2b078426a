"""Sessions of care: who sees them, who enters them, and what becomes of their rooms.

A participant sees the sessions in which they have a place, a staff member those that they lead;
nobody reads from a session who else is in it. The room opens shortly before the start and says
nothing after the end.
"""

from collections.abc import Sequence
from datetime import datetime
from functools import cache
from typing import Final
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    Integer,
    Select,
    Uuid,
    and_,
    bindparam,
    cast,
    exists,
    null,
    or_,
    select,
    true,
    tuple_,
)
from sqlalchemy.dialects.postgresql import TIMESTAMP
from sqlalchemy.ext.asyncio import AsyncSession

from app import events
from app.core import clock
from app.core.database import Lane, Query
from app.core.problems import Conflict, Forbidden, NotFound
from app.domain.attendance import Span, default_attendance_policy, may_join
from app.domain.roles import RoomRole
from app.models.audit import AuditAction
from app.models.groups import GroupFacilitator
from app.models.sessions import Booking, PlaceState, Session, SessionStaff, SessionState
from app.schemas.sessions import SessionDoor, SessionRead
from app.schemas.types import EARLIEST, LATEST
from app.security import audit
from app.security.access import COMPILED, Viewer, reach_parameters, viewer
from app.security.permissions import Permission
from app.security.principal import Principal, Reach
from app.services import bookings, groups
from app.services.rooms import membership

TABLE: Final = "session"
_INSTANT: Final = TIMESTAMP(timezone=True)
_OPEN: Final = frozenset({SessionState.SCHEDULED, SessionState.IN_PROGRESS})


class SessionNotOpen(Conflict):
    """The session's room is not open yet; `opens_at` says when it will be."""

    slug, title = "session-not-open", "The session has not opened yet"


class SessionOver(Conflict):
    """The session has ended."""

    slug, title = "session-over", "The session is over"


class SessionCanceled(Conflict):
    """The session does not take place."""

    slug, title = "session-canceled", "The session was canceled"


class RemovedFromSession(Forbidden):
    """Whoever leads the session has put the caller out of its room."""

    slug, title = "removed-from-session", "You were removed from this session"


def visible_sessions(who: Viewer, reach: Reach, *, is_staff: bool) -> ColumnElement[bool]:
    """Whether a session is visible: every one, or those in which the viewer has a place.

    A canceled session stays visible to those who had a place in it when it was canceled. Which
    of the two kinds of place is known beforehand, so that the database can begin with the
    viewer's few places.
    """
    if reach & Reach.ORGANIZATION:
        return true()
    if is_staff:
        return exists().where(
            SessionStaff.session_id == Session.id,
            SessionStaff.staff_member_id == who.me,
            SessionStaff.state != PlaceState.GIVEN_BACK,
        )
    return exists().where(
        Booking.session_id == Session.id,
        Booking.participant_id == who.me,
        Booking.state != PlaceState.GIVEN_BACK,
    )


def sessions_visible_to(principal: Principal) -> ColumnElement[bool]:
    """Whether a session is visible to this caller now, for the ORM's lane."""
    return visible_sessions(viewer(principal), principal.reach, is_staff=principal.is_staff)


async def read_session(lane: Lane, principal: Principal, session_id: UUID) -> SessionRead:
    """One session; who has no place in it learns nothing of it. Raises NotFound."""
    row = await lane.one(
        _one(principal.reach, is_staff=principal.is_staff),
        id=session_id,
        **reach_parameters(principal),
    )
    if row is None:
        raise NotFound
    return SessionRead.model_validate({**row})


async def list_sessions(  # noqa: PLR0913 (a page and its two bounds, by name)
    lane: Lane,
    principal: Principal,
    *,
    since: datetime | None,
    until: datetime | None,
    after: tuple[datetime, UUID],
    limit: int,
) -> Sequence[SessionRead]:
    """The sessions that the caller may see and that overlap a stretch of time, by their start.

    One more than asked when there are more.
    """
    rows = await lane.all(
        _page(principal.reach, is_staff=principal.is_staff),
        since=since or EARLIEST,
        until=until or LATEST,
        after_start=after[0],
        after_id=after[1],
        limit=limit + 1,
        **reach_parameters(principal),
    )
    return [SessionRead.model_validate({**row}) for row in rows]


async def get_session(
    db: AsyncSession, principal: Principal, session_id: UUID, *, lock: bool = False
) -> Session:
    """Load a session the caller may see; one they may not see does not exist."""
    query = select(Session).where(Session.id == session_id, sessions_visible_to(principal))
    if lock:
        query = query.with_for_update(key_share=True).execution_options(populate_existing=True)
    session = await db.scalar(query)
    if session is None:
        raise NotFound
    return session


async def cancel_session(db: AsyncSession, principal: Principal, session_id: UUID) -> Session:
    """Cancel a session that has not ended: every place in it is given back.

    Raises NotFound, SessionCanceled or SessionOver.
    """
    session = await get_session(db, principal, session_id)
    if session.group_id is not None:
        # Before the session's own lock, as whoever changes a roster does.
        await groups.hold(db, session.group_id)
    session = await get_session(db, principal, session_id, lock=True)
    if session.state is SessionState.CANCELED:
        raise SessionCanceled
    if session.ends_at <= clock.now():
        raise SessionOver(closed_at=session.ends_at)
    booked = await cancel_all(db, [session])
    await audit.record(
        db,
        AuditAction.UPDATE,
        Permission.SESSION_MANAGE,
        TABLE,
        session.id,
        participant_ids=booked,
        version=session.version,
    )
    return session


async def cancel_all(db: AsyncSession, sessions: Sequence[Session]) -> list[UUID]:
    """Cancel sessions whose group the caller holds, and give every place in them back.

    Says which participants had one: whoever changes their places names them in the audit row.
    """
    now = clock.now()
    for session in sessions:
        session.state, session.updated_at = SessionState.CANCELED, now
    await db.flush()
    session_ids = [session.id for session in sessions]
    booked = await bookings.clear(db, session_ids)
    await membership.close_session_rooms(db, session_ids)
    for session in sessions:
        await events.record(db, "session.canceled", session.id, version=session.version)
    return booked


async def join_session(db: AsyncSession, principal: Principal, session_id: UUID) -> SessionDoor:
    """Enter a session's room, which whoever comes first opens.

    Only a booked participant or one who leads the session enters, from shortly before the start
    until the end. Raises NotFound, SessionCanceled, SessionNotOpen, SessionOver or
    RemovedFromSession.
    """
    session = await get_session(db, principal, session_id, lock=True)
    if session.state is SessionState.CANCELED:
        raise SessionCanceled
    opens_at = session.starts_at - default_attendance_policy().join_opens_before
    now = clock.now()
    if not may_join(default_attendance_policy(), Span(session.starts_at, session.ends_at), now):
        if now < opens_at:
            raise SessionNotOpen(opens_at=opens_at)
        raise SessionOver(closed_at=session.ends_at)
    await _hold_place(db, principal, session.id)
    room = await membership.open_session_room(
        db,
        session.id,
        group_id=session.group_id,
        name=session.title,
        opens_at=opens_at,
        closes_at=session.ends_at,
    )
    await _enter(db, principal, session, room.id)
    await audit.record(
        db,
        AuditAction.EXECUTE,
        Permission.SESSION_JOIN,
        TABLE,
        session.id,
        participant_id=principal.participant_id,
        version=session.version,
    )
    return SessionDoor(room_id=room.id, opens_at=opens_at, closes_at=session.ends_at)


async def follow_clock(db: AsyncSession) -> int:
    """Say of sessions that their time has come, or is over; gives how many there were."""
    now = clock.now()
    due = await db.scalars(
        select(Session)
        .where(
            or_(
                and_(Session.state.in_(_OPEN), Session.ends_at <= now),
                and_(Session.state == SessionState.SCHEDULED, Session.starts_at <= now),
            )
        )
        .order_by(Session.id)
        .limit(100)
        .with_for_update(skip_locked=True, key_share=True)
    )
    sessions = due.all()
    for session in sessions:
        is_over = session.ends_at <= now
        session.state = SessionState.ENDED if is_over else SessionState.IN_PROGRESS
        session.updated_at = now
    await db.flush()
    for session in sessions:
        verb = "ended" if session.state is SessionState.ENDED else "started"
        await events.record(db, f"session.{verb}", session.id, version=session.version)
    return len(sessions)


@cache
def _one(reach: Reach, *, is_staff: bool) -> Query:
    statement = _columns(is_staff=is_staff).where(
        Session.id == bindparam("id", type_=Uuid),
        visible_sessions(COMPILED, reach, is_staff=is_staff),
    )
    return audit.read_one(statement, Permission.SESSION_READ, TABLE)


@cache
def _page(reach: Reach, *, is_staff: bool) -> Query:
    statement = (
        _columns(is_staff=is_staff)
        .where(
            visible_sessions(COMPILED, reach, is_staff=is_staff),
            Session.ends_at > bindparam("since", type_=_INSTANT),
            Session.starts_at < bindparam("until", type_=_INSTANT),
            tuple_(Session.starts_at, Session.id)
            > tuple_(bindparam("after_start", type_=_INSTANT), bindparam("after_id", type_=Uuid)),
        )
        .order_by(Session.starts_at, Session.id)
        .limit(bindparam("limit", type_=Integer))
    )
    return audit.read_many(statement, Permission.SESSION_READ, TABLE)


def _columns(*, is_staff: bool) -> Select[*tuple[object, ...]]:
    """A session's own columns; a participant who looks at theirs is named in the audit row."""
    whose = null() if is_staff else COMPILED.me
    return select(*Session.__table__.columns, cast(whose, Uuid).label("participant_id"))


async def _hold_place(db: AsyncSession, principal: Principal, session_id: UUID) -> None:
    """Keep the caller's own place as it is until they are in the room.

    Whoever takes it away at this moment waits, and then finds them there; or they are too late.
    Raises NotFound for who has no place any more.
    """
    if principal.is_staff:
        place = select(SessionStaff.id).where(
            SessionStaff.session_id == session_id,
            SessionStaff.staff_member_id == principal.staff_member_id,
            SessionStaff.state == PlaceState.BOOKED,
        )
    else:
        place = select(Booking.id).where(
            Booking.session_id == session_id,
            Booking.participant_id == principal.participant_id,
            Booking.state == PlaceState.BOOKED,
        )
    if await db.scalar(place.with_for_update(read=True)) is None:
        raise NotFound


async def _enter(db: AsyncSession, principal: Principal, session: Session, room_id: UUID) -> None:
    if principal.participant_id is not None:
        occupant = await membership.participant_occupant(db, principal.participant_id)
        role = RoomRole.PARTICIPANT
    elif principal.staff_member_id is not None:
        occupant = await membership.staff_occupant(db, principal.staff_member_id)
        role = await _role(db, session, principal.staff_member_id)
    else:
        raise NotFound
    if occupant is None:
        raise NotFound
    if await membership.admit_unless_removed(db, room_id, occupant, role) is None:
        raise RemovedFromSession


async def _role(db: AsyncSession, session: Session, staff_member_id: UUID) -> RoomRole:
    """Host or co-host, as in the group; who leads a single session hosts it."""
    is_lead = await db.scalar(
        select(GroupFacilitator.is_lead).where(
            GroupFacilitator.group_id == session.group_id,
            GroupFacilitator.staff_member_id == staff_member_id,
            GroupFacilitator.ended_at.is_(None),
        )
    )
    return RoomRole.CO_HOST if is_lead is False else RoomRole.HOST
