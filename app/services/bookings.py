"""Places in sessions: a participant's booking, a staff member's assignment.

Nobody has two places at one time; exclusion constraints keep that true, whoever races
(design, invariant 2). Locks are taken in one order everywhere: series, group, staff,
participants, session, room. What is refused names the kind of conflict and the sessions asked for,
never the other session or who else is in it.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Final
from uuid import UUID

from sqlalchemy import Row, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from app import events
from app.core import clock
from app.core.ids import new_id
from app.core.problems import Conflict, constraint_problem
from app.models.participants import Participant
from app.models.sessions import Booking, PlaceState, Session, SessionStaff, SessionState
from app.models.staff import StaffMember

_MOST_SHOWN: Final = 20


class ParticipantBooked(Conflict):
    """A participant has another session at that time; `occurrences` are the starts asked for."""

    slug, title = "participant-booked", "A participant has another session at that time"


class StaffBooked(Conflict):
    """A staff member leads another session at that time; `occurrences` are the starts asked for."""

    slug, title = "staff-booked", "A staff member leads another session at that time"


constraint_problem("booking_participant_excl", ParticipantBooked)
constraint_problem("session_staff_member_excl", StaffBooked)


async def upcoming(db: AsyncSession, group_id: UUID, since: datetime) -> Sequence[Session]:
    """A group's sessions that have not ended by an instant and were not canceled, in order."""
    return (
        await db.scalars(
            select(Session)
            .where(
                Session.group_id == group_id,
                Session.ends_at > since,
                Session.state.in_([SessionState.SCHEDULED, SessionState.IN_PROGRESS]),
            )
            .order_by(Session.starts_at)
        )
    ).all()


async def participant_clashes(
    db: AsyncSession, sessions: Sequence[Session], participant_id: UUID
) -> list[Session]:
    """Those of the sessions that overlap another place of the participant.

    The participant's row is held until the commit: two who book them at one time come one after
    the other, where the exclusion constraint alone would let each wait for the other.
    """
    if not sessions:
        return []
    await db.execute(
        select(Participant.id)
        .where(Participant.id == participant_id)
        .with_for_update(key_share=True)
    )
    first, last = _frame(sessions)
    taken = await db.execute(
        select(Booking.starts_at, Booking.ends_at).where(
            Booking.participant_id == participant_id,
            Booking.state == PlaceState.BOOKED,
            Booking.starts_at < last,
            Booking.ends_at > first,
        )
    )
    return _overlapping(sessions, taken.all())


async def staff_clashes(
    db: AsyncSession, sessions: Sequence[Session], staff_member_id: UUID
) -> list[Session]:
    """Those of the sessions that overlap another one that the staff member leads.

    The staff member's row is held until the commit, for the same reason.
    """
    if not sessions:
        return []
    await db.execute(
        select(StaffMember.id)
        .where(StaffMember.id == staff_member_id)
        .with_for_update(key_share=True)
    )
    first, last = _frame(sessions)
    taken = await db.execute(
        select(SessionStaff.starts_at, SessionStaff.ends_at).where(
            SessionStaff.staff_member_id == staff_member_id,
            SessionStaff.state == PlaceState.BOOKED,
            SessionStaff.starts_at < last,
            SessionStaff.ends_at > first,
        )
    )
    return _overlapping(sessions, taken.all())


async def book(db: AsyncSession, sessions: Sequence[Session], participant_id: UUID) -> None:
    """Give a participant a place in each of these sessions, or in none.

    Raises ParticipantBooked with the sessions that overlap another place of theirs.
    """
    if clashes := await participant_clashes(db, sessions, participant_id):
        raise ParticipantBooked(occurrences=_starts(clashes))
    now = clock.now()
    bookings = [
        Booking(
            id=new_id(),
            session_id=session.id,
            participant_id=participant_id,
            starts_at=session.starts_at,
            ends_at=session.ends_at,
            created_at=now,
            updated_at=now,
        )
        for session in sessions
    ]
    db.add_all(bookings)
    await db.flush()
    await _tell(db, "booking.created", ((each.id, participant_id) for each in bookings))


