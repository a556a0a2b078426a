"""WH-07: when a webhook is tried again, and what a receiver's answer means."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.retries import DELAYS, DeliveryOutcome, classify, next_delay

NOW = datetime(2026, 9, 1, 12, tzinfo=UTC)
jitters = st.floats(0, 1, exclude_max=True)


def test_wh_07_there_are_ten_attempts_over_three_days() -> None:
    assert len(DELAYS) == 10
    assert sum(DELAYS, timedelta()) == timedelta(hours=75, minutes=35, seconds=5)


@given(st.integers(0, 9), jitters)
def test_wh_07_every_delay_is_within_a_fifth_of_the_table(attempts: int, jitter: float) -> None:
    delay = next_delay(attempts, jitter)
    assert delay is not None
    assert DELAYS[attempts] * 0.8 <= delay <= DELAYS[attempts] * 1.2


@given(st.integers(10, 1000), jitters)
def test_wh_07_after_the_tenth_attempt_the_delivery_is_dead(attempts: int, jitter: float) -> None:
    assert next_delay(attempts, jitter, retry_after=timedelta(seconds=1)) is None


@pytest.mark.parametrize(("attempts", "jitter"), [(-1, 0.5), (0, 1.0), (0, -0.1)])
def test_wh_07_nonsense_is_refused(attempts: int, jitter: float) -> None:
    with pytest.raises(ValueError, match=r"jitter|attempts"):
        next_delay(attempts, jitter)


@pytest.mark.parametrize(
    ("asked", "given_"),
    [
        (timedelta(minutes=10), timedelta(minutes=10)),
        (timedelta(seconds=1), timedelta(minutes=5)),
        (timedelta(days=9), timedelta(hours=24)),
    ],
)
def test_wh_07_a_receiver_may_lengthen_the_wait_up_to_a_day(
    asked: timedelta, given_: timedelta
) -> None:
    assert next_delay(2, 0.5, retry_after=asked) == given_


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        (200, "delivered"),
        (204, "delivered"),
        (299, "delivered"),
        (301, "failed"),
        (307, "failed"),
        (400, "failed"),
        (404, "failed"),
        (410, "gone"),
        (429, "failed"),
        (500, "failed"),
        (503, "failed"),
        (100, "failed"),
        (None, "failed"),
    ],
)
def test_wh_07_each_class_of_answer_has_one_meaning(status: int | None, outcome: str) -> None:
    assert classify(status, None, NOW).outcome is DeliveryOutcome(outcome)


@pytest.mark.parametrize(
    ("header", "wish"),
    [
        ("120", timedelta(minutes=2)),
        (" 120 ", timedelta(minutes=2)),
        ("0", timedelta()),
        ("99999999999999999999", timedelta(hours=24)),
        ("Tue, 01 Sep 2026 13:00:00 GMT", timedelta(hours=1)),
        ("Tue, 01 Sep 2026 11:00:00 GMT", timedelta()),
        ("Tue, 01 Sep 2099 11:00:00 GMT", timedelta(hours=24)),
        ("Tue, 01 Sep 2026 13:00:00 -0000", timedelta(hours=1)),
        ("soon", None),
        ("-5", None),
        ("1.5", None),
        ("١٢", None),
        ("", None),
        (None, None),
    ],
)
def test_wh_07_retry_after_is_seconds_or_a_date_and_at_most_a_day(
    header: str | None, wish: timedelta | None
) -> None:
    assert classify(503, header, NOW).retry_after == wish
    assert classify(429, header, NOW).retry_after == wish
    assert classify(500, header, NOW).retry_after is None


@given(st.text(max_size=40))
def test_wh_07_no_header_breaks_the_reader(header: str) -> None:
    wish = classify(503, header, NOW).retry_after
    assert wish is None or timedelta() <= wish <= timedelta(hours=24)
