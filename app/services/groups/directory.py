"""Which groups there are, and who may see them."""

from collections.abc import Sequence
from typing import Final
from uuid import UUID

from sqlalchemy import Select, and_, select
from sqlalchemy.ext.asyncio import AsyncSession

from app import events
from app.core import clock
from app.core.ids import new_id
from app.core.problems import Conflict, FieldError, Invalid, NotFound
from app.domain.roles import RoomKind
from app.models.audit import AuditAction
from app.models.groups import Group
from app.models.programs import Program, Track
from app.models.rooms import Room
from app.schemas.groups import GroupCreate, GroupRead
from app.security import audit
from app.security.access import groups_visible_to
from app.security.permissions import Permission
from app.security.principal import Principal
from app.services.rooms import membership

TABLE: Final = "care_group"


class GroupClosed(Conflict):
    """The group does not meet any more."""

    slug, title = "group-closed", "The group is closed"


class UnknownTrack(Invalid):
    """The track is none of the program's."""

    slug, title = "unknown-track", "The track is not known"


async def open_group(db: AsyncSession, _: Principal, request: GroupCreate) -> GroupRead:
    """Begin a group, with a room of its own. Raises NotFound or UnknownTrack."""
    if await db.scalar(select(Program.id).where(Program.id == request.program_id)) is None:
        raise NotFound
    await _check_track(db, request)
    now = clock.now()
    group = Group(id=new_id(), created_at=now, updated_at=now, **request.model_dump())
    db.add(group)
    await db.flush()
    room = await membership.open_group_room(db, group.id, group.name)
    await audit.record(
        db, AuditAction.CREATE, Permission.GROUP_MANAGE, TABLE, group.id, version=group.version
    )
    await events.record(db, "group.created", group.id, version=group.version)
    return _read(group, room.id)


async def read_group(db: AsyncSession, principal: Principal, group_id: UUID) -> GroupRead:
    """One group; who may not see it learns nothing of it. Raises NotFound."""
    found = (await db.execute(_visible(principal).where(Group.id == group_id))).one_or_none()
    if found is None:
        raise NotFound
    return _read(found[0], found[1])


async def list_groups(
    db: AsyncSession, principal: Principal, *, after: UUID, limit: int
) -> Sequence[GroupRead]:
    """The groups that the caller may see, by id, one more than asked when there are more."""
    query = _visible(principal).where(Group.id > after).order_by(Group.id).limit(limit + 1)
    return [_read(row[0], row[1]) for row in (await db.execute(query)).all()]


async def get_group(
    db: AsyncSession, principal: Principal, group_id: UUID, *, lock: bool = False
) -> Group:
    """Load a group the caller may see; one they may not see does not exist.

    Whoever changes a roster, or makes sessions of it, holds the group's lock meanwhile: so
    nobody joins between the list of members and their bookings.
    """
    query = select(Group).where(Group.id == group_id, groups_visible_to(principal, Group.id))
    if lock:
        query = query.with_for_update(key_share=True).execution_options(populate_existing=True)
    group = await db.scalar(query)
    if group is None:
        raise NotFound
    return group


async def hold(db: AsyncSession, group_id: UUID) -> None:
    """Hold a group's lock: its roster and its sessions stay as they are until the commit."""
    await db.execute(select(Group.id).where(Group.id == group_id).with_for_update(key_share=True))


async def group_room(db: AsyncSession, group_id: UUID) -> UUID:
    """The room that a group got when it was opened."""
    return (
        await db.scalars(
            select(Room.id).where(Room.group_id == group_id, Room.kind == RoomKind.GROUP)
        )
    ).one()


def _visible(principal: Principal) -> Select[Group, UUID]:
    return (
        select(Group, Room.id)
        .join(Room, and_(Room.group_id == Group.id, Room.kind == RoomKind.GROUP))
        .where(groups_visible_to(principal, Group.id))
    )


def _read(group: Group, room_id: UUID) -> GroupRead:
    row = {column.name: getattr(group, column.name) for column in Group.__table__.columns}
    return GroupRead.model_validate({**row, "room_id": room_id})


async def _check_track(db: AsyncSession, request: GroupCreate) -> None:
    if request.track_id is None:
        return
    known = await db.scalar(
        select(Track.id).where(Track.id == request.track_id, Track.program_id == request.program_id)
    )
    if known is None:
        raise UnknownTrack(errors=[FieldError("/track_id", "unknown_track")])
