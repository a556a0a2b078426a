"""Compute scores: a pure function of a definition and the answers.

A score that cannot be computed is None, never 0; a prorated one says so
(clinical reference, section 1.1).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal
from fractions import Fraction
from typing import assert_never

from app.domain.instruments import (
    Instrument,
    Method,
    MissingPolicy,
    Number,
    Rounding,
    ScoreRule,
)
from app.domain.scoring.answers import Answers, check_answer


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


def score(instrument: Instrument, answers: Answers) -> list[Score]:
    """Compute every score that the definition names, in its order.

    Answers are expected to have passed `check_answer`; ValueError says that
    one had not.
    """
    for item_id, value in answers.items():
        if check_answer(instrument, item_id, value) is not None:
            raise ValueError("an answer does not belong to this instrument")
    return [_score(instrument, rule, answers) for rule in instrument.scores]


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
