"""Which questions are asked, by the answers that are there.

A question whose condition rests on one that was not asked is not asked either.
What cannot be said yet, because an answer is still missing, is unknown.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from app.domain.instruments.definitions import Instrument, Item
from app.domain.instruments.expressions import AnswerValue, Expression, Facts, holds, items_of


@dataclass(slots=True)
class _Walk:
    """One pass over the conditions of a form, each judged once and after those it rests on."""

    instrument: Instrument
    answers: Mapping[str, AnswerValue | None]
    asked: dict[str, bool | None] = field(default_factory=dict)

    def judge(self, item: Item) -> bool | None:
        if item.id not in self.asked:
            self.asked[item.id] = (
                True if item.visible_when is None else self._condition(item.visible_when)
            )
        return self.asked[item.id]

    def _condition(self, expression: Expression) -> bool | None:
        named = [self.instrument.item(name) for name in sorted(items_of(expression))]
        parents = [parent for parent in named if parent is not None]
        shown = {p.id: None if self.judge(p) is False else self.answers.get(p.id) for p in parents}
        outcome = holds(expression, Facts(shown))
        awaited = any(shown[p.id] is None and self.judge(p) is not False for p in parents)
        return False if outcome is None and not awaited else outcome


def is_asked(
    instrument: Instrument, answers: Mapping[str, AnswerValue | None]
) -> Mapping[str, bool | None]:
    """Say of each item whether it is asked: true, false, or unknown until more is answered."""
    walk = _Walk(instrument, answers)
    return {item.id: walk.judge(item) for item in instrument.items}


def asked(
    instrument: Instrument, answers: Mapping[str, AnswerValue | None]
) -> dict[str, AnswerValue | None]:
    """Give the answers to what is asked; what a changed answer has hidden is left out."""
    outcomes = is_asked(instrument, answers)
    return {
        item_id: value
        for item_id, value in answers.items()
        if outcomes.get(item_id, True) is not False
    }
