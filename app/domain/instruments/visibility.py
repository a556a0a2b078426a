"""Which questions are asked, by the answers that are there.

No comparison with a question that was not asked holds. What cannot be said
yet, because an answer is still missing, is unknown.
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
        hidden = frozenset(p.id for p in named if p is not None and self.judge(p) is False)
        return holds(expression, Facts(self.answers, hidden=hidden))


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
