"""The calendar of measurement: which days, in whose zone, and between which midnights."""

from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.instruments import shipped
from app.domain.measurement import (
    LONGEST_WINDOW_DAYS,
    Asked,
    Measurement,
    MeasurementSchedule,
    Occasion,
    Stay,
    asked_between,
    default_measurement_schedule,
    window_of,
)

DENVER = ZoneInfo("America/Denver")
ZONES = ("America/Denver", "Asia/Kathmandu", "America/Santiago", "Pacific/Auckland", "UTC")
WEEK = timedelta(days=7)


def _schedule(*measurements: Measurement) -> MeasurementSchedule:
    return MeasurementSchedule(
        key="measurement-test",
        version="1.0.0",
        effective_from=date(2026, 1, 1),
        effective_to=None,
        source="A test.",
        measurements=measurements,
    )


def _asked(
    schedule: MeasurementSchedule, stay: Stay, now: datetime, zone: ZoneInfo = DENVER
) -> list[Asked]:
    return list(asked_between(schedule, stay, zone=zone, now=now, until=now + WEEK))


PHQ9 = Measurement(Occasion.WEEKLY, ("phq-9",), open_days=4, opens_days_before=1)
days = st.dates(date(2020, 1, 1), date(2035, 1, 1))
instants = st.datetimes(datetime(2020, 1, 1), datetime(2035, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 (the zone is given)
zones = st.sampled_from(ZONES).map(ZoneInfo)
occasions = st.sampled_from(Occasion)
measurements = st.builds(
    Measurement,
    occasions,
    st.sampled_from([("phq-9",), ("gad-7", "phq-9"), ("core-10",)]),
    open_days=st.integers(1, 30),
    opens_days_before=st.integers(0, 7),
)
schedules = st.lists(measurements, max_size=5).map(lambda found: _schedule(*found))
stays = st.builds(
    Stay,
    intake_on=st.none() | days,
    started_on=st.none() | days,
    ended_on=st.none() | days,
    is_part2=st.booleans(),
)


def test_every_instrument_of_the_default_schedule_ships() -> None:
    schedule = default_measurement_schedule()
    asked = {key for each in schedule.measurements for key in each.instruments}
    assert asked <= shipped().keys()
    assert {each.occasion for each in schedule.measurements} == set(Occasion)


@pytest.mark.parametrize(
    ("occasion", "stay", "expected"),
    [
        (Occasion.INTAKE, Stay(intake_on=date(2026, 3, 2)), [date(2026, 3, 2)]),
        (Occasion.WEEKLY, Stay(started_on=date(2026, 2, 23)), [date(2026, 3, 2), date(2026, 3, 9)]),
        (Occasion.BIWEEKLY, Stay(started_on=date(2026, 2, 16)), [date(2026, 3, 2)]),
        (Occasion.BIWEEKLY, Stay(started_on=date(2026, 2, 23)), [date(2026, 3, 9)]),
        (Occasion.REVIEW, Stay(started_on=date(2026, 1, 31)), [date(2026, 3, 2)]),
        (Occasion.DISCHARGE, Stay(ended_on=date(2026, 3, 2)), [date(2026, 3, 2)]),
        (Occasion.DISCHARGE, Stay(ended_on=date(2026, 1, 31)), [date(2026, 3, 2)]),
        (Occasion.DISCHARGE, Stay(ended_on=date(2025, 12, 2)), [date(2026, 3, 2)]),
        (Occasion.WEEKLY, Stay(None, date(2026, 2, 23), date(2026, 3, 8)), [date(2026, 3, 2)]),
        (Occasion.WEEKLY, Stay(started_on=date(2026, 3, 2)), [date(2026, 3, 9)]),
    ],
)  # fmt: skip
def test_each_occasion_has_its_days(occasion: Occasion, stay: Stay, expected: list[date]) -> None:
    now = datetime(2026, 3, 2, 18, tzinfo=UTC)

    found = _asked(_schedule(Measurement(occasion, ("phq-9",), open_days=1)), stay, now)

    assert [each.on for each in found] == expected


def test_a_set_for_part_2_programs_is_for_them_alone() -> None:
    schedule = _schedule(Measurement(Occasion.INTAKE, ("bam",), open_days=3, is_part2=True))
    now = datetime(2026, 3, 2, 18, tzinfo=UTC)

    assert not _asked(schedule, Stay(intake_on=date(2026, 3, 2)), now)
    assert _asked(schedule, Stay(intake_on=date(2026, 3, 2), is_part2=True), now)


def test_a_window_runs_from_midnight_to_midnight_when_the_clocks_change() -> None:
    window = window_of(PHQ9, date(2026, 3, 8), DENVER)

    assert window.opens_at == datetime(2026, 3, 7, 7, tzinfo=UTC)
    assert window.due_at == datetime(2026, 3, 9, 2, tzinfo=UTC)
    assert window.expires_at == datetime(2026, 3, 11, 6, tzinfo=UTC)


@given(schedules, stays, instants, zones)
def test_what_is_asked_can_still_be_answered_and_opens_in_time(
    schedule: MeasurementSchedule, stay: Stay, now: datetime, zone: ZoneInfo
) -> None:
    for each in _asked(schedule, stay, now, zone):
        assert each.window.opens_at <= now + WEEK
        assert now < each.window.expires_at
        assert each.window.opens_at < each.window.due_at < each.window.expires_at


@given(schedules, stays, instants, zones)
def test_nobody_is_asked_one_form_twice_on_a_day(
    schedule: MeasurementSchedule, stay: Stay, now: datetime, zone: ZoneInfo
) -> None:
    found = [(each.instrument, each.on) for each in _asked(schedule, stay, now, zone)]
    assert len(found) == len(set(found))


@given(schedules, stays, instants, zones, st.timedeltas(timedelta(), WEEK))
def test_looking_again_later_asks_the_same_of_what_is_still_open(
    schedule: MeasurementSchedule, stay: Stay, now: datetime, zone: ZoneInfo, later: timedelta
) -> None:
    until = now + WEEK
    first = asked_between(schedule, stay, zone=zone, now=now, until=until)
    again = asked_between(schedule, stay, zone=zone, now=now + later, until=until)

    assert {(e.instrument, e.on) for e in again} <= {(e.instrument, e.on) for e in first}


@given(measurements, days, zones)
def test_a_window_is_never_longer_than_anybody_looks_back(
    measurement: Measurement, on: date, zone: ZoneInfo
) -> None:
    window = window_of(measurement, on, zone)

    assert window.expires_at - window.opens_at < timedelta(days=LONGEST_WINDOW_DAYS)
    for instant in (window.opens_at, window.expires_at):
        local = instant.astimezone(zone)
        # Where a midnight vanishes, the day begins with the first instant that there is.
        assert (instant - timedelta(seconds=1)).astimezone(zone).date() < local.date()


@given(days, days, zones)
def test_what_recurs_weekly_lies_whole_weeks_after_the_start(
    started_on: date, day: date, zone: ZoneInfo
) -> None:
    now = datetime.combine(day, time(12), UTC)

    found = _asked(_schedule(PHQ9), Stay(started_on=started_on), now, zone)

    assert all((each.on - started_on).days % 7 == 0 for each in found)
    assert all(each.on > started_on for each in found)
