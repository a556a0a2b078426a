import asyncio
import statistics
import threading
import time
import unicodedata
from pathlib import Path
from typing import Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from passlib.context import (  # type: ignore[import-untyped]  # libpass ships no types
    CryptContext,
)

from app.core.problems import ServiceBusy
from app.security import passwords
from app.security.passwords import (
    MAX_LENGTH,
    MAX_WAITING,
    NOBODYS_HASH,
    HashingThreads,
    PasswordProblem,
    Verdict,
    hash_password,
    password_problems,
    verify_password,
)

GOOD: Final = "a calm green boat at noon"
COMMON: Final = Path(passwords.__file__).with_name("common_passwords.txt")


def problems(candidate: str, *, alone: bool = False, words: tuple[str, ...] = ()) -> list[str]:
    return password_problems(candidate, with_second_factor=not alone, personal_words=words)


async def test_auth_18_hashes_are_argon2id_with_the_parameters_of_asvs() -> None:
    hashed = await hash_password(GOOD)
    assert hashed.startswith("$argon2id$v=19$m=19456,t=2,p=1$")
    assert hashed != await hash_password(GOOD)


async def test_auth_18_the_right_password_is_ok_and_others_are_not() -> None:
    hashed = await hash_password(GOOD)
    assert await verify_password(hashed, GOOD) == Verdict(ok=True, needs_rehash=False)
    assert await verify_password(hashed, GOOD + " ") == Verdict(ok=False, needs_rehash=False)
    assert await verify_password(hashed, GOOD.upper()) == Verdict(ok=False, needs_rehash=False)
    assert await verify_password(hashed, "") == Verdict(ok=False, needs_rehash=False)


async def test_auth_18_a_weaker_hash_is_to_be_made_anew_by_whoever_knows_the_password() -> None:
    weak = CryptContext(
        schemes=["argon2"], argon2__memory_cost=8_192, argon2__time_cost=1, argon2__parallelism=1
    ).hash(GOOD)
    assert await verify_password(weak, GOOD) == Verdict(ok=True, needs_rehash=True)
    assert await verify_password(weak, "wrong") == Verdict(ok=False, needs_rehash=False)


@pytest.mark.parametrize(
    "candidate",
    [
        "x" * MAX_LENGTH,
        "\N{GRINNING FACE}" * MAX_LENGTH,
        "  spaces are kept  ",
        "\N{FAMILY}\N{ZERO WIDTH JOINER} \u05e9\u05dc\u05d5\u05dd \u65e5\u672c\u8a9e ok",
    ],
)
async def test_auth_20_long_and_foreign_passwords_log_in_and_no_character_is_ignored(
    candidate: str,
) -> None:
    hashed = await hash_password(candidate)
    assert (await verify_password(hashed, candidate)).ok
    assert not (await verify_password(hashed, candidate[:-1])).ok


async def test_auth_20_two_keyboards_that_write_the_same_password_both_log_in() -> None:
    written = "caf\u00e9 au lait \u00e0 midi"
    hashed = await hash_password(unicodedata.normalize("NFD", written))
    assert (await verify_password(hashed, written)).ok
    assert (await verify_password(hashed, unicodedata.normalize("NFD", written))).ok


IMPOSSIBLE: Final = ["x" * (MAX_LENGTH + 1), f"{GOOD}\x00", f"{GOOD}\ud800", "\udfff" * 20]


@pytest.mark.parametrize("candidate", IMPOSSIBLE)
async def test_auth_20_what_can_be_no_password_is_refused_without_an_exception(
    candidate: str,
) -> None:
    assert problems(candidate)
    hashed = await hash_password(GOOD)
    assert await verify_password(hashed, candidate) == Verdict(ok=False, needs_rehash=False)
    with pytest.raises(ValueError, match="not checked"):
        await hash_password(candidate)


@pytest.mark.parametrize(
    ("candidate", "alone", "expected"),
    [
        ("kx7 wq2", False, [PasswordProblem.TOO_SHORT]),
        ("kx7 wq2z", False, []),
        ("kx7 wq2z rt5 b", True, [PasswordProblem.TOO_SHORT]),
        ("kx7 wq2z rt5 bn", True, []),
        ("kx7 wq2z rt5 b", False, []),
        ("q" + "x7 " * 42 + "x", False, []),
        ("q" + "x7 " * 42 + "xy", False, [PasswordProblem.TOO_LONG]),
        ("\N{GRINNING FACE}\N{SPARKLES}" * 4, False, []),
        ("e\u0301" * 7, False, [PasswordProblem.TOO_SHORT]),
        ("kx7 wq2z\x00", False, [PasswordProblem.NOT_TEXT]),
        ("kx7 wq2z\udc00", False, [PasswordProblem.NOT_TEXT]),
        ("password", False, [PasswordProblem.COMMON]),
        ("PaSsWoRd1", False, [PasswordProblem.COMMON]),
        ("1qaz2wsx3edc", False, [PasswordProblem.COMMON]),
        ("password", True, [PasswordProblem.TOO_SHORT, PasswordProblem.COMMON]),
        ("my StepWell key", True, [PasswordProblem.PERSONAL]),
        ("", True, [PasswordProblem.TOO_SHORT]),
    ],
)
def test_auth_20_policy(candidate: str, *, alone: bool, expected: list[str]) -> None:
    assert problems(candidate, alone=alone) == expected


