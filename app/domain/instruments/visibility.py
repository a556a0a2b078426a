"""Which questions are asked, by the answers that are there.

No comparison with a question that was not asked holds. What cannot be said
yet, because an answer is still missing, is unknown.
"""

from collections.abc import Mapping

from app.domain.instruments.definitions import Instrument, Item
from app.domain.instruments.expressions import AnswerValue, Facts, holds, items_of


def is_asked(
    instrument: Instrument, answers: Mapping[str, AnswerValue | None]
) -> Mapping[str, bool | None]:
    """Say of each item whether it is asked: true, false, or unknown until more is answered."""
    known = {item.id: True for item in instrument.items if item.visible_when is None}
    judged: dict[str, bool | None] = dict(known)
    waiting = [item for item in instrument.items if item.id not in known]
    while waiting:
        names = {item.id for item in waiting}
        ready = [item for item in waiting if names.isdisjoint(_parents(item))]
        if not ready:
            # Conditions that rest on each other do not load; here they say nothing.
            return {**judged, **dict.fromkeys(names)}
        hidden = frozenset(name for name, outcome in judged.items() if outcome is False)
        for item in ready:
            judged[item.id] = _condition(item, Facts(answers, hidden=hidden))
        waiting = [item for item in waiting if item.id not in judged]
    return judged


def _parents(item: Item) -> frozenset[str]:
    return frozenset() if item.visible_when is None else items_of(item.visible_when)


def _condition(item: Item, facts: Facts) -> bool | None:
    return True if item.visible_when is None else holds(item.visible_when, facts)


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
