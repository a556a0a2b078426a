"""What members say and do in a room: each leaves one entry in its log.

`post_entry` decides in the database, under the room's row lock: it takes the next number, knows
whether the author is in the room at that moment, and answers a repeated `client_message_id` with
the entry that it made the first time (WS-07). The text is sealed under its author's key before.

What a participant writes is looked through for signs of danger in the same transaction. A sign
opens an alert for staff and shows its author where to find help; the message goes its way
untouched, and the room learns nothing (clinical reference, section 5.4).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from http import HTTPStatus
from typing import Final
from uuid import UUID

from app.core import clock
from app.core.database import Lane
from app.core.ids import new_id
from app.core.problems import Conflict, Forbidden, NotFound, Problem
from app.models.alerts import AlertSource
from app.models.audit import AuditAction
from app.models.organizations import KeyPurpose
from app.models.rooms import EntryKind
from app.schemas.assessments import CrisisResourceRead
from app.security import seals
from app.security.permissions import Permission
from app.security.principal import Principal
from app.services import signals
from app.services.rooms.reading import HOSTS, get_room

RAISED: Final = "raised"
LOWERED: Final = "lowered"

# The trace is written by the statement that makes the entry, so that neither is without the other.
_POST: Final = f"""
    with posted as materialized (
        select * from post_entry($1, $2, $3, $4, $5, $6, $7, $8, $9)
    ), trail as (
        insert into audit_event (
            action, subtype, outcome, resource, resource_id, participant_id, count
        )
        select '{AuditAction.CREATE.value}', '{Permission.ROOM_WRITE.value}', 'success',
            'room_entry', p.entry_id, $10::uuid, 1
        from posted p where p.outcome = 'posted'
    )
    select outcome, entry_seq, entry_id, entry_at, member_id from posted
"""  # noqa: S608 (composed of constants)
_TARGET: Final = """
    select e.kind, m.account_id, exists (
        select from room_entry r
        where r.room_id = e.room_id and r.kind = 'retraction' and r.target_seq = e.seq
    ) as is_retracted
    from room_entry e left join room_member m on m.id = e.author_id
    where e.room_id = $1 and e.seq = $2
"""
_MARK: Final = """
    update room_member set read_seq = greatest(read_seq, least($3, r.head_seq))
    from room r
    where r.id = $1 and room_member.room_id = r.id and room_member.account_id = $2
        and room_member.left_at is null
    returning room_member.id
"""


class RoomClosed(Conflict):
    """The room has not opened yet, or has closed: nothing is said in it now."""

    slug, title = "room-closed", "The room is closed"


class ListensOnly(Forbidden):
    """Observers of a room see what is said, and say nothing."""

    slug, title = "listens-only", "Observers do not speak"


class NotYours(Forbidden):
    """Somebody else wrote the entry."""

    slug, title = "not-yours", "Somebody else wrote this"


class Retracted(Problem):
    """The message was taken back."""

    slug, title, status = "retracted", "The message was taken back", HTTPStatus.CONFLICT


@dataclass(frozen=True, slots=True)
class Posted:
    """Where an entry stands in the log, and whether it stood there before."""

    seq: int
    entry_id: UUID
    at: datetime
    duplicate: bool
    member_id: UUID
    crisis_resources: Sequence[CrisisResourceRead] = ()
    """Whom the author can reach at once, when what they wrote asks for it. For nobody else."""


async def say(  # noqa: PLR0913 (what a message is)
    lane: Lane,
    principal: Principal,
    room_id: UUID,
    *,
    client_message_id: UUID,
    body: str,
    reply_to: int | None,
) -> Posted:
    """Say something in a room, once. Raises NotFound, ListensOnly or RoomClosed.

    A reply names an entry that its author can see.
    """
    if reply_to is not None:
        await _target(lane, principal, room_id, reply_to)
    posted = await _post(
        lane,
        principal,
        room_id,
        EntryKind.MESSAGE,
        body=body,
        client_message_id=client_message_id,
        reply_to=reply_to,
    )
    return await _heard(lane, principal, posted, body)


async def edit(
    lane: Lane, principal: Principal, room_id: UUID, *, target_seq: int, body: str
) -> Posted:
    """Replace the text of one's own message.

    Raises NotFound, NotYours, Retracted, ListensOnly or RoomClosed.
    """
    target = await _target(lane, principal, room_id, target_seq)
    if not target.is_own:
        raise NotYours
    if target.is_retracted:
        raise Retracted
    posted = await _post(lane, principal, room_id, EntryKind.EDIT, body=body, target_seq=target_seq)
    return await _heard(lane, principal, posted, body)


async def retract(
    lane: Lane, principal: Principal, room_id: UUID, *, target_seq: int, moderates: bool
) -> Posted:
    """Take a message back: one's own, or anybody's for who `moderates` and hosts the room.

    Its text is shown to nobody from now on. Raises NotFound, NotYours, Retracted, ListensOnly or
    RoomClosed.
    """
    target = await _target(lane, principal, room_id, target_seq)
    if not target.is_own and not (moderates and target.is_hosted):
        raise NotYours
    if target.is_retracted:
        raise Retracted
    return await _post(lane, principal, room_id, EntryKind.RETRACTION, target_seq=target_seq)


async def raise_hand(lane: Lane, principal: Principal, room_id: UUID, *, on: bool) -> Posted:
    """Raise one's hand, or lower it. Raises NotFound, ListensOnly or RoomClosed."""
    return await _post(lane, principal, room_id, EntryKind.HAND, body=RAISED if on else LOWERED)


