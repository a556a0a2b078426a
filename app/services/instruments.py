"""Instruments: the catalogue that ships. Nothing here is about a person.

A definition never changes under its version, so a client may keep it as long as the version is
the same.
"""

from collections.abc import Sequence
from functools import cache
from typing import Any, Final

from app.core.problems import NotFound
from app.domain.instruments import Instrument, Item, ScoreRule, dump, shipped
from app.schemas.instruments import InstrumentRead, InstrumentSummary

_NOT_VALIDATED: Final = "Not a validated instrument."


def find_instrument(key: str, version: str | None = None) -> Instrument | None:
    """The definition under a key, in the given version or in the present one; None if not kept."""
    instrument = shipped().get(key)
    if instrument is None or version not in {None, instrument.version}:
        return None
    # One that ships on a condition is off until somebody has accepted the condition.
    return None if instrument.ship == "conditional" else instrument


@cache
def list_instruments() -> Sequence[InstrumentSummary]:
    """Every instrument that may be assigned, by key."""
    return [
        InstrumentSummary.model_validate(_summary(each))
        for each in shipped().values()
        if each.ship != "conditional"
    ]


def read_instrument(key: str) -> InstrumentRead:
    """One instrument with its items. Raises NotFound."""
    if key not in shipped():
        raise NotFound
    return _read(key)


@cache
def _read(key: str) -> InstrumentRead:
    instrument = shipped()[key]
    conditions = {item["id"]: item.get("visible_when") for item in _written_items(instrument)}
    return InstrumentRead.model_validate(
        {
            **_summary(instrument),
            "license": instrument.license,
            "instruction": instrument.instruction,
            "stem": instrument.stem,
            "time_frame": instrument.time_frame,
            "minimum_age": instrument.age.min,
            "maximum_age": instrument.age.max,
            "items": [
                {**_item(instrument, item), "visible_when": conditions[item.id]}
                for item in instrument.items
            ],
            "scores": [_score(rule) for rule in instrument.scores],
            "loinc": instrument.loinc,
        }
    )


def _summary(instrument: Instrument) -> dict[str, object]:
    return {
        "key": instrument.key,
        "version": instrument.version,
        "title": instrument.title,
        "language": instrument.language,
        "is_validated": instrument.is_validated,
        "label": None if instrument.is_validated else _NOT_VALIDATED,
        "informant": instrument.informant,
        "audience_result": instrument.audience_result,
    }


def _written_items(instrument: Instrument) -> list[dict[str, Any]]:
    """The items as data: conditions are shown in the language that they are written in."""
    written: Any = dump(instrument)["items"]
    items: list[dict[str, Any]] = written
    return items


def _item(instrument: Instrument, item: Item) -> dict[str, object]:
    numeric = item.numeric
    return {
        "id": item.id,
        "text": item.text,
        "type": item.type,
        "options": instrument.options(item),
        "minimum": None if numeric is None else numeric.min,
        "maximum": None if numeric is None else numeric.max,
        "unit": None if numeric is None else numeric.unit,
        "max_length": item.max_length,
        "pattern": item.pattern,
        "is_required": item.required,
        "answered_by": item.answered_by or instrument.informant,
        "loinc": item.loinc,
    }


def _score(rule: ScoreRule) -> dict[str, object]:
    minimum, maximum = rule.range
    return {
        "code": rule.id,
        "minimum": minimum,
        "maximum": maximum,
        "direction": rule.direction,
        "bands": [
            {
                "code": band.code,
                "label": band.label,
                "minimum": band.min,
                "maximum": band.max,
            }
            for band in rule.bands
        ],
        "loinc": rule.loinc,
    }
