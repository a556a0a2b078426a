"""Enrollments: episodes of care, from the admission to the discharge."""

from http import HTTPStatus
from typing import Annotated
from uuid import UUID

from fastapi import Depends, Query, Response

from app.core.problems import Invalid, InvalidCursor, NotFound, problems
from app.routers.pages import PageQuery, page_of
from app.routers.route import router, tagged
from app.schemas.enrollments import (
    AuthorizationCreate,
    AuthorizationPage,
    AuthorizationRead,
    DischargeCreate,
    EnrollmentPage,
    EnrollmentRead,
)
from app.security.guards import Database, ReadLane, Requires, RequiresInLane
from app.security.permissions import Permission
from app.security.principal import Principal
from app.services import enrollments, level_authorizations

routes = router("/v1/enrollments", "enrollments")

EnrollmentReader = Annotated[Principal, Depends(RequiresInLane(Permission.ENROLLMENT_READ))]
EnrollmentRecord = Annotated[Principal, Depends(Requires(Permission.ENROLLMENT_READ))]
Authorizer = Annotated[Principal, Depends(Requires(Permission.ENROLLMENT_AUTHORIZE))]
Discharger = Annotated[Principal, Depends(Requires(Permission.ENROLLMENT_DISCHARGE))]
OfParticipant = Annotated[UUID | None, Query(description="Those of one participant only.")]


@routes.get("", responses=problems(InvalidCursor))
async def list_enrollments(
    page: PageQuery,
    lane: ReadLane,
    principal: EnrollmentReader,
    participant_id: OfParticipant = None,
) -> EnrollmentPage:
    """List the enrollments that you may see; participants see their own."""
    found = await enrollments.list_enrollments(
        lane, principal, participant_id, after=page.after_id(), limit=page.limit
    )
    return page_of(EnrollmentPage, page, found)


@routes.get("/{enrollment_id}", responses=problems(NotFound))
async def read_enrollment(
    enrollment_id: UUID, response: Response, lane: ReadLane, principal: EnrollmentReader
) -> EnrollmentRead:
    """Read one enrollment."""
    return tagged(response, await enrollments.read_enrollment(lane, principal, enrollment_id))


@routes.get("/{enrollment_id}/authorizations", responses=problems(NotFound))
async def list_level_authorizations(
    enrollment_id: UUID, db: Database, principal: EnrollmentRecord
) -> AuthorizationPage:
    """List what payers have authorized beside the clinical level of care."""
    found = await level_authorizations.list_authorizations(db, principal, enrollment_id)
    return AuthorizationPage(items=list(found), next_cursor=None)


@routes.post(
    "/{enrollment_id}/authorizations",
    status_code=HTTPStatus.CREATED,
    responses=problems(NotFound, Invalid),
)
async def authorize_level(
    enrollment_id: UUID, body: AuthorizationCreate, db: Database, principal: Authorizer
) -> AuthorizationRead:
    """Record what a payer has authorized; the clinical level of care stays as it was decided."""
    return await level_authorizations.authorize_level(db, principal, enrollment_id, body)


@routes.post(
    "/{enrollment_id}/discharge", responses=problems(NotFound, enrollments.AlreadyDischarged)
)
async def discharge_enrollment(
    enrollment_id: UUID,
    body: DischargeCreate,
    response: Response,
    db: Database,
    principal: Discharger,
) -> EnrollmentRead:
    """End an enrollment, with its reason; memberships in groups end with it."""
    return tagged(response, await enrollments.discharge(db, principal, enrollment_id, body))
