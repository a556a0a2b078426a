"""Rooms as their members see them: what they are in, who is there, what was said.

A membership opens a room from the entry with which it began, and only while it lasts: what was
said before somebody came, or after they left, does not exist for them (AUTHZ-07). Participants
learn an alias and a role of one another, nothing else.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from uuid import UUID

import asyncpg
from sqlalchemy import BigInteger, Uuid, and_, bindparam, case, exists, select
from sqlalchemy.orm import aliased

from app.core.database import Lane, Query, paged
from app.core.problems import NotFound
from app.domain.roles import RoomRole
from app.models.audit import AuditAction
from app.models.participants import Participant
from app.models.rooms import EntryKind, Room, RoomEntry, RoomMember
from app.models.staff import StaffMember
from app.realtime.frames import Author, Entry
from app.schemas.rooms import EntryPage, RoomMemberRead, RoomRead
from app.security import audit, seals
from app.security.permissions import Permission
from app.security.principal import Principal
from app.security.seals import Cell, Keys

MOST_MEMBERS: Final = 200
HOSTS: Final = frozenset({RoomRole.HOST, RoomRole.CO_HOST})
_WITHHELD: Final = frozenset({EntryKind.MESSAGE, EntryKind.EDIT, EntryKind.POLL})

_in_it = and_(
    RoomMember.room_id == Room.id,
    RoomMember.account_id == bindparam("account", type_=Uuid),
    RoomMember.left_at.is_(None),
)
_ROOM: Final = select(
    Room.id,
    Room.kind,
    Room.name,
    Room.group_id,
    Room.session_id,
    Room.head_seq,
    Room.opens_at,
    Room.closes_at,
    RoomMember.id.label("member_id"),
    RoomMember.role,
    RoomMember.from_seq.label("first_seq"),
    RoomMember.read_seq,
).join(RoomMember, _in_it)
_ONE: Final = Query(_ROOM.where(Room.id == bindparam("room", type_=Uuid)))
_MINE: Final = Query(paged(_ROOM.where(Room.id > bindparam("after", type_=Uuid)).order_by(Room.id)))
_MEMBERS: Final = Query(
    select(
        RoomMember.id,
        RoomMember.alias,
        RoomMember.role,
        RoomMember.joined_at,
        RoomMember.participant_id,
        RoomMember.staff_member_id,
        Participant.given_name,
        Participant.family_name,
        StaffMember.name.label("staff_name"),
    )
    .outerjoin(Participant, Participant.id == RoomMember.participant_id)
    .outerjoin(StaffMember, StaffMember.id == RoomMember.staff_member_id)
    .where(
        RoomMember.room_id == bindparam("room", type_=Uuid),
        RoomMember.left_at.is_(None),
    )
    .order_by(RoomMember.id)
    .limit(MOST_MEMBERS)
)
_WHO: Final = Query(
    select(RoomMember.participant_id).where(
        RoomMember.room_id == bindparam("room", type_=Uuid),
        RoomMember.left_at.is_(None),
        RoomMember.participant_id.is_not(None),
    )
)
_retraction = aliased(RoomEntry)
_LOG: Final = Query(
    paged(
        select(
            *RoomEntry.__table__.columns,
            RoomMember.alias,
            RoomMember.role,
            RoomMember.participant_id,
            exists()
            .where(
                _retraction.room_id == RoomEntry.room_id,
                _retraction.kind == EntryKind.RETRACTION,
                _retraction.target_seq
                == case(
                    (RoomEntry.kind == EntryKind.EDIT, RoomEntry.target_seq), else_=RoomEntry.seq
                ),
            )
            .label("is_retracted"),
        )
        .outerjoin(RoomMember, RoomMember.id == RoomEntry.author_id)
        .where(
            RoomEntry.room_id == bindparam("room", type_=Uuid),
            RoomEntry.seq > bindparam("after", type_=BigInteger),
        )
        .order_by(RoomEntry.seq)
    )
)


@dataclass(frozen=True, slots=True)
class Stretch:
    """Consecutive entries of a log, and the participants who wrote them."""

    entries: Sequence[Entry]
    participant_ids: Sequence[UUID]


async def list_rooms(
    lane: Lane, principal: Principal, *, after: UUID, limit: int
) -> Sequence[RoomRead]:
    """The rooms that the caller is in, by id, one more than asked when there are more."""
    rows = await lane.all(_MINE, account=principal.account_id, after=after, limit=limit + 1)
    return [RoomRead.model_validate({**row}) for row in rows]


async def get_room(lane: Lane, principal: Principal, room_id: UUID) -> RoomRead:
    """A room that the caller is in; any other does not exist for them. Raises NotFound."""
    row = await lane.one(_ONE, account=principal.account_id, room=room_id)
    if row is None:
        raise NotFound
    return RoomRead.model_validate({**row})


async def list_members(lane: Lane, principal: Principal, room_id: UUID) -> Sequence[RoomMemberRead]:
    """Who is in a room now: aliases and roles; names too for the staff who lead it.

    Raises NotFound.
    """
    room = await get_room(lane, principal, room_id)
    is_led = principal.is_staff and room.role in HOSTS
    rows = await lane.all(_MEMBERS, room=room_id)
    await record_read(lane, room_id, [row["participant_id"] for row in rows])
    keys = await seals.keys_for(lane, (blob for row in rows for blob in _names(row, is_led)))
    return [_member_read(keys, row, is_led=is_led) for row in rows]


async def read_entries(
    lane: Lane, principal: Principal, room_id: UUID, *, after_seq: int, limit: int
) -> EntryPage:
    """A page of a room's log after `after_seq`, from where the caller's membership began.

    Raises NotFound.
    """
    room = await get_room(lane, principal, room_id)
    after = max(after_seq, room.first_seq - 1)
    found = await read_log(lane, room_id, after_seq=after, limit=limit, for_member=room.member_id)
    if found.entries:
        await record_read(lane, room_id, found.participant_ids)
    return EntryPage(items=list(found.entries), head_seq=room.head_seq)


async def read_log(
    lane: Lane, room_id: UUID, *, after_seq: int, limit: int, for_member: UUID | None = None
) -> Stretch:
    """A stretch of a room's log, for whoever may see it: the caller has decided who that is.

    What was retracted is there without its text. With `for_member`, the ids that a client chose
    are given to the author alone.
    """
    rows = await lane.all(_LOG, room=room_id, after=after_seq, limit=limit)
    keys = await seals.keys_for(
        lane, (blob for row in rows for blob in (row["body"], row["alias"]))
    )
    authors = {row["participant_id"] for row in rows} - {None}
    entries = [_entry(keys, row) for row in rows]
    if for_member is not None:
        entries = [_as_seen_by(for_member, entry) for entry in entries]
    return Stretch(entries, sorted(authors))


async def record_following(lane: Lane, room_id: UUID) -> None:
    """Leave the trace of a member who follows a room live, and so reads whoever is in it."""
    rows = await lane.all(_WHO, room=room_id)
    await record_read(lane, room_id, [row["participant_id"] for row in rows])


async def record_read(lane: Lane, room_id: UUID, participant_ids: Sequence[UUID | None]) -> None:
    """Leave the trace of what a member was shown of others."""
    named = sorted({each for each in participant_ids if each is not None})
    await audit.record(
        lane,
        AuditAction.READ,
        Permission.ROOM_READ,
        "room",
        room_id,
        participant_ids=named,
        count=len(named),
    )


def _entry(keys: Keys, row: asyncpg.Record) -> Entry:
    kind = EntryKind(row["kind"])
    withheld = row["is_retracted"] and kind in _WITHHELD
    return Entry(
        room_id=row["room_id"],
        seq=row["seq"],
        entry_id=row["id"],
        kind=kind,
        author=None if row["author_id"] is None else _author(keys, row, row["author_id"]),
        body=None
        if withheld
        else keys.unseal_optional(Cell("room_entry", "body", row["id"]), row["body"]),
        reply_to=row["reply_to"],
        target_seq=row["target_seq"],
        at=row["at"],
        client_message_id=row["client_message_id"],
    )


def _author(keys: Keys, row: asyncpg.Record, member_id: UUID) -> Author:
    alias = keys.unseal(Cell("room_member", "alias", member_id), row["alias"])
    return Author(member_id=member_id, alias=alias, role=RoomRole(row["role"]))


def _as_seen_by(member_id: UUID, entry: Entry) -> Entry:
    if entry.client_message_id is None or (entry.author and entry.author.member_id == member_id):
        return entry
    return entry.model_copy(update={"client_message_id": None})


def _names(row: asyncpg.Record, is_led: bool) -> Sequence[bytes | None]:  # noqa: FBT001 (who asks)
    if not is_led:
        return (row["alias"],)
    return (row["alias"], row["given_name"], row["family_name"], row["staff_name"])


def _member_read(keys: Keys, row: asyncpg.Record, *, is_led: bool) -> RoomMemberRead:
    return RoomMemberRead(
        id=row["id"],
        alias=keys.unseal(Cell("room_member", "alias", row["id"]), row["alias"]),
        role=RoomRole(row["role"]),
        joined_at=row["joined_at"],
        participant_id=row["participant_id"] if is_led else None,
        name=_name(keys, row) if is_led else None,
    )


def _name(keys: Keys, row: asyncpg.Record) -> str | None:
    if (participant_id := row["participant_id"]) is not None:
        given, family = (
            keys.unseal(Cell("participant", column, participant_id), row[column])
            for column in ("given_name", "family_name")
        )
        return f"{given} {family}"
    if (staff_member_id := row["staff_member_id"]) is not None:
        return keys.unseal(Cell("staff_member", "name", staff_member_id), row["staff_name"])
    return None
