"""The group: who is in it, when it meets, who was there, and what is said in its room."""

from collections.abc import Sequence
from datetime import date, datetime, time, timedelta
from typing import Final
from uuid import UUID
from zoneinfo import ZoneInfo

from sqlalchemy import select

from app.core import clock
from app.core.database import lane_of
from app.core.ids import new_id
from app.domain.roles import Modality, SessionKind
from app.models.programs import Program
from app.models.sessions import Booking, Session, SessionState
from app.schemas.attendance import PresenceStatement
from app.schemas.groups import (
    GroupCreate,
    GroupFacilitatorCreate,
    GroupMemberCreate,
    GroupRead,
)
from app.schemas.series import SeriesCreate
from app.security.permissions import Permission
from app.seed.organization import TIME_ZONE
from app.seed.stage import Stage, days_ago
from app.services import attendance, groups, series, sessions
from app.services.rooms import posting

_STARTS_AT: Final = time(17, 30)
_MINUTES: Final = 180
_EVENINGS: Final = "FREQ=WEEKLY;BYDAY=MO,WE,TH;COUNT=36"
_SAID: Final = (
    ("clinician", "Welcome back, everyone. One word for how the week has been?"),
    ("participant1", "Steadier. I cooked twice."),
    ("participant3", "Tired, but I went outside every day."),
    ("participant6", "Heavy."),
    ("clinician", "Thank you for saying so. We will make room for that on Wednesday."),
    ("facilitator", "The worksheet on grounding is in the library."),
    ("participant5", "Does the five-senses exercise work for anybody at work?"),
    ("participant1", "The short one does. I do it in the stairwell."),
)


async def gather(stage: Stage, program: Program, logins: Sequence[str]) -> GroupRead:
    """Open the group, with those who lead it and those who belong to it."""
    coordinator = await stage.act("coordinator", Permission.GROUP_MANAGE)
    group = await groups.open_group(
        stage.db,
        coordinator,
        GroupCreate(
            program_id=program.id,
            name="Evening Skills",
            kind=SessionKind.GROUP_THERAPY,
            capacity=10,
        ),
    )
    for login, is_lead in (("clinician", True), ("facilitator", False)):
        await groups.begin_facilitation(
            stage.db,
            coordinator,
            group.id,
            GroupFacilitatorCreate(staff_member_id=stage.staff_member_id(login), is_lead=is_lead),
        )
    for login in logins:
        member = GroupMemberCreate(participant_id=stage.participant_id(login))
        await groups.join_group(stage.db, coordinator, group.id, member)
    return group


async def schedule(stage: Stage, group: GroupRead) -> None:
    """Let the group meet three evenings a week, since the Monday of last week."""
    first = _monday_of_last_week()
    start = datetime.combine(first, _STARTS_AT)
    began = start.replace(tzinfo=ZoneInfo(TIME_ZONE)) - timedelta(days=1)
    with days_ago((clock.wall() - began) / timedelta(days=1)):
        coordinator = await stage.act("coordinator", Permission.SESSION_MANAGE)
        await series.create_series(
            stage.db,
            coordinator,
            SeriesCreate(
                group_id=group.id,
                title="Evening Skills",
                kind=SessionKind.GROUP_THERAPY,
                modality=Modality.VIDEO,
                local_start=start,
                time_zone=TIME_ZONE,
                duration_minutes=_MINUTES,
                rule=_EVENINGS,
            ),
        )
    await sessions.follow_clock(stage.db)


def _monday_of_last_week() -> date:
    today = clock.wall().astimezone(ZoneInfo(TIME_ZONE)).date()
    return today - timedelta(days=today.weekday() + 7)


async def attend(stage: Stage, group: GroupRead) -> None:
    """State who was there: everybody, but for one evening each now and then."""
    held = (
        await stage.db.scalars(
            select(Session)
            .where(Session.group_id == group.id, Session.state == SessionState.ENDED)
            .order_by(Session.starts_at)
        )
    ).all()
    for evening, session in enumerate(held):
        for place, participant_id in enumerate(await _booked(stage, session.id)):
            if (evening + place) % 5:
                await _state(stage, session, participant_id, minutes_late=place % 3)


async def _booked(stage: Stage, session_id: UUID) -> Sequence[UUID]:
    query = select(Booking.participant_id).where(Booking.session_id == session_id)
    return (await stage.db.scalars(query.order_by(Booking.participant_id))).all()


async def _state(
    stage: Stage, session: Session, participant_id: UUID, *, minutes_late: int
) -> None:
    clinician = await stage.act("clinician", Permission.ATTENDANCE_STATE)
    await attendance.state_presence(
        stage.db,
        clinician,
        session.id,
        PresenceStatement(
            participant_id=participant_id,
            joined_at=session.starts_at + timedelta(minutes=minutes_late),
            left_at=session.ends_at,
        ),
    )


async def talk(stage: Stage, group: GroupRead) -> None:
    """Say a few things in the group's room, over the last days."""
    for ago, (login, words) in enumerate(_SAID):
        with days_ago(2 - ago * 0.2):
            person = await stage.act(login, Permission.ROOM_WRITE)
            await posting.say(
                await lane_of(stage.db),
                person,
                group.room_id,
                client_message_id=new_id(),
                body=words,
                reply_to=None,
            )
