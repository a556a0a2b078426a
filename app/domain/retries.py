"""When a webhook is tried again, and what a receiver's answer means (WH-07)."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from enum import StrEnum, unique
from http import HTTPStatus
from typing import Final

DELAYS: Final = (
    timedelta(),
    timedelta(seconds=5),
    timedelta(minutes=5),
    timedelta(minutes=30),
    timedelta(hours=2),
    timedelta(hours=5),
    timedelta(hours=10),
    timedelta(hours=14),
    timedelta(hours=20),
    timedelta(hours=24),
)
"""How long to wait before each attempt; after the last, the delivery is dead."""

JITTER: Final = 0.2
LONGEST_RETRY_AFTER: Final = timedelta(hours=24)


@unique
class DeliveryOutcome(StrEnum):
    """What an attempt came to."""

    DELIVERED = "delivered"
    GONE = "gone"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Attempt:
    """An attempt's outcome, and how long the receiver asked to be left alone, if it did."""

    outcome: DeliveryOutcome
    retry_after: timedelta | None = None


def next_delay(
    attempts_made: int, jitter: float, *, retry_after: timedelta | None = None
) -> timedelta | None:
    """Give the wait before the next attempt, or None when there is none left.

    `jitter` in [0, 1) spreads the wait over 20 % to either side, so that
    receivers are not met by a crowd. A receiver's own wish lengthens the wait
    and never shortens it.
    """
    if not 0 <= jitter < 1:
        raise ValueError("jitter lies in [0, 1)")
    if attempts_made < 0:
        raise ValueError("attempts cannot be negative")
    if attempts_made >= len(DELAYS):
        return None
    delay = DELAYS[attempts_made] * (1 - JITTER + 2 * JITTER * jitter)
    return delay if retry_after is None else max(delay, min(retry_after, LONGEST_RETRY_AFTER))


def classify(status: int | None, retry_after: str | None, now: datetime) -> Attempt:
    """Read a receiver's answer; None is an attempt that got no answer.

    2xx is delivered and 410 takes the endpoint out of service. Everything else
    fails and is tried again; that includes redirects, which are never followed,
    because the address that was checked is not the one they lead to.
    """
    if status is None:
        return Attempt(DeliveryOutcome.FAILED)
    if HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES:
        return Attempt(DeliveryOutcome.DELIVERED)
    if status == HTTPStatus.GONE:
        return Attempt(DeliveryOutcome.GONE)
    if status in {HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE}:
        return Attempt(DeliveryOutcome.FAILED, _wish(retry_after, now))
    return Attempt(DeliveryOutcome.FAILED)


def _wish(header: str | None, now: datetime) -> timedelta | None:
    """Read Retry-After as seconds or as an HTTP date; nonsense is no wish."""
    if header is None:
        return None
    text = header.strip()
    if text.isascii() and text.isdigit():
        # Nine digits are thirty years; more would overflow and mean the same.
        wish = timedelta(seconds=int(text[:9]))
    else:
        until = _http_date(text)
        if until is None:
            return None
        wish = until - now
    return min(max(wish, timedelta()), LONGEST_RETRY_AFTER)


def _http_date(text: str) -> datetime | None:
    try:
        until = parsedate_to_datetime(text)
    except ValueError:
        return None
    return until if until.tzinfo is not None else until.replace(tzinfo=UTC)
