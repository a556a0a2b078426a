"""Read a definition as a whole, and refuse one that contradicts itself.

An operator may load instruments of their own, so a definition is judged before
anyone is asked a question with it: names that do not exist, bands with gaps,
mistyped LOINC codes and safety flags that would fire too late are found here,
each with its place.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from decimal import Decimal
from itertools import pairwise
from types import MappingProxyType
from typing import Final, TypeAlias, assert_never

from pydantic import TypeAdapter, ValidationError

from app.domain.instruments.definitions import (
    FlagKind,
    FlagRule,
    Instrument,
    Item,
    ItemType,
    Method,
    MissingPolicy,
    Rounding,
    ScoreRule,
)
from app.domain.instruments.expressions import (
    Answered,
    DeltaIs,
    Expression,
    ItemIs,
    Number,
    ScoreIs,
    atoms,
    items_of,
)
from app.domain.instruments.loinc import is_loinc

Complaint: TypeAlias = tuple[str, str]
"""A place and a reason."""

LOINC_NOTICE: Final = "This material contains content from LOINC (loinc.org)."
_ADAPTER: Final = TypeAdapter(Instrument)


class InvalidDefinition(ValueError):
    """A definition contradicts itself; `place` is a dotted path, `reason` a stable code."""

    def __init__(self, place: str, reason: str) -> None:
        super().__init__(f"{place}: {reason}")
        self.place = place
        self.reason = reason


def load(raw: Mapping[str, object]) -> Instrument:
    """Read one definition (clinical reference, section 1.1).

    Raises InvalidDefinition for the first thing that is wrong with it.
    """
    try:
        # By way of JSON, because strict reading of JSON still makes tuples of arrays.
        text = json.dumps(raw, default=str)
        instrument = _ADAPTER.validate_json(text, strict=True)
    except ValidationError as refused:
        first = refused.errors(include_url=False, include_input=False)[0]
        raise InvalidDefinition(".".join(map(str, first["loc"])), first["type"]) from None
    for place, reason in _complaints(instrument):
        raise InvalidDefinition(place, reason)
    return replace(
        instrument,
        response_sets=MappingProxyType(dict(instrument.response_sets)),
        loinc_display=MappingProxyType(dict(instrument.loinc_display)),
    )


def dump(instrument: Instrument) -> dict[str, object]:
    """Write a definition as JSON values that `load` reads back to an equal one."""
    plain = replace(
        instrument,
        response_sets=dict(instrument.response_sets),
        loinc_display=dict(instrument.loinc_display),
    )
    written: dict[str, object] = _ADAPTER.dump_python(
        plain, mode="json", by_alias=True, exclude_none=True
    )
    return written


def _complaints(instrument: Instrument) -> Iterator[Complaint]:
    yield from _duplicates(instrument)
    for place, item in enumerate(instrument.items):
        yield from _item(instrument, item, f"items.{place}")
    for place, rule in enumerate(instrument.scores):
        yield from _score(instrument, rule, f"scores.{place}")
    for place, flag in enumerate(instrument.flags):
        yield from _flag(instrument, flag, f"flags.{place}")
    yield from _change(instrument)
    yield from _loinc(instrument)


def _duplicates(instrument: Instrument) -> Iterator[Complaint]:
    # Items and scores share one namespace, because a delta may name either.
    names = [item.id for item in instrument.items] + [rule.id for rule in instrument.scores]
    if len(set(names)) < len(names):
        yield "items", "duplicate_id"
    if len({flag.id for flag in instrument.flags}) < len(instrument.flags):
        yield "flags", "duplicate_id"
    for name, options in instrument.response_sets.items():
        if len({option.value for option in options}) < len(options):
            yield f"response_sets.{name}", "duplicate_value"


def _item(instrument: Instrument, item: Item, place: str) -> Iterator[Complaint]:
    is_choice = item.type is ItemType.CHOICE
    if is_choice and item.set not in instrument.response_sets:
        yield f"{place}.set", "unknown_response_set"
        return
    if not is_choice and item.set is not None:
        yield f"{place}.set", "set_of_a_non_choice_item"
    yield from _numeric(item, place)
    if item.pattern is not None and not _compiles(item.pattern):
        yield f"{place}.pattern", "invalid_pattern"
    if item.visible_when is not None:
        yield from _names(instrument, item.visible_when, f"{place}.visible_when")
        if item.scored:
            yield f"{place}.scored", "hidden_item_scored"
    if item.gate is not None:
        yield from _names(instrument, item.gate.passes_when, f"{place}.gate.passes_when")
    if item.safety and not item.required:
        yield f"{place}.required", "safety_item_optional"


def _numeric(item: Item, place: str) -> Iterator[Complaint]:
    is_number = item.type in {ItemType.INTEGER, ItemType.DECIMAL}
    if is_number and item.numeric is None:
        yield f"{place}.numeric", "range_missing"
    elif not is_number and item.numeric is not None:
        yield f"{place}.numeric", "range_of_a_non_number"
    elif item.numeric is not None and item.numeric.min >= item.numeric.max:
        yield f"{place}.numeric", "empty_range"


def _compiles(pattern: str) -> bool:
    try:
        re.compile(pattern)
    except re.error:
        return False
    return True


def _score(instrument: Instrument, rule: ScoreRule, place: str) -> Iterator[Complaint]:
    bounds: list[tuple[Number, Number]] = []
    if len(set(rule.items)) < len(rule.items):
        yield f"{place}.items", "duplicate_item"
    for item_id in rule.items:
        item = instrument.item(item_id)
        if item is None:
            yield f"{place}.items", "unknown_item"
            return
        limits = instrument.bounds(item)
        if limits is None or not item.scored:
            yield f"{place}.items", "item_is_not_scored"
            return
        bounds.append(limits)
    yield from _method(rule, bounds, place)
    if rule.range != _reachable(rule, bounds):
        yield f"{place}.range", "range_disagrees_with_items"
    yield from _bands(rule, place)


def _method(
    rule: ScoreRule, bounds: Iterable[tuple[Number, Number]], place: str
) -> Iterator[Complaint]:
    if (rule.method is Method.COUNT_AT_LEAST) is (rule.threshold is None):
        yield f"{place}.threshold", "threshold_belongs_to_count_ge"
    missing = rule.missing
    if missing.max >= len(rule.items):
        yield f"{place}.missing.max", "nothing_need_be_answered"
    if missing.policy is MissingPolicy.INVALID and missing.max > 0:
        yield f"{place}.missing.max", "invalid_allows_none"
    if missing.policy is MissingPolicy.PRORATE and rule.method not in {Method.SUM, Method.MEAN}:
        yield f"{place}.missing.policy", "method_cannot_prorate"
    if missing.policy is MissingPolicy.ZERO and any(low > 0 for low, _ in bounds):
        yield f"{place}.missing.policy", "zero_is_no_answer"


def _reachable(rule: ScoreRule, bounds: list[tuple[Number, Number]]) -> tuple[Number, Number]:
    """Work out the least and the greatest score that the items allow."""
    lows, highs = [low for low, _ in bounds], [high for _, high in bounds]
    low: Number
    high: Number
    match rule.method:
        case Method.SUM:
            low, high = sum(lows), sum(highs)
        case Method.MEAN:
            low, high = Decimal(sum(lows)) / len(lows), Decimal(sum(highs)) / len(highs)
        case Method.MAX:
            low, high = max(lows), max(highs)
        case Method.COUNT_AT_LEAST:
            low, high = 0, len(bounds)
        case _:
            assert_never(rule.method)
    return low * rule.multiply, high * rule.multiply


def _bands(rule: ScoreRule, place: str) -> Iterator[Complaint]:
    if not rule.bands:
        return
    # Whole scores step by one; an unrounded score runs on, so its bands touch.
    step = 1 if rule.round is Rounding.HALF_UP else 0
    if rule.bands[0].min != rule.range[0] or rule.bands[-1].max != rule.range[1]:
        yield f"{place}.bands", "bands_do_not_span_the_range"
    for number, band in enumerate(rule.bands):
        if band.min > band.max:
            yield f"{place}.bands.{number}", "empty_band"
    for number, (below, above) in enumerate(pairwise(rule.bands), start=1):
        if above.min > below.max + step:
            yield f"{place}.bands.{number}", "gap_between_bands"
        if above.min < below.max + step:
            yield f"{place}.bands.{number}", "overlapping_bands"


def _flag(instrument: Instrument, flag: FlagRule, place: str) -> Iterator[Complaint]:
    yield from _names(instrument, flag.when, f"{place}.when")
    if flag.kind is FlagKind.SAFETY:
        # A safety rule is judged as each item is answered, so it may not wait for a total.
        for name in sorted(items_of(flag.when)):
            item = instrument.item(name)
            if item is None or not item.safety:
                yield f"{place}.when", "safety_flag_needs_safety_items"
        if any(isinstance(atom, ScoreIs) for atom in atoms(flag.when)):
            yield f"{place}.when", "safety_flag_waits_for_a_score"


def _names(instrument: Instrument, expression: Expression, place: str) -> Iterator[Complaint]:
    items = {item.id for item in instrument.items}
    scores = {rule.id for rule in instrument.scores}
    for atom in atoms(expression):
        match atom:
            case ItemIs(item, op, value):
                if item not in items:
                    yield place, "unknown_item"
                elif op.is_ordering and isinstance(value, bool | str):
                    yield place, "ordering_needs_a_number"
            case Answered(item) if item not in items:
                yield place, "unknown_item"
            case ScoreIs(score) if score not in scores:
                yield place, "unknown_score"
            case DeltaIs(delta) if delta not in items | scores:
                yield place, "unknown_item_or_score"
            case _:
                continue


def _change(instrument: Instrument) -> Iterator[Complaint]:
    change = instrument.change
    if change is None:
        return
    if change.score not in {rule.id for rule in instrument.scores}:
        yield "change.score", "unknown_score"
    figures: dict[str, object] = {
        "reliable": change.reliable,
        "mcid": change.mcid,
        "response": change.response_pct,
        "remission": change.remission,
        "caseness": change.caseness,
    }
    for name, figure in figures.items():
        if figure is not None and name not in change.source:
            yield f"change.{name}", "figure_without_source"


def _loinc(instrument: Instrument) -> Iterator[Complaint]:
    coded = list(_codes(instrument))
    for place, code in coded:
        if not is_loinc(code):
            yield place, "invalid_loinc"
    if coded and not any(n.startswith(LOINC_NOTICE) for n in instrument.license.notices):
        yield "license.notices", "loinc_notice_missing"


def _codes(instrument: Instrument) -> Iterator[Complaint]:
    """Walk every LOINC code with its place."""
    if instrument.loinc is not None:
        yield "loinc", instrument.loinc
    for code in instrument.loinc_display:
        yield f"loinc_display.{code}", code
    for number, item in enumerate(instrument.items):
        if item.loinc is not None:
            yield f"items.{number}.loinc", item.loinc
    for number, rule in enumerate(instrument.scores):
        if rule.loinc is not None:
            yield f"scores.{number}.loinc", rule.loinc
    for name, options in instrument.response_sets.items():
        for number, option in enumerate(options):
            if option.loinc is not None:
                yield f"response_sets.{name}.{number}.loinc", option.loinc
