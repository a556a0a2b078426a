"""Read a definition as a whole, and refuse one that contradicts itself.

An operator may load instruments of their own, so a definition is judged before
anyone is asked a question with it: names that do not exist, bands with gaps,
branches that nobody can reach, mistyped LOINC codes and safety flags that would
fire too late are found here, each with its place.
"""

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any, Final

from pydantic import TypeAdapter, ValidationError

from app.domain.instruments.checks import faults_of
from app.domain.instruments.definitions import Instrument
from app.domain.instruments.faults import Fault, InvalidDefinition
from app.domain.instruments.measures import ScoreRule

_ADAPTER: Final = TypeAdapter(Instrument)


def load(raw: Mapping[str, object]) -> Instrument:
    """Read one definition (clinical reference, section 1.1).

    Raises InvalidDefinition with everything that is wrong with it.
    """
    try:
        # By way of JSON, because strict reading of JSON still makes tuples of arrays.
        text = json.dumps(raw, default=str)
        instrument = _ADAPTER.validate_json(text, strict=True)
    except ValidationError as refused:
        raise InvalidDefinition(list(_unreadable(raw, refused))) from None
    faults = list(faults_of(instrument, raw))
    if faults:
        raise InvalidDefinition(faults)
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
        scores=tuple(_plain(rule) for rule in instrument.scores),
    )
    written: dict[str, object] = _ADAPTER.dump_python(
        plain, mode="json", by_alias=True, exclude_none=True
    )
    return written


def definition_schema() -> dict[str, Any]:
    """Give the JSON schema of the format; `load` checks more than it can say."""
    return _ADAPTER.json_schema()


def _plain(rule: ScoreRule) -> ScoreRule:
    return replace(rule, weights=dict(rule.weights))


def _unreadable(raw: object, refused: ValidationError) -> Iterator[Fault]:
    """Give the innermost mistakes; a value that no form takes is refused once, not by each form."""
    found: dict[str, str] = {}
    for error in refused.errors(include_url=False, include_input=False, include_context=False):
        place = _pointer(raw, error["loc"], is_absent=error["type"] == "missing")
        found.setdefault(place, error["type"])
    for place, reason in found.items():
        # A list whose member is refused is reported as too short as well.
        if not any(other.startswith(f"{place}/") for other in found):
            yield Fault(place, reason)


def _pointer(raw: object, location: Sequence[int | str], *, is_absent: bool) -> str:
    """Follow a location into the document; a union's member, which Pydantic names, is no place."""
    node, pointer = raw, ""
    for number, part in enumerate(location, start=1):
        if part in _keys(node):
            node = node[part]  # type: ignore[index]  # it has the key
        elif not (is_absent and number == len(location)):
            continue
        pointer += "/" + str(part).replace("~", "~0").replace("/", "~1")
    return pointer


def _keys(node: object) -> Collection[object]:
    if isinstance(node, Mapping):
        return node.keys()
    return range(len(node)) if isinstance(node, list | tuple) else ()
