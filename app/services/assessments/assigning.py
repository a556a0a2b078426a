"""Giving an instrument to a participant."""

from sqlalchemy.ext.asyncio import AsyncSession

from app import events
from app.core import clock
from app.core.ids import new_id
from app.core.problems import FieldError, Invalid
from app.models.assessments import Assessment, AssessmentState
from app.models.audit import AuditAction
from app.schemas.assessments import AssessmentCreate, AssessmentSummary
from app.security import audit
from app.security.permissions import Permission
from app.security.principal import Principal
from app.services import instruments
from app.services.assessments.reading import TABLE, columns, summary
from app.services.participants import get_participant


async def assign(
    db: AsyncSession, principal: Principal, request: AssessmentCreate
) -> AssessmentSummary:
    """Ask a participant to answer an instrument, in the version that it has today.

    Raises NotFound for a participant whom the caller may not see, Invalid for an instrument
    that does not exist or an end that has passed, and InstrumentUnavailable.
    """
    now = clock.now()
    participant = await get_participant(db, principal, request.participant_id)
    instrument = await instruments.assignable_instrument(db, request.instrument_key)
    if request.expires_at is not None and request.expires_at <= now:
        raise Invalid(errors=[FieldError("/expires_at", "past", "It must lie in the future.")])
    assessment = Assessment(
        id=new_id(),
        participant_id=participant.id,
        instrument_key=instrument.key,
        instrument_version=instrument.version,
        is_validated=instrument.is_validated,
        state=AssessmentState.ASSIGNED,
        assigned_by=principal.account_id,
        due_at=request.due_at,
        expires_at=request.expires_at,
        created_at=now,
        updated_at=now,
    )
    db.add(assessment)
    await db.flush()
    await audit.record(
        db,
        AuditAction.CREATE,
        Permission.ASSESSMENT_ASSIGN,
        TABLE,
        assessment.id,
        participant_id=participant.id,
        version=assessment.version,
    )
    await events.record(
        db,
        "assessment.assigned",
        assessment.id,
        participant_id=participant.id,
        version=assessment.version,
    )
    return summary(columns(assessment), now)
