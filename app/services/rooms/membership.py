"""Who is in a room, and between which of its entries.

A membership sees what lies between its `from_seq` and `until_seq`, so both are read and written
under the room's row lock, in the order of the log: whoever leaves sees nothing that was said
afterwards (AUTHZ-07), and a trigger tells the open sockets at the commit (WS-14). Participants
are known to a room by their alias only.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from sqlalchemy import func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from app.core import clock
from app.core.ids import new_id
from app.core.problems import NotFound
from app.domain.roles import RoomKind, RoomRole
from app.models.organizations import KeyPurpose
from app.models.participants import Participant
from app.models.rooms import EntryKind, Room, RoomEntry, RoomMember
from app.models.staff import StaffMember
from app.security import seals

CHANNEL: Final = "stepwell_rooms"
JOINED: Final = "joined"
LEFT: Final = "left"


@dataclass(frozen=True, slots=True)
class Occupant:
    """Somebody with an account, as a room will know them. Exactly one of the two ids is set."""

    account_id: UUID
    alias: str
    participant_id: UUID | None = None
    staff_member_id: UUID | None = None


async def participant_occupant(db: AsyncSession, participant_id: UUID) -> Occupant | None:
    """A participant under their alias, or None while they have no account to enter with."""
    participant = await db.scalar(select(Participant).where(Participant.id == participant_id))
    if participant is None or participant.account_id is None:
        return None
    keys = await seals.keys_for(db, [participant.alias])
    alias = keys.unseal(seals.Cell("participant", "alias", participant.id), participant.alias)
    return Occupant(participant.account_id, alias, participant_id=participant.id)


async def staff_occupant(db: AsyncSession, staff_member_id: UUID) -> Occupant:
    """A staff member under their name. Raises NotFound."""
    member = await db.scalar(select(StaffMember).where(StaffMember.id == staff_member_id))
    if member is None:
        raise NotFound
    keys = await seals.keys_for(db, [member.name])
    name = keys.unseal(seals.Cell("staff_member", "name", member.id), member.name)
    return Occupant(member.account_id, name, staff_member_id=member.id)


async def open_group_room(db: AsyncSession, group_id: UUID, name: str) -> Room:
    """Give a group the room that it keeps for as long as it exists."""
    room = Room(
        id=new_id(), kind=RoomKind.GROUP, group_id=group_id, name=name, created_at=clock.now()
    )
    db.add(room)
    await db.flush()
    return room


async def open_session_room(  # noqa: PLR0913 (what a session says of its room, by name)
    db: AsyncSession,
    session_id: UUID,
    *,
    group_id: UUID | None,
    name: str,
    opens_at: datetime,
    closes_at: datetime,
) -> Room:
    """Give a session its room; two who come first at one moment get the same one.

    The caller holds the session's row lock, which is what makes them come one after the other.
    """
    room = await db.scalar(
        select(Room).where(Room.kind == RoomKind.SESSION, Room.session_id == session_id)
    )
    if room is None:
        room = Room(
            id=new_id(),
            kind=RoomKind.SESSION,
            group_id=group_id,
            session_id=session_id,
            name=name,
            opens_at=opens_at,
            closes_at=closes_at,
            created_at=clock.now(),
        )
        db.add(room)
        await db.flush()
    return room


async def close_session_rooms(db: AsyncSession, session_ids: Sequence[UUID]) -> None:
    """Close the rooms of sessions that will not take place: nothing can be said there any more."""
    await db.execute(
        update(Room)
        .where(Room.kind == RoomKind.SESSION, Room.session_id.in_(session_ids))
        .values(closes_at=clock.now())
        .execution_options(synchronize_session=False)
    )


async def admit(db: AsyncSession, room_id: UUID, occupant: Occupant, role: RoomRole) -> RoomMember:
    """Put somebody into a room from its next entry on, which says that they joined.

    Who is in it already stays as they are. Raises NotFound for a room that does not exist.
    """
    return await _admit(db, await _locked(db, room_id), occupant, role)


async def admit_unless_removed(
    db: AsyncSession,
    room_id: UUID,
    occupant: Occupant,
    role: RoomRole,
    *,
    since: datetime | None = None,
) -> RoomMember | None:
    """Put somebody into a room, as `admit` does, unless somebody has put them out of it.

    Asked under the room's lock, so that who is removed at this very moment does not come back.
    A removal before `since` is forgotten. None for who stays outside. Raises NotFound for a room
    that does not exist.
    """
    room = await _locked(db, room_id)
    if await _was_removed(db, room.id, occupant.account_id, since):
        return None
    return await _admit(db, room, occupant, role)


async def dismiss(
    db: AsyncSession, room_id: UUID, account_id: UUID, *, removed_by: UUID | None = None
) -> RoomMember | None:
    """End somebody's time in a room; None when they are not in it.

    Their view ends before the entry that says that they left. `removed_by` is the account of
    whoever removed them, None when they or the group's roster did. Raises NotFound for a room
    that does not exist.
    """
    room = await _locked(db, room_id)
    member = await _current(db, room.id, account_id)
    if member is None:
        return None
    member.left_at = clock.now()
    member.until_seq = room.head_seq
    member.removed_by = removed_by
    await db.flush()
    await _append(db, room, member, LEFT)
    return member


async def dismiss_from_group(db: AsyncSession, group_id: UUID, account_id: UUID) -> None:
    """End somebody's time in every room of a group: its own, and those of its sessions."""
    rooms = await db.scalars(
        select(Room.id)
        .join(RoomMember, RoomMember.room_id == Room.id)
        .where(
            Room.group_id == group_id,
            RoomMember.account_id == account_id,
            RoomMember.left_at.is_(None),
        )
        .order_by(Room.id)  # one order of locks for everybody
    )
    for room_id in rooms.all():
        await dismiss(db, room_id, account_id)


