"""Staff members, their roles and their authorizations."""

from http import HTTPStatus
from typing import Annotated
from uuid import UUID

from fastapi import Depends, Response

from app.core.problems import (
    InvalidCursor,
    NotFound,
    PreconditionFailed,
    PreconditionRequired,
    problems,
)
from app.routers.pages import PageQuery, page_of
from app.routers.route import IfMatch, expected_version, router, tagged
from app.schemas.accounts import InvitationRead
from app.schemas.staff import (
    StaffAuthorizationCreate,
    StaffAuthorizationRead,
    StaffMemberCreate,
    StaffMemberInvited,
    StaffMemberPage,
    StaffMemberRead,
    StaffMemberUpdate,
)
from app.security.guards import Database, Requires
from app.security.permissions import Permission
from app.security.principal import Principal
from app.services import accounts, care_teams, invitations, staff

routes = router("/v1/staff", "staff")

StaffReader = Annotated[Principal, Depends(Requires(Permission.STAFF_READ))]
StaffManager = Annotated[Principal, Depends(Requires(Permission.STAFF_MANAGE))]


@routes.post(
    "",
    status_code=HTTPStatus.CREATED,
    responses=problems(accounts.EmailNotUsable, staff.UnknownSupervisor),
)
async def invite_staff_member(
    body: StaffMemberCreate, response: Response, db: Database, principal: StaffManager
) -> StaffMemberInvited:
    """Let somebody work for the organization; they get a link to choose a password."""
    member = await staff.invite_staff_member(db, principal, body)
    response.headers["Location"] = f"/v1/staff/{member.id}"
    return tagged(response, member)


@routes.get("", responses=problems(InvalidCursor))
async def list_staff(page: PageQuery, db: Database, _: StaffReader) -> StaffMemberPage:
    """List who works for the organization."""
    found = await staff.list_staff(db, after=page.after_id(), limit=page.limit)
    return page_of(StaffMemberPage, page, found)


@routes.get("/{staff_member_id}", responses=problems(NotFound))
async def read_staff_member(
    staff_member_id: UUID, response: Response, db: Database, _: StaffReader
) -> StaffMemberRead:
    """Read one staff member."""
    return tagged(response, await staff.read_staff_member(db, staff_member_id))


@routes.patch(
    "/{staff_member_id}",
    responses=problems(
        NotFound,
        PreconditionRequired,
        PreconditionFailed,
        staff.LastAdministrator,
        staff.UnknownSupervisor,
        care_teams.LastOfCareTeam,
    ),
)
async def update_staff_member(
    staff_member_id: UUID,
    body: StaffMemberUpdate,
    response: Response,
    db: Database,
    principal: StaffManager,
    if_match: IfMatch = None,
) -> StaffMemberRead:
    """Change a staff member; with new roles, their apps must refresh their tokens.

    Roles in which they could not attend participants in treatment who have nobody else are
    refused, as disabling them would be.
    """
    version = expected_version(if_match)
    changed = await staff.update_staff_member(db, principal, staff_member_id, body, version)
    return tagged(response, changed)


@routes.post(
    "/{staff_member_id}/disable",
    responses=problems(NotFound, staff.LastAdministrator, care_teams.LastOfCareTeam),
)
async def disable_staff_member(
    staff_member_id: UUID, response: Response, db: Database, principal: StaffManager
) -> StaffMemberRead:
    """Close a staff member's account; everything that they wrote stays.

    While participants in treatment have nobody else in their care team, it is refused with how
    many they are: let a coordinator or a supervisor give them somebody first.
    """
    return tagged(response, await staff.disable_staff_member(db, principal, staff_member_id))


@routes.post(
    "/{staff_member_id}/invitations",
    status_code=HTTPStatus.CREATED,
    responses=problems(NotFound, invitations.NotInvitable),
)
async def invite_staff_member_again(
    staff_member_id: UUID, db: Database, principal: StaffManager
) -> InvitationRead:
    """Send a staff member a new link to choose a password; the older one stops working."""
    return await staff.invite_again(db, principal, staff_member_id)


@routes.post(
    "/{staff_member_id}/authorizations",
    status_code=HTTPStatus.CREATED,
    responses=problems(NotFound, staff.BadDates),
)
async def authorize_staff_member(
    staff_member_id: UUID, body: StaffAuthorizationCreate, db: Database, _: StaffManager
) -> StaffAuthorizationRead:
    """Note by what right a staff member treats people who are in a state."""
    return await staff.authorize_staff_member(db, staff_member_id, body)
