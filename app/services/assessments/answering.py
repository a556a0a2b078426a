"""Answering: item by item as life allows, and safety is judged with each answer.

A safety concern opens its alert in the transaction that stores the answer, before anything is
submitted: whoever stops halfway has still been heard (clinical reference, section 0.1, rule 3).
The person who answered gets the crisis card at once. A submitted assessment never changes.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Final
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from app import events
from app.core import clock
from app.core.ids import new_id
from app.core.problems import (
    Conflict,
    FieldError,
    Invalid,
    PreconditionFailed,
    constraint_problem,
)
from app.domain.instruments import FlagKind, Instrument
from app.domain.instruments.definitions import Informant
from app.domain.scoring import (
    Answers,
    AnswerValue,
    Change,
    Flag,
    changes,
    check_answer,
    flags,
    score,
)
from app.domain.scoring import Score as ComputedScore
from app.models.assessments import Answer, Assessment, AssessmentState, Score
from app.models.audit import AuditAction
from app.schemas.assessments import AnswersUpdate, AssessmentRead, AssessmentSaved, ResultState
from app.security import audit, seals
from app.security.permissions import POLICY, Permission
from app.security.principal import Principal
from app.services import instruments
from app.services.assessments.answers import (
    Earlier,
    earlier_than,
    offered,
    opened_rows,
    rows_of,
    sealed_value,
)
from app.services.assessments.reading import (
    TABLE,
    columns,
    composed,
    get_assessment,
    informant_of,
    present_state,
)
from app.services.assessments.safety import judge_answers, open_alerts, open_alerts_once
from app.services.crisis import crisis_resources

_REFUSALS: Final = {
    "unknown_item": "The instrument has no such item.",
    "repeated": "An item is answered once in a request.",
    "answered_by_staff": "Staff answer this item.",
    "wrong_type": "The answer is not of the item's type.",
    "not_an_option": "The item offers no such answer.",
    "out_of_range": "The number is outside the item's range.",
    "off_the_scale": "The number is between two steps of the item's scale.",
    "too_long": "The text is longer than the item takes.",
    "malformed": "The text does not have the item's form.",
}
_ABOUT_THE_ITEM: Final = frozenset({"unknown_item", "repeated", "answered_by_staff"})


class AssessmentSubmitted(Conflict):
    """The assessment was submitted; it never changes."""

    slug, title = "assessment-submitted", "The assessment was submitted already"


class AssessmentExpired(Conflict):
    """The time in which the assessment could be answered has passed."""

    slug, title = "assessment-expired", "The assessment has expired"


class InstrumentReplaced(Conflict):
    """The instrument has a newer version, and its scores would not be those of this one."""

    slug, title = "instrument-replaced", "The instrument has a newer version; assign it anew"


constraint_problem("assessment_submitted", AssessmentSubmitted)


async def save_answers(
    db: AsyncSession,
    principal: Principal,
    assessment_id: UUID,
    request: AnswersUpdate,
    version: int,
) -> AssessmentSaved | Conflict:
    """Store answers; the rest stays. A safety concern opens its alert with the answer.

    An answer that is sent again unchanged is no new hit, and the look at the others is recorded
    as one. AssessmentSubmitted, AssessmentExpired
    and InstrumentReplaced are returned, not raised: what a person says too late is not stored,
    but the alert that it opens must stay, and the refusal brings the crisis card. Raises
    NotFound, PreconditionFailed, or Invalid with a pointer to each answer that is refused.
    """
    assessment = await get_assessment(db, principal, assessment_id, lock=True)
    if assessment.version != version:
        raise PreconditionFailed
    instrument = await _answerable(db, assessment)
    if isinstance(instrument, Conflict):
        return await _hear_too_late(db, principal, assessment, request, instrument)
    _check(principal, instrument, request)

    rows = await rows_of(db, assessment.id)
    before = await opened_rows(db, rows.values())
    given = {change.item_id: change.value for change in request.answers}
    changed = {k: v for k, v in given.items() if not _is_same(before.get(k), v)}
    if changed:
        await _store(db, assessment, rows, changed)
        await _record(db, assessment, Permission.ASSESSMENT_ANSWER, "assessment.answered")
    else:
        await _record_look(db, assessment)
    raised = await judge_answers(db, assessment, instrument, {**before, **given}, given)
    await open_alerts(db, assessment, raised, changed)
    return await _saved(db, principal, assessment, given, needs_help=any(raised.values()))


async def submit(db: AsyncSession, principal: Principal, assessment_id: UUID) -> AssessmentSaved:
    """End an assessment: it is scored and compared with earlier ones, and never changes again.

    Blank items are borne as the instrument says; a blank safety item opens an alert, so that
    somebody asks. Raises NotFound, AssessmentSubmitted, AssessmentExpired or InstrumentReplaced.
    """
    assessment = await get_assessment(db, principal, assessment_id, lock=True)
    instrument = await _answerable(db, assessment)
    if isinstance(instrument, Conflict):
        raise instrument
    rows = await rows_of(db, assessment.id)
    answers = await opened_rows(db, rows.values())
    earlier = await earlier_than(db, assessment, instrument)

    now = clock.now()
    assessment.state = AssessmentState.SUBMITTED
    assessment.submitted_at = assessment.updated_at = now
    assessment.submitted_by = principal.account_id
    await db.flush()
    raised = await _score(db, assessment, instrument, answers, earlier)
    await _record(db, assessment, Permission.ASSESSMENT_ANSWER, "assessment.submitted")
    await open_alerts_once(db, assessment, raised)
    is_unsafe = any(flag.kind is FlagKind.SAFETY for flag in raised)
    return await _saved(db, principal, assessment, (), needs_help=is_unsafe)


async def _hear_too_late(
    db: AsyncSession,
    principal: Principal,
    assessment: Assessment,
    request: AnswersUpdate,
    refusal: Conflict,
) -> Conflict:
    """Judge what is said to a form that takes no answers, by the definition of today.

    Nothing is stored. Whatever else is wrong with the request does not hide what it says.
    """
    instrument = await instruments.find_instrument(db, assessment.instrument_key)
    if instrument is None:
        return refusal
    rows = await rows_of(db, assessment.id)
    before = offered(instrument, await opened_rows(db, rows.values()))
    given = {
        each.item_id: each.value
        for each in request.answers
        if _refusal(principal, instrument, set(), each.item_id, each.value) is None
    }
    raised = await judge_answers(db, assessment, instrument, {**before, **given}, given)
    changed = [k for k, v in given.items() if not _is_same(before.get(k), v)]
    await open_alerts(db, assessment, raised, changed)
    if not any(raised.values()):
        return refusal
    card = [each.model_dump(mode="json") for each in await crisis_resources(db)]
    return type(refusal)(crisis_resources=card)


async def _answerable(db: AsyncSession, assessment: Assessment) -> Instrument | Conflict:
    """The definition of an assessment that is still open, or why it takes no answers."""
    match present_state(assessment.state, assessment.expires_at, clock.now()):
        case AssessmentState.SUBMITTED:
            return AssessmentSubmitted()
        case AssessmentState.EXPIRED:
            return AssessmentExpired()
        case AssessmentState.ASSIGNED | AssessmentState.IN_PROGRESS:
            instrument = await instruments.find_instrument(
                db, assessment.instrument_key, assessment.instrument_version
            )
            return instrument or InstrumentReplaced()


def _check(principal: Principal, instrument: Instrument, request: AnswersUpdate) -> None:
    """Refuse what does not belong to its item, with a pointer and never the answer itself."""
    errors: list[FieldError] = []
    seen: set[str] = set()
    for place, change in enumerate(request.answers):
        code = _refusal(principal, instrument, seen, change.item_id, change.value)
        if code is not None:
            field = "item_id" if code in _ABOUT_THE_ITEM else "value"
            errors.append(FieldError(f"/answers/{place}/{field}", code, _REFUSALS[code]))
        seen.add(change.item_id)
    if errors:
        raise Invalid(errors=errors)


def _refusal(
    principal: Principal,
    instrument: Instrument,
    seen: set[str],
    item_id: str,
    value: AnswerValue | None,
) -> str | None:
    if item_id in seen:
        return "repeated"
    informant = informant_of(instrument, item_id)
    if informant not in {None, Informant.SELF} and not principal.is_staff:
        return "answered_by_staff"
    return check_answer(instrument, item_id, value)


def _is_same(before: AnswerValue | None, now: AnswerValue | None) -> bool:
    # `True == 1`, so the types are compared too.
    return type(before) is type(now) and before == now


async def _store(
    db: AsyncSession,
    assessment: Assessment,
    rows: Mapping[str, Answer],
    changed: Mapping[str, AnswerValue | None],
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
        row.answered_at = now
    assessment.state = AssessmentState.IN_PROGRESS
    assessment.updated_at = now
    await db.flush()


async def _score(
    db: AsyncSession,
    assessment: Assessment,
    instrument: Instrument,
    answers: Answers,
    earlier: Earlier,
) -> Sequence[Flag]:
    """Keep every score with the version that made it, and say what it asks people to look at."""
    computed = score(instrument, answers)
    moved = _moved(instrument, earlier, computed)
    for each in computed:
        change = moved.get(each.id)
        db.add(
            Score(
                id=new_id(),
                assessment_id=assessment.id,
                participant_id=assessment.participant_id,
                instrument_key=each.instrument_key,
                instrument_version=each.instrument_version,
                code=each.id,
                value=each.value,
                band=each.band,
                is_prorated=each.is_prorated,
                missing=each.missing,
                change=None if change is None else _written(change),
                scored_at=assessment.submitted_at,
            )
        )
    await db.flush()
    return flags(
        instrument,
        answers,
        computed,
        previous=earlier.previous,
        baseline=earlier.baseline,
        recent=earlier.recent,
    )


def _moved(
    instrument: Instrument, earlier: Earlier, computed: Sequence[ComputedScore]
) -> Mapping[str, Change]:
    if earlier.baseline is None:
        return {}
    found = changes(instrument, earlier.baseline.scores, computed)
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


async def _record(
    db: AsyncSession, assessment: Assessment, permission: Permission, event: str
) -> None:
    await audit.record(
        db,
        AuditAction.UPDATE,
        permission,
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


async def _record_look(db: AsyncSession, assessment: Assessment) -> None:
    await audit.record(
        db,
        AuditAction.READ,
        Permission.ASSESSMENT_READ,
        TABLE,
        assessment.id,
        participant_id=assessment.participant_id,
        version=assessment.version,
    )


async def _saved(
    db: AsyncSession,
    principal: Principal,
    assessment: Assessment,
    given: Collection[str],
    *,
    needs_help: bool,
) -> AssessmentSaved:
    """The assessment as it is now; an app that may not read is shown what it sent, no more."""
    read = await composed(db, principal, columns(assessment))
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
        }
    )
