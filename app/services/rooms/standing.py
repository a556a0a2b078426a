"""What still holds for the sockets of a process: sign-ins, memberships, and how far logs reach.

A notification tells of each change at once; these questions, asked now and then for everything
together, answer for the notifications that were lost (WS-11, WS-14).
"""

from collections.abc import Collection
from typing import Final
from uuid import UUID

from app.core import clock
from app.core.database import Lane

# The conditions are those of `open_request`, but nobody asks here, so nobody was seen.
_SIGN_INS: Final = """
    select s.id, s.version from sign_in s join account a on a.id = s.account_id
    where s.id = any ($1::uuid[]) and s.revoked_at is null and s.expires_at > $2
        and s.last_seen_at + make_interval(secs => s.idle_seconds) > $2 and a.state = 'active'
"""
_MEMBERS: Final = "select id from room_member where id = any ($1::uuid[]) and left_at is null"
_PRESENT_MEMBERS: Final = "select id from room_member where room_id = $1 and left_at is null"
_POSITION: Final = "select coalesce((select position from event_head), 0)"
_HEADS: Final = "select id, head_seq from room where id = any ($1::uuid[])"


async def live_sign_ins(lane: Lane, sign_in_ids: Collection[UUID]) -> set[tuple[UUID, int]]:
    """Which of these sign-ins still open something, with the version that does."""
    rows = await lane.fetch(_SIGN_INS, list(sign_in_ids), clock.wall())
    return {(row["id"], row["version"]) for row in rows}


async def standing_members(lane: Lane, member_ids: Collection[UUID]) -> set[UUID]:
    """Which of these memberships last."""
    rows = await lane.fetch(_MEMBERS, list(member_ids))
    return {row["id"] for row in rows}


async def members_of(lane: Lane, room_id: UUID) -> set[UUID]:
    """Every membership of a room that lasts."""
    rows = await lane.fetch(_PRESENT_MEMBERS, room_id)
    return {row["id"] for row in rows}


async def heads_of(lane: Lane, room_ids: Collection[UUID]) -> dict[UUID, int]:
    """How far the logs of these rooms reach."""
    rows = await lane.fetch(_HEADS, list(room_ids))
    return {row["id"]: row["head_seq"] for row in rows}


async def position_of(lane: Lane) -> int:
    """The last position that was given to an event of the organization."""
    position: int = await lane.fetchval(_POSITION)
    return position
