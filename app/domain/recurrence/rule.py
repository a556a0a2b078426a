"""Read the text of an RRULE strictly (RFC 5545, section 3.3.10).

python-dateutil reads more than the RFC allows and guesses at the rest, so the
text is read here and dateutil is only given numbers. Times of day are not part
of a rule: the series has one, and a rule that repeats within the day is refused.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, Literal, TypeAlias

from dateutil.rrule import DAILY, FR, MO, MONTHLY, SA, SU, TH, TU, WE, WEEKLY, YEARLY, weekday

Frequency: TypeAlias = Literal[0, 1, 2, 3]
"""A frequency as python-dateutil numbers them."""

MAX_TEXT: Final = 500
_FREQUENCIES: Final[Mapping[str, Frequency]] = {
    "DAILY": DAILY,
    "WEEKLY": WEEKLY,
    "MONTHLY": MONTHLY,
    "YEARLY": YEARLY,
}
_TOO_FREQUENT: Final = frozenset(
    {"HOURLY", "MINUTELY", "SECONDLY", "BYHOUR", "BYMINUTE", "BYSECOND"}
)
_PARTS: Final = frozenset(
    {
        "FREQ",
        "INTERVAL",
        "COUNT",
        "UNTIL",
        "WKST",
        "BYDAY",
        "BYMONTHDAY",
        "BYYEARDAY",
        "BYWEEKNO",
        "BYMONTH",
        "BYSETPOS",
    }
)
_WEEKDAYS: Final = {"MO": MO, "TU": TU, "WE": WE, "TH": TH, "FR": FR, "SA": SA, "SU": SU}
_DAY: Final = re.compile(r"(?P<nth>[+-]?[1-9]\d?)?(?P<day>MO|TU|WE|TH|FR|SA|SU)", re.ASCII)
_NUMBER: Final = re.compile(r"[+-]?\d{1,5}", re.ASCII)
_UNTIL: Final = re.compile(r"\d{8}T\d{6}Z", re.ASCII)


class InvalidRecurrence(ValueError):
    """A series cannot be read or is not allowed; `code` is stable and repeats no input."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


@dataclass(frozen=True, slots=True)
class Rule:
    """An RRULE in numbers. Exactly one of `count` and `until` is set."""

    frequency: Frequency
    interval: int
    count: int | None
    until: datetime | None
    week_start: weekday
    days: tuple[weekday, ...]
    month_days: tuple[int, ...]
    year_days: tuple[int, ...]
    week_numbers: tuple[int, ...]
    months: tuple[int, ...]
    positions: tuple[int, ...]


def parse(text: str) -> Rule:
    """Read the value of an RRULE property, without its name.

    Raises InvalidRecurrence with `malformed_rule`, `unsupported_part`,
    `too_frequent`, `unending`, `count_and_until`, `until_not_utc` or
    `parts_contradict`.
    """
    parts = _split(text)
    if _TOO_FREQUENT & {*parts, parts.get("FREQ", "")}:
        raise InvalidRecurrence("too_frequent")
    if not parts.keys() <= _PARTS:
        raise InvalidRecurrence("unsupported_part")
    if parts.get("FREQ") not in _FREQUENCIES:
        raise InvalidRecurrence("malformed_rule")
    if "COUNT" in parts and "UNTIL" in parts:
        raise InvalidRecurrence("count_and_until")
    if "COUNT" not in parts and "UNTIL" not in parts:
        raise InvalidRecurrence("unending")
    rule = Rule(
        frequency=_FREQUENCIES[parts["FREQ"]],
        interval=_positive(parts.get("INTERVAL", "1")),
        count=_positive(parts["COUNT"]) if "COUNT" in parts else None,
        until=_until(parts["UNTIL"]) if "UNTIL" in parts else None,
        week_start=_week_start(parts.get("WKST", "MO")),
        days=_days(parts.get("BYDAY")),
        month_days=_numbers(parts.get("BYMONTHDAY"), 31),
        year_days=_numbers(parts.get("BYYEARDAY"), 366),
        week_numbers=_numbers(parts.get("BYWEEKNO"), 53),
        months=_months(parts.get("BYMONTH")),
        positions=_numbers(parts.get("BYSETPOS"), 366),
    )
    if _contradicts(rule):
        raise InvalidRecurrence("parts_contradict")
    return rule


def _split(text: str) -> Mapping[str, str]:
    """Split `NAME=value;…`; each name stands once."""
    if len(text) > MAX_TEXT:
        raise InvalidRecurrence("malformed_rule")
    parts: dict[str, str] = {}
    for part in text.upper().split(";"):
        name, equals, value = part.partition("=")
        if not (name and equals and value) or name in parts:
            raise InvalidRecurrence("malformed_rule")
        parts[name] = value
    return parts


def _contradicts(rule: Rule) -> bool:
    """Say whether parts stand together that the RFC keeps apart."""
    yearly, monthly = rule.frequency == YEARLY, rule.frequency == MONTHLY
    counted_days = any(day.n is not None for day in rule.days)
    selects = rule.days or rule.month_days or rule.year_days or rule.week_numbers or rule.months
    return bool(
        (rule.week_numbers and not yearly)
        or (rule.year_days and not yearly)
        or (rule.month_days and rule.frequency == WEEKLY)
        or (counted_days and not (yearly or monthly))
        or (counted_days and rule.week_numbers)
        or (rule.positions and not selects)
    )


def _positive(text: str) -> int:
    number = _number(text)
    if number < 1:
        raise InvalidRecurrence("malformed_rule")
    return number


def _number(text: str) -> int:
    if _NUMBER.fullmatch(text) is None:
        raise InvalidRecurrence("malformed_rule")
    return int(text)


def _numbers(text: str | None, most: int) -> tuple[int, ...]:
    """Read a list of ordinals; a negative one counts from the end, and none is zero."""
    if text is None:
        return ()
    numbers = tuple(_number(part) for part in text.split(","))
    if not all(1 <= abs(number) <= most for number in numbers):
        raise InvalidRecurrence("malformed_rule")
    return numbers


def _months(text: str | None) -> tuple[int, ...]:
    months = _numbers(text, 12)
    if any(month < 0 for month in months):
        raise InvalidRecurrence("malformed_rule")
    return months


def _days(text: str | None) -> tuple[weekday, ...]:
    return () if text is None else tuple(_day(part) for part in text.split(","))


def _day(text: str) -> weekday:
    match = _DAY.fullmatch(text)
    if match is None or abs(int(match["nth"] or 1)) > 53:
        raise InvalidRecurrence("malformed_rule")
    day = _WEEKDAYS[match["day"]]
    return day(int(match["nth"])) if match["nth"] else day


def _week_start(text: str) -> weekday:
    if text not in _WEEKDAYS:
        raise InvalidRecurrence("malformed_rule")
    return _WEEKDAYS[text]


def _until(text: str) -> datetime:
    """Read UNTIL, which the RFC wants in UTC whenever the start has a zone."""
    if _UNTIL.fullmatch(text) is None:
        raise InvalidRecurrence("until_not_utc")
    try:
        return datetime.strptime(text, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    except ValueError:
        raise InvalidRecurrence("malformed_rule") from None
