"""What is told after a change: the trail, the event, and the answer to whoever made it."""

from collections.abc import Collection

from sqlalchemy.ext.asyncio import AsyncSession

from app import events
from app.models.assessments import Assessment, AssessmentState
from app.models.audit import AuditAction
from app.schemas.assessments import AssessmentRead, AssessmentSaved, ResultState
from app.security import audit
from app.security.permissions import POLICY, Permission
from app.security.principal import Principal
from app.services.assessments.reading import TABLE, composed, details
from app.services.crisis import crisis_resources


async def record(
    db: AsyncSession,
    assessment: Assessment,
    subtype: str,
    event: str,
    action: AuditAction = AuditAction.UPDATE,
) -> None:
    """Say that an assessment has changed, and who changed it."""
    await audit.record(
        db,
        action,
        subtype,
        TABLE,
        assessment.id,
        participant_id=assessment.participant_id,
        version=assessment.version,
    )
    await events.record(
        db,
        event,
        assessment.id,
        participant_id=assessment.participant_id,
        version=assessment.version,
    )


async def record_look(db: AsyncSession, assessment: Assessment) -> None:
    """Say that an assessment was read."""
    await audit.record(
        db,
        AuditAction.READ,
        Permission.ASSESSMENT_READ,
        TABLE,
        assessment.id,
        participant_id=assessment.participant_id,
        version=assessment.version,
    )


async def saved(
    db: AsyncSession,
    principal: Principal,
    assessment: Assessment,
    given: Collection[str],
    *,
    needs_help: bool,
) -> AssessmentSaved:
    """The assessment as it is now; an app that may not read is shown what it sent, no more."""
    read = await composed(db, principal, details(assessment))
    if not POLICY[Permission.ASSESSMENT_READ].is_in_scope_of(principal):
        read = _withheld(read, given)
    card = list(await crisis_resources(db)) if needs_help else []
    return AssessmentSaved(**dict(read), crisis_resources=card)


def _withheld(read: AssessmentRead, given: Collection[str]) -> AssessmentRead:
    is_submitted = read.state is AssessmentState.SUBMITTED
    return read.model_copy(
        update={
            "answers": [answer for answer in read.answers if answer.item_id in given],
            "result": ResultState.WITHHELD if is_submitted else ResultState.PENDING,
            "scores": [],
            "flags": [],
            "correction_reason": None,
        }
    )
