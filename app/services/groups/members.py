"""Who belongs to a group: joining, leaving, and the roster for those who lead it."""

from collections.abc import Sequence
from datetime import datetime
from functools import cache
from typing import Final
from uuid import UUID

import asyncpg
from sqlalchemy import ColumnElement, Integer, Uuid, and_, bindparam, exists, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from app import events
from app.core import clock
from app.core.database import Lane, Query
from app.core.ids import new_id
from app.core.problems import Conflict, FieldError, Invalid, NotFound, constraint_problem
from app.domain.roles import RoomKind, RoomRole
from app.models.audit import AuditAction
from app.models.groups import Group, GroupMember
from app.models.participants import Participant
from app.models.rooms import Room, RoomMember
from app.schemas.groups import GroupMemberCreate, RosterEntry
from app.security import audit, seals
from app.security.access import participants_visible_to, reach_parameters, visible_groups
from app.security.permissions import Permission
from app.security.principal import Principal, Reach
from app.services import bookings
from app.services.groups.directory import GroupClosed, get_group, group_room, hold
from app.services.rooms import membership

_NAMES: Final = ("given_name", "family_name", "alias")


class GroupFull(Conflict):
    """Every place of the group is taken."""

    slug, title = "group-full", "The group is full"


class AlreadyInGroup(Conflict):
    """The participant is a member of the group, or will be."""

    slug, title = "already-in-group", "The participant is in the group already"


class StartsInThePast(Invalid):
    """Nobody can have joined a group before they were put into it."""

    slug, title = "starts-in-the-past", "The start lies in the past"


constraint_problem("group_capacity", GroupFull)
constraint_problem("group_member_current_idx", AlreadyInGroup)


@cache
def _roster(reach: Reach) -> Query:
    statement = (
        select(
            GroupMember.id,
            GroupMember.group_id,
            GroupMember.participant_id,
            GroupMember.started_at,
            GroupMember.ended_at,
            *(getattr(Participant, column) for column in _NAMES),
        )
        .join(Participant, Participant.id == GroupMember.participant_id)
        .where(
            GroupMember.group_id == bindparam("group", type_=Uuid),
            GroupMember.ended_at.is_(None),
            GroupMember.id > bindparam("after", type_=Uuid),
            visible_groups(GroupMember.group_id, reach),
        )
        .order_by(GroupMember.id)
        .limit(bindparam("limit", type_=Integer))
    )
    return audit.read_many(statement, Permission.GROUP_ROSTER, "group_member")


@cache
def _known(reach: Reach) -> Query:
    return Query(
        select(Group.id).where(
            Group.id == bindparam("group", type_=Uuid), visible_groups(Group.id, reach)
        )
    )


async def join_group(
    db: AsyncSession, principal: Principal, group_id: UUID, request: GroupMemberCreate
) -> GroupMember:
    """Make a participant a member: booked into what comes, and let into the group's room.

    With a later start they are booked now, and `admit_due_members` opens the room when it has
    come. Raises NotFound, StartsInThePast, GroupClosed, GroupFull, AlreadyInGroup or
    ParticipantBooked.
    """
    group = await get_group(db, principal, group_id, lock=True)
    if group.closed_at is not None:
        raise GroupClosed
    participant_id = await db.scalar(
        select(Participant.id).where(
            Participant.id == request.participant_id,
            participants_visible_to(principal, Participant.id),
        )
    )
    if participant_id is None:
        raise NotFound
    member = GroupMember(
        id=new_id(),
        group_id=group.id,
        participant_id=participant_id,
        started_at=_start(request.starts_at),
    )
    await _refuse_a_second_membership(db, member)
    db.add(member)
    await db.flush()
    coming = await bookings.upcoming(db, group.id, member.started_at)
    await bookings.book(db, coming, participant_id)
    if member.started_at <= clock.now():
        await _let_in(db, group.id, participant_id)
    await _record_member(db, member, "group.member_joined")
    return member


async def leave_group(
    db: AsyncSession, principal: Principal, group_id: UUID, member_id: UUID
) -> None:
    """End a membership: what was booked is given back, and every room of the group closes.

    Raises NotFound.
    """
    await get_group(db, principal, group_id, lock=True)
    member = await db.scalar(
        select(GroupMember).where(
            GroupMember.id == member_id,
            GroupMember.group_id == group_id,
            GroupMember.ended_at.is_(None),
        )
    )
    if member is None:
        raise NotFound
    await _end_membership(db, member)


async def leave_groups_of(db: AsyncSession, participant_id: UUID, program_id: UUID) -> None:
    """Take a participant out of every group of a program, as a discharge does.

    The memberships are read once all the groups are held: one that somebody else ends meanwhile
    is ended, and no reason to refuse the rest.
    """
    theirs = (
        GroupMember.participant_id == participant_id,
        GroupMember.ended_at.is_(None),
        GroupMember.group_id.in_(select(Group.id).where(Group.program_id == program_id)),
    )
    group_ids = (
        await db.scalars(select(GroupMember.group_id).where(*theirs).order_by(GroupMember.group_id))
    ).all()
    for group_id in group_ids:  # by id: one order of locks for everybody
        await hold(db, group_id)
    members = await db.scalars(
        select(GroupMember)
        .where(*theirs, GroupMember.group_id.in_(group_ids))
        .order_by(GroupMember.group_id)
    )
    for member in members.all():
        await _end_membership(db, member)