async def mark_read(lane: Lane, principal: Principal, room_id: UUID, seq: int) -> None:
    """Remember how far somebody has read; it never goes back. Nobody else is told.

    Raises NotFound.
    """
    if await lane.fetchval(_MARK, room_id, principal.account_id, seq) is None:
        raise NotFound


@dataclass(frozen=True, slots=True)
class _Target:
    is_own: bool
    is_hosted: bool
    is_retracted: bool


async def _target(lane: Lane, principal: Principal, room_id: UUID, seq: int) -> _Target:
    """A message that the caller can see. Raises NotFound for anything else."""
    room = await get_room(lane, principal, room_id)
    if seq < room.first_seq:
        raise NotFound
    row = await lane.fetchrow(_TARGET, room_id, seq)
    if row is None or row["kind"] != EntryKind.MESSAGE:
        raise NotFound
    return _Target(
        is_own=row["account_id"] == principal.account_id,
        is_hosted=room.role in HOSTS,
        is_retracted=row["is_retracted"],
    )


async def _post(  # noqa: PLR0913 (the columns of an entry)
    lane: Lane,
    principal: Principal,
    room_id: UUID,
    kind: EntryKind,
    *,
    body: str | None = None,
    client_message_id: UUID | None = None,
    reply_to: int | None = None,
    target_seq: int | None = None,
) -> Posted:
    entry_id = new_id()
    sealed = None
    if body is not None:
        key = await _key_of(lane, principal)
        sealed = seals.sealed(key, "room_entry", entry_id, body=body)["body"]
    (row,) = await lane.fetch(
        _POST,
        room_id,
        principal.account_id,
        entry_id,
        kind.value,
        client_message_id,
        sealed,
        reply_to,
        target_seq,
        clock.now(),
        principal.participant_id,
    )
    match row["outcome"]:
        case "posted" | "duplicate" as outcome:
            return Posted(
                row["entry_seq"],
                row["entry_id"],
                row["entry_at"],
                outcome == "duplicate",
                row["member_id"],
            )
        case "closed":
            raise RoomClosed
        case _:
            await get_room(lane, principal, room_id)  # raises NotFound for who is not in it
            raise ListensOnly


async def _heard(lane: Lane, principal: Principal, posted: Posted, body: str) -> Posted:
    """Look through what a participant wrote; alerts are about participants.

    The source is their membership, so that a conversation has one running alert for each concern
    and each further sign in it is told there. A message that is sent again was heard before.
    """
    if principal.participant_id is None:
        return posted
    card = await signals.hear(
        lane,
        signals.Heard(principal.participant_id, AlertSource.MESSAGE, posted.member_id),
        body,
        is_repeated=posted.duplicate,
    )
    return replace(posted, crisis_resources=card)


async def _key_of(lane: Lane, principal: Principal) -> seals.DataKey:
    if principal.participant_id is None:
        return await seals.organization_key(lane, KeyPurpose.STAFF)
    return await seals.participant_key(lane, principal.participant_id)
