"""Conditions: names that exist, comparisons that can hold, branches that can be reached."""

from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from itertools import product
from typing import Final

from app.domain.instruments.definitions import FlagKind, FlagRule, Instrument, Item, ItemType
from app.domain.instruments.expressions import (
    Answered,
    AnswerValue,
    AtLeast,
    Atom,
    DeltaIs,
    Expression,
    Facts,
    ItemIn,
    ItemIs,
    Operator,
    ScoreIs,
    atoms,
    holds,
    items_of,
)
from app.domain.instruments.faults import Fault
from app.domain.instruments.visibility import is_asked

_MOST_TRIED: Final = 512
"""How many fillings of a form are tried; a condition that needs more is taken to be reachable."""


def condition_faults(
    instrument: Instrument, expression: Expression, place: str, *, scores: frozenset[str]
) -> Iterator[Fault]:
    """Give the names that an expression uses in vain; `scores` are those known at its time."""
    items = {item.id for item in instrument.items}
    for atom in atoms(expression):
        reason = _atom_fault(atom, items, scores)
        if reason is not None:
            yield Fault(place, reason)
    yield from _counts(expression, place)


def _atom_fault(atom: Atom, items: set[str], scores: frozenset[str]) -> str | None:
    match atom:
        case ItemIs(item) | ItemIn(item) | Answered(item) if item not in items:
            return "unknown_item"
        case ItemIs(_, op, value) if op.is_ordering and isinstance(value, bool | str):
            return "ordering_needs_a_number"
        case ScoreIs(score) if score not in scores:
            return "unknown_score"
        case DeltaIs(delta) if delta not in items | scores:
            return "unknown_item_or_score"
        case _:
            return None


def _counts(expression: Expression, place: str) -> Iterator[Fault]:
    if isinstance(expression, AtLeast) and expression.at_least > len(expression.of):
        yield Fault(place, "more_than_there_are")


def flag_faults(instrument: Instrument, flag: FlagRule, place: str) -> Iterator[Fault]:
    """Give what is wrong with a flag: above all, a safety rule that would fire too late."""
    where = f"{place}/when"
    scores = frozenset(rule.id for rule in instrument.scores)
    faults = list(condition_faults(instrument, flag.when, where, scores=scores))
    if flag.kind is FlagKind.SAFETY:
        faults += _safety_faults(instrument, flag, where)
    yield from faults
    if not faults and not is_reachable(instrument, flag.when):
        yield Fault(where, "flag_is_never_raised")


def _safety_faults(instrument: Instrument, flag: FlagRule, where: str) -> Iterator[Fault]:
    # A safety rule is judged as each item is answered, so it may not wait for a total.
    for name in sorted(items_of(flag.when)):
        item = instrument.item(name)
        if item is not None and not item.safety:
            yield Fault(where, "safety_flag_needs_safety_items")
    if any(
        isinstance(atom, ScoreIs) or (isinstance(atom, DeltaIs) and not instrument.item(atom.delta))
        for atom in atoms(flag.when)
    ):
        yield Fault(where, "safety_flag_waits_for_a_score")


def cycles(instrument: Instrument) -> Iterator[Fault]:
    """Find the items whose being asked rests, in the end, on themselves."""
    parents = {
        item.id: items_of(item.visible_when) if item.visible_when is not None else frozenset()
        for item in instrument.items
    }
    for place, item in enumerate(instrument.items):
        reached: set[str] = set()
        ahead = set(parents[item.id])
        while ahead:
            name = ahead.pop()
            reached.add(name)
            ahead |= parents.get(name, frozenset()) - reached
        if item.id in reached:
            yield Fault(f"/items/{place}/visible_when", "visibility_cycle")


def is_reachable(instrument: Instrument, expression: Expression) -> bool:
    """Say whether some filling of the form makes an expression true.

    Every answer that the expression can tell apart is tried. What rests on a
    score, on an earlier form or on very many items is taken to be reachable.
    """
    if any(not _is_of_this_form(atom) for atom in atoms(expression)):
        return True
    conditions = _conditions(instrument, expression)
    # A name may come from another condition that is refused at its own place.
    items = {name: instrument.item(name) for each in conditions for name in items_of(each)}
    known = sorted((item for item in items.values() if item is not None), key=lambda i: i.id)
    choices = [_telling_answers(instrument, item, conditions) for item in known]
    form = replace(instrument, items=tuple(known))
    names = [item.id for item in known]
    for tried, filling in enumerate(product(*choices)):
        answers = dict(zip(names, filling, strict=True))
        is_shown = is_asked(form, answers)
        hidden = frozenset(name for name in names if is_shown[name] is False)
        if tried == _MOST_TRIED or holds(expression, Facts(answers, hidden=hidden)):
            return True
    return False


def _is_of_this_form(atom: Atom) -> bool:
    match atom:
        case ItemIs(at=earlier) | ItemIn(at=earlier):
            return earlier is None
        case Answered():
            return True
        case ScoreIs() | DeltaIs():
            return False


def _conditions(instrument: Instrument, expression: Expression) -> list[Expression]:
    """The expression, and every condition that decides whether its items are asked."""
    found, ahead, seen = [expression], set(items_of(expression)), set[str]()
    while ahead:
        name = ahead.pop()
        seen.add(name)
        item = instrument.item(name)
        if item is not None and item.visible_when is not None:
            found.append(item.visible_when)
            ahead |= items_of(item.visible_when) - seen
    return found


def _telling_answers(
    instrument: Instrument, item: Item, conditions: list[Expression]
) -> list[AnswerValue | None]:
    """One answer of each kind that the conditions can tell apart, a blank among them."""
    about = [
        replace(atom, item=item.id) if isinstance(atom, ItemIs | ItemIn) else atom
        for condition in conditions
        for atom in atoms(condition)
        if item.id in items_of(atom)
    ]
    kinds: dict[tuple[bool | None, ...], AnswerValue | None] = {}
    for value in (None, *_samples(instrument, item, about)):
        facts = Facts({item.id: value})
        kinds.setdefault(tuple(holds(atom, facts) for atom in about), value)
    # What fulfils most comes first, so that a condition that can hold is seen to at once.
    return [kinds[outcomes] for outcomes in sorted(kinds, key=lambda k: -k.count(True))]


def _samples(instrument: Instrument, item: Item, about: list[Atom]) -> Iterator[AnswerValue]:
    compared = [value for atom in about for value in _compared(atom)]
    match item.type:
        case ItemType.CHOICE:
            yield from (option.value for option in instrument.options(item))
        case ItemType.BOOLEAN:
            yield from (True, False)
        case ItemType.TEXT | ItemType.DATE:
            yield from (value for value in compared if isinstance(value, str))
            yield "\N{REPLACEMENT CHARACTER}"
        case ItemType.INTEGER | ItemType.DECIMAL | ItemType.VAS:
            yield from _numbers(item, compared)


def _numbers(item: Item, compared: list[AnswerValue]) -> Iterator[AnswerValue]:
    if item.numeric is None:
        return
    small = Decimal(1) if item.type is ItemType.INTEGER else Decimal("0.000001")
    ends = [Decimal(item.numeric.min), Decimal(item.numeric.max)]
    near = [Decimal(v) for v in compared if not isinstance(v, str | bool)]
    for value in (*ends, *(v + step for v in near for step in (-small, Decimal(), small))):
        if ends[0] <= value <= ends[1]:
            yield value


def _compared(atom: Atom) -> tuple[AnswerValue, ...]:
    match atom:
        case ItemIs(_, Operator(), value):
            return (value,)
        case ItemIn(_, _, values):
            return values
        case _:
            return ()
