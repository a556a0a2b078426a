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
    BatteryCreate,
    BatteryRead,
    CorrectionCreate,
)
from app.schemas.types import QueryFlag
from app.security.guards import Database, ReadLane, Requires, RequiresInLane, request_id_of
from app.security.permissions import Permission
from app.security.principal import Principal
from app.services import assessments
from app.services.instruments import InstrumentUnavailable

routes = router("/v1/assessments", "assessments")
batteries = router("/v1/batteries", "assessments")

AssessmentAssigner = Annotated[Principal, Depends(Requires(Permission.ASSESSMENT_ASSIGN))]
AssessmentList = Annotated[Principal, Depends(RequiresInLane(Permission.ASSESSMENT_LIST))]
AssessmentReader = Annotated[Principal, Depends(RequiresInLane(Permission.ASSESSMENT_READ))]
AssessmentAnswerer = Annotated[Principal, Depends(Requires(Permission.ASSESSMENT_ANSWER))]
IsDue = Annotated[QueryFlag, Query(description="Those that can be answered now, and no others.")]
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


@batteries.post(
    "",
    status_code=HTTPStatus.CREATED,
    responses=problems(NotFound, Invalid, InstrumentUnavailable),
)
async def assign_battery(
    body: BatteryCreate, db: Database, principal: AssessmentAssigner
) -> BatteryRead:
    """Give several instruments to a participant together: all of them, or none."""
    return await assessments.assign_battery(db, principal, body)


@routes.get("", responses=problems(InvalidCursor))
async def list_assessments(
    page: PageQuery,
    lane: ReadLane,
    principal: AssessmentList,
    participant_id: OfParticipant = None,
    is_due: IsDue = False,  # noqa: FBT002 (a query parameter)
) -> AssessmentPage:
    """List the assessments that you may see; participants see their own, and what is due."""
    found = await assessments.list_assessments(
        lane,
        principal,
        participant_id,
        is_due=is_due,
        after=page.after_id(),
        limit=page.limit,
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
        assessments.AssessmentNotOpen,
        assessments.InstrumentReplaced,
        assessments.InstrumentVersionDiffers,
        assessments.ItemNotAsked,
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

    An answer that its item does not take is refused with a pointer, and nothing is saved. What
    the form does not take now, or does not ask, is refused with 409; when an answer asks for
    help, that problem has `crisis_resources`, too, and an alert is open.
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
        assessments.AssessmentNotOpen,
        assessments.InstrumentReplaced,
    ),
)
async def submit_assessment(
    assessment_id: UUID, response: Response, db: Database, principal: AssessmentAnswerer
) -> AssessmentSaved:
    """End an assessment: it is scored, and never changes again."""
    return tagged(response, await assessments.submit(db, principal, assessment_id))


@routes.post(
    "/{assessment_id}/correct",
    status_code=HTTPStatus.CREATED,
    response_model=AssessmentSaved,
    responses=problems(
        NotFound,
        Invalid,
        assessments.AssessmentNotSubmitted,
        assessments.AssessmentCorrected,
        assessments.InstrumentReplaced,
        assessments.InstrumentVersionDiffers,
        assessments.ItemNotAsked,
    ),
)
async def correct_assessment(
    assessment_id: UUID,
    body: CorrectionCreate,
    request: Request,
    response: Response,
    db: Database,
    principal: AssessmentAnswerer,
) -> AssessmentSaved | Response:
    """Correct what was submitted: a new revision is scored and counts; the old one stays.

    What you do not name is taken over as it was. Show `crisis_resources` at once if there are
    any, as with answers that are saved.
    """
    corrected = await assessments.correct(db, principal, assessment_id, body)
    if isinstance(corrected, Conflict):
        # Answered, not raised: the alert that it opened must stay.
        return problem_response(corrected, request_id_of(request))
    response.headers["Location"] = f"/v1/assessments/{corrected.id}"
    return tagged(response, corrected)
