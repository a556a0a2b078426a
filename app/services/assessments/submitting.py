"""Submitting: a form is scored, held against earlier ones, and never changes again.

Scores, change, flags and alerts are of one transaction with the submission.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from app.core import clock
from app.core.ids import new_id
from app.core.problems import Conflict
from app.domain.instruments import FlagKind, Instrument
from app.domain.scoring import (
    Administration,
    Answers,
    Change,
    Flag,
    changes,
    flags,
    score,
)
from app.domain.scoring import Score as ComputedScore
from app.models.assessments import Assessment, AssessmentState, Score
from app.schemas.assessments import AssessmentSaved
from app.security.permissions import Permission
from app.security.principal import Principal
from app.services.assessments.accepting import form_of
from app.services.assessments.answers import earlier_than, opened_rows, rows_of
from app.services.assessments.reading import get_assessment
from app.services.assessments.safety import open_alerts_once
from app.services.assessments.telling import record, saved


async def submit(db: AsyncSession, principal: Principal, assessment_id: UUID) -> AssessmentSaved:
    """End an assessment: it is scored and compared with earlier ones, and never changes again.

    Blank items are borne as the instrument says; a blank safety item opens an alert, so that
    somebody asks. Raises NotFound, AssessmentSubmitted, AssessmentExpired, AssessmentNotOpen or
    InstrumentReplaced.
    """
    assessment = await get_assessment(db, principal, assessment_id, lock=True)
    instrument = await form_of(db, assessment)
    if isinstance(instrument, Conflict):
        raise instrument
    rows = await rows_of(db, assessment.id)
    answers = await opened_rows(db, rows.values())
    raised = await finish(db, principal, assessment, instrument, answers)
    await record(db, assessment, Permission.ASSESSMENT_ANSWER, "assessment.submitted")
    await open_alerts_once(db, assessment, raised)
    return await saved(db, principal, assessment, (), needs_help=is_unsafe(raised))


async def finish(  # noqa: PLR0913 (a form, who ends it, and since when it counts)
    db: AsyncSession,
    principal: Principal,
    assessment: Assessment,
    instrument: Instrument,
    answers: Answers,
    *,
    taken_at: datetime | None = None,
) -> Sequence[Flag]:
    """Close a form with its scores and flags; gives the flags, whose alerts are the caller's.

    `taken_at` is when the person answered, if that was not now.
    """
    earlier = await earlier_than(db, assessment, instrument, before=taken_at)
    computed = score(instrument, answers)
    raised = flags(
        instrument,
        answers,
        computed,
        previous=earlier.previous,
        baseline=earlier.baseline,
        recent=earlier.recent,
    )
    since_baseline = _moved(instrument, earlier.baseline, computed)
    since_previous = _moved(instrument, earlier.previous, computed)

    now = clock.now()
    assessment.state = AssessmentState.SUBMITTED
    assessment.submitted_at = assessment.updated_at = now
    assessment.taken_at = taken_at or now
    assessment.submitted_by = principal.account_id
    assessment.flags = [_kept(flag) for flag in raised]
    for each in computed:
        db.add(
            _row(assessment, each, since_baseline.get(each.id), since_previous.get(each.id), now)
        )
    await db.flush()
    return raised


def is_unsafe(raised: Sequence[Flag]) -> bool:
    """Whether a flag is about somebody's safety, so that they are shown where help is."""
    return any(flag.kind is FlagKind.SAFETY for flag in raised)


def _row(
    assessment: Assessment,
    computed: ComputedScore,
    since_baseline: Change | None,
    since_previous: Change | None,
    now: datetime,
) -> Score:
    """A score as it is kept: with the version that made it."""
    return Score(
        id=new_id(),
        assessment_id=assessment.id,
        participant_id=assessment.participant_id,
        instrument_key=computed.instrument_key,
        instrument_version=computed.instrument_version,
        code=computed.id,
        value=computed.value,
        band=computed.band,
        is_prorated=computed.is_prorated,
        missing=computed.missing,
        change=None if since_baseline is None else _written(since_baseline),
        change_from_previous=None if since_previous is None else _written(since_previous),
        scored_at=now,
    )


def _moved(
    instrument: Instrument, earlier: Administration | None, computed: Sequence[ComputedScore]
) -> Mapping[str, Change]:
    if earlier is None:
        return {}
    found = changes(instrument, earlier.scores, computed)
    return {change.score_id: change for change in found}


def _written(change: Change) -> dict[str, object]:
    """A change as its column keeps it: figures as text, so that no digit is lost."""
    return {
        "baseline": str(change.baseline),
        "current": str(change.current),
        "improvement": str(change.improvement),
        "percent": None if change.percent is None else str(change.percent),
        "change_class": change.klass.value,
        "is_important": change.is_important,
        "is_response": change.is_response,
        "is_remission": change.is_remission,
        "was_case": change.was_case,
        "is_case": change.is_case,
        "reliable_points": str(change.reliable_points),
        "sources": dict(change.sources),
    }


def _kept(flag: Flag) -> dict[str, object]:
    """A flag as its column keeps it; its sentence stays in the definition."""
    return {
        "id": flag.id,
        "code": flag.code,
        "kind": flag.kind.value,
        "tier": flag.tier.value,
        "item_ids": list(flag.item_ids),
    }
