"""Say when a human should look: as a safety item is answered, and when a form is submitted."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from app.domain.alerts import Tier
from app.domain.instruments import Facts, FlagKind, FlagRule, Instrument, holds, is_asked
from app.domain.instruments.expressions import DeltaIs, Versus, atoms, items_of
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


def flags(  # noqa: PLR0913 - each kind of earlier form has its own part in a rule
    instrument: Instrument,
    answers: Answers,
    scores: Sequence[Score],
    *,
    previous: Administration | None = None,
    baseline: Administration | None = None,
    recent: Sequence[Administration] = (),
) -> list[Flag]:
    """Give every flag that a submitted form raises; `recent` are earlier forms, newest first.

    A blank safety item raises `safety_item_unanswered`, so that a clinician
    asks, unless the form had no reason to ask it. What cannot be known (a change
    without an earlier form) raises nothing. An answer to a question that is no
    longer asked is heard all the same.
    """
    facts = _facts(answers, scores, previous, baseline, recent)
    is_shown = is_asked(instrument, answers)
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
        if item.safety and answers.get(item.id) is None and is_shown[item.id] is not False
    ]
    return raised + blank


def looks_at_recent_forms(instrument: Instrument) -> bool:
    """Say whether a flag rests on the mean of the last forms, which then must be read."""
    found = (atom for rule in instrument.flags for atom in atoms(rule.when))
    return any(isinstance(atom, DeltaIs) and atom.vs is Versus.RECENT_MEAN for atom in found)


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
    recent: Sequence[Administration] = (),
) -> Facts:
    return Facts(
        answers=answers,
        displayed={each.id: each.value for each in scores},
        exact={each.id: each.exact for each in scores},
        previous=None if previous is None else _past(previous),
        baseline=None if baseline is None else _past(baseline),
        recent=tuple(map(_past, recent)),
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
