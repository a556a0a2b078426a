"""Scores: what they are made of, the range they can reach, and how they are read."""

from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from itertools import pairwise
from typing import TypeAlias, assert_never

from app.domain.instruments.checks.conditions import condition_faults, is_reachable
from app.domain.instruments.definitions import Instrument
from app.domain.instruments.expressions import Number, items_of
from app.domain.instruments.faults import Fault
from app.domain.instruments.measures import (
    UNKNOWN,
    Band,
    Method,
    MissingPolicy,
    MissingRule,
    Rounding,
    ScoreRule,
)

Bounds: TypeAlias = Mapping[str, tuple[Number, Number]]
_PRORATING = frozenset({Method.SUM, Method.MEAN, Method.WEIGHTED, Method.LOOKUP})
_OPTIONAL = frozenset({Method.SUM, Method.MEAN, Method.COUNT_AT_LEAST})


def score_faults(instrument: Instrument, rule: ScoreRule, place: str) -> Iterator[Fault]:
    """Give what is wrong with a score."""
    yield from _names(instrument, rule, place)
    yield from _parameters(rule, place)
    yield from _readings(rule, place)
    if rule.method is Method.ALGORITHM:
        yield from _algorithm(instrument, rule, place)
        return
    bounds = _bounds(instrument, rule)
    if isinstance(bounds, int):
        yield Fault(f"{place}/items/{bounds}", "item_is_not_scored")
        return
    yield from _missing(rule, bounds, place)
    if rule.method is Method.LOOKUP:
        yield from _lookup(rule, bounds, place)
    elif bounds and rule.range != reachable(rule, bounds):
        yield Fault(f"{place}/range", "range_disagrees_with_items")


def _names(instrument: Instrument, rule: ScoreRule, place: str) -> Iterator[Fault]:
    seen: set[str] = set()
    for number, item_id in enumerate(rule.items):
        if item_id in seen:
            yield Fault(f"{place}/items/{number}", "duplicate_item")
        elif instrument.item(item_id) is None:
            yield Fault(f"{place}/items/{number}", "unknown_item")
        seen.add(item_id)
    for number, item_id in enumerate(rule.optional):
        if item_id not in seen:
            yield Fault(f"{place}/optional/{number}", "unknown_item")


def _bounds(instrument: Instrument, rule: ScoreRule) -> Bounds | int:
    """The least and the greatest worth of each item; or the place of one that has none."""
    bounds: dict[str, tuple[Number, Number]] = {}
    for place, item_id in enumerate(rule.items):
        item = instrument.item(item_id)
        if item is None:
            continue
        limits = instrument.bounds(item)
        if limits is None or not item.scored:
            return place
        hidden = () if item.hidden_worth is None else (item.hidden_worth,)
        bounds[item_id] = (min(*limits, *hidden), max(*limits, *hidden))
    return bounds


def _parameters(rule: ScoreRule, place: str) -> Iterator[Fault]:
    """Each method has parameters of its own, and no other takes them."""
    belongs = {
        "threshold": (rule.threshold is not None, Method.COUNT_AT_LEAST),
        "weights": (bool(rule.weights), Method.WEIGHTED),
        "table": (bool(rule.table), Method.LOOKUP),
        "cases": (bool(rule.cases), Method.ALGORITHM),
    }
    for name, (is_given, method) in belongs.items():
        if is_given is not (rule.method is method):
            yield Fault(f"{place}/{name}", f"{name}_belongs_to_{method.value}")
    if rule.weights and set(rule.weights) != set(rule.items):
        yield Fault(f"{place}/weights", "weights_disagree_with_items")
    if rule.otherwise is not None and rule.method is not Method.ALGORITHM:
        yield Fault(f"{place}/otherwise", "otherwise_belongs_to_algorithm")
    if rule.optional and rule.method not in _OPTIONAL:
        yield Fault(f"{place}/optional", "method_needs_every_item")


def _missing(rule: ScoreRule, bounds: Bounds, place: str) -> Iterator[Fault]:
    missing = rule.missing
    where = f"{place}/missing"
    if missing.max >= len(rule.items) - len(rule.optional):
        yield Fault(f"{where}/max", "nothing_need_be_answered")
    if missing.policy is MissingPolicy.INVALID and missing.max > 0:
        yield Fault(f"{where}/max", "invalid_allows_none")
    if missing.policy is MissingPolicy.PRORATE:
        if rule.method not in _PRORATING:
            yield Fault(f"{where}/policy", "method_cannot_prorate")
        if any(weight <= 0 for weight in rule.weights.values()):
            yield Fault(f"{where}/policy", "weights_cannot_prorate")
    if missing.policy is MissingPolicy.ZERO and any(low > 0 for low, _ in bounds.values()):
        yield Fault(f"{where}/policy", "zero_is_no_answer")


def reachable(rule: ScoreRule, bounds: Bounds) -> tuple[Number, Number]:
    """Work out the least and the greatest score that the items allow."""
    ends = [_ends(rule, bounds, side) for side in (0, 1)]
    low, high = sorted(ends) if rule.method is Method.WEIGHTED else ends
    return low * rule.multiply + rule.add, high * rule.multiply + rule.add


