"""Which clock moves when."""

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone

import pytest

from app.core import clock

HOUR = timedelta(hours=1)
SECOND = timedelta(seconds=1)


@pytest.fixture
def shifted() -> Iterator[None]:
    clock.shift_process(HOUR)
    yield
    clock.shift_process(-HOUR)


def away(instant: datetime) -> timedelta:
    """How far an instant stands from the machine's clock, to the second."""
    return round((instant - datetime.now(UTC)) / SECOND) * SECOND


def test_instants_are_aware_and_in_utc() -> None:
    assert clock.now().utcoffset() == clock.wall().utcoffset() == timedelta(0)


def test_an_organization_moves_now_and_not_the_wall() -> None:
    token = clock.set_organization_offset(7 * HOUR)
    assert (away(clock.now()), away(clock.wall())) == (7 * HOUR, timedelta(0))
    clock.reset_organization_offset(token)
    assert away(clock.now()) == timedelta(0)


@pytest.mark.usefixtures("shifted")
def test_the_process_moves_both() -> None:
    assert (away(clock.now()), away(clock.wall())) == (HOUR, HOUR)
    token = clock.set_organization_offset(HOUR)
    assert (away(clock.now()), away(clock.wall())) == (2 * HOUR, HOUR)
    clock.reset_organization_offset(token)


@pytest.mark.usefixtures("shifted")
def test_no_offset_moves_the_monotonic_clock() -> None:
    token = clock.set_organization_offset(1000 * HOUR)
    first, second = clock.monotonic(), clock.monotonic()
    clock.reset_organization_offset(token)
    assert 0 <= second - first < 60


async def test_an_offset_belongs_to_its_task() -> None:
    async def serve(offset: timedelta) -> timedelta:
        clock.set_organization_offset(offset)
        await asyncio.sleep(0)
        return away(clock.now())

    assert list(await asyncio.gather(serve(HOUR), serve(-HOUR))) == [HOUR, -HOUR]
    assert away(clock.now()) == timedelta(0)


@pytest.mark.parametrize(
    ("instant", "text"),
    [
        (datetime(2026, 1, 1, tzinfo=UTC), "2026-01-01T00:00:00Z"),
        (datetime(2026, 1, 1, 0, 0, 0, 500, tzinfo=UTC), "2026-01-01T00:00:00.000500Z"),
        (
            datetime(2026, 1, 1, 1, 30, tzinfo=timezone(timedelta(hours=5, minutes=30))),
            "2025-12-31T20:00:00Z",
        ),
    ],
)
def test_instants_are_rendered_in_utc_with_microseconds_only_when_present(
    instant: datetime, text: str
) -> None:
    assert clock.render(instant) == text
