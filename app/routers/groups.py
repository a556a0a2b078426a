"""Groups, their roster and who leads them."""

from http import HTTPStatus
from typing import Annotated
from uuid import UUID

from fastapi import Depends, Response

from app.core.problems import InvalidCursor, NotFound, problems
from app.routers.pages import PageQuery, page_of
from app.routers.route import router, tagged
from app.schemas.groups import (
    GroupCreate,
    GroupFacilitatorCreate,
    GroupFacilitatorRead,
    GroupMemberCreate,
    GroupMemberRead,
    GroupPage,
    GroupRead,
    RosterPage,
)
from app.security.guards import Database, ReadLane, Requires, RequiresInLane
from app.security.permissions import Permission
from app.security.principal import Principal
from app.services import bookings, groups

routes = router("/v1/groups", "groups")

GroupReader = Annotated[Principal, Depends(Requires(Permission.GROUP_READ))]
GroupManager = Annotated[Principal, Depends(Requires(Permission.GROUP_MANAGE))]
RosterReader = Annotated[Principal, Depends(RequiresInLane(Permission.GROUP_ROSTER))]


@routes.post("", status_code=HTTPStatus.CREATED, responses=problems(NotFound, groups.UnknownTrack))
async def open_group(
    body: GroupCreate, response: Response, db: Database, principal: GroupManager
) -> GroupRead:
    """Begin a group in a program; it gets a room of its own."""
    group = await groups.open_group(db, principal, body)
    response.headers["Location"] = f"/v1/groups/{group.id}"
    return tagged(response, group)


@routes.get("", responses=problems(InvalidCursor))
async def list_groups(page: PageQuery, db: Database, principal: GroupReader) -> GroupPage:
    """List the groups that you may see; participants see those they belong to."""
    found = await groups.list_groups(db, principal, after=page.after_id(), limit=page.limit)
    return page_of(GroupPage, page, found)


@routes.get("/{group_id}", responses=problems(NotFound))
async def read_group(
    group_id: UUID, response: Response, db: Database, principal: GroupReader
) -> GroupRead:
    """Read one group."""
    return tagged(response, await groups.read_group(db, principal, group_id))


@routes.post(
    "/{group_id}/members",
    status_code=HTTPStatus.CREATED,
    responses=problems(
        NotFound,
        groups.GroupClosed,
        groups.GroupFull,
        groups.AlreadyInGroup,
        groups.StartsInThePast,
        bookings.ParticipantBooked,
    ),
)
async def join_group(
    group_id: UUID, body: GroupMemberCreate, db: Database, principal: GroupManager
) -> GroupMemberRead:
    """Make a participant a member: booked into what comes, and let into the group's room."""
    member = await groups.join_group(db, principal, group_id, body)
    return GroupMemberRead.model_validate(member)


@routes.post(
    "/{group_id}/members/{member_id}/end",
    status_code=HTTPStatus.NO_CONTENT,
    responses=problems(NotFound),
)
async def leave_group(
    group_id: UUID, member_id: UUID, db: Database, principal: GroupManager
) -> None:
    """End a membership: what was booked is given back, and every room of the group closes."""
    await groups.leave_group(db, principal, group_id, member_id)


@routes.get("/{group_id}/members", responses=problems(NotFound, InvalidCursor))
async def read_roster(
    group_id: UUID, page: PageQuery, lane: ReadLane, principal: RosterReader
) -> RosterPage:
    """List the members by name. Never for participants, who know one another by alias only."""
    found = await groups.read_roster(
        lane, principal, group_id, after=page.after_id(), limit=page.limit
    )
    return page_of(RosterPage, page, found)


@routes.post(
    "/{group_id}/facilitators",
    status_code=HTTPStatus.CREATED,
    responses=problems(
        NotFound, groups.GroupClosed, groups.AlreadyFacilitator, bookings.StaffBooked
    ),
)
async def begin_facilitation(
    group_id: UUID, body: GroupFacilitatorCreate, db: Database, principal: GroupManager
) -> GroupFacilitatorRead:
    """Let a staff member lead the group, its sessions and its room."""
    facilitator = await groups.begin_facilitation(db, principal, group_id, body)
    return GroupFacilitatorRead.model_validate(facilitator)


@routes.post(
    "/{group_id}/facilitators/{facilitator_id}/end",
    status_code=HTTPStatus.NO_CONTENT,
    responses=problems(NotFound),
)
async def end_facilitation(
    group_id: UUID, facilitator_id: UUID, db: Database, principal: GroupManager
) -> None:
    """End a staff member's leading; their next request no longer sees the members."""
    await groups.end_facilitation(db, principal, group_id, facilitator_id)
