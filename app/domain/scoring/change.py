"""Measure change by published figures.

Response, remission and caseness are the instrument's; the classes follow
Jacobson and Truax (1991). Unrounded scores are compared.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum, unique

from app.domain.instruments import ChangeRule, Direction, Instrument, Number
from app.domain.scoring.scores import Score


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
