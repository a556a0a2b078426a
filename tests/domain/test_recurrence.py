"""REL-07: no series drifts, and every hour that repeats or vanishes has a stated answer."""

import time
from datetime import UTC, datetime, timedelta
from itertools import chain, pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.domain.recurrence import InvalidRecurrence, Limits, Occurrence, Series, expand, validate
from app.domain.walltime import find_zone, to_instant

ALWAYS = {"after": datetime(1970, 1, 1, tzinfo=UTC), "before": datetime(2300, 1, 1, tzinfo=UTC)}
TWENTY_YEARS = Limits(occurrences=7_400, years=21)
NEW_YORK = "America/New_York"

ZONES = (
    NEW_YORK,
    "America/Chicago",
    "America/Denver",
    "America/Phoenix",
    "America/Los_Angeles",
    "America/Anchorage",
    "America/Adak",
    "Pacific/Honolulu",
    "America/Puerto_Rico",
    "America/St_Johns",
    "America/Halifax",
    "America/Havana",
    "America/Mexico_City",
    "America/Sao_Paulo",
    "America/Santiago",
    "America/Asuncion",
    "America/Caracas",
    "Atlantic/Azores",
    "Europe/London",
    "Europe/Dublin",
    "Europe/Berlin",
    "Europe/Istanbul",
    "Europe/Moscow",
    "Africa/Casablanca",
    "Africa/Cairo",
    "Asia/Beirut",
    "Asia/Gaza",
    "Asia/Tehran",
    "Asia/Kathmandu",
    "Asia/Kolkata",
    "Asia/Pyongyang",
    "Asia/Tokyo",
    "Australia/Sydney",
    "Australia/Lord_Howe",
    "Australia/Eucla",
    "Pacific/Auckland",
    "Pacific/Chatham",
    "Pacific/Apia",
    "Pacific/Tongatapu",
    "Antarctica/Troll",
)


def series(start: str = "2026-09-01T17:00", rule: str | None = None, **other: object) -> Series:
    fields: dict[str, object] = {"duration_minutes": 90, "zone": NEW_YORK, "rule": rule, **other}
    return Series(starts_local=datetime.fromisoformat(start), **fields)  # type: ignore[arg-type]  # a test's shorthand


def every(of: Series, limits: Limits = TWENTY_YEARS) -> list[Occurrence]:
    return expand(of, **ALWAYS, limits=limits)


def days(of: Series) -> list[str]:
    return [each.local_start.strftime("%m-%d") for each in every(of)]


def test_rel_07_there_are_forty_zones() -> None:
    assert len(set(ZONES)) == 40
    assert all(find_zone(name) for name in ZONES)


@pytest.mark.parametrize("name", ZONES)
@pytest.mark.parametrize("wall", ["2006-01-01T00:00", "2006-01-01T02:30", "2006-01-01T17:00"])
def test_rel_07_no_series_drifts_in_twenty_years(name: str, wall: str) -> None:
    zone = ZoneInfo(name)
    # Every second day, so that about half of the clock changes of each year are met.
    found = every(series(wall, "FREQ=DAILY;INTERVAL=2;COUNT=3652", zone=name))
    assert found[-1].local_start.year == 2025
    for each in found:
        shown = each.starts_at.astimezone(zone)
        if shown.replace(tzinfo=None) == each.local_start:
            assert shown.fold == 0
            continue
        # The wall time did not exist: what stands there is the first instant that does.
        eve = (each.starts_at - timedelta(seconds=1)).astimezone(zone).replace(tzinfo=None)
        assert eve < each.local_start < shown.replace(tzinfo=None)
        assert shown.replace(tzinfo=None) - eve > timedelta(minutes=1)


def test_rel_07_a_weekly_group_stays_at_its_hour_across_both_changes() -> None:
    found = every(series("2026-03-03T17:00", "FREQ=WEEKLY;COUNT=40"))
    assert {each.starts_at.astimezone(ZoneInfo(NEW_YORK)).hour for each in found} == {17}
    assert {each.starts_at.hour for each in found} == {21, 22}