def _ends(rule: ScoreRule, bounds: Bounds, side: int) -> Number:
    pick = min if side == 0 else max
    worths = [limits[side] for limits in bounds.values()]
    match rule.method:
        case Method.SUM | Method.LOOKUP:
            # Without its optional items a score is what the others make of it.
            return sum(
                pick(limits[side], 0) if name in rule.optional else limits[side]
                for name, limits in bounds.items()
            )
        case Method.MEAN:
            return Decimal(sum(worths)) / len(worths)
        case Method.MAX:
            return max(worths)
        case Method.COUNT_AT_LEAST:
            return 0 if side == 0 else len(worths)
        case Method.WEIGHTED:
            return sum(
                pick(low * weight, high * weight)
                for name, (low, high) in bounds.items()
                if (weight := rule.weights.get(name)) is not None
            )
        case Method.ALGORITHM:
            return rule.range[side]
        case _:
            assert_never(rule.method)


def _lookup(rule: ScoreRule, bounds: Bounds, place: str) -> Iterator[Fault]:
    """Every sum that the items can make has a row, and rows come in order."""
    low, high = _ends(rule, bounds, 0), _ends(rule, bounds, 1)
    if any(Decimal(end) % 1 for limits in bounds.values() for end in limits):
        yield Fault(f"{place}/items", "lookup_needs_whole_numbers")
        return
    sums = [row[0] for row in rule.table]
    if rule.table and sums != list(range(int(low), int(high) + 1)):
        yield Fault(f"{place}/table", "table_disagrees_with_items")
    found = [row[1] for row in rule.table]
    ends = (min(found, default=0), max(found, default=0))
    if found and rule.range != tuple(end * rule.multiply + rule.add for end in ends):
        yield Fault(f"{place}/range", "range_disagrees_with_table")


def _algorithm(instrument: Instrument, rule: ScoreRule, place: str) -> Iterator[Fault]:
    earlier: list[str] = []
    for each in instrument.scores:
        if each.id == rule.id:
            break
        earlier.append(each.id)
    if rule.missing != MissingRule():
        yield Fault(f"{place}/missing", "algorithm_decides_itself")
    for number, case in enumerate(rule.cases):
        where = f"{place}/cases/{number}/when"
        faults = list(condition_faults(instrument, case.when, where, scores=frozenset(earlier)))
        if not items_of(case.when) <= set(rule.items):
            faults.append(Fault(where, "item_is_not_of_the_score"))
        yield from faults
        if not faults and not is_reachable(instrument, case.when):
            yield Fault(where, "unreachable_branch")
    values = [case.value for case in rule.cases]
    values += [] if rule.otherwise is None else [rule.otherwise]
    if values and rule.range != (min(values), max(values)):
        yield Fault(f"{place}/range", "range_disagrees_with_cases")


def _readings(rule: ScoreRule, place: str) -> Iterator[Fault]:
    if rule.by is not None and (rule.bands or rule.cutoffs):
        yield Fault(f"{place}/by", "two_readings")
    if rule.by is not None and UNKNOWN not in rule.by.of:
        yield Fault(f"{place}/by/of", "unknown_is_not_read")
    for where, reading in rule.readings().items():
        yield from _bands(rule, reading.bands, f"{place}{where}/bands")
        for number, cutoff in enumerate(reading.cutoffs):
            if not rule.range[0] <= cutoff.value <= rule.range[1]:
                yield Fault(f"{place}{where}/cutoffs/{number}/value", "cutoff_out_of_range")


def _bands(rule: ScoreRule, bands: Sequence[Band], place: str) -> Iterator[Fault]:
    if not bands:
        return
    # Whole scores step by one; an unrounded score runs on, so its bands touch.
    step = 1 if rule.round is Rounding.HALF_UP else 0
    if bands[0].min != rule.range[0] or bands[-1].max != rule.range[1]:
        yield Fault(place, "bands_do_not_span_the_range")
    for number, band in enumerate(bands):
        if band.min > band.max:
            yield Fault(f"{place}/{number}", "empty_band")
    for number, (below, above) in enumerate(pairwise(bands), start=1):
        if above.min > below.max + step:
            yield Fault(f"{place}/{number}", "gap_between_bands")
        if above.min < below.max + step:
            yield Fault(f"{place}/{number}", "overlapping_bands")


def change_faults(instrument: Instrument) -> Iterator[Fault]:
    """Give what is wrong with the figures of change: each needs a score and a source."""
    change = instrument.change
    if change is None:
        return
    if change.score not in {rule.id for rule in instrument.scores}:
        yield Fault("/change/score", "unknown_score")
    figures: dict[str, object] = {
        "reliable": change.reliable,
        "mcid": change.mcid,
        "response": change.response_pct,
        "remission": change.remission,
        "caseness": change.caseness,
    }
    for name, figure in figures.items():
        if figure is not None and name not in change.source:
            yield Fault(f"/change/{name}", "figure_without_source")
