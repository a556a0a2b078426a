"""Who is in a room at this moment, as far as is known (WS-16).

A presence lasts until shortly after its last heartbeat, so that the people of a process that was
killed are gone within a minute. It is shown, and it proves attendance in a session's room; it is
never the reason for an access decision.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Literal
from uuid import UUID

import asyncpg

from app.core import clock
from app.core.database import Lane
from app.core.ids import new_id
from app.domain.roles import RoomRole
from app.realtime.frames import Author
from app.schemas.rooms import RoomRead
from app.security import seals
from app.security.principal import Principal
from app.security.seals import Cell
from app.services import attendance

LIFE: Final = timedelta(seconds=45)
State = Literal["present", "typing", "absent"]

_CHANNEL: Final = "stepwell_presence"
_TELL: Final = "select pg_notify($1, $2)"
_ARRIVE: Final = """
    insert into presence (id, room_id, member_id, expires_at) values ($1, $2, $3, $4)
"""
_LEAVE: Final = """
    delete from presence p where p.id = any ($1::uuid[])
    returning p.room_id, p.member_id
"""
_ELSEWHERE: Final = """
    select exists (
        select from presence where room_id = $1 and member_id = $2 and expires_at > $3
    )
"""
_REFRESH: Final = "update presence set expires_at = $2 where id = any ($1::uuid[])"
_EXPIRED: Final = """
    select id, expires_at from presence where expires_at <= $1 order by id
    for update skip locked
"""
_PRESENT: Final = """
    select distinct on (m.id) m.id, m.alias, m.role
    from presence p join room_member m on m.id = p.member_id
    where p.room_id = $1 and p.expires_at > $2 and m.left_at is null
    order by m.id
"""
_MEMBER: Final = """
    select id, alias, role from room_member where room_id = $1 and id = $2 and left_at is null
"""


@dataclass(frozen=True, slots=True)
class Arrival:
    """A presence that began, and who was there already."""

    presence_id: UUID
    present: Sequence[Author]


async def arrive(lane: Lane, principal: Principal, room: RoomRead) -> Arrival:
    """Note that a connection follows a room: the others see it, and a session counts it.

    Each connection has a presence of its own, which the attendance of a session refers to.
    """
    presence_id, now = new_id(), clock.wall()
    present = await _authors(lane, await lane.fetch(_PRESENT, room.id, now))
    await lane.execute(_ARRIVE, presence_id, room.id, room.member_id, now + LIFE)
    await tell(lane, room.id, room.member_id, "present")
    if principal.participant_id is not None and room.session_id is not None:
        await attendance.begin_presence(
            lane, room.id, presence_id, principal.participant_id, clock.now()
        )
    return Arrival(presence_id, present)


async def leave(lane: Lane, presence_ids: Collection[UUID], at: datetime) -> None:
    """End presences: the others see it, and the stretches of attendance that they proved end."""
    for presence_id in presence_ids:
        await attendance.end_presence(lane, presence_id, at)
    gone = await lane.fetch(_LEAVE, list(presence_ids))
    for row in gone:
        if not await lane.fetchval(_ELSEWHERE, row["room_id"], row["member_id"], clock.wall()):
            await tell(lane, row["room_id"], row["member_id"], "absent")


async def refresh(lane: Lane, presence_ids: Collection[UUID]) -> None:
    """Prolong the presences of a process, and end those of a process that died.

    Those ended with their last heartbeat, at the organization's time.
    """
    now = clock.wall()
    await lane.execute(_REFRESH, list(presence_ids), now + LIFE)
    for row in await lane.fetch(_EXPIRED, now):
        silent_for = now - (row["expires_at"] - LIFE)
        await leave(lane, [row["id"]], clock.now() - silent_for)


async def tell(lane: Lane, room_id: UUID, member_id: UUID, state: State) -> None:
    """Show the others that a member came, writes or went; not stored."""
    payload = f"{lane.info['organization_id']}:{room_id}:{member_id}:{state}"
    await lane.execute(_TELL, _CHANNEL, payload)


async def member_of(lane: Lane, room_id: UUID, member_id: UUID) -> Author | None:
    """A member as the room knows them, while they are in it."""
    rows = await lane.fetch(_MEMBER, room_id, member_id)
    authors = await _authors(lane, rows)
    return authors[0] if authors else None


async def _authors(lane: Lane, rows: Sequence[asyncpg.Record]) -> list[Author]:
    keys = await seals.keys_for(lane, (row["alias"] for row in rows))
    return [
        Author(
            member_id=row["id"],
            alias=keys.unseal(Cell("room_member", "alias", row["id"]), row["alias"]),
            role=RoomRole(row["role"]),
        )
        for row in rows
    ]
