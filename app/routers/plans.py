"""Individual treatment plans: from draft to agreement."""

from http import HTTPStatus
from typing import Annotated
from uuid import UUID

from fastapi import Depends, Query, Response

from app.core.problems import (
    InvalidCursor,
    NotFound,
    PreconditionFailed,
    PreconditionRequired,
    problems,
)
from app.routers.pages import PageQuery, page_of
from app.routers.route import IfMatch, expected_version, router, tagged
from app.schemas.plans import PlanCreate, PlanPage, PlanRead, PlanSign, PlanUpdate
from app.security.guards import Database, ReadLane, Requires, RequiresInLane
from app.security.permissions import Permission
from app.security.principal import Principal
from app.services import plans

routes = router("/v1/plans", "plans")

PlanReader = Annotated[Principal, Depends(RequiresInLane(Permission.PLAN_READ))]
PlanDrafter = Annotated[Principal, Depends(Requires(Permission.PLAN_DRAFT))]
PlanSigner = Annotated[Principal, Depends(Requires(Permission.PLAN_SIGN))]


@routes.post(
    "",
    status_code=HTTPStatus.CREATED,
    responses=problems(NotFound, plans.EnrollmentEnded, plans.PlanUnderWay),
)
async def draft_plan(
    body: PlanCreate, response: Response, db: Database, principal: PlanDrafter
) -> PlanRead:
    """Begin a plan for an enrollment. A draft may lack anything."""
    plan = await plans.draft_plan(db, principal, body)
    response.headers["Location"] = f"/v1/plans/{plan.id}"
    return tagged(response, plan)


@routes.get("", responses=problems(InvalidCursor))
async def list_plans(
    page: PageQuery,
    lane: ReadLane,
    principal: PlanReader,
    participant_id: Annotated[UUID | None, Query(description="Whose plans.")] = None,
) -> PlanPage:
    """List plans with their states; participants see their own, once proposed."""
    found = await plans.list_plans(
        lane, principal, participant_id, after=page.after_id(), limit=page.limit
    )
    return page_of(PlanPage, page, found)


@routes.get("/{plan_id}", responses=problems(NotFound))
async def read_plan(
    plan_id: UUID, response: Response, lane: ReadLane, principal: PlanReader
) -> PlanRead:
    """Read one version of a plan, with the digest that a signature names."""
    return tagged(response, await plans.read_plan(lane, principal, plan_id))


@routes.patch(
    "/{plan_id}",
    responses=problems(NotFound, PreconditionRequired, PreconditionFailed, plans.PlanNotDraft),
)
async def update_plan(
    plan_id: UUID,
    body: PlanUpdate,
    response: Response,
    db: Database,
    principal: PlanDrafter,
    if_match: IfMatch = None,
) -> PlanRead:
    """Give a draft new content, as a whole."""
    version = expected_version(if_match)
    return tagged(response, await plans.update_plan(db, principal, plan_id, body, version))


@routes.post(
    "/{plan_id}/propose",
    responses=problems(NotFound, plans.PlanNotDraft, plans.PlanIncomplete),
)
async def propose_plan(
    plan_id: UUID, response: Response, db: Database, principal: PlanDrafter
) -> PlanRead:
    """Lay a complete draft before those who sign it; every gap is an error with its place."""
    return tagged(response, await plans.propose_plan(db, principal, plan_id))


@routes.post(
    "/{plan_id}/sign",
    responses=problems(NotFound, plans.PlanNotProposed, plans.ContentDiffers, plans.AlreadySigned),
)
async def sign_plan(
    plan_id: UUID, body: PlanSign, response: Response, db: Database, principal: PlanSigner
) -> PlanRead:
    """Agree to what you have read; the second signature puts the plan into force."""
    return tagged(response, await plans.sign_plan(db, principal, plan_id, body))


@routes.post(
    "/{plan_id}/revise",
    status_code=HTTPStatus.CREATED,
    responses=problems(NotFound, plans.PlanNotRevisable, plans.EnrollmentEnded, plans.PlanUnderWay),
)
async def revise_plan(
    plan_id: UUID, response: Response, db: Database, principal: PlanDrafter
) -> PlanRead:
    """Begin the next version with the content of this one."""
    plan = await plans.revise_plan(db, principal, plan_id)
    response.headers["Location"] = f"/v1/plans/{plan.id}"
    return tagged(response, plan)