async def _admit(db: AsyncSession, room: Room, occupant: Occupant, role: RoomRole) -> RoomMember:
    present = await _current(db, room.id, occupant.account_id)
    if present is not None:
        return present
    member_id = new_id()
    key = await _key_of(db, occupant.participant_id)
    member = RoomMember(
        id=member_id,
        room_id=room.id,
        account_id=occupant.account_id,
        participant_id=occupant.participant_id,
        staff_member_id=occupant.staff_member_id,
        role=role,
        from_seq=room.head_seq + 1,
        read_seq=room.head_seq,
        joined_at=clock.now(),
        **seals.sealed(key, "room_member", member_id, alias=occupant.alias),
    )
    db.add(member)
    await db.flush()
    await _append(db, room, member, JOINED)
    return member


async def _was_removed(
    db: AsyncSession, room_id: UUID, account_id: UUID, since: datetime | None
) -> bool:
    removal = select(RoomMember.id).where(
        RoomMember.room_id == room_id,
        RoomMember.account_id == account_id,
        RoomMember.removed_by.is_not(None),
    )
    if since is not None:
        removal = removal.where(RoomMember.left_at >= since)
    return await db.scalar(removal.limit(1)) is not None


async def _locked(db: AsyncSession, room_id: UUID) -> Room:
    """The room under its row lock, as it stands after whoever held the lock before."""
    room = await db.scalar(
        select(Room)
        .where(Room.id == room_id)
        .with_for_update(key_share=True)
        .execution_options(populate_existing=True)
    )
    if room is None:
        raise NotFound
    return room


async def _current(db: AsyncSession, room_id: UUID, account_id: UUID) -> RoomMember | None:
    member: RoomMember | None = await db.scalar(
        select(RoomMember).where(
            RoomMember.room_id == room_id,
            RoomMember.account_id == account_id,
            RoomMember.left_at.is_(None),
        )
    )
    return member


async def _key_of(db: AsyncSession, participant_id: UUID | None) -> seals.DataKey:
    """Whose key seals what a member says: their own, or the organization's for its staff."""
    if participant_id is None:
        return await seals.organization_key(db, KeyPurpose.STAFF)
    return await seals.participant_key(db, participant_id)


async def _append(db: AsyncSession, room: Room, member: RoomMember, body: str) -> None:
    """Write a membership entry to the log and wake who follows it, as `post_entry` does."""
    room.head_seq += 1
    entry_id = new_id()
    key = await _key_of(db, member.participant_id)
    db.add(
        RoomEntry(
            room_id=room.id,
            seq=room.head_seq,
            id=entry_id,
            kind=EntryKind.MEMBERSHIP,
            author_id=member.id,
            at=clock.now(),
            **seals.sealed(key, "room_entry", entry_id, body=body),
        )
    )
    await db.flush()
    payload = f"{room.organization_id}:{room.id}:{room.head_seq}"
    await db.execute(select(func.pg_notify(CHANNEL, payload)))
