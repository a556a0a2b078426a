"""What still holds for the sockets of a process: sign-ins, memberships, and how far logs reach.

A notification tells of each change at once; these questions, asked now and then for everything
together, answer for the notifications that were lost (WS-11, WS-14). They are asked in one
transaction for all organizations, by functions of the database that give nothing but what still
holds of the ids that they are given.
"""

from collections.abc import Collection
from typing import Final
from uuid import UUID

from app.core import clock
from app.core.database import Lane

Named = tuple[UUID, UUID]
"""An organization, and the id of something of it."""

_SIGN_INS: Final = "select id, version from live_sign_ins($1, $2, $3)"
_MEMBERS: Final = "select id from standing_members($1, $2) id"
_HEADS: Final = "select id, head_seq from room_heads($1, $2)"
_POSITIONS: Final = "select organization_id, reached from event_positions($1)"
_PRESENT_MEMBERS: Final = "select id from room_member where room_id = $1 and left_at is null"
_POSITION: Final = "select coalesce((select position from event_head), 0)"


async def live_sign_ins(lane: Lane, sign_ins: Collection[Named]) -> set[tuple[UUID, int]]:
    """Which of these sign-ins still open something, with the version that does."""
    rows = await lane.fetch(_SIGN_INS, *_apart(sign_ins), clock.wall())
    return {(row["id"], row["version"]) for row in rows}


async def standing_members(lane: Lane, members: Collection[Named]) -> set[UUID]:
    """Which of these memberships last."""
    return {row["id"] for row in await lane.fetch(_MEMBERS, *_apart(members))}


async def heads_of(lane: Lane, rooms: Collection[Named]) -> dict[UUID, int]:
    """How far the logs of these rooms reach."""
    return {row["id"]: row["head_seq"] for row in await lane.fetch(_HEADS, *_apart(rooms))}


async def positions_of(lane: Lane, organization_ids: Collection[UUID]) -> dict[UUID, int]:
    """The last position that was given to an event of each of these organizations, if any was."""
    rows = await lane.fetch(_POSITIONS, list(organization_ids))
    return {row["organization_id"]: row["reached"] for row in rows}


async def members_of(lane: Lane, room_id: UUID) -> set[UUID]:
    """Every membership that lasts, of a room of the lane's own organization."""
    rows = await lane.fetch(_PRESENT_MEMBERS, room_id)
    return {row["id"] for row in rows}


async def position_of(lane: Lane) -> int:
    """The last position that was given to an event of the lane's own organization."""
    position: int = await lane.fetchval(_POSITION)
    return position


def _apart(named: Collection[Named]) -> tuple[list[UUID], list[UUID]]:
    return [organization_id for organization_id, _ in named], [each for _, each in named]
