"""Assessments: given, answered item by item, submitted and read."""

from http import HTTPStatus
from typing import Annotated
from uuid import UUID

from fastapi import Depends, Query, Request, Response

from app.core.problems import (
    Conflict,
    Invalid,
    InvalidCursor,
    NotFound,
    PreconditionFailed,
    PreconditionRequired,
    problem_response,
    problems,
)
from app.routers.pages import PageQuery, page_of
from app.routers.route import IfMatch, expected_version, router, tagged
from app.schemas.assessments import (
    AnswersUpdate,
    AssessmentCreate,
    AssessmentPage,
    AssessmentRead,
    AssessmentSaved,
    AssessmentSummary,
)
from app.security.guards import Database, ReadLane, Requires, RequiresInLane, request_id_of
from app.security.permissions import Permission
from app.security.principal import Principal
from app.services import assessments
from app.services.instruments import InstrumentUnavailable

routes = router("/v1/assessments", "assessments")

AssessmentAssigner = Annotated[Principal, Depends(Requires(Permission.ASSESSMENT_ASSIGN))]
AssessmentList = Annotated[Principal, Depends(RequiresInLane(Permission.ASSESSMENT_LIST))]
AssessmentReader = Annotated[Principal, Depends(RequiresInLane(Permission.ASSESSMENT_READ))]
AssessmentAnswerer = Annotated[Principal, Depends(Requires(Permission.ASSESSMENT_ANSWER))]
OfParticipant = Annotated[UUID | None, Query(description="Those of one participant only.")]


@routes.post(
    "",
    status_code=HTTPStatus.CREATED,
    responses=problems(NotFound, Invalid, InstrumentUnavailable),
)
async def assign_assessment(
    body: AssessmentCreate, response: Response, db: Database, principal: AssessmentAssigner
) -> AssessmentSummary:
    """Give an instrument to a participant."""
    assessment = await assessments.assign(db, principal, body)
    response.headers["Location"] = f"/v1/assessments/{assessment.id}"
    return tagged(response, assessment)


@routes.get("", responses=problems(InvalidCursor))
async def list_assessments(
    page: PageQuery,
    lane: ReadLane,
    principal: AssessmentList,
    participant_id: OfParticipant = None,
) -> AssessmentPage:
    """List the assessments that you may see; participants see their own."""
    found = await assessments.list_assessments(
        lane, principal, participant_id, after=page.after_id(), limit=page.limit
    )
    return page_of(AssessmentPage, page, found)


@routes.get("/{assessment_id}", responses=problems(NotFound))
async def read_assessment(
    assessment_id: UUID, response: Response, lane: ReadLane, principal: AssessmentReader
) -> AssessmentRead:
    """Read one assessment: its answers, and its scores if they are for you."""
    return tagged(response, await assessments.read_assessment(lane, principal, assessment_id))


@routes.patch(
    "/{assessment_id}/answers",
    response_model=AssessmentSaved,
    responses=problems(
        NotFound,
        PreconditionRequired,
        PreconditionFailed,
        Invalid,
        assessments.AssessmentSubmitted,
        assessments.AssessmentExpired,
        assessments.InstrumentReplaced,
    ),
)
async def answer_assessment(
    assessment_id: UUID,
    body: AnswersUpdate,
    request: Request,
    response: Response,
    db: Database,
    principal: AssessmentAnswerer,
    if_match: IfMatch = None,
) -> AssessmentSaved | Response:
    """Save answers, one or many; the rest stays. Show `crisis_resources` at once if there are any.

    An answer that its item does not take is refused with a pointer, and nothing is saved. A form
    that takes no answers any more is refused with 409; when one of them asks for help, that
    problem has `crisis_resources`, too, and an alert is open.
    """
    version = expected_version(if_match)
    saved = await assessments.save_answers(db, principal, assessment_id, body, version)
    if isinstance(saved, Conflict):
        # Answered, not raised: the alert that it opened must stay.
        return problem_response(saved, request_id_of(request))
    return tagged(response, saved)


@routes.post(
    "/{assessment_id}/submit",
    responses=problems(
        NotFound,
        assessments.AssessmentSubmitted,
        assessments.AssessmentExpired,
        assessments.InstrumentReplaced,
    ),
)
async def submit_assessment(
    assessment_id: UUID, response: Response, db: Database, principal: AssessmentAnswerer
) -> AssessmentSaved:
    """End an assessment: it is scored, and never changes again."""
    return tagged(response, await assessments.submit(db, principal, assessment_id))
