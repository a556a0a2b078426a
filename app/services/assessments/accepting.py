"""What a form takes: when, from whom, in which version; and the problem for everything else."""

from collections.abc import Collection
from typing import Final

from sqlalchemy.ext.asyncio import AsyncSession

from app.core import clock
from app.core.problems import Conflict, FieldError, Invalid, constraint_problem
from app.domain.instruments import Instrument, is_asked
from app.domain.instruments.definitions import Informant
from app.domain.scoring import Answers, AnswerValue, check_answer
from app.models.assessments import Assessment, AssessmentState, EntryMode
from app.schemas.assessments import AnswersUpdate
from app.security.principal import Principal
from app.services import instruments
from app.services.assessments.reading import informant_of, present_state

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
    """The assessment was submitted; it never changes, but it can be corrected."""

    slug, title = "assessment-submitted", "The assessment was submitted already"


class AssessmentExpired(Conflict):
    """The time in which the assessment could be answered has passed."""

    slug, title = "assessment-expired", "The assessment has expired"


class AssessmentNotOpen(Conflict):
    """The time in which the assessment can be answered has not begun; `opens_at` says when."""

    slug, title = "assessment-not-open", "The assessment is not open yet"


class InstrumentReplaced(Conflict):
    """The instrument has a newer version, and its scores would not be those of this one."""

    slug, title = "instrument-replaced", "The instrument has a newer version; assign it anew"


class InstrumentVersionDiffers(Conflict):
    """The answers are for another version than the assessment was given in."""

    slug, title = "instrument-version-differs", "The answers are for another version of the form"


class ItemNotAsked(Conflict):
    """What was answered so far hides an item that is answered; `item_ids` names each."""

    slug, title = "item-not-asked", "The form does not ask this item"


constraint_problem("assessment_submitted", AssessmentSubmitted)


async def form_of(db: AsyncSession, assessment: Assessment) -> Instrument | Conflict:
    """The definition of an assessment that is open now, or why it takes no answers."""
    now = clock.now()
    match present_state(assessment.state, assessment.expires_at, now):
        case AssessmentState.SUBMITTED:
            return AssessmentSubmitted()
        case AssessmentState.EXPIRED:
            return AssessmentExpired()
        case AssessmentState.ASSIGNED | AssessmentState.IN_PROGRESS:
            if assessment.opens_at is not None and now < assessment.opens_at:
                return AssessmentNotOpen(opens_at=assessment.opens_at)
            return await definition_of(db, assessment)


async def definition_of(db: AsyncSession, assessment: Assessment) -> Instrument | Conflict:
    """The definition in the version that the assessment was given in."""
    instrument = await instruments.find_instrument(
        db, assessment.instrument_key, assessment.instrument_version
    )
    return instrument or InstrumentReplaced()


def check_version(instrument: Instrument, request: AnswersUpdate) -> Conflict | None:
    """Say what is wrong with the version that the person was shown, if the request names one."""
    if request.instrument_version in {None, instrument.version}:
        return None
    return InstrumentVersionDiffers(instrument_version=instrument.version)


def check_asked(
    instrument: Instrument, answers: Answers, given: Collection[str]
) -> Conflict | None:
    """Say which of the given answers are to items that the answers, all together, hide.

    An item of which nobody can say yet whether it is asked is taken: an app that was offline
    sends what it has in any order. Taking an answer back is never refused.
    """
    is_shown = is_asked(instrument, answers)
    hidden = [
        item_id
        for item_id in sorted(given)
        if answers[item_id] is not None and is_shown[item_id] is False
    ]
    return ItemNotAsked(item_ids=hidden) if hidden else None


def check_answers(principal: Principal, instrument: Instrument, request: AnswersUpdate) -> None:
    """Refuse what does not belong to its item, with a pointer and never the answer itself."""
    errors: list[FieldError] = []
    seen: set[str] = set()
    for place, change in enumerate(request.answers):
        code = refusal(principal, instrument, seen, change.item_id, change.value)
        if code is not None:
            field = "item_id" if code in _ABOUT_THE_ITEM else "value"
            errors.append(FieldError(f"/answers/{place}/{field}", code, _REFUSALS[code]))
        seen.add(change.item_id)
    if not _may_enter_as(principal, request.entered_as):
        errors.append(FieldError("/entered_as", "not_yours", "You cannot enter answers so."))
    if errors:
        raise Invalid(errors=errors)


def refusal(
    principal: Principal,
    instrument: Instrument,
    seen: Collection[str],
    item_id: str,
    value: AnswerValue | None,
) -> str | None:
    """The code of what is wrong with one answer, or None."""
    if item_id in seen:
        return "repeated"
    informant = informant_of(instrument, item_id)
    if informant not in {None, Informant.SELF} and not principal.is_staff:
        return "answered_by_staff"
    return check_answer(instrument, item_id, value)


def entry_mode(principal: Principal, request: AnswersUpdate) -> EntryMode:
    """How the answers came in: what staff enter is never taken for the person's own entry."""
    return request.entered_as or (EntryMode.INTERVIEW if principal.is_staff else EntryMode.SELF)


def is_same(before: AnswerValue | None, now: AnswerValue | None) -> bool:
    """Say whether an answer is the one that is there."""
    # `True == 1`, so the types are compared too.
    return type(before) is type(now) and before == now


def _may_enter_as(principal: Principal, mode: EntryMode | None) -> bool:
    return mode is None or (mode is EntryMode.SELF) is not principal.is_staff