@pytest.mark.parametrize(
    "candidate", ["xx ADELAIDE yy", "lovelace12345", "see cedar bridge", "my example mail"]
)
def test_auth_20_words_of_the_person_and_the_organization_are_refused(candidate: str) -> None:
    words = ("Adelaide", "ada.lovelace@example.org", "Cedar Bridge")
    assert problems(candidate, words=words) == [PasswordProblem.PERSONAL]
    assert problems("a lee shore far out", words=("Lee", "")) == []


@settings(deadline=None)
@given(
    candidate=st.text(max_size=200),
    alone=st.booleans(),
    words=st.lists(st.text(max_size=30), max_size=4),
)
def test_auth_20_the_policy_answers_whatever_comes(
    candidate: str,
    *,
    alone: bool,
    words: list[str],
) -> None:
    found = problems(candidate, alone=alone, words=tuple(words))
    assert set(found) <= set(PasswordProblem)


def test_auth_20_the_list_of_common_passwords_is_long_and_in_the_form_it_is_compared_in() -> None:
    listed = [line for line in COMMON.read_text("utf-8").splitlines() if line[:2] != "# "]
    assert len(set(listed)) == len(listed) >= 3_000
    for line in listed:
        assert len(line) >= 8
        assert line == unicodedata.normalize("NFC", line).casefold().strip()


async def test_auth_22_an_account_that_does_not_exist_takes_as_long_as_one_that_does() -> None:
    hashed = await hash_password(GOOD)

    async def seconds(stored: str | None) -> float:
        started = time.thread_time()
        began = time.process_time()
        assert not (await verify_password(stored, "a wrong password")).ok
        return time.process_time() - began - (time.thread_time() - started)

    pairs = [(await seconds(hashed), await seconds(None)) for _ in range(25)]
    known, unknown = (statistics.median(side) for side in zip(*pairs, strict=True))
    assert abs(known - unknown) < 0.2 * known


def test_auth_22_nobodys_hash_is_made_with_the_parameters_in_force() -> None:
    assert NOBODYS_HASH.startswith("$argon2id$v=19$m=19456,t=2,p=1$")


async def test_auth_19_beyond_the_queue_callers_are_told_to_come_back() -> None:
    threads = HashingThreads(workers=2, waiting=MAX_WAITING)
    gate = threading.Event()
    admitted = [asyncio.create_task(threads.run(gate.wait)) for _ in range(2 + MAX_WAITING)]
    await asyncio.sleep(0)
    with pytest.raises(ServiceBusy) as refused:
        await threads.run(gate.wait)
    assert refused.value.headers["Retry-After"]

    gate.set()
    assert all(await asyncio.gather(*admitted))
    assert await threads.run(lambda: "room again") == "room again"


async def test_auth_19_a_caller_who_leaves_gives_the_place_back_once() -> None:
    threads = HashingThreads(workers=1, waiting=1)
    gate = threading.Event()
    running = asyncio.create_task(threads.run(gate.wait))
    queued = asyncio.create_task(threads.run(gate.wait))
    await asyncio.sleep(0)
    queued.cancel()
    running.cancel()
    await asyncio.gather(running, queued, return_exceptions=True)

    # The thread is still at work: one place is taken, one is free.
    waiting = asyncio.create_task(threads.run(gate.wait))
    await asyncio.sleep(0)
    with pytest.raises(ServiceBusy):
        await threads.run(gate.wait)
    gate.set()
    assert await waiting


async def test_auth_19_the_loop_goes_on_while_passwords_are_hashed() -> None:
    hashed = await hash_password(GOOD)
    verdicts = [asyncio.create_task(verify_password(hashed, GOOD)) for _ in range(10)]
    turns = 0
    while not all(verdict.done() for verdict in verdicts):
        await asyncio.sleep(0)
        turns += 1
    assert all(verdict.result().ok for verdict in verdicts)
    assert turns > len(verdicts)
