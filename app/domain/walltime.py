"""Turn a time on the wall of some place into an instant, with a stated answer for every hour.

When clocks go back, an hour repeats: a time in it means the first of the two.
When clocks go forward, an hour vanishes: a time in it means the first instant
after the gap, so 02:30 becomes 03:00 (REL-07). Where a whole day vanished (Samoa
in 2011), the same rule gives the midnight that followed.
"""

from datetime import UTC, datetime, timedelta
from functools import cache
from zoneinfo import ZoneInfo, available_timezones


@cache
def _known_zones() -> frozenset[str]:
    # These three say what the machine is set to, or nothing at all; they are no places.
    return frozenset(available_timezones() - {"localtime", "posixrules", "Factory"})


def find_zone(name: str) -> ZoneInfo | None:
    """Give a zone by its IANA name, or None; a name is never taken for a path."""
    return ZoneInfo(name) if name in _known_zones() else None


def to_instant(local: datetime, zone: ZoneInfo) -> datetime:
    """Give the UTC instant that a naive wall time means in a zone."""
    if local.tzinfo is not None:
        raise ValueError("a wall time carries no zone of its own")
    instant = local.replace(tzinfo=zone, fold=0).astimezone(UTC)
    if instant.astimezone(zone).replace(tzinfo=None, fold=0) == local.replace(fold=0):
        return instant
    return _end_of_gap(local, zone)


def _end_of_gap(local: datetime, zone: ZoneInfo) -> datetime:
    """Find the instant at which the clocks sprang over a wall time.

    Read with the offset after the gap the wall time lies before the change, and
    with the offset before the gap it lies after it; the change is found
    between the two, to the second.
    """
    before = local.replace(tzinfo=zone, fold=1).astimezone(UTC).replace(microsecond=0)
    after = local.replace(tzinfo=zone, fold=0).astimezone(UTC).replace(microsecond=0)
    old_offset = before.astimezone(zone).utcoffset()
    while after - before > timedelta(seconds=1):
        middle = before + timedelta(seconds=(after - before) // timedelta(seconds=2))
        if middle.astimezone(zone).utcoffset() == old_offset:
            before = middle
        else:
            after = middle
    return after
