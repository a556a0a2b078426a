"""Passwords: what may be one, and how one is kept (AUTH-18 to 20, 22).

Hashing costs tens of milliseconds of CPU and 19 MiB of memory on purpose. It happens in threads
of its own, one for each core, so that no socket waits for it; when too many wait, the next one
is told to come back.
"""

import asyncio
import os
import re
import threading
import unicodedata
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from enum import StrEnum, unique
from pathlib import Path
from typing import Final, NamedTuple, TypeVar

from passlib.context import (  # type: ignore[import-untyped]  # libpass ships no types
    CryptContext,
)

from app.core.problems import ServiceBusy

MIN_LENGTH: Final = 8
MIN_LENGTH_ALONE: Final = 15
MAX_LENGTH: Final = 128
MAX_WAITING: Final = 20

# The minimum of ASVS 5.0 appendix C for argon2id.
_CONTEXT: Final = CryptContext(
    schemes=["argon2"],
    argon2__type="ID",
    argon2__memory_cost=19_456,
    argon2__time_cost=2,
    argon2__parallelism=1,
)
# Verified when there is no account, so that an unknown one takes as long as a known one. Made
# with the parameters above, from random bytes that nobody kept.
NOBODYS_HASH: Final = (
    "$argon2id$v=19$m=19456,t=2,p=1$DKH0Xst5D8GYE8JYaw0hBA$MJhfI6"
    "brKQe6anSrW8kVbN0vlwWFOvtNtDiBm8TdNDc"
)
_UNSTORABLE: Final = re.compile("[\x00\ud800-\udfff]")
_PRODUCT_WORDS: Final = ("stepwell",)
_MIN_WORD: Final = 4
_WORD_BREAK: Final = re.compile(r"[\W_]+")

T = TypeVar("T")


@unique
class PasswordProblem(StrEnum):
    """Why a password is not accepted."""

    TOO_SHORT = "password_too_short"
    TOO_LONG = "password_too_long"
    NOT_TEXT = "password_not_text"
    COMMON = "password_common"
    PERSONAL = "password_personal"


class Verdict(NamedTuple):
    """Whether a password is right, and whether its hash should be made anew."""

    ok: bool
    needs_rehash: bool


def _common_passwords() -> frozenset[str]:
    lines = Path(__file__).with_name("common_passwords.txt").read_text("utf-8").splitlines()
    return frozenset(line for line in lines if not line.startswith("# "))


_COMMON: Final = _common_passwords()


class HashingThreads:
    """A thread for each core, and a queue that is not allowed to grow."""

    def __init__(self, *, workers: int, waiting: int) -> None:
        self._executor = ThreadPoolExecutor(workers, thread_name_prefix="passwords")
        self._places = threading.Semaphore(workers + waiting)

    async def run(self, work: Callable[[], T]) -> T:
        """Do the work in a thread; raises ServiceBusy when the queue is full."""
        if not self._places.acquire(blocking=False):
            raise ServiceBusy
        future = self._executor.submit(work)
        # When the work is done, not when its caller is: a request that is cancelled leaves a
        # thread behind that is still at work.
        future.add_done_callback(self._leave)
        return await asyncio.wrap_future(future)

    def _leave(self, _future: "Future[T]") -> None:
        self._places.release()


_threads: Final = HashingThreads(workers=os.cpu_count() or 1, waiting=MAX_WAITING)


def password_problems(
    candidate: str, *, with_second_factor: bool, personal_words: Iterable[str]
) -> list[str]:
    """Why this may not be a password; empty when it may (NIST SP 800-63B-4, section 3.1.1).

    Length decides, not composition: 15 characters where nothing else protects the account, 8
    beside a second factor. Common passwords are refused, and those with a word that an attacker
    would try first: of the person, of their organization, of this product. Words of fewer than
    four characters are in too many good passwords to count.
    """
    password = _normalized(candidate)
    shortest = MIN_LENGTH if with_second_factor else MIN_LENGTH_ALONE
    folded = password.casefold()
    words = {w for text in (*_PRODUCT_WORDS, *personal_words) for w in _words(text)}
    checks = {
        PasswordProblem.TOO_SHORT: len(password) < shortest,
        PasswordProblem.TOO_LONG: len(password) > MAX_LENGTH,
        PasswordProblem.NOT_TEXT: _UNSTORABLE.search(password) is not None,
        PasswordProblem.COMMON: folded in _COMMON,
        PasswordProblem.PERSONAL: any(word in folded for word in words),
    }
    return [problem for problem, is_met in checks.items() if is_met]


async def hash_password(password: str) -> str:
    """Hash a password that `password_problems` has accepted.

    Raises ServiceBusy, and ValueError for what can be no password at all.
    """
    normalized = _normalized(password)
    if not _is_possible(normalized):
        raise ValueError("the password was not checked")
    hashed: str = await _threads.run(lambda: _CONTEXT.hash(normalized))
    return hashed


async def verify_password(stored: str | None, candidate: str) -> Verdict:
    """Compare a candidate with a stored hash; raises ServiceBusy.

    None stands for an account that does not exist or has no password. It takes the same work, as
    does a candidate that can be no password, so that time tells nothing (AUTH-22).
    """
    normalized = _normalized(candidate)
    if stored is None or not _is_possible(normalized):
        await _threads.run(lambda: _CONTEXT.verify("", NOBODYS_HASH))
        return Verdict(ok=False, needs_rehash=False)
    ok: bool = await _threads.run(lambda: _CONTEXT.verify(normalized, stored))
    return Verdict(ok=ok, needs_rehash=ok and _CONTEXT.needs_update(stored))


def _normalized(password: str) -> str:
    """NFC, so that two keyboards that write the same characters write the same password."""
    return unicodedata.normalize("NFC", password)


def _is_possible(normalized: str) -> bool:
    return len(normalized) <= MAX_LENGTH and _UNSTORABLE.search(normalized) is None


def _words(text: str) -> Iterable[str]:
    """The words of a name, an address or a title that are long enough to give it away."""
    folded = unicodedata.normalize("NFC", text).casefold()
    return (word for word in _WORD_BREAK.split(folded) if len(word) >= _MIN_WORD)