@pytest.mark.parametrize(
    ("zone", "wall", "instant"),
    [
        (NEW_YORK, "2026-03-08T02:30", "2026-03-08T07:00:00+00:00"),  # the gap: 03:00 EDT
        (NEW_YORK, "2026-03-08T02:00", "2026-03-08T07:00:00+00:00"),
        (NEW_YORK, "2026-03-08T01:59", "2026-03-08T06:59:00+00:00"),
        (NEW_YORK, "2026-03-08T03:00", "2026-03-08T07:00:00+00:00"),
        (NEW_YORK, "2026-11-01T01:30", "2026-11-01T05:30:00+00:00"),  # the fold: EDT comes first
        ("Australia/Lord_Howe", "2026-10-04T02:15", "2026-10-03T15:30:00+00:00"),  # half an hour
        ("Pacific/Apia", "2011-12-30T09:00", "2011-12-30T10:00:00+00:00"),  # a day without a day
        ("America/Sao_Paulo", "2018-11-04T00:00", "2018-11-04T03:00:00+00:00"),  # no midnight
    ],
)
def test_rel_07_the_hour_that_repeats_and_the_hour_that_vanishes(
    zone: str, wall: str, instant: str
) -> None:
    found = to_instant(datetime.fromisoformat(wall), ZoneInfo(zone))
    assert found == datetime.fromisoformat(instant)


def test_a_wall_time_with_a_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="no zone of its own"):
        to_instant(datetime(2026, 1, 1, tzinfo=UTC), ZoneInfo(NEW_YORK))


@pytest.mark.parametrize("name", ["", "localtime", "../etc/passwd", "/etc/localtime", "US/Nowhere"])
def test_what_is_no_zone_is_not_found(name: str) -> None:
    assert find_zone(name) is None


def test_the_session_moved_by_a_gap_keeps_its_name_and_its_length() -> None:
    gap = series("2026-03-07T02:30", "FREQ=DAILY;COUNT=3")
    moved = every(gap)[1]
    assert moved.local_start == datetime(2026, 3, 8, 2, 30)  # noqa: DTZ001 - a wall time
    assert moved.ends_at - moved.starts_at == timedelta(minutes=90)
    without = every(series("2026-03-07T02:30", gap.rule, excluded=(moved.local_start,)))
    assert moved.starts_at not in {each.starts_at for each in without}


def test_two_wall_times_that_mean_one_instant_are_one_occurrence() -> None:
    real = datetime(2026, 3, 8, 3, 0)  # noqa: DTZ001 - a wall time
    found = every(series("2026-03-08T02:30", added=(real,)))
    assert [each.local_start for each in found] == [real]


# The examples of RFC 5545, section 3.8.5.3, as printed there.
RFC_EXAMPLES = [
    (
        "1997-09-05T09:00",
        "FREQ=MONTHLY;COUNT=10;BYDAY=1FR",
        "09-05 10-03 11-07 12-05 01-02 02-06 03-06 04-03 05-01 06-05",
    ),
    (
        "1997-09-02T09:00",
        "FREQ=WEEKLY;UNTIL=19971007T000000Z;WKST=SU;BYDAY=TU,TH",
        "09-02 09-04 09-09 09-11 09-16 09-18 09-23 09-25 09-30 10-02",
    ),
    (
        "1997-09-02T09:00",
        "FREQ=WEEKLY;INTERVAL=2;COUNT=8;WKST=SU;BYDAY=TU,TH",
        "09-02 09-04 09-16 09-18 09-30 10-02 10-14 10-16",
    ),
    ("1997-09-22T09:00", "FREQ=MONTHLY;COUNT=6;BYDAY=-2MO", "09-22 10-20 11-17 12-22 01-19 02-16"),
    (
        "1997-09-02T09:00",
        "FREQ=MONTHLY;COUNT=10;BYMONTHDAY=2,15",
        "09-02 09-15 10-02 10-15 11-02 11-15 12-02 12-15 01-02 01-15",
    ),
    (
        "1997-08-05T09:00",
        "FREQ=WEEKLY;INTERVAL=2;COUNT=4;BYDAY=TU,SU;WKST=MO",
        "08-05 08-10 08-19 08-24",
    ),
    (
        "1997-08-05T09:00",
        "FREQ=WEEKLY;INTERVAL=2;COUNT=4;BYDAY=TU,SU;WKST=SU",
        "08-05 08-17 08-19 08-31",
    ),
    ("1997-09-04T09:00", "FREQ=MONTHLY;COUNT=3;BYDAY=TU,WE,TH;BYSETPOS=3", "09-04 10-07 11-06"),
    ("1997-06-10T09:00", "FREQ=YEARLY;COUNT=4;BYMONTH=6,7", "06-10 07-10 06-10 07-10"),
]


@pytest.mark.parametrize(("start", "rule", "expected"), RFC_EXAMPLES)
def test_the_examples_of_the_rfc_expand_as_printed(start: str, rule: str, expected: str) -> None:
    assert days(series(start, rule)) == expected.split()


def test_until_is_an_instant_and_includes_its_own() -> None:
    at_17_edt = "FREQ=DAILY;UNTIL=20260903T210000Z"
    assert days(series(rule=at_17_edt)) == ["09-01", "09-02", "09-03"]
    assert days(series(rule=at_17_edt.replace("210000", "205959"))) == ["09-01", "09-02"]


