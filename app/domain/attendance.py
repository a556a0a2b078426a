"""The minutes that a participant is proven to have attended, and what they amount to.

Evidence arrives late, twice and out of order, from several devices; only its
union counts, inside the session and outside its breaks (clinical reference,
section 4.1). A join without a leave proves nothing by itself: the time until
the session's end is kept apart as unexplained, for a person to confirm.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum, unique
from functools import cache
from typing import Annotated, Final

from pydantic import Field

from app.domain.policies import Dated, shipped_policy

NOTHING: Final = timedelta()


@dataclass(frozen=True, slots=True, order=True)
class Span:
    """A stretch of time without its last instant; ValueError when it ends before it begins."""

    starts_at: datetime
    ends_at: datetime

    def __post_init__(self) -> None:
        if self.ends_at < self.starts_at:
            raise ValueError("a span ends before it begins")

    @property
    def length(self) -> timedelta:
        """How long it lasts."""
        return self.ends_at - self.starts_at


@dataclass(frozen=True, slots=True)
class Interval:
    """Evidence of presence from one connection. `left_at` is None while no leave is known."""

    joined_at: datetime
    left_at: datetime | None = None

    def __post_init__(self) -> None:
        if self.left_at is not None and self.left_at < self.joined_at:
            raise ValueError("an interval ends before it begins")


@dataclass(frozen=True, slots=True)
class Presence:
    """What the evidence says. `unexplained` is time that only joins without a leave speak for."""

    proven: timedelta
    unexplained: timedelta
    first_seen_at: datetime | None
    last_seen_at: datetime | None


def reckon(intervals: Iterable[Interval], span: Span, breaks: Iterable[Span] = ()) -> Presence:
    """Merge evidence into proven and unexplained time within a session.

    The order, the number of copies and the lateness of the evidence do not
    matter; more evidence never proves less.
    """
    evidence = list(intervals)
    pauses = list(breaks)
    closed = [Span(e.joined_at, e.left_at) for e in evidence if e.left_at is not None]
    opened = [
        Span(e.joined_at, max(e.joined_at, span.ends_at)) for e in evidence if e.left_at is None
    ]
    proven = _within(_union(closed), span)
    anything = _within(_union(closed + opened), span)
    proven_time = _without(proven, pauses)
    return Presence(
        proven=proven_time,
        unexplained=_without(anything, pauses) - proven_time,
        first_seen_at=anything[0].starts_at if anything else None,
        last_seen_at=proven[-1].ends_at if proven else None,
    )


def minutes(intervals: Iterable[Interval], span: Span, breaks: Iterable[Span] = ()) -> int:
    """Give the proven minutes, whole ones only: a payer is never billed for a part of one."""
    return reckon(intervals, span, breaks).proven // timedelta(minutes=1)


def facilitated(span: Span, breaks: Iterable[Span] = ()) -> timedelta:
    """Give how long a session was led, breaks left out."""
    return _without([span], list(breaks))


@unique
class AttendanceStatus(StrEnum):
    """What became of a place in a session."""

    SCHEDULED = "scheduled"
    CONFIRMED = "confirmed"
    IN_PROGRESS = "in_progress"
    ATTENDED = "attended"
    PARTIAL = "partial"
    NO_SHOW = "no_show"
    CANCELLED_BY_PARTICIPANT = "cancelled_by_participant"
    LATE_CANCEL = "late_cancel"
    CANCELLED_BY_PROGRAM = "cancelled_by_program"
    TECHNICAL_FAILURE = "technical_failure"
    EXCUSED = "excused"
    MADE_UP = "made_up"


@dataclass(frozen=True, slots=True, kw_only=True)
class AttendancePolicy(Dated):
    """The thresholds of attendance, in percent of the facilitated time and in durations."""

    min_presence_pct: Annotated[int, Field(gt=0, le=100)]
    join_opens_before: timedelta
    late_after: timedelta
    left_early_before: timedelta
    no_show_after: timedelta
    late_cancel_within: timedelta
    interruption_from: timedelta


@dataclass(frozen=True, slots=True)
class Judgment:
    """What a finished session's evidence amounts to.

    `needs_confirmation` is set where unexplained time would change the status.
    """

    status: AttendanceStatus
    is_late: bool
    has_left_early: bool
    needs_confirmation: bool


@cache
def default_attendance_policy() -> AttendancePolicy:
    """Give the attendance thresholds that ship."""
    return shipped_policy(AttendancePolicy, "attendance-default")


def judge(
    policy: AttendancePolicy, presence: Presence, span: Span, breaks: Sequence[Span] = ()
) -> Judgment:
    """Say whether a finished session was attended, in part or not at all."""
    led = facilitated(span, breaks)
    status = _status(policy, presence.proven, led)
    at_most = _status(policy, presence.proven + presence.unexplained, led)
    first, last = presence.first_seen_at, presence.last_seen_at
    return Judgment(
        status=status,
        is_late=first is not None and first - span.starts_at > policy.late_after,
        has_left_early=last is not None
        and presence.unexplained == NOTHING
        and span.ends_at - last > policy.left_early_before,
        needs_confirmation=at_most is not status,
    )


def is_no_show(policy: AttendancePolicy, presence: Presence, span: Span, now: datetime) -> bool:
    """Say whether someone is missing from a running session, so that they are called today."""
    return presence.first_seen_at is None and now - span.starts_at > policy.no_show_after


def may_join(policy: AttendancePolicy, span: Span, now: datetime) -> bool:
    """Say whether the door is open: from shortly before the start until the end."""
    return span.starts_at - policy.join_opens_before <= now < span.ends_at


def cancellation(
    policy: AttendancePolicy, starts_at: datetime, cancelled_at: datetime
) -> AttendanceStatus:
    """Tell an early cancellation from a late one; a full day's notice is early."""
    if starts_at - cancelled_at >= policy.late_cancel_within:
        return AttendanceStatus.CANCELLED_BY_PARTICIPANT
    return AttendanceStatus.LATE_CANCEL


def _status(policy: AttendancePolicy, present: timedelta, led: timedelta) -> AttendanceStatus:
    if present == NOTHING:
        return AttendanceStatus.NO_SHOW
    if present * 100 >= led * policy.min_presence_pct:
        return AttendanceStatus.ATTENDED
    return AttendanceStatus.PARTIAL


def _union(spans: Iterable[Span]) -> list[Span]:
    """Merge overlapping and touching spans, in order."""
    merged: list[Span] = []
    for span in sorted(spans):
        if merged and span.starts_at <= merged[-1].ends_at:
            longest = max(merged[-1].ends_at, span.ends_at)
            merged[-1] = Span(merged[-1].starts_at, longest)
        else:
            merged.append(span)
    return merged


def _within(spans: Iterable[Span], frame: Span) -> list[Span]:
    """Cut spans to a frame and drop those of no length."""
    cut = (
        (max(span.starts_at, frame.starts_at), min(span.ends_at, frame.ends_at)) for span in spans
    )
    return [Span(start, end) for start, end in cut if start < end]


def _without(spans: Sequence[Span], pauses: Iterable[Span]) -> timedelta:
    """Measure disjoint spans, leaving out what falls into a pause."""
    lost = (piece.length for pause in _union(pauses) for piece in _within(spans, pause))
    return sum((span.length for span in spans), NOTHING) - sum(lost, NOTHING)
