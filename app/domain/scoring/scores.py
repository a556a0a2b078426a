"""Compute scores: a pure function of a definition and the answers.

A score that cannot be computed is None, never 0; a prorated one says so
(clinical reference, section 1.1).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal
from fractions import Fraction
from types import MappingProxyType
from typing import Final, TypeAlias, assert_never

from app.domain.instruments import (
    Facts,
    Instrument,
    Item,
    Method,
    MissingPolicy,
    Number,
    Rounding,
    ScoreRule,
    asked,
    holds,
    is_asked,
)
from app.domain.scoring.answers import Answers, check_answer

Attributes: TypeAlias = Mapping[str, str]
"""Facts about a person, by name, such as `sex_at_birth`: only what is known."""


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


NOBODY_KNOWS: Final[Attributes] = MappingProxyType({})


def score(
    instrument: Instrument, answers: Answers, attributes: Attributes = NOBODY_KNOWS
) -> list[Score]:
    """Compute every score that the definition names, in its order.

    `attributes` are facts about the person on which a reading may depend; what
    is absent is read as unknown. Answers are expected to have passed
    `check_answer`; ValueError says that one had not.
    """
    for item_id, value in answers.items():
        if check_answer(instrument, item_id, value) is not None:
            raise ValueError("an answer does not belong to this instrument")
    form = _Form(instrument, asked(instrument, answers), is_asked(instrument, answers))
    computed: list[Score] = []
    for rule in instrument.scores:
        computed.append(_score(form, rule, computed, attributes))
    return computed


@dataclass(frozen=True, slots=True)
class _Form:
    """A filled-in form: the answers to what was asked, and what was not asked."""

    instrument: Instrument
    answers: Answers
    is_shown: Mapping[str, bool | None]

    def worths(self, rule: ScoreRule) -> dict[str, Decimal]:
        """What each item of a score counts as, the blank ones left out."""
        found: dict[str, Decimal] = {}
        for item in self.instrument.items:
            if item.id in rule.items and (worth := self._worth(item)) is not None:
                found[item.id] = worth
        return found

    def counts(self, rule: ScoreRule) -> tuple[int, int]:
        """How many items of a score are answered, and how many of those asked are not."""
        asked_for = [name for name in rule.items if self.is_shown[name] is not False]
        answered = [name for name in asked_for if self.answers.get(name) is not None]
        return len(answered), len(asked_for) - len(answered)

    def _worth(self, item: Item) -> Decimal | None:
        if self.is_shown[item.id] is False:
            return None if item.hidden_worth is None else Decimal(item.hidden_worth)
        return self.instrument.worth(item, self.answers.get(item.id))


def _score(form: _Form, rule: ScoreRule, before: Sequence[Score], attributes: Attributes) -> Score:
    if rule.method is Method.ALGORITHM:
        answered, missing = form.counts(rule)
        exact = _decided(form, rule, before)
    else:
        worths = form.worths(rule)
        counted = [name for name in rule.items if name in worths or name not in rule.optional]
        answered, missing = len(worths), len(counted) - len(worths)
        is_known = answered > 0 and missing <= rule.missing.max
        exact = _exact_value(rule, counted, worths) if is_known else None
    value = None if exact is None else _displayed(rule, exact)
    reading = rule.reading(attributes)
    band = None if value is None else reading.band(value)
    return Score(
        id=rule.id,
        instrument_key=form.instrument.key,
        instrument_version=form.instrument.version,
        value=value,
        exact=None if exact is None else _decimal(exact),
        is_prorated=exact is not None
        and missing > 0
        and rule.missing.policy is MissingPolicy.PRORATE,
        answered=answered,
        missing=missing,
        band=None if band is None else band.code,
        cutoffs_met=tuple(
            cutoff.meaning
            for cutoff in reading.cutoffs
            if value is not None and cutoff.op.compare(value, cutoff.value)
        ),
    )


def _decided(form: _Form, rule: ScoreRule, before: Sequence[Score]) -> Fraction | None:
    """Take the first case that holds; one that nobody can judge ends the search."""
    facts = Facts(
        form.answers,
        displayed={each.id: each.value for each in before},
        hidden=frozenset(name for name, is_shown in form.is_shown.items() if is_shown is False),
    )
    for case in rule.cases:
        outcome = holds(case.when, facts)
        if outcome is None:
            return None
        if outcome:
            return Fraction(case.value)
    return None if rule.otherwise is None else Fraction(rule.otherwise)


def _exact_value(
    rule: ScoreRule, counted: Sequence[str], answered: Mapping[str, Decimal]
) -> Fraction:
    """Compute a score without rounding, from the items that were answered."""
    raw = _raw_value(rule, counted, answered)
    if rule.method is Method.LOOKUP:
        raw = Fraction(dict(rule.table)[_half_up(raw)])
    return raw * Fraction(rule.multiply) + Fraction(rule.add)


def _raw_value(
    rule: ScoreRule, counted: Sequence[str], answered: Mapping[str, Decimal]
) -> Fraction:
    worths = [Fraction(worth) for worth in answered.values()]
    total = sum(worths, Fraction())
    prorates = rule.missing.policy is MissingPolicy.PRORATE
    match rule.method:
        case Method.SUM | Method.LOOKUP:
            return total * len(counted) / len(worths) if prorates else total
        case Method.MEAN:
            return total / len(worths if prorates else counted)
        case Method.WEIGHTED:
            return _weighted(rule, answered, prorates=prorates)
        case Method.MAX:
            return max(worths)
        case Method.COUNT_AT_LEAST:
            return Fraction(sum(worth >= _threshold(rule) for worth in worths))
        case Method.ALGORITHM:
            raise ValueError("an algorithm is decided, not computed")
        case _:
            assert_never(rule.method)


def _weighted(rule: ScoreRule, answered: Mapping[str, Decimal], *, prorates: bool) -> Fraction:
    weights = {name: Fraction(weight) for name, weight in rule.weights.items()}
    total = sum((weights[name] * Fraction(worth) for name, worth in answered.items()), Fraction())
    if not prorates:
        return total
    known = sum((weights[name] for name in answered), Fraction())
    return total * sum(weights.values(), Fraction()) / known


def _threshold(rule: ScoreRule) -> Number:
    if rule.threshold is None:
        raise ValueError("a count without a threshold does not load")
    return rule.threshold


def _displayed(rule: ScoreRule, exact: Fraction) -> Number:
    match rule.round:
        case Rounding.HALF_UP:
            return _half_up(exact)
        case Rounding.NONE:
            return _decimal(exact)
        case _:
            assert_never(rule.round)


def _half_up(exact: Fraction) -> int:
    return int(_decimal(exact).to_integral_value(ROUND_HALF_UP))


def _decimal(exact: Fraction) -> Decimal:
    return Decimal(exact.numerator) / Decimal(exact.denominator)
