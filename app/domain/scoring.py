"""Score an instrument, measure change, and say when a human should look.

Scoring is a pure function of the definition's version and the answers. A score
that cannot be computed is None, never 0; a prorated one says so. Sources: the
clinical reference, section 1.1; reliable change after Jacobson and Truax (1991).
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import ROUND_HALF_UP, Decimal
from enum import StrEnum, unique
from fractions import Fraction
from typing import Final, TypeAlias, assert_never

from app.domain.alerts import Tier
from app.domain.instruments import (
    AnswerValue,
    ChangeRule,
    Direction,
    Facts,
    FlagKind,
    FlagRule,
    Instrument,
    Item,
    ItemType,
    Method,
    MissingPolicy,
    Number,
    Rounding,
    ScoreRule,
    holds,
)
from app.domain.instruments.expressions import items_of

Answers: TypeAlias = Mapping[str, AnswerValue | None]
"""Answers by item id. An item that is absent or None is unanswered."""

SAFETY_ITEM_UNANSWERED: Final = "safety_item_unanswered"


@dataclass(frozen=True, slots=True)
class Score:
    """One computed result, with the version that made it.

    `value` is what is displayed and banded, `exact` the unrounded figure that
    changes are measured with. Both are None when too many items were blank.
    """

    id: str
    instrument_key: str
    instrument_version: str
    value: Number | None
    exact: Decimal | None
    is_prorated: bool
    answered: int
    missing: int
    band: str | None
    cutoffs_met: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Administration:
    """An earlier administration, to hold a new one against."""

    answers: Answers
    scores: Sequence[Score]


@dataclass(frozen=True, slots=True)
class Flag:
    """A reason for a human to look. It names items, never answers."""

    id: str
    code: str
    kind: FlagKind
    tier: Tier
    item_ids: tuple[str, ...]
    text: str


def check_answer(  # noqa: PLR0911 - one return for each type of item
    instrument: Instrument, item_id: str, value: AnswerValue | None
) -> str | None:
    """Give the code of what is wrong with one answer, or None.

    None is always accepted: it takes an answer back. The codes are
    `unknown_item`, `wrong_type`, `not_an_option`, `out_of_range`, `too_long`
    and `malformed`; none of them repeats the answer.
    """
    item = instrument.item(item_id)
    if item is None:
        return "unknown_item"
    if value is None:
        return None
    match item.type:
        case ItemType.CHOICE:
            # `True == 1`, so a boolean would pass for an option without the type check.
            offered = any(
                type(option.value) is type(value) and option.value == value
                for option in instrument.options(item)
            )
            return None if offered else "not_an_option"
        case ItemType.INTEGER | ItemType.DECIMAL:
            return _check_number(instrument, item, value)
        case ItemType.BOOLEAN:
            return None if isinstance(value, bool) else "wrong_type"
        case ItemType.TEXT:
            return _check_text(item, value)
        case ItemType.DATE:
            return _check_date(value)
        case _:
            assert_never(item.type)


def unanswered(instrument: Instrument, answers: Answers) -> list[str]:
    """Name the required items that are visible and blank; scoring bears them, a form may ask."""
    facts = Facts(answers)
    return [
        item.id
        for item in instrument.items
        if item.required
        and answers.get(item.id) is None
        and (item.visible_when is None or holds(item.visible_when, facts) is True)
    ]


def score(instrument: Instrument, answers: Answers) -> list[Score]:
    """Compute every score that the definition names, in its order.

    Answers are expected to have passed `check_answer`; ValueError says that
    one had not.
    """
    for item_id, value in answers.items():
        if check_answer(instrument, item_id, value) is not None:
            raise ValueError("an answer does not belong to this instrument")
    return [_score(instrument, rule, answers) for rule in instrument.scores]


def flags(
    instrument: Instrument,
    answers: Answers,
    scores: Sequence[Score],
    *,
    previous: Administration | None = None,
    baseline: Administration | None = None,
) -> list[Flag]:
    """Give every flag that a submitted form raises.

    A blank safety item raises `safety_item_unanswered`, so that a clinician
    asks. What cannot be known (a change without an earlier form) raises
    nothing.
    """
    facts = _facts(answers, scores, previous, baseline)
    raised = [_flag(rule) for rule in instrument.flags if holds(rule.when, facts) is True]
    blank = [
        Flag(
            id=f"{item.id}_unanswered",
            code=SAFETY_ITEM_UNANSWERED,
            kind=FlagKind.DATA_QUALITY,
            tier=Tier.WATCH,
            item_ids=(item.id,),
            text="A safety question was left blank. Ask it in person.",
        )
        for item in instrument.items
        if item.safety and answers.get(item.id) is None
    ]
    return raised + blank


def flags_at_answer(
    instrument: Instrument,
    item_id: str,
    answers: Answers,
    *,
    previous: Administration | None = None,
    baseline: Administration | None = None,
) -> list[Flag]:
    """Give the safety flags that one answer raises, before the form is submitted.

    `answers` holds the new answer and those before it. Only rules that look at
    the answered item are judged, so a saved form does not raise them again.
    """
    facts = _facts(answers, (), previous, baseline)
    return [
        _flag(rule)
        for rule in instrument.flags
        if rule.kind is FlagKind.SAFETY
        and item_id in items_of(rule.when)
        and holds(rule.when, facts) is True
    ]


@unique
class ChangeClass(StrEnum):
    """How a person has fared since baseline (Jacobson and Truax 1991).

    `recovered` is reliable improvement out of the clinical range, and so is
    never said of someone who was outside it at baseline.
    """

    RECOVERED = "recovered"
    IMPROVED = "improved"
    NO_RELIABLE_CHANGE = "no_reliable_change"
    DETERIORATED = "deteriorated"


@dataclass(frozen=True, slots=True)
class Change:
    """The change of one score since baseline; positive `improvement` is for the better.

    `percent`, `is_response`, `is_remission` and `was_case` are None where they
    cannot be said: a baseline of 0 cannot halve, a figure may not be published.
    """

    score_id: str
    baseline: Decimal
    current: Decimal
    improvement: Decimal
    percent: Decimal | None
    klass: ChangeClass
    is_important: bool | None
    is_response: bool | None
    is_remission: bool | None
    was_case: bool | None
    is_case: bool | None
    reliable_points: Number
    sources: Mapping[str, str]


def changes(
    instrument: Instrument, baseline: Sequence[Score], current: Sequence[Score]
) -> list[Change]:
    """Measure change where the definition publishes figures for it.

    A score that is missing on either side yields no change, because unknown is
    not "unchanged".
    """
    rule = instrument.change
    if rule is None:
        return []
    if any(each.instrument_key != instrument.key for each in (*baseline, *current)):
        raise ValueError("scores of different instruments cannot be compared")
    before, now = _exact(baseline, rule.score), _exact(current, rule.score)
    if before is None or now is None:
        return []
    direction = next(each.direction for each in instrument.scores if each.id == rule.score)
    return [_change(rule, direction, before, now)]


def _check_number(instrument: Instrument, item: Item, value: AnswerValue) -> str | None:
    if isinstance(value, bool | str):
        return "wrong_type"
    if item.type is ItemType.INTEGER and not isinstance(value, int):
        return "wrong_type"
    # NaN is a Decimal too, and compares false with every bound.
    if not Decimal(value).is_finite():
        return "wrong_type"
    bounds = instrument.bounds(item)
    if bounds is not None and not bounds[0] <= value <= bounds[1]:
        return "out_of_range"
    return None


def _check_text(item: Item, value: AnswerValue) -> str | None:
    if not isinstance(value, str):
        return "wrong_type"
    if len(value) > item.max_length:
        return "too_long"
    if item.pattern is not None and re.fullmatch(item.pattern, value) is None:
        return "malformed"
    return None


def _check_date(value: AnswerValue) -> str | None:
    if not isinstance(value, str):
        return "wrong_type"
    try:
        parsed = date.fromisoformat(value)
    except ValueError:
        return "malformed"
    return None if parsed.isoformat() == value else "malformed"


def _score(instrument: Instrument, rule: ScoreRule, answers: Answers) -> Score:
    items = [item for item in instrument.items if item.id in rule.items]
    worths = [instrument.worth(item, answers.get(item.id)) for item in items]
    answered = [worth for worth in worths if worth is not None]
    missing = len(worths) - len(answered)
    exact = _exact_value(rule, answered) if missing <= rule.missing.max else None
    value = None if exact is None else _displayed(rule, exact)
    band = None if value is None else rule.band(value)
    return Score(
        id=rule.id,
        instrument_key=instrument.key,
        instrument_version=instrument.version,
        value=value,
        exact=None if exact is None else _decimal(exact),
        is_prorated=exact is not None
        and missing > 0
        and rule.missing.policy is MissingPolicy.PRORATE,
        answered=len(answered),
        missing=missing,
        band=None if band is None else band.code,
        cutoffs_met=tuple(
            cutoff.meaning
            for cutoff in rule.cutoffs
            if value is not None and cutoff.op.compare(value, cutoff.value)
        ),
    )


def _exact_value(rule: ScoreRule, answered: Sequence[Decimal]) -> Fraction:
    """Compute a score without rounding, from the items that were answered."""
    total = sum(map(Fraction, answered), Fraction())
    match rule.method:
        case Method.SUM if rule.missing.policy is MissingPolicy.PRORATE:
            value = total * len(rule.items) / len(answered)
        case Method.SUM:
            value = total
        case Method.MEAN if rule.missing.policy is MissingPolicy.PRORATE:
            value = total / len(answered)
        case Method.MEAN:
            value = total / len(rule.items)
        case Method.MAX:
            value = Fraction(max(answered, default=Decimal()))
        case Method.COUNT_AT_LEAST:
            value = Fraction(sum(worth >= _threshold(rule) for worth in answered))
        case _:
            assert_never(rule.method)
    return value * rule.multiply


def _threshold(rule: ScoreRule) -> Number:
    if rule.threshold is None:
        raise ValueError("a count without a threshold does not load")
    return rule.threshold


def _displayed(rule: ScoreRule, exact: Fraction) -> Number:
    match rule.round:
        case Rounding.HALF_UP:
            return int(_decimal(exact).to_integral_value(ROUND_HALF_UP))
        case Rounding.NONE:
            return _decimal(exact)
        case _:
            assert_never(rule.round)


def _decimal(exact: Fraction) -> Decimal:
    return Decimal(exact.numerator) / Decimal(exact.denominator)


def _facts(
    answers: Answers,
    scores: Sequence[Score],
    previous: Administration | None,
    baseline: Administration | None,
) -> Facts:
    return Facts(
        answers=answers,
        displayed={each.id: each.value for each in scores},
        exact={each.id: each.exact for each in scores},
        previous=None if previous is None else _past(previous),
        baseline=None if baseline is None else _past(baseline),
    )


def _past(administration: Administration) -> Facts:
    return _facts(administration.answers, administration.scores, None, None)


def _flag(rule: FlagRule) -> Flag:
    return Flag(
        id=rule.id,
        code=rule.code,
        kind=rule.kind,
        tier=rule.tier,
        item_ids=tuple(sorted(items_of(rule.when))),
        text=rule.text,
    )


def _exact(scores: Sequence[Score], score_id: str) -> Decimal | None:
    return next((each.exact for each in scores if each.id == score_id), None)


def _change(rule: ChangeRule, direction: Direction, before: Decimal, now: Decimal) -> Change:
    improvement = before - now if direction is Direction.HIGHER_WORSE else now - before
    percent = None if before == 0 else 100 * improvement / abs(before)
    was_case = None if rule.caseness is None else rule.caseness.holds(before)
    is_case = None if rule.caseness is None else rule.caseness.holds(now)
    return Change(
        score_id=rule.score,
        baseline=before,
        current=now,
        improvement=improvement,
        percent=percent,
        klass=_change_class(rule, improvement, was_case=was_case, is_case=is_case),
        is_important=None if rule.mcid is None else improvement >= rule.mcid,
        is_response=None if percent is None else percent >= rule.response_pct,
        is_remission=None if rule.remission is None else rule.remission.holds(now),
        was_case=was_case,
        is_case=is_case,
        reliable_points=rule.reliable,
        sources=rule.source,
    )


def _change_class(
    rule: ChangeRule, improvement: Decimal, *, was_case: bool | None, is_case: bool | None
) -> ChangeClass:
    if improvement <= -rule.reliable:
        return ChangeClass.DETERIORATED
    if improvement < rule.reliable:
        return ChangeClass.NO_RELIABLE_CHANGE
    if was_case is True and is_case is False:
        return ChangeClass.RECOVERED
    return ChangeClass.IMPROVED
