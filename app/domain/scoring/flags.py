"""Say when a human should look: as a safety item is answered, and when a form is submitted."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from app.domain.alerts import Tier
from app.domain.instruments import Facts, FlagKind, FlagRule, Instrument, holds
from app.domain.instruments.expressions import items_of
from app.domain.scoring.answers import Answers
from app.domain.scoring.scores import Administration, Score

SAFETY_ITEM_UNANSWERED: Final = "safety_item_unanswered"


@dataclass(frozen=True, slots=True)
class Flag:
    """A reason for a human to look. It names items, never answers."""

    id: str
    code: str
    kind: FlagKind
    tier: Tier
    item_ids: tuple[str, ...]
    text: str


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
