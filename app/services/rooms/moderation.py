"""Who leads a room decides who stays in it."""

from uuid import UUID

from sqlalchemy import ColumnElement, select
from sqlalchemy.ext.asyncio import AsyncSession

from app import events
from app.core.problems import Forbidden, NotFound
from app.models.audit import AuditAction
from app.models.rooms import RoomMember
from app.security import audit
from app.security.permissions import Permission
from app.security.principal import Principal
from app.services.rooms import membership
from app.services.rooms.reading import HOSTS


class LeadersStay(Forbidden):
    """Who leads a room leaves it with the group that they lead, and is not removed from it."""

    slug, title = "leaders-stay", "Who leads the room is not removed from it"


async def remove_member(
    db: AsyncSession, principal: Principal, room_id: UUID, member_id: UUID
) -> None:
    """End somebody's time in a room that the caller leads.

    From the commit on they see nothing that is said there; their open sockets are told within a
    second (WS-14). Raises NotFound for a room that the caller is not in or somebody who is not
    in it, Forbidden for who does not lead it, and LeadersStay.
    """
    own = await _current(db, room_id, RoomMember.account_id == principal.account_id)
    if own.role not in HOSTS:
        raise Forbidden
    member = await _current(db, room_id, RoomMember.id == member_id)
    if member.role in HOSTS:
        raise LeadersStay
    gone = await membership.dismiss(db, room_id, member.account_id, removed_by=principal.account_id)
    if gone is None:
        raise NotFound  # somebody else was faster
    await audit.record(
        db,
        AuditAction.UPDATE,
        Permission.ROOM_MODERATE,
        "room_member",
        member.id,
        participant_id=member.participant_id,
    )
    await events.record(db, "room.member_removed", room_id, participant_id=member.participant_id)


async def _current(db: AsyncSession, room_id: UUID, who: ColumnElement[bool]) -> RoomMember:
    member: RoomMember | None = await db.scalar(
        select(RoomMember).where(RoomMember.room_id == room_id, RoomMember.left_at.is_(None), who)
    )
    if member is None:
        raise NotFound
    return member