async def cancel_bookings(db: AsyncSession, group_id: UUID, participant_id: UUID) -> None:
    """Give back a participant's places in every session of a group that has not ended.

    What they attended of a running one stays proven: evidence does not hang on the place.
    """
    now = clock.now()
    canceled = await db.scalars(
        update(Booking)
        .where(
            Booking.participant_id == participant_id,
            Booking.state == PlaceState.BOOKED,
            Booking.ends_at > now,
            Booking.session_id.in_(select(Session.id).where(Session.group_id == group_id)),
        )
        .values(state=PlaceState.GIVEN_BACK, version=Booking.version + 1, updated_at=now)
        .returning(Booking.id)
        .execution_options(synchronize_session=False)
    )
    await _tell(db, "booking.canceled", ((each, participant_id) for each in canceled.all()))


async def assign(db: AsyncSession, sessions: Sequence[Session], staff_member_id: UUID) -> None:
    """Let a staff member lead each of these sessions, or none.

    Raises StaffBooked with the sessions that overlap another one that they lead.
    """
    if clashes := await staff_clashes(db, sessions, staff_member_id):
        raise StaffBooked(occurrences=_starts(clashes))
    wanted = [each.id for each in sessions]
    again = await db.scalars(
        update(SessionStaff)
        .where(SessionStaff.session_id.in_(wanted), SessionStaff.staff_member_id == staff_member_id)
        .values(state=PlaceState.BOOKED)
        .returning(SessionStaff.session_id)
        .execution_options(synchronize_session=False)
    )
    led_before = set(again.all())
    db.add_all(
        SessionStaff(
            id=new_id(),
            session_id=session.id,
            staff_member_id=staff_member_id,
            starts_at=session.starts_at,
            ends_at=session.ends_at,
        )
        for session in sessions
        if session.id not in led_before
    )
    await db.flush()


async def release(db: AsyncSession, group_id: UUID, staff_member_id: UUID) -> None:
    """Take a staff member out of every session of a group that has not ended."""
    await db.execute(
        update(SessionStaff)
        .where(
            SessionStaff.staff_member_id == staff_member_id,
            SessionStaff.state == PlaceState.BOOKED,
            SessionStaff.ends_at > clock.now(),
            SessionStaff.session_id.in_(select(Session.id).where(Session.group_id == group_id)),
        )
        .values(state=PlaceState.GIVEN_BACK)
        .execution_options(synchronize_session=False)
    )


async def clear(db: AsyncSession, session_ids: Sequence[UUID]) -> list[UUID]:
    """Give back every place in sessions that will not take place; says who had one."""
    now = clock.now()
    await db.execute(
        update(SessionStaff)
        .where(SessionStaff.session_id.in_(session_ids), SessionStaff.state == PlaceState.BOOKED)
        .values(state=PlaceState.SESSION_CANCELED)
        .execution_options(synchronize_session=False)
    )
    canceled = await db.execute(
        update(Booking)
        .where(Booking.session_id.in_(session_ids), Booking.state == PlaceState.BOOKED)
        .values(state=PlaceState.SESSION_CANCELED, version=Booking.version + 1, updated_at=now)
        .returning(Booking.id, Booking.participant_id)
        .execution_options(synchronize_session=False)
    )
    places = canceled.all()
    await _tell(db, "booking.canceled", ((each.id, each.participant_id) for each in places))
    return sorted({each.participant_id for each in places})


def _frame(sessions: Sequence[Session]) -> tuple[datetime, datetime]:
    return min(each.starts_at for each in sessions), max(each.ends_at for each in sessions)


def _overlapping(
    sessions: Sequence[Session], taken: Sequence[Row[datetime, datetime]]
) -> list[Session]:
    """Touching is no overlap."""
    return [
        session
        for session in sessions
        if any(start < session.ends_at and session.starts_at < end for start, end in taken)
    ]


def _starts(sessions: Sequence[Session]) -> list[datetime]:
    return [session.starts_at for session in sessions[:_MOST_SHOWN]]


async def _tell(db: AsyncSession, event: str, bookings: Iterable[tuple[UUID, UUID]]) -> None:
    for booking_id, participant_id in bookings:
        await events.record(db, event, booking_id, participant_id=participant_id)
