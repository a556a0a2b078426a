"""Answering: item by item as life allows, and safety is judged with each answer.

A safety concern opens its alert in the transaction that stores the answer, before anything is
submitted: whoever stops halfway has still been heard (clinical reference, section 0.1, rule 3).
The person who answered gets the crisis card at once.
"""

from collections.abc import Mapping
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from app.core import clock
from app.core.ids import new_id
from app.core.problems import Conflict, PreconditionFailed
from app.domain.scoring import AnswerValue
from app.models.assessments import Answer, Assessment, AssessmentState, EntryMode
from app.schemas.assessments import AnswersUpdate, AssessmentSaved
from app.security import seals
from app.security.permissions import Permission
from app.security.principal import Principal
from app.services import instruments
from app.services.assessments.accepting import (
    check_answers,
    check_asked,
    check_version,
    entry_mode,
    form_of,
    is_same,
    refusal,
)
from app.services.assessments.answers import offered, opened_rows, rows_of, sealed_value
from app.services.assessments.reading import get_assessment
from app.services.assessments.safety import hear_words, judge_answers, open_alerts
from app.services.assessments.telling import record, record_look, saved
from app.services.crisis import crisis_resources


async def save_answers(
    db: AsyncSession,
    principal: Principal,
    assessment_id: UUID,
    request: AnswersUpdate,
    version: int,
) -> AssessmentSaved | Conflict:
    """Store answers; the rest stays. A safety concern opens its alert with the answer.

    An answer that is sent again unchanged is no new hit, and the look at the others is recorded
    as one. The conflicts of `accepting` are returned, not raised: what a form does not take is
    not stored, but the alert that it opens must stay, and the refusal brings the crisis card.
    Raises NotFound, PreconditionFailed, or Invalid with a pointer to each answer that is refused.
    """
    assessment = await get_assessment(db, principal, assessment_id, lock=True)
    if assessment.version != version:
        raise PreconditionFailed
    instrument = await form_of(db, assessment)
    if isinstance(instrument, Conflict):
        return await hear(db, principal, assessment, request, instrument)
    if differs := check_version(instrument, request):
        return await hear(db, principal, assessment, request, differs)
    check_answers(principal, instrument, request)

    rows = await rows_of(db, assessment.id)
    before = await opened_rows(db, rows.values())
    given = {change.item_id: change.value for change in request.answers}
    answers = {**before, **given}
    if not_asked := check_asked(instrument, answers, given):
        return await hear(db, principal, assessment, request, not_asked)
    changed = {k: v for k, v in given.items() if not is_same(before.get(k), v)}
    if changed:
        await _store(db, assessment, rows, changed, entry_mode(principal, request))
        await record(db, assessment, Permission.ASSESSMENT_ANSWER, "assessment.answered")
    else:
        await record_look(db, assessment)
    raised = await judge_answers(db, assessment, instrument, answers, given)
    await open_alerts(db, assessment, raised, changed)
    is_heard = await hear_words(db, assessment, instrument, changed)
    needs_help = any(raised.values()) or is_heard
    return await saved(db, principal, assessment, given, needs_help=needs_help)


async def hear(
    db: AsyncSession,
    principal: Principal,
    assessment: Assessment,
    request: AnswersUpdate,
    problem: Conflict,
) -> Conflict:
    """Judge what is said to a form that does not take it, by the definition of today.

    Nothing is stored. Whatever else is wrong with the request does not hide what it says.
    """
    instrument = await instruments.find_instrument(db, assessment.instrument_key)
    if instrument is None:
        return problem
    rows = await rows_of(db, assessment.id)
    before = offered(instrument, await opened_rows(db, rows.values()))
    given = {
        each.item_id: each.value
        for each in request.answers
        if refusal(principal, instrument, (), each.item_id, each.value) is None
    }
    raised = await judge_answers(db, assessment, instrument, {**before, **given}, given)
    changed = {k: v for k, v in given.items() if not is_same(before.get(k), v)}
    await open_alerts(db, assessment, raised, changed)
    is_heard = await hear_words(db, assessment, instrument, changed)
    if not (is_heard or any(raised.values())):
        return problem
    card = [each.model_dump(mode="json") for each in await crisis_resources(db)]
    problem.members = {**problem.members, "crisis_resources": card}
    return problem


async def _store(
    db: AsyncSession,
    assessment: Assessment,
    rows: Mapping[str, Answer],
    changed: Mapping[str, AnswerValue | None],
    mode: EntryMode,
) -> None:
    now = clock.now()
    key = await seals.participant_key(db, assessment.participant_id)
    for item_id, value in changed.items():
        row = rows.get(item_id)
        if row is None:
            row = Answer(id=new_id(), assessment_id=assessment.id, item_id=item_id)
            db.add(row)
        row.value = sealed_value(key, row.id, value)
        row.answered_by = db.info["account_id"]
        row.entered_as = mode
        row.answered_at = now
    assessment.state = AssessmentState.IN_PROGRESS
    assessment.updated_at = now
    await db.flush()