async def read_roster(
    lane: Lane, principal: Principal, group_id: UUID, *, after: UUID, limit: int
) -> Sequence[RosterEntry]:
    """The members by name, by id, one more than asked when there are more. Raises NotFound."""
    reach = principal.reach
    parameters = {"group": group_id, **reach_parameters(principal)}
    if await lane.value(_known(reach), **parameters) is None:
        raise NotFound
    rows = await lane.all(_roster(reach), after=after, limit=limit + 1, **parameters)
    keys = await seals.keys_for(lane, (row[column] for row in rows for column in _NAMES))
    return [RosterEntry.model_validate({**row, **_names(keys, row)}) for row in rows]


async def groups_with_due_members(db: AsyncSession) -> Sequence[UUID]:
    """The groups with members whose time has come, or who got an account, by id."""
    due = select(GroupMember.group_id).where(_is_due()).distinct()
    return (await db.scalars(due.order_by(GroupMember.group_id).limit(100))).all()


async def admit_due_members(db: AsyncSession, group_id: UUID) -> int:
    """Let those members into the group's room whose time has come, or who got an account.

    They are read once the group is held, so that who leaves it at that moment stays outside. Who
    has been put out of the room since they joined the group stays outside too, until they are
    put into the group again. Returns how many came in. Doing it twice changes nothing.
    """
    await hold(db, group_id)
    due = await db.execute(
        select(GroupMember.participant_id, GroupMember.started_at)
        .where(GroupMember.group_id == group_id, _is_due())
        .order_by(GroupMember.participant_id)
    )
    room_id = await group_room(db, group_id)
    admitted = 0
    for row in due.all():
        occupant = await membership.participant_occupant(db, row.participant_id)
        if occupant is not None:
            member = await membership.admit_unless_removed(
                db, room_id, occupant, RoomRole.PARTICIPANT, since=row.started_at
            )
            admitted += member is not None
    return admitted


def _is_due() -> ColumnElement[bool]:
    """Whether a member belongs into their group's room, is not in it and was not put out of it."""
    inside_or_removed = exists().where(
        Room.group_id == GroupMember.group_id,
        Room.kind == RoomKind.GROUP,
        RoomMember.room_id == Room.id,
        RoomMember.participant_id == GroupMember.participant_id,
        or_(
            RoomMember.left_at.is_(None),
            and_(
                RoomMember.removed_by.is_not(None),
                RoomMember.left_at >= GroupMember.started_at,
            ),
        ),
    )
    return and_(
        GroupMember.started_at <= clock.now(),
        GroupMember.ended_at.is_(None),
        exists().where(
            Participant.id == GroupMember.participant_id, Participant.account_id.is_not(None)
        ),
        ~inside_or_removed,
    )


def _start(asked: datetime | None) -> datetime:
    now = clock.now()
    if asked is None:
        return now
    if asked < now:
        raise StartsInThePast(errors=[FieldError("/starts_at", "starts_in_the_past")])
    return asked


async def _refuse_a_second_membership(db: AsyncSession, member: GroupMember) -> None:
    """Say so before the trigger counts: a full group is no news about its own member."""
    present = await db.scalar(
        select(GroupMember.id).where(
            GroupMember.group_id == member.group_id,
            GroupMember.participant_id == member.participant_id,
            GroupMember.ended_at.is_(None),
        )
    )
    if present is not None:
        raise AlreadyInGroup


async def _let_in(db: AsyncSession, group_id: UUID, participant_id: UUID) -> None:
    occupant = await membership.participant_occupant(db, participant_id)
    if occupant is not None:
        room_id = await group_room(db, group_id)
        await membership.admit(db, room_id, occupant, RoomRole.PARTICIPANT)


async def _end_membership(db: AsyncSession, member: GroupMember) -> None:
    # A membership that has not begun ends where it would have begun: it never was.
    member.ended_at = max(clock.now(), member.started_at)
    await db.flush()
    await bookings.cancel_bookings(db, member.group_id, member.participant_id)
    occupant = await membership.participant_occupant(db, member.participant_id)
    if occupant is not None:
        await membership.dismiss_from_group(db, member.group_id, occupant.account_id)
    await _record_member(db, member, "group.member_left")


def _names(keys: seals.Keys, row: asyncpg.Record) -> dict[str, str]:
    participant_id = row["participant_id"]
    return {
        column: keys.unseal(seals.Cell("participant", column, participant_id), row[column])
        for column in _NAMES
    }


async def _record_member(db: AsyncSession, member: GroupMember, event: str) -> None:
    await audit.record(
        db,
        AuditAction.UPDATE,
        Permission.GROUP_MANAGE,
        "group_member",
        member.id,
        participant_id=member.participant_id,
    )
    await events.record(db, event, member.group_id, participant_id=member.participant_id)
