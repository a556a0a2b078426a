"""One question: its type, its range, when it is asked and what it is worth."""

from collections.abc import Iterator
from typing import Final

from app.domain.instruments.checks.conditions import condition_faults, is_reachable
from app.domain.instruments.definitions import Instrument, Item, ItemType
from app.domain.instruments.expressions import Answered, ItemIn, ItemIs, atoms
from app.domain.instruments.faults import Fault
from app.domain.instruments.patterns import is_pattern

_NUMBERS: Final = frozenset({ItemType.INTEGER, ItemType.DECIMAL, ItemType.VAS})


def item_faults(instrument: Instrument, item: Item, place: str) -> Iterator[Fault]:
    """Give what is wrong with an item."""
    is_choice = item.type is ItemType.CHOICE
    if is_choice and item.set not in instrument.response_sets:
        yield Fault(f"{place}/set", "unknown_response_set")
        return
    if not is_choice and item.set is not None:
        yield Fault(f"{place}/set", "set_of_a_non_choice_item")
    yield from _numeric(item, place)
    if item.pattern is not None and not is_pattern(item.pattern):
        yield Fault(f"{place}/pattern", "invalid_pattern")
    if item.reverse and instrument.bounds(item) is None:
        yield Fault(f"{place}/reverse", "reverse_without_range")
    if item.safety and not item.required:
        yield Fault(f"{place}/required", "safety_item_optional")
    yield from _visibility(instrument, item, place)
    if item.gate is not None:
        yield from condition_faults(
            instrument, item.gate.passes_when, f"{place}/gate/passes_when", scores=frozenset()
        )


def _visibility(instrument: Instrument, item: Item, place: str) -> Iterator[Fault]:
    if item.visible_when is None:
        if item.hidden_worth is not None:
            yield Fault(f"{place}/hidden_worth", "item_is_never_hidden")
        return
    where = f"{place}/visible_when"
    faults = list(condition_faults(instrument, item.visible_when, where, scores=frozenset()))
    yield from faults
    for atom in atoms(item.visible_when):
        # A form is filled in now: neither a score nor an earlier form decides what it asks.
        is_answer = isinstance(atom, ItemIs | ItemIn) and atom.at is None
        if not is_answer and not isinstance(atom, Answered):
            faults.append(Fault(where, "visibility_needs_answers"))
            yield faults[-1]
    is_scored = any(item.id in rule.items for rule in instrument.scores if not rule.cases)
    if is_scored and item.hidden_worth is None:
        yield Fault(f"{place}/hidden_worth", "hidden_item_scored")
    if not faults and not is_reachable(instrument, item.visible_when):
        yield Fault(where, "unreachable_branch")


def _numeric(item: Item, place: str) -> Iterator[Fault]:
    is_number = item.type in _NUMBERS
    if is_number and item.numeric is None:
        yield Fault(f"{place}/numeric", "range_missing")
    elif not is_number and item.numeric is not None:
        yield Fault(f"{place}/numeric", "range_of_a_non_number")
    elif item.numeric is not None and item.numeric.min >= item.numeric.max:
        yield Fault(f"{place}/numeric", "empty_range")
