"""How fast a password may be guessed (AUTH-21).

An attempt is counted as a failure before it is made, and taken back when it succeeds: guesses
that arrive together cannot slip past the count, however many processes they reach. A device that
signed in to the account before counts by itself, so that guesses from elsewhere do not slow it.
Nobody is locked out for good: every delay ends, the longest after a day.
"""

import hashlib
from collections.abc import Sequence
from datetime import datetime, timedelta
from enum import StrEnum, unique
from math import ceil
from typing import Final, NamedTuple

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.problems import TooManyRequests
from app.models.accounts import Throttle

LONGEST_DELAY: Final = timedelta(minutes=15)
MOST_FAILURES: Final = 100
PAUSE: Final = timedelta(days=1)
"""After `MOST_FAILURES` in a row, and after how long without a failure all are forgotten."""


@unique
class Counted(StrEnum):
    """What failures are counted for."""

    LOGIN = "login"
    DEVICE = "device"
    NETWORK = "network"


FREE: Final = {Counted.LOGIN: 5, Counted.DEVICE: 5, Counted.NETWORK: 20}
"""How many failures pass without a delay. A clinic's whole staff shares one network."""


class Subject(NamedTuple):
    """One login, one known device of a login, or one network."""

    key: bytes
    counted: Counted


def login(login_index: bytes) -> Subject:
    """A login name, whether or not an account has it."""
    return _subject(Counted.LOGIN, login_index)


def device(login_index: bytes, device_digest: bytes) -> Subject:
    """A device from which this login was used with success before."""
    return _subject(Counted.DEVICE, login_index + device_digest)


def network(source: str) -> Subject:
    """The network that a request comes from."""
    return _subject(Counted.NETWORK, source.encode())


def _subject(counted: Counted, name: bytes) -> Subject:
    return Subject(hashlib.sha256(counted.encode() + b"\0" + name).digest(), counted)


def delay_after(failures: int, counted: Counted) -> timedelta:
    """How long the next attempt must wait after this many failures in a row.

    One second after the last free failure, doubling to a quarter of an hour; a day after a
    hundred, which is as many as NIST SP 800-63B-4, section 3.2.2, lets anybody make.
    """
    if failures >= MOST_FAILURES and counted is not Counted.NETWORK:
        return PAUSE
    doublings = failures - FREE[counted]
    if doublings < 0:
        return timedelta()
    # The exponent is bounded first: the count of a busy network has no end.
    return min(timedelta(seconds=2 ** min(doublings, 20)), LONGEST_DELAY)


async def reserve(db: AsyncSession, subjects: Sequence[Subject], now: datetime) -> None:
    """Count an attempt against each subject, as if it had failed already.

    Raises TooManyRequests when one of them must wait, and then counts nothing: who is blocked
    cannot make the delay of others longer.
    """
    rows = await _locked(db, subjects, now)
    blocked_until = max((row.blocked_until or now for row in rows.values()), default=now)
    if blocked_until > now:
        seconds = ceil((blocked_until - now).total_seconds())
        raise TooManyRequests(headers={"Retry-After": str(seconds)}, retry_after=seconds)
    for subject in subjects:
        row = rows[subject.key]
        is_forgotten = row.updated_at + PAUSE <= now
        row.failures = 1 if is_forgotten else row.failures + 1
        delay = delay_after(row.failures, subject.counted)
        row.blocked_until = now + delay if delay else None
        row.updated_at = now
    await db.flush()


async def forgive(db: AsyncSession, subjects: Sequence[Subject], now: datetime) -> None:
    """Take a reserved attempt back, because it succeeded.

    A login or a device starts anew. A network only gets this one attempt back: otherwise
    whoever owns one account could guess at all others for ever.
    """
    rows = await _locked(db, subjects, now)
    for subject in subjects:
        row = rows[subject.key]
        shared = subject.counted is Counted.NETWORK
        row.failures = max(0, row.failures - 1) if shared else 0
        row.blocked_until = None
    await db.flush()


async def is_delayed(db: AsyncSession, subjects: Sequence[Subject], now: datetime) -> bool:
    """Whether the next attempt of one of them must wait."""
    keys = [subject.key for subject in subjects]
    found = await db.scalar(
        select(Throttle.key).where(Throttle.key.in_(keys), Throttle.blocked_until > now).limit(1)
    )
    return found is not None


async def _locked(
    db: AsyncSession, subjects: Sequence[Subject], now: datetime
) -> dict[bytes, Throttle]:
    """The rows of the subjects, made where they are missing, locked in the order of their keys."""
    keys = sorted({subject.key for subject in subjects})
    await db.execute(
        insert(Throttle)
        .values([{"key": key, "failures": 0, "updated_at": now} for key in keys])
        .on_conflict_do_nothing()
    )
    rows = await db.scalars(
        select(Throttle)
        .where(Throttle.key.in_(keys))
        .order_by(Throttle.key)
        .with_for_update(key_share=True)
    )
    return {row.key: row for row in rows}
