"""Expand a series into occurrences: in local wall time first, and into instants last.

A weekly 17:00 in New York stays 17:00 across both clock changes, because the
rule is followed on the wall and each wall time is then given its instant
(`walltime`). python-dateutil drops a start that the rule does not name while
other RFC 5545 readers keep it, so such a series is refused.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import MAXYEAR, datetime, timedelta
from itertools import islice
from typing import Final
from zoneinfo import ZoneInfo

from dateutil.rrule import rrule

from app.domain.recurrence.rule import InvalidRecurrence, Rule, parse
from app.domain.walltime import find_zone, to_instant

DAY_MINUTES: Final = 24 * 60
_FIRST_YEAR, _LAST_YEAR = 1970, 2200
_CYCLE: Final = 400


@dataclass(frozen=True, slots=True)
class Series:
    """A recurrence as a person says it: "Tuesdays at 17:00 for ninety minutes, in New York".

    `starts_local` and the dates in `excluded` and `added` are naive wall times
    in `zone`. `rule` is the value of an RRULE, or None for a single session
    and its added dates.
    """

    starts_local: datetime
    duration_minutes: int
    zone: str
    rule: str | None = None
    excluded: tuple[datetime, ...] = ()
    added: tuple[datetime, ...] = ()


@dataclass(frozen=True, slots=True, order=True)
class Occurrence:
    """One session of a series.

    `local_start` is the wall time that the series names, and so the name of
    the occurrence (EXDATE refers to it); `starts_at` is when it happens, which
    differs from it on the wall only when the clocks sprang over that hour.
    """

    starts_at: datetime
    ends_at: datetime
    local_start: datetime


@dataclass(frozen=True, slots=True)
class Limits:
    """How large a series may be; a larger one is ended and begun again by a person."""

    occurrences: int = 1_000
    years: int = 5


DEFAULT_LIMITS: Final = Limits()


def validate(series: Series, limits: Limits = DEFAULT_LIMITS) -> None:
    """Refuse a series that cannot be expanded. Raises InvalidRecurrence.

    Besides the codes of the rule's text: `unknown_zone`, `zone_on_a_wall_time`,
    `start_not_whole_minute`, `start_out_of_range`, `duration_out_of_range`,
    `too_many_occurrences`, `too_long`, `start_not_in_rule` and
    `no_occurrences`.
    """
    occurrences = _all(series, limits)
    if not occurrences:
        raise InvalidRecurrence("no_occurrences")


def expand(
    series: Series, *, after: datetime, before: datetime, limits: Limits = DEFAULT_LIMITS
) -> list[Occurrence]:
    """Give the occurrences that start at or after `after` and before `before`, in order.

    Neighboring windows share no occurrence and miss none. Raises
    InvalidRecurrence as `validate` does.
    """
    return [each for each in _all(series, limits) if after <= each.starts_at < before]


def _all(series: Series, limits: Limits) -> list[Occurrence]:
    zone = _checked_zone(series, limits)
    rule = None if series.rule is None else parse(series.rule)
    starts = (
        {series.starts_local} if rule is None else set(_wall_starts(series, rule, zone, limits))
    )
    starts = (starts | set(series.added)) - set(series.excluded)
    # Two wall times can mean one instant when a gap moved one of them; the later is the real one.
    at = {to_instant(local, zone): local for local in sorted(starts)}
    length = timedelta(minutes=series.duration_minutes)
    return [Occurrence(instant, instant + length, local) for instant, local in sorted(at.items())]


def _checked_zone(series: Series, limits: Limits) -> ZoneInfo:
    zone = find_zone(series.zone)
    if zone is None:
        raise InvalidRecurrence("unknown_zone")
    for local in (series.starts_local, *series.excluded, *series.added):
        if local.tzinfo is not None:
            raise InvalidRecurrence("zone_on_a_wall_time")
        if local.second or local.microsecond:
            raise InvalidRecurrence("start_not_whole_minute")
        if not _FIRST_YEAR <= local.year <= _LAST_YEAR:
            raise InvalidRecurrence("start_out_of_range")
    if not 1 <= series.duration_minutes <= DAY_MINUTES:
        raise InvalidRecurrence("duration_out_of_range")
    if max(len(series.excluded), len(series.added)) > limits.occurrences:
        raise InvalidRecurrence("too_many_occurrences")
    return zone


def _wall_starts(series: Series, rule: Rule, zone: ZoneInfo, limits: Limits) -> Sequence[datetime]:
    """Follow the rule on the wall, never further than the limits allow."""
    start = series.starts_local
    last_day = start + timedelta(days=366 * limits.years)
    if rule.until is not None and rule.until > to_instant(last_day, zone):
        raise InvalidRecurrence("too_long")
    found = list(islice(_walk(rule, start, last_day, zone), limits.occurrences + 1))
    if not found or found[0] != start:
        raise InvalidRecurrence("start_not_in_rule")
    if len(found) > limits.occurrences or (rule.count or 0) > limits.occurrences:
        raise InvalidRecurrence("too_many_occurrences")
    if rule.count is not None and len(found) < rule.count:
        raise InvalidRecurrence("too_long")
    return found


def _walk(rule: Rule, start: datetime, last_day: datetime, zone: ZoneInfo) -> Iterator[datetime]:
    for number, wall in enumerate(_named_days(rule, start, last_day), start=1):
        if rule.count is not None and number > rule.count:
            return
        if rule.until is not None and to_instant(wall, zone) > rule.until:
            return
        yield wall


def _named_days(rule: Rule, start: datetime, last_day: datetime) -> Iterator[datetime]:
    """Give the wall times that a rule names, up to the last day.

    dateutil looks at its end only when it has found a day, so a rule that names
    none (30 February) is searched until the year 9999, for seconds. The
    calendar repeats every 400 years to the weekday, so the search is begun as
    many whole cycles later as fit, which leaves it little to search.
    """
    shift = (MAXYEAR - last_day.year) // _CYCLE * _CYCLE
    walls = rrule(
        rule.frequency,
        dtstart=start.replace(year=start.year + shift),
        interval=rule.interval,
        wkst=rule.week_start,
        until=last_day.replace(year=last_day.year + shift),
        byweekday=rule.days or None,
        bymonthday=rule.month_days or None,
        byyearday=rule.year_days or None,
        byweekno=rule.week_numbers or None,
        bymonth=rule.months or None,
        bysetpos=rule.positions or None,
    )
    return (wall.replace(year=wall.year - shift) for wall in walls)