def test_exclusions_and_additions_change_only_what_they_name() -> None:
    # Naive on purpose: these are wall times.
    out, extra = datetime(2026, 9, 8, 17), datetime(2026, 9, 10, 12)  # noqa: DTZ001
    weekly = series(rule="FREQ=WEEKLY;COUNT=3", excluded=(out,), added=(extra, extra))
    assert days(weekly) == ["09-01", "09-10", "09-15"]


def test_a_single_session_needs_no_rule() -> None:
    assert days(series()) == ["09-01"]


@pytest.mark.parametrize(
    ("rule", "code"),
    [
        ("FREQ=WEEKLY", "unending"),
        ("FREQ=WEEKLY;COUNT=3;UNTIL=20261001T000000Z", "count_and_until"),
        ("FREQ=HOURLY;COUNT=3", "too_frequent"),
        ("FREQ=MINUTELY;COUNT=3", "too_frequent"),
        ("FREQ=SECONDLY;COUNT=3", "too_frequent"),
        ("FREQ=DAILY;BYHOUR=9,10;COUNT=3", "too_frequent"),
        ("FREQ=DAILY;BYMINUTE=0,1;COUNT=3", "too_frequent"),
        ("FREQ=DAILY;BYEASTER=0;COUNT=3", "unsupported_part"),
        ("FREQ=DAILY;COUNT=1001", "too_many_occurrences"),
        ("FREQ=DAILY;UNTIL=20290601T000000Z", "too_many_occurrences"),
        ("FREQ=WEEKLY;COUNT=900", "too_long"),
        ("FREQ=WEEKLY;UNTIL=20400101T000000Z", "too_long"),
        ("FREQ=WEEKLY;BYDAY=WE;COUNT=3", "start_not_in_rule"),
        ("FREQ=DAILY;BYMONTH=2;BYMONTHDAY=30;COUNT=3", "start_not_in_rule"),
        ("FREQ=WEEKLY;UNTIL=20260801T000000Z", "start_not_in_rule"),
        ("FREQ=WEEKLY;UNTIL=20261001", "until_not_utc"),
        ("FREQ=WEEKLY;UNTIL=20261001T170000", "until_not_utc"),
        ("FREQ=WEEKLY;UNTIL=20261301T170000Z", "malformed_rule"),
        ("FREQ=WEEKLY;BYMONTHDAY=1;COUNT=3", "parts_contradict"),
        ("FREQ=WEEKLY;BYDAY=1TU;COUNT=3", "parts_contradict"),
        ("FREQ=MONTHLY;BYWEEKNO=20;COUNT=3", "parts_contradict"),
        ("FREQ=DAILY;BYYEARDAY=20;COUNT=3", "parts_contradict"),
        ("FREQ=YEARLY;BYWEEKNO=36;BYDAY=1TU;COUNT=3", "parts_contradict"),
        ("FREQ=DAILY;BYSETPOS=1;COUNT=3", "parts_contradict"),
        ("", "malformed_rule"),
        ("FREQ=FORTNIGHTLY;COUNT=3", "malformed_rule"),
        ("COUNT=3", "malformed_rule"),
        ("FREQ=WEEKLY;FREQ=DAILY;COUNT=3", "malformed_rule"),
        ("FREQ=WEEKLY;COUNT=0", "malformed_rule"),
        ("FREQ=WEEKLY;COUNT=-1", "malformed_rule"),
        ("FREQ=WEEKLY;COUNT=3;INTERVAL=0", "malformed_rule"),
        ("FREQ=WEEKLY;COUNT=3;", "malformed_rule"),
        ("FREQ=WEEKLY;COUNT=٣", "malformed_rule"),
        ("FREQ=WEEKLY;COUNT=3;BYDAY=XX", "malformed_rule"),
        ("FREQ=MONTHLY;COUNT=3;BYDAY=54TU", "malformed_rule"),
        ("FREQ=WEEKLY;COUNT=3;WKST=XX", "malformed_rule"),
        ("FREQ=MONTHLY;COUNT=3;BYMONTHDAY=32", "malformed_rule"),
        ("FREQ=MONTHLY;COUNT=3;BYMONTHDAY=0", "malformed_rule"),
        ("FREQ=YEARLY;COUNT=3;BYMONTH=-1", "malformed_rule"),
        ("RRULE:FREQ=WEEKLY;COUNT=3", "unsupported_part"),
        ("FREQ=WEEKLY;COUNT=3;BYDAY=" + ",".join(["TU"] * 200), "malformed_rule"),
    ],
)
def test_a_rule_that_is_wrong_endless_or_too_large_is_refused(rule: str, code: str) -> None:
    with pytest.raises(InvalidRecurrence) as refused:
        validate(series(rule=rule))
    assert refused.value.code == code


