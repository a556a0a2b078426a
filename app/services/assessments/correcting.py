"""Correcting: what was submitted stays as it is, and a new revision counts instead of it."""

from collections.abc import Mapping
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from app.core import clock
from app.core.ids import new_id
from app.core.problems import Conflict, FieldError, Invalid
from app.domain.scoring import Answers
from app.models.assessments import Answer, Assessment, AssessmentState, EntryMode
from app.models.audit import AuditAction
from app.schemas.assessments import AssessmentSaved, CorrectionCreate
from app.security import seals
from app.security.permissions import Permission
from app.security.principal import Principal
from app.services.assessments.accepting import (
    check_answers,
    check_asked,
    check_version,
    definition_of,
    entry_mode,
    is_same,
)
from app.services.assessments.answering import hear
from app.services.assessments.answers import opened_rows, rows_of, sealed_value
from app.services.assessments.reading import TABLE, get_assessment
from app.services.assessments.safety import hear_words, judge_answers, open_alerts, open_alerts_once
from app.services.assessments.submitting import finish, is_unsafe
from app.services.assessments.telling import record, saved


class AssessmentNotSubmitted(Conflict):
    """Only what was submitted is corrected; an open form is simply answered."""

    slug, title = "assessment-not-submitted", "The assessment was not submitted"


class AssessmentCorrected(Conflict):
    """The assessment was corrected; `corrected_by_id` names the revision that counts."""

    slug, title = "assessment-corrected", "The assessment was corrected already"


@dataclass(frozen=True, slots=True)
class _Said:
    """What a form said, what it says now, and how that came in."""

    rows: Mapping[str, Answer]
    before: Answers
    changed: Answers
    mode: EntryMode


async def correct(
    db: AsyncSession, principal: Principal, assessment_id: UUID, request: CorrectionCreate
) -> AssessmentSaved | Conflict:
    """Say anew what a submitted form should have said; gives the revision that counts now.

    The corrected form is locked, so that it gets one successor and no more. Answers that do not
    change keep who entered them and when. Conflicts are returned, not raised, as when answers
    are saved: an alert that they open must stay. Raises NotFound or Invalid.
    """
    original = await get_assessment(db, principal, assessment_id, lock=True)
    if original.state is not AssessmentState.SUBMITTED:
        raise AssessmentNotSubmitted
    if original.corrected_by_id is not None:
        corrected = AssessmentCorrected(corrected_by_id=original.corrected_by_id)
        return await hear(db, principal, original, request, corrected)
    instrument = await definition_of(db, original)
    if isinstance(instrument, Conflict):
        return await hear(db, principal, original, request, instrument)
    if differs := check_version(instrument, request):
        return await hear(db, principal, original, request, differs)
    check_answers(principal, instrument, request)

    rows = await rows_of(db, original.id)
    before = await opened_rows(db, rows.values())
    given = {change.item_id: change.value for change in request.answers}
    answers = {**before, **given}
    if not_asked := check_asked(instrument, answers, given):
        return await hear(db, principal, original, request, not_asked)
    changed = {k: v for k, v in given.items() if not is_same(before.get(k), v)}
    if not changed:
        raise Invalid(
            errors=[FieldError("/answers", "nothing_changes", "The form says so already.")]
        )

    said = _Said(rows, before, changed, entry_mode(principal, request))
    correction = await _revise(db, original, request.reason, said)
    raised_by_answer = await judge_answers(db, correction, instrument, answers, changed)
    raised = await finish(
        db, principal, correction, instrument, answers, taken_at=original.taken_at
    )
    original.corrected_by_id = correction.id
    original.updated_at = clock.now()
    await db.flush()
    subtype = Permission.ASSESSMENT_ANSWER
    await record(db, original, subtype, "assessment.corrected")
    await record(db, correction, subtype, "assessment.submitted", AuditAction.CREATE)
    await open_alerts(db, correction, raised_by_answer, changed)
    # What the corrected form has raised, people know, and have in hand.
    known = {flag["id"] for flag in original.flags or ()}
    await open_alerts_once(db, correction, (flag for flag in raised if flag.id not in known))
    is_heard = await hear_words(db, correction, instrument, changed)
    needs_help = any(raised_by_answer.values()) or is_unsafe(raised) or is_heard
    return await saved(db, principal, correction, changed, needs_help=needs_help)


async def _revise(db: AsyncSession, original: Assessment, reason: str, said: _Said) -> Assessment:
    """Write the next revision with its answers, still open."""
    now = clock.now()
    key = await seals.participant_key(db, original.participant_id)
    correction_id = new_id()
    correction = Assessment(
        id=correction_id,
        participant_id=original.participant_id,
        instrument_key=original.instrument_key,
        instrument_version=original.instrument_version,
        is_validated=original.is_validated,
        is_for_staff=original.is_for_staff,
        state=AssessmentState.IN_PROGRESS,
        assigned_by=original.assigned_by,
        battery_id=original.battery_id,
        program_id=original.program_id,
        occasion=original.occasion,
        occasion_on=original.occasion_on,
        opens_at=original.opens_at,
        due_at=original.due_at,
        expires_at=original.expires_at,
        revision=original.revision + 1,
        corrects_id=original.id,
        created_at=now,
        updated_at=now,
        **seals.sealed(key, TABLE, correction_id, correction_reason=reason),
    )
    db.add(correction)
    await db.flush()
    for item_id, value in {**said.before, **said.changed}.items():
        row = Answer(id=new_id(), assessment_id=correction.id, item_id=item_id)
        # A value is bound to its row, so one that is taken over is sealed anew.
        row.value = sealed_value(key, row.id, value)
        if item_id in said.changed:
            row.answered_by, row.entered_as, row.answered_at = db.info["account_id"], said.mode, now
        else:
            old = said.rows[item_id]
            row.answered_by, row.entered_as = old.answered_by, old.entered_as
            row.answered_at = old.answered_at
        db.add(row)
    await db.flush()
    return correction
