"""Who leads a group, its sessions and its room."""

from uuid import UUID

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from app import events
from app.core import clock
from app.core.ids import new_id
from app.core.problems import Conflict, NotFound, constraint_problem
from app.domain.roles import RoomRole
from app.models.audit import AuditAction
from app.models.groups import GroupFacilitator
from app.models.staff import StaffMember
from app.schemas.groups import GroupFacilitatorCreate
from app.security import audit
from app.security.permissions import Permission
from app.security.principal import Principal
from app.services import bookings
from app.services.groups.directory import GroupClosed, get_group, group_room
from app.services.rooms import membership


class AlreadyFacilitator(Conflict):
    """The staff member leads the group now."""

    slug, title = "already-facilitator", "The staff member leads the group already"


constraint_problem("group_facilitator_current_idx", AlreadyFacilitator)


async def begin_facilitation(
    db: AsyncSession, principal: Principal, group_id: UUID, request: GroupFacilitatorCreate
) -> GroupFacilitator:
    """Let a staff member lead a group: its members, its sessions and its room are theirs too.

    Raises NotFound, GroupClosed, AlreadyFacilitator or StaffBooked.
    """
    group = await get_group(db, principal, group_id, lock=True)
    if group.closed_at is not None:
        raise GroupClosed
    staff_member_id = await db.scalar(
        select(StaffMember.id).where(StaffMember.id == request.staff_member_id)
    )
    if staff_member_id is None:
        raise NotFound
    await _refuse_a_second_facilitation(db, group.id, staff_member_id)
    facilitator = GroupFacilitator(
        id=new_id(),
        group_id=group.id,
        staff_member_id=staff_member_id,
        is_lead=request.is_lead,
        started_at=clock.now(),
    )
    db.add(facilitator)
    await db.flush()
    coming = await bookings.upcoming(db, group.id, facilitator.started_at)
    await bookings.assign(db, coming, staff_member_id)
    room_id = await group_room(db, group.id)
    role = RoomRole.HOST if request.is_lead else RoomRole.CO_HOST
    occupant = await membership.staff_occupant(db, staff_member_id)
    await membership.admit(db, room_id, occupant, role)
    await _record_facilitator(db, facilitator, "group.facilitator_joined")
    return facilitator


async def end_facilitation(
    db: AsyncSession, principal: Principal, group_id: UUID, facilitator_id: UUID
) -> None:
    """End a staff member's leading: their next request no longer sees the group's members.

    Raises NotFound.
    """
    await get_group(db, principal, group_id, lock=True)
    facilitator = await db.scalar(
        select(GroupFacilitator).where(
            GroupFacilitator.id == facilitator_id,
            GroupFacilitator.group_id == group_id,
            GroupFacilitator.ended_at.is_(None),
        )
    )
    if facilitator is None:
        raise NotFound
    facilitator.ended_at = clock.now()
    await db.flush()
    await bookings.release(db, group_id, facilitator.staff_member_id)
    occupant = await membership.staff_occupant(db, facilitator.staff_member_id)
    await membership.dismiss_from_group(db, group_id, occupant.account_id)
    await _record_facilitator(db, facilitator, "group.facilitator_left")


async def _refuse_a_second_facilitation(
    db: AsyncSession, group_id: UUID, staff_member_id: UUID
) -> None:
    present = await db.scalar(
        select(GroupFacilitator.id).where(
            GroupFacilitator.group_id == group_id,
            GroupFacilitator.staff_member_id == staff_member_id,
            GroupFacilitator.ended_at.is_(None),
        )
    )
    if present is not None:
        raise AlreadyFacilitator


async def _record_facilitator(db: AsyncSession, facilitator: GroupFacilitator, event: str) -> None:
    await audit.record(
        db, AuditAction.UPDATE, Permission.GROUP_MANAGE, "group_facilitator", facilitator.id
    )
    await events.record(db, event, facilitator.group_id)
