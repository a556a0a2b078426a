"""One answer, and whether it belongs to its item."""

from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from typing import TypeAlias, assert_never

from app.domain.instruments import AnswerValue, Instrument, Item, ItemType, is_asked
from app.domain.instruments.patterns import matches

Answers: TypeAlias = Mapping[str, AnswerValue | None]
"""Answers by item id. An item that is absent or None is unanswered."""


def check_answer(  # noqa: PLR0911 - one return for each type of item
    instrument: Instrument, item_id: str, value: AnswerValue | None
) -> str | None:
    """Give the code of what is wrong with one answer, or None.

    None is always accepted: it takes an answer back. The codes are
    `unknown_item`, `wrong_type`, `not_an_option`, `out_of_range`, `off_the_scale`,
    `too_long` and `malformed`; none of them repeats the answer.
    """
    item = instrument.item(item_id)
    if item is None:
        return "unknown_item"
    if value is None:
        return None
    match item.type:
        case ItemType.CHOICE:
            # `True == 1`, so a boolean would pass for an option without the type check.
            offered = any(
                type(option.value) is type(value) and option.value == value
                for option in instrument.options(item)
            )
            return None if offered else "not_an_option"
        case ItemType.INTEGER | ItemType.DECIMAL | ItemType.VAS:
            return _check_number(instrument, item, value)
        case ItemType.BOOLEAN:
            return None if isinstance(value, bool) else "wrong_type"
        case ItemType.TEXT:
            return _check_text(item, value)
        case ItemType.DATE:
            return _check_date(value)
        case _:
            assert_never(item.type)


def unanswered(instrument: Instrument, answers: Answers) -> list[str]:
    """Name the required items that are visible and blank; scoring bears them, a form may ask."""
    is_shown = is_asked(instrument, answers)
    return [
        item.id
        for item in instrument.items
        if item.required and answers.get(item.id) is None and is_shown[item.id] is True
    ]


def _check_number(instrument: Instrument, item: Item, value: AnswerValue) -> str | None:
    if isinstance(value, bool | str):
        return "wrong_type"
    if item.type is ItemType.INTEGER and not isinstance(value, int):
        return "wrong_type"
    # NaN is a Decimal too, and compares false with every bound.
    if not Decimal(value).is_finite():
        return "wrong_type"
    bounds = instrument.bounds(item)
    if bounds is not None and not bounds[0] <= value <= bounds[1]:
        return "out_of_range"
    if item.numeric is not None and item.numeric.step is not None:
        is_step = (Decimal(value) - item.numeric.min) % item.numeric.step == 0
        return None if is_step else "off_the_scale"
    return None


def _check_text(item: Item, value: AnswerValue) -> str | None:
    if not isinstance(value, str):
        return "wrong_type"
    if len(value) > item.max_length:
        return "too_long"
    if item.pattern is not None and not matches(item.pattern, value):
        return "malformed"
    return None


def _check_date(value: AnswerValue) -> str | None:
    if not isinstance(value, str):
        return "wrong_type"
    try:
        parsed = date.fromisoformat(value)
    except ValueError:
        return "malformed"
    return None if parsed.isoformat() == value else "malformed"
