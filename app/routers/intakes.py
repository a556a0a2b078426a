"""Intakes: what the policy suggests, and what a licensed human decides."""

from typing import Annotated, Final
from uuid import UUID

from fastapi import Depends, Query, Response

from app.core.problems import (
    Forbidden,
    Invalid,
    InvalidCursor,
    NotFound,
    PreconditionFailed,
    PreconditionRequired,
    problems,
)
from app.routers.pages import PageQuery, page_of
from app.routers.route import IfMatch, expected_version, router, tagged
from app.schemas.intake_facts import IntakeFacts, IntakeFactsRead
from app.schemas.intakes import (
    DecisionCreate,
    IntakePage,
    IntakeRead,
    PresentRecommendationRead,
    RecommendationCreate,
    TransitionCreate,
    TransitionPage,
)
from app.security.guards import Database, ReadLane, Requires, RequiresInLane
from app.security.permissions import Permission
from app.security.principal import Principal
from app.services import intakes
from app.services.enrollments import AlreadyEnrolled
from app.services.intake_transitions import IntakeMoveRefused

routes = router("/v1/intakes", "intakes")

IntakeReader = Annotated[Principal, Depends(RequiresInLane(Permission.INTAKE_READ))]
IntakeHistorian = Annotated[Principal, Depends(Requires(Permission.INTAKE_READ))]
IntakeAdvisor = Annotated[Principal, Depends(Requires(Permission.INTAKE_RECOMMEND))]
IntakeDecider = Annotated[Principal, Depends(Requires(Permission.INTAKE_DECIDE))]
_FORMS_ALONE: Final = RecommendationCreate()
OfParticipant = Annotated[UUID | None, Query(description="Those of one participant only.")]


@routes.get("", responses=problems(InvalidCursor))
async def list_intakes(
    page: PageQuery,
    lane: ReadLane,
    principal: IntakeReader,
    participant_id: OfParticipant = None,
) -> IntakePage:
    """List the intakes that you may see."""
    found = await intakes.list_intakes(
        lane, principal, participant_id, after=page.after_id(), limit=page.limit
    )
    return page_of(IntakePage, page, found)


@routes.get("/{intake_id}", responses=problems(NotFound))
async def read_intake(
    intake_id: UUID, response: Response, lane: ReadLane, principal: IntakeReader
) -> IntakeRead:
    """Read one intake, with what was last suggested and last decided."""
    return tagged(response, await intakes.read_intake(lane, principal, intake_id))


@routes.get("/{intake_id}/recommendation", responses=problems(NotFound))
async def read_recommendation(
    intake_id: UUID, db: Database, principal: IntakeHistorian
) -> PresentRecommendationRead:
    """Ask what the policy says now, at any stage, with every reason and all that is missing."""
    return await intakes.present_recommendation(db, principal, intake_id)


@routes.get("/{intake_id}/facts", responses=problems(NotFound))
async def read_intake_facts(
    intake_id: UUID, response: Response, db: Database, principal: IntakeHistorian
) -> IntakeFactsRead:
    """Read what an intake has collected beyond the forms."""
    return tagged(response, await intakes.read_facts(db, principal, intake_id))


@routes.put(
    "/{intake_id}/facts",
    responses=problems(
        NotFound,
        Forbidden,
        Invalid,
        PreconditionRequired,
        PreconditionFailed,
        intakes.IntakeClosed,
    ),
)
async def put_intake_facts(
    intake_id: UUID,
    body: IntakeFacts,
    response: Response,
    db: Database,
    principal: IntakeAdvisor,
    if_match: IfMatch = None,
) -> IntakeFactsRead:
    """Replace what an intake has collected; statements and ratings are a clinician's."""
    version = expected_version(if_match)
    return tagged(response, await intakes.put_facts(db, principal, intake_id, body, version))


@routes.get("/{intake_id}/transitions", responses=problems(NotFound))
async def list_intake_transitions(
    intake_id: UUID, db: Database, principal: IntakeHistorian
) -> TransitionPage:
    """List every move of an intake, with who made it, when and why; the oldest first."""
    found = await intakes.list_transitions(db, principal, intake_id)
    return TransitionPage(items=list(found), next_cursor=None)


@routes.post(
    "/{intake_id}/transitions",
    responses=problems(NotFound, Forbidden, IntakeMoveRefused),
)
async def move_intake(
    intake_id: UUID,
    body: TransitionCreate,
    response: Response,
    db: Database,
    principal: IntakeAdvisor,
) -> IntakeRead:
    """Move an intake to another stage, with the reason; only a licensed clinician declines."""
    return tagged(response, await intakes.move_intake(db, principal, intake_id, body))


@routes.post(
    "/{intake_id}/recommend",
    responses=problems(NotFound, Forbidden, Invalid, intakes.IntakeClosed),
)
async def recommend_intake(
    intake_id: UUID,
    response: Response,
    db: Database,
    principal: IntakeAdvisor,
    body: RecommendationCreate = _FORMS_ALONE,
) -> IntakeRead:
    """Ask what the policy suggests, by the latest forms and what a clinician adds to them."""
    return tagged(response, await intakes.recommend(db, principal, intake_id, body))


@routes.post(
    "/{intake_id}/decision",
    responses=problems(
        NotFound,
        Invalid,
        intakes.IntakeClosed,
        intakes.LicenseNotActive,
        intakes.RecommendationNeeded,
        intakes.RecommendationSuperseded,
        intakes.CriterionNotOverridable,
        intakes.OverridesNeeded,
        AlreadyEnrolled,
    ),
)
async def decide_intake(
    intake_id: UUID,
    body: DecisionCreate,
    response: Response,
    db: Database,
    principal: IntakeDecider,
) -> IntakeRead:
    """Decide, in agreement with the recommendation or not; an admission begins the enrollment."""
    return tagged(response, await intakes.decide(db, principal, intake_id, body))
