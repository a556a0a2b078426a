"""When which instruments are given: a program's cadence as dated data, and the days it names.

The defaults follow the clinical reference, section 1.17. What hangs on an event and not on the
calendar (an attended session, a flag) is not here. A day is the participant's, and an answer
window opens and ends at its midnights, whatever the clocks do in between.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from enum import StrEnum, unique
from functools import cache
from typing import Annotated, ClassVar, Final
from zoneinfo import ZoneInfo

from pydantic import Field

from app.domain.instruments.definitions import Slug
from app.domain.policies import STRICT, Dated, shipped_policy
from app.domain.walltime import to_instant

DUE_AT: Final = time(20)
"""When, on its day, a form is due: in the evening, so that the day counts."""

LONGEST_WINDOW_DAYS: Final = 60
"""No answer window is longer: whoever looks for open ones need look no further back."""


@unique
class Occasion(StrEnum):
    """What a form is given for."""

    INTAKE = "intake"
    WEEKLY = "weekly"
    BIWEEKLY = "biweekly"
    REVIEW = "review"
    DISCHARGE = "discharge"


_EVERY: Final = {
    Occasion.WEEKLY: timedelta(days=7),
    Occasion.BIWEEKLY: timedelta(days=14),
    Occasion.REVIEW: timedelta(days=30),
}
"""The distance of what recurs, counted from the first day of the enrollment (1.17)."""

_AGAIN_AFTER: Final = {Occasion.DISCHARGE: (timedelta(days=30), timedelta(days=90))}
"""What is asked once more, so long after its day: the discharge set (1.17)."""

FOLLOWED_UP_FOR: Final = max(_AGAIN_AFTER[Occasion.DISCHARGE]) + timedelta(days=LONGEST_WINDOW_DAYS)
"""For how long after their last day somebody may still be asked something."""


@dataclass(frozen=True, slots=True)
class Measurement:
    """One set of instruments and its occasion.

    The window opens `opens_days_before` the day and stays open for `open_days` after it began.
    `is_part2` limits a set to programs that 42 CFR Part 2 covers (True), or to the others.
    """

    __pydantic_config__: ClassVar = STRICT
    occasion: Occasion
    instruments: Annotated[tuple[Slug, ...], Field(min_length=1, max_length=20)]
    open_days: Annotated[int, Field(ge=1, le=30)]
    opens_days_before: Annotated[int, Field(ge=0, le=7)] = 0
    is_part2: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasurementSchedule(Dated):
    """Everything that a program asks by the calendar."""

    measurements: Annotated[tuple[Measurement, ...], Field(max_length=40)]


@dataclass(frozen=True, slots=True)
class Stay:
    """Where somebody stands in a program: the days, in their own zone, that occasions hang on.

    None is a day that has not come. `intake_on` is None for whoever is not in an intake now.
    """

    intake_on: date | None = None
    started_on: date | None = None
    ended_on: date | None = None
    is_part2: bool = False


@dataclass(frozen=True, slots=True)
class Window:
    """From when until when a form can be answered, and when it is due in between."""

    opens_at: datetime
    due_at: datetime
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class Asked:
    """One form that the calendar asks for."""

    instrument: str
    occasion: Occasion
    on: date
    window: Window


@cache
def default_measurement_schedule() -> MeasurementSchedule:
    """Give the schedule that ships."""
    return shipped_policy(MeasurementSchedule, "measurement-default")


def asked_between(
    schedule: MeasurementSchedule, stay: Stay, *, zone: ZoneInfo, now: datetime, until: datetime
) -> Sequence[Asked]:
    """Give every form whose window opens by `until` and has not ended by now, in order of days.

    Nobody is asked for one form twice on a day: the occasion that stands first in the schedule
    counts. What should have been asked while nobody looked, and can be answered no more, is not
    made up for.
    """
    found: dict[tuple[date, str], Asked] = {}
    for measurement in schedule.measurements:
        if measurement.is_part2 not in {None, stay.is_part2}:
            continue
        for on in _days(measurement.occasion, stay, *_stretch(now, until, zone)):
            window = window_of(measurement, on, zone)
            if window.opens_at > until or window.expires_at <= now:
                continue
            for instrument in measurement.instruments:
                form = Asked(instrument, measurement.occasion, on, window)
                found.setdefault((on, instrument), form)
    return [found[key] for key in sorted(found)]


def window_of(measurement: Measurement, on: date, zone: ZoneInfo) -> Window:
    """Give the answer window of an occasion, from midnight to midnight in a zone."""
    opens_on = on - timedelta(days=measurement.opens_days_before)
    # Never before it is due, however short the window is.
    ends_on = max(opens_on + timedelta(days=measurement.open_days), on + timedelta(days=1))
    return Window(
        opens_at=to_instant(datetime.combine(opens_on, time()), zone),
        due_at=to_instant(datetime.combine(on, DUE_AT), zone),
        expires_at=to_instant(datetime.combine(ends_on, time()), zone),
    )


def _stretch(now: datetime, until: datetime, zone: ZoneInfo) -> tuple[date, date]:
    """Give the days that could matter: windows are bounded, so that nobody counts from 1970."""
    longest = timedelta(days=LONGEST_WINDOW_DAYS)
    return (now.astimezone(zone) - longest).date(), (until.astimezone(zone) + longest).date()


def _days(occasion: Occasion, stay: Stay, first: date, last: date) -> Iterator[date]:
    """Give the days of an occasion between two days."""
    for day in _all_days(occasion, stay, first, last):
        if first <= day <= last:
            yield day


def _all_days(occasion: Occasion, stay: Stay, first: date, last: date) -> Iterator[date]:
    match occasion:
        case Occasion.INTAKE:
            if stay.intake_on is not None:
                yield stay.intake_on
        case Occasion.DISCHARGE:
            if stay.ended_on is not None:
                yield stay.ended_on
                for distance in _AGAIN_AFTER[occasion]:
                    yield stay.ended_on + distance
        case Occasion.WEEKLY | Occasion.BIWEEKLY | Occasion.REVIEW:
            if stay.started_on is not None:
                end = last if stay.ended_on is None else min(last, stay.ended_on)
                yield from _recurring(stay.started_on, _EVERY[occasion], first, end)


def _recurring(start: date, every: timedelta, first: date, last: date) -> Iterator[date]:
    """Give the days that lie a whole number of steps after the start, the start left out."""
    steps = max((first - start) // every, 1)
    while (day := start + steps * every) <= last:
        yield day
        steps += 1