WALL = datetime(2026, 9, 1, 17)  # noqa: DTZ001 - a wall time


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        ({"zone": "Mars/Olympus"}, "unknown_zone"),
        ({"zone": "../../etc/localtime"}, "unknown_zone"),
        ({"duration_minutes": 0}, "duration_out_of_range"),
        ({"duration_minutes": 1441}, "duration_out_of_range"),
        ({"start": "2026-09-01T17:00+00:00"}, "zone_on_a_wall_time"),
        ({"start": "2026-09-01T17:00:01"}, "start_not_whole_minute"),
        ({"start": "9999-09-01T17:00"}, "start_out_of_range"),
        ({"start": "0001-01-01T00:00"}, "start_out_of_range"),
        ({"added": (datetime(2026, 9, 1, tzinfo=UTC),)}, "zone_on_a_wall_time"),
        ({"excluded": (WALL,)}, "no_occurrences"),
        ({"excluded": (WALL,) * 1001}, "too_many_occurrences"),
    ],
)
def test_a_series_that_cannot_be_is_refused(wrong: dict[str, object], code: str) -> None:
    with pytest.raises(InvalidRecurrence) as refused:
        validate(series(**wrong))  # type: ignore[arg-type]  # a table of wrong values
    assert refused.value.code == code


@pytest.mark.parametrize(
    "rule",
    [
        "FREQ=DAILY;BYMONTH=2;BYMONTHDAY=30;COUNT=2",
        "FREQ=WEEKLY;BYDAY=TU;BYSETPOS=7;COUNT=2",
        "FREQ=MONTHLY;BYMONTHDAY=1;BYSETPOS=300;COUNT=2",
        "FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=30;COUNT=2",
    ],
)
def test_a_rule_that_names_no_day_is_refused_without_a_long_search(rule: str) -> None:
    begun = time.process_time()
    with pytest.raises(InvalidRecurrence):
        validate(series(rule=rule))
    assert time.process_time() - begun < 1


instants = st.datetimes(datetime(2026, 1, 1), datetime(2029, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 - Hypothesis adds the zone
walls = st.datetimes(datetime(2026, 1, 1), datetime(2027, 1, 1)).map(  # noqa: DTZ001 - wall times
    lambda wall: wall.replace(second=0, microsecond=0)
)
rules = st.builds(
    "FREQ={};INTERVAL={};COUNT={}".format,
    st.sampled_from(["DAILY", "WEEKLY"]),
    st.integers(1, 3),
    st.integers(1, 80),
)


def test_a_window_holds_its_first_instant_and_not_its_last() -> None:
    daily = series(rule="FREQ=DAILY;COUNT=3")
    first, second, third = every(daily)
    assert expand(daily, after=first.starts_at, before=third.starts_at) == [first, second]


@settings(max_examples=60, deadline=None)
@given(walls, rules, st.sampled_from(ZONES), st.lists(instants, min_size=3, max_size=5))
def test_neighboring_windows_share_nothing_and_miss_nothing(
    wall: datetime, rule: str, zone: str, edges: list[datetime]
) -> None:
    of = Series(wall, 90, zone, rule)
    edges.sort()
    windows = (expand(of, after=left, before=right) for left, right in pairwise(edges))
    assert list(chain.from_iterable(windows)) == expand(of, after=edges[0], before=edges[-1])


@settings(max_examples=60, deadline=None)
@given(walls, rules, st.sampled_from(ZONES), st.lists(walls, max_size=4), st.data())
def test_occurrences_are_sorted_unique_and_obey_their_exceptions(
    wall: datetime, rule: str, zone: str, added: list[datetime], data: st.DataObject
) -> None:
    plain = every(Series(wall, 50, zone, rule, added=tuple(added)))
    out = data.draw(st.sampled_from([each.local_start for each in plain]))
    without = every(Series(wall, 50, zone, rule, excluded=(out,), added=tuple(added)))
    for found in (plain, without):
        starts = [each.starts_at for each in found]
        assert starts == sorted(set(starts))
        assert all(each.ends_at - each.starts_at == timedelta(minutes=50) for each in found)
    assert out not in {each.local_start for each in without}
    assert {e.local_start for e in plain if e.local_start != out} <= {
        e.local_start for e in without
    }


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet="FREQ=DAILYWKCOUNTBS;,-+0123456789 TH\x00é", max_size=60))
def test_no_text_breaks_the_reader(text: str) -> None:
    try:
        validate(series(rule=text))
    except InvalidRecurrence as refused:
        assert refused.code.isidentifier()  # noqa: PT017 - refusing and accepting are both right
