"""Rooms by REST: for networks on which sockets do not live, and for what came before."""

from http import HTTPStatus
from typing import Annotated, Final
from uuid import UUID

from fastapi import Depends, Query, Request

from app.core.problems import Forbidden, InvalidCursor, NotFound, problems
from app.realtime.hub import hub_of
from app.realtime.transactions import opened
from app.routers.pages import PageQuery, page_of
from app.routers.route import router
from app.schemas.rooms import (
    EntryCreate,
    EntryPage,
    EntryPosted,
    RoomMemberPage,
    RoomPage,
    RoomRead,
)
from app.schemas.types import Limit, QueryCount, QueryPosition
from app.security import guards
from app.security.guards import Database, ReadLane, Requires, RequiresInLane
from app.security.permissions import Permission
from app.security.principal import Principal
from app.services.rooms import moderation, posting, reading

routes = router("/v1/rooms", "rooms")

RoomReader = Annotated[Principal, Depends(RequiresInLane(Permission.ROOM_READ))]
RoomWriter = Annotated[Principal, Depends(RequiresInLane(Permission.ROOM_WRITE))]
RoomModerator = Annotated[Principal, Depends(Requires(Permission.ROOM_MODERATE))]

LONGEST_WAIT: Final = 25
AfterSeq = Annotated[QueryPosition, Query(description="The last entry already held; 0 for none.")]
Wait = Annotated[
    QueryCount,
    Query(le=LONGEST_WAIT, description="Seconds to wait for an entry when there is none yet."),
]


@routes.get("", responses=problems(InvalidCursor))
async def list_rooms(page: PageQuery, lane: ReadLane, principal: RoomReader) -> RoomPage:
    """List the rooms that you are in."""
    found = await reading.list_rooms(lane, principal, after=page.after_id(), limit=page.limit)
    return page_of(RoomPage, page, found)


@routes.get("/{room_id}", responses=problems(NotFound))
async def read_room(room_id: UUID, lane: ReadLane, principal: RoomReader) -> RoomRead:
    """Read a room that you are in, and how far its log reaches."""
    return await reading.get_room(lane, principal, room_id)


@routes.get("/{room_id}/members", responses=problems(NotFound))
async def list_room_members(room_id: UUID, lane: ReadLane, principal: RoomReader) -> RoomMemberPage:
    """List who is in a room now, by alias; with names for the staff who lead it."""
    members = await reading.list_members(lane, principal, room_id)
    return RoomMemberPage(items=list(members), next_cursor=None)


@routes.get("/{room_id}/entries", responses=problems(NotFound))
async def read_room_entries(
    request: Request,
    room_id: UUID,
    lane: ReadLane,
    principal: RoomReader,
    after_seq: AfterSeq = 0,
    limit: Limit = 25,
    wait: Wait = 0,
) -> EntryPage:
    """Read a room's log in sequence; with `wait`, the answer comes with the next entry.

    You see what was said since you joined. The items look as on the socket.
    """
    page = await reading.read_entries(lane, principal, room_id, after_seq=after_seq, limit=limit)
    if page.items or not wait:
        return page
    # Nothing is held while waiting: neither a transaction nor a connection of the pool.
    await guards.commit(request)
    await hub_of(request).until_said(principal, room_id, page.head_seq, wait)
    async with opened(guards.opening_of(request), guards.runtime_of(request)) as later:
        asked = guards.allow(later.info["principal"], Permission.ROOM_READ)
        return await reading.read_entries(later, asked, room_id, after_seq=after_seq, limit=limit)


@routes.post(
    "/{room_id}/entries",
    status_code=HTTPStatus.CREATED,
    responses=problems(NotFound, posting.ListensOnly, posting.RoomClosed),
)
async def post_room_entry(
    room_id: UUID, body: EntryCreate, lane: ReadLane, principal: RoomWriter
) -> EntryPosted:
    """Say something in a room, once: a repeated `client_message_id` is answered as before.

    When what a participant writes may mean danger, staff are alerted, and the answer says whom
    the author can reach at once. The message is posted all the same.
    """
    posted = await posting.say(
        lane,
        principal,
        room_id,
        client_message_id=body.client_message_id,
        body=body.body,
        reply_to=body.reply_to,
    )
    return EntryPosted(
        seq=posted.seq,
        entry_id=posted.entry_id,
        sent_at=posted.at,
        duplicate=posted.duplicate,
        crisis_resources=list(posted.crisis_resources),
    )


@routes.post(
    "/{room_id}/members/{member_id}/remove",
    status_code=HTTPStatus.NO_CONTENT,
    responses=problems(NotFound, Forbidden, moderation.LeadersStay),
)
async def remove_room_member(
    room_id: UUID, member_id: UUID, db: Database, principal: RoomModerator
) -> None:
    """Remove somebody from a room that you lead; nothing more of it reaches them."""
    await moderation.remove_member(db, principal, room_id, member_id)
