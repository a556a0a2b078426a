"""What a connection carries, measured by the server's own clock between exchanges.

A test is a chain of requests. The server notes when each answer leaves and when the next request
is there, whole: an empty exchange gives a round trip, one whose answer carries a body the way
down, one whose request carries a body the way up. The least round trip is taken off both. What a
client does in between makes it slower, never faster, so no figure flatters a connection, and a
client that invents figures has nowhere to send them (clinical reference, section 2.6).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from enum import StrEnum, unique
from itertools import pairwise
from typing import Final

PROBES: Final = 4
"""How many round trips are measured before the bodies."""

BODY_BYTES: Final = 262_144
"""How much goes each way: two seconds of what group video needs."""

LASTS: Final = timedelta(minutes=2)
PER_HOUR: Final = 6

_LEAST: Final = 1_000
"""A body takes a millisecond at least, in microseconds: what a clock says below that is noise."""
_HUNDREDTH: Final = Decimal("0.01")
_TENTH: Final = Decimal("0.1")


@unique
class TestStep(StrEnum):
    """What the next request of a test is: a probe, a confirmation of what came, or a body."""

    __test__ = False

    PROBE = "probe"
    CONFIRM = "confirm"
    UPLOAD = "upload"
    DONE = "done"


@dataclass(frozen=True, slots=True)
class Figures:
    """Megabits a second each way, and milliseconds of the way and its unevenness."""

    down_mbps: Decimal
    up_mbps: Decimal
    round_trip_ms: Decimal
    jitter_ms: Decimal


def figures(round_trips: Sequence[int], download: int, upload: int) -> Figures:
    """Tell what a connection carried, from durations in microseconds.

    `download` and `upload` are of `BODY_BYTES` each and hold a round trip; jitter is the mean
    difference between neighbouring round trips. A longer duration never gives a greater speed.
    """
    least = min(round_trips)
    between = [abs(later - earlier) for earlier, later in pairwise(round_trips)]
    jitter = sum(between) / len(between) if between else 0
    return Figures(
        down_mbps=_speed(download - least),
        up_mbps=_speed(upload - least),
        round_trip_ms=_milliseconds(least),
        jitter_ms=_milliseconds(jitter),
    )


def _speed(microseconds: int) -> Decimal:
    # Bits for each microsecond are megabits for each second.
    return (Decimal(BODY_BYTES * 8) / max(microseconds, _LEAST)).quantize(_HUNDREDTH)


def _milliseconds(microseconds: float) -> Decimal:
    return (Decimal(microseconds) / 1000).quantize(_TENTH)
