"""An instrument as a form needs it: what is asked, and what must be shown with it.

Flags, gates and settings stay behind: which answer raises a concern is no part of the question.
"""

from typing import Any, Final

from app.domain.instruments import Instrument, Item, Numeric, ScoreRule, dump

NOT_VALIDATED: Final = "Not a validated instrument."
"""What is shown with every use and every result of such an instrument."""


def summary(instrument: Instrument) -> dict[str, object]:
    """As much of an instrument as a list needs."""
    return {
        "key": instrument.key,
        "version": instrument.version,
        "title": instrument.title,
        "language": instrument.language,
        "is_validated": instrument.is_validated,
        "label": None if instrument.is_validated else NOT_VALIDATED,
        "informant": instrument.informant,
        "audience_result": instrument.audience_result,
    }


def whole(instrument: Instrument) -> dict[str, object]:
    """Everything that a form needs."""
    conditions = _conditions(instrument)
    return {
        "license": instrument.license,
        "instruction": instrument.instruction,
        "stem": instrument.stem,
        "placeholders": instrument.placeholders,
        "time_frame": instrument.time_frame,
        "minimum_age": instrument.age.min,
        "maximum_age": instrument.age.max,
        "items": [
            {**_item(instrument, item), "visible_when": conditions.get(item.id)}
            for item in instrument.items
        ],
        "scores": [_score(rule) for rule in instrument.scores],
        "loinc": instrument.loinc,
    }


def _conditions(instrument: Instrument) -> dict[str, Any]:
    """When each item is asked, in the language that definitions are written in."""
    written: Any = dump(instrument)["items"]
    return {item["id"]: item.get("visible_when") for item in written}


def _item(instrument: Instrument, item: Item) -> dict[str, object]:
    return {
        "id": item.id,
        "number": None if item.no is None else str(item.no),
        "stem": item.stem or None,
        "text": item.text,
        "type": item.type,
        "options": instrument.options(item),
        **_numeric(item.numeric),
        "max_length": item.max_length,
        "pattern": item.pattern,
        "is_required": item.required,
        "answered_by": item.answered_by or instrument.informant,
        "loinc": item.loinc,
    }


def _numeric(numeric: Numeric | None) -> dict[str, object]:
    return {
        "minimum": None if numeric is None else numeric.min,
        "maximum": None if numeric is None else numeric.max,
        "step": None if numeric is None else numeric.step,
        "unit": None if numeric is None else numeric.unit,
        "minimum_label": None if numeric is None else numeric.min_label or None,
        "maximum_label": None if numeric is None else numeric.max_label or None,
    }


def _score(rule: ScoreRule) -> dict[str, object]:
    minimum, maximum = rule.range
    return {
        "code": rule.id,
        "label": rule.label or None,
        "method": rule.method,
        "minimum": minimum,
        "maximum": maximum,
        "direction": rule.direction,
        "read_by": None if rule.by is None else rule.by.attribute,
        "bands": [
            {"code": band.code, "label": band.label, "minimum": band.min, "maximum": band.max}
            for band in rule.reading({}).bands
        ],
        "loinc": rule.loinc,
    }
