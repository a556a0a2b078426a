"""Proven minutes: whatever the order, the copies and the lateness of the evidence."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.attendance import (
    NOTHING,
    AttendanceStatus,
    Interval,
    Presence,
    Span,
    cancellation,
    default_attendance_policy,
    facilitated,
    is_no_show,
    judge,
    may_join,
    minutes,
    reckon,
)

POLICY = default_attendance_policy()
START = datetime(2026, 9, 1, 21, tzinfo=UTC)


def at(minute: float) -> datetime:
    return START + timedelta(minutes=minute)


def here(joined: float, left: float | None) -> Interval:
    return Interval(at(joined), None if left is None else at(left))


SESSION = Span(at(0), at(90))
PAUSE = Span(at(40), at(50))


@pytest.mark.parametrize(
    ("evidence", "expected"),
    [
        ([], 0),
        ([here(0, 90)], 80),
        ([here(-10, 100)], 80),
        ([here(0, 30), here(20, 40)], 40),
        ([here(20, 40), here(0, 30), here(0, 30)], 40),
        ([here(0, 30), here(30, 60)], 50),
        ([here(40, 50)], 0),
        ([here(45, 55)], 5),
        ([here(-20, 0), here(90, 95)], 0),
        ([here(0, 0.99)], 0),
        ([here(0, 30.5), here(60, 89.5)], 60),
        ([here(10, None)], 0),
        ([here(0, 30), here(10, None)], 30),
    ],
)
def test_only_the_union_inside_the_session_and_outside_breaks_counts(
    evidence: list[Interval], expected: int
) -> None:
    assert minutes(evidence, SESSION, [PAUSE]) == expected


def test_a_join_without_a_leave_is_unexplained_until_the_leave_arrives() -> None:
    lost = reckon([here(10, None)], SESSION)
    assert (lost.proven, lost.unexplained) == (NOTHING, timedelta(minutes=80))
    assert (lost.first_seen_at, lost.last_seen_at) == (at(10), None)
    found = reckon([here(10, None), here(10, 90)], SESSION)
    assert (found.proven, found.unexplained) == (timedelta(minutes=80), NOTHING)


def test_breaks_that_overlap_are_left_out_once() -> None:
    pauses = [PAUSE, Span(at(45), at(55)), Span(at(85), at(120))]
    assert facilitated(SESSION, pauses) == timedelta(minutes=70)


def test_a_connection_after_the_end_says_nothing() -> None:
    assert reckon([here(95, None)], SESSION) == Presence(NOTHING, NOTHING, None, None)


@pytest.mark.parametrize("make", [lambda: Span(at(1), at(0)), lambda: here(1, 0)])
def test_what_ends_before_it_begins_is_refused(make: object) -> None:
    assert callable(make)
    with pytest.raises(ValueError, match="ends before it begins"):
        make()


moments = st.integers(-60, 160)
evidence_items = st.builds(
    lambda joined, length: here(joined, None if length is None else joined + length),
    moments,
    st.one_of(st.none(), st.integers(0, 120)),
)
evidence_lists = st.lists(evidence_items, max_size=8)
break_lists = st.lists(
    st.builds(
        lambda start, length: Span(at(start), at(start + length)), moments, st.integers(0, 30)
    ),
    max_size=3,
)


@given(evidence_lists, break_lists, st.randoms(use_true_random=False))
def test_order_and_copies_do_not_matter(
    evidence: list[Interval], pauses: list[Span], random: object
) -> None:
    shuffled = evidence + evidence
    random.shuffle(shuffled)  # type: ignore[attr-defined]  # a random.Random by its strategy
    assert reckon(shuffled, SESSION, pauses) == reckon(evidence, SESSION, pauses)


@given(evidence_lists, break_lists)
def test_no_one_is_present_for_longer_than_the_session_was_led(
    evidence: list[Interval], pauses: list[Span]
) -> None:
    found = reckon(evidence, SESSION, pauses)
    assert found.proven >= NOTHING
    assert found.unexplained >= NOTHING
    assert found.proven + found.unexplained <= facilitated(SESSION, pauses) <= SESSION.length


@given(evidence_lists, evidence_items, break_lists)
def test_more_evidence_never_proves_less(
    evidence: list[Interval], more: Interval, pauses: list[Span]
) -> None:
    before, after = (reckon(e, SESSION, pauses) for e in (evidence, [*evidence, more]))
    assert before.proven <= after.proven
    assert before.proven + before.unexplained <= after.proven + after.unexplained


@given(evidence_lists, break_lists)
def test_every_minute_is_counted_as_a_minute_by_minute_count_would(
    evidence: list[Interval], pauses: list[Span]
) -> None:
    counted = sum(
        any(e.left_at is not None and e.joined_at <= at(m) < e.left_at for e in evidence)
        and not any(p.starts_at <= at(m) < p.ends_at for p in pauses)
        for m in range(90)
    )
    assert minutes(evidence, SESSION, pauses) == counted


@pytest.mark.parametrize(
    ("evidence", "status", "late", "left_early", "confirm"),
    [
        ([here(0, 90)], "attended", False, False, False),
        ([here(10, 90)], "attended", False, False, False),
        ([here(11, 90)], "attended", True, False, False),
        ([here(0, 80)], "attended", False, False, False),
        ([here(0, 79)], "attended", False, True, False),
        ([here(0, 72)], "attended", False, True, False),
        ([here(0, 71.9)], "partial", False, True, False),
        ([], "no_show", False, False, False),
        ([here(0, None)], "no_show", False, False, True),
        ([here(0, 60), here(70, None)], "partial", False, False, True),
        ([here(0, 75), here(70, None)], "attended", False, False, False),
    ],
)
def test_a_finished_session_is_judged_by_the_policy(
    evidence: list[Interval],
    status: str,
    late: bool,  # noqa: FBT001 - a column of the table
    left_early: bool,  # noqa: FBT001 - a column of the table
    confirm: bool,  # noqa: FBT001 - a column of the table
) -> None:
    found = judge(POLICY, reckon(evidence, SESSION), SESSION)
    assert found.status is AttendanceStatus(status)
    assert (found.is_late, found.has_left_early) == (late, left_early)
    assert found.needs_confirmation is confirm


def test_breaks_lower_what_must_be_attended() -> None:
    presence = reckon([here(0, 74)], SESSION, [PAUSE])
    assert judge(POLICY, presence, SESSION, [PAUSE]).status is AttendanceStatus.ATTENDED


@pytest.mark.parametrize(("minute", "missing"), [(15, False), (15.1, True)])
def test_someone_missing_after_fifteen_minutes_is_called(
    minute: float,
    missing: bool,  # noqa: FBT001 - a column of the table
) -> None:
    assert is_no_show(POLICY, reckon([], SESSION), SESSION, at(minute)) is missing
    assert not is_no_show(POLICY, reckon([here(14, None)], SESSION), SESSION, at(minute))


@pytest.mark.parametrize(
    ("minute", "open_"), [(-10.1, False), (-10, True), (0, True), (89, True), (90, False)]
)
def test_the_door_opens_ten_minutes_early_and_closes_at_the_end(
    minute: float,
    open_: bool,  # noqa: FBT001 - a column of the table
) -> None:
    assert may_join(POLICY, SESSION, at(minute)) is open_


def test_a_full_day_of_notice_is_an_early_cancellation() -> None:
    day = timedelta(hours=24)
    early, late = START - day, START - day + timedelta(seconds=1)
    assert cancellation(POLICY, START, early) is AttendanceStatus.CANCELLED_BY_PARTICIPANT
    assert cancellation(POLICY, START, late) is AttendanceStatus.LATE_CANCEL
