"""How fast passwords may be guessed, over HTTP and from many places (AUTH-21)."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from http import HTTPStatus
from itertools import chain

import pytest
from fastapi import FastAPI
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select, update

from app.core.ids import new_id
from app.domain.roles import StaffRole
from app.main import create_app, make_runtime
from app.models.accounts import Account, Throttle
from app.services.throttling import (
    FREE,
    LONGEST_DELAY,
    MOST_FAILURES,
    PAUSE,
    Counted,
    delay_after,
    login,
)
from tests.factories import Make, Person, problem_of
from tests.routers.signing_in import PASSWORD, Device, device, email_of, give_password, later

WRONG = "eight loud herons at dawn"

counts = st.integers(min_value=0, max_value=10_000)
subjects = st.sampled_from(Counted)


@pytest.fixture
async def phone(app: FastAPI) -> AsyncIterator[Device]:
    async with device(app) as phone:
        yield phone


@pytest.fixture
async def clinician(make: Make) -> Person:
    clinician = await make.staff(StaffRole.CLINICIAN)
    await give_password(make, clinician)
    return clinician


async def fail(phone: Device, username: str, **fields: str) -> int:
    response = await phone.begin(username, password=WRONG, **fields)
    return response.status_code


# The rule


@given(counts, subjects)
def test_auth_21_a_delay_never_shrinks_and_always_ends(failures: int, counted: Counted) -> None:
    delay = delay_after(failures, counted)

    assert delay <= delay_after(failures + 1, counted)
    assert delay <= PAUSE


def test_auth_21_delays_double_from_a_second_to_a_quarter_of_an_hour() -> None:
    delays = [delay_after(n, Counted.LOGIN).total_seconds() for n in range(4, 17)]

    assert delays == [0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900]
    assert delay_after(MOST_FAILURES - 1, Counted.LOGIN) == LONGEST_DELAY
    assert delay_after(MOST_FAILURES, Counted.LOGIN) == PAUSE
    assert delay_after(MOST_FAILURES, Counted.NETWORK) == LONGEST_DELAY


# Over HTTP


async def test_auth_21_a_login_waits_after_five_failures(phone: Device, clinician: Person) -> None:
    username = email_of(clinician)
    for _ in range(FREE[Counted.LOGIN]):
        assert await fail(phone, username) == HTTPStatus.BAD_REQUEST

    blocked = await phone.begin(username, password=WRONG)

    assert blocked.status_code == HTTPStatus.TOO_MANY_REQUESTS
    assert problem_of(blocked) == "too-many-requests"
    assert blocked.headers["retry-after"] == "1"
    assert blocked.json()["retry_after"] == 1
    async with later(timedelta(seconds=1)):
        assert await fail(phone, username) == HTTPStatus.BAD_REQUEST
        again = await phone.begin(username, password=WRONG)
    assert again.headers["retry-after"] == "2"


async def test_auth_21_success_begins_a_new_count(phone: Device, clinician: Person) -> None:
    username = email_of(clinician)
    for _ in range(4):
        await fail(phone, username)

    await phone.sign_in(username)

    for _ in range(FREE[Counted.LOGIN]):
        assert await fail(phone, username) == HTTPStatus.BAD_REQUEST


async def test_auth_21_who_is_blocked_cannot_make_it_worse(
    phone: Device, clinician: Person
) -> None:
    username = email_of(clinician)
    for _ in range(FREE[Counted.LOGIN] + 20):
        await fail(phone, username)

    async with later(timedelta(seconds=1)):
        await phone.sign_in(username)


async def test_auth_21_a_device_that_signed_in_before_is_not_slowed(
    app: FastAPI, phone: Device, clinician: Person
) -> None:
    username = email_of(clinician)
    first = await phone.begin(username, password=PASSWORD)
    known = first.json()["device"]
    async with device(app) as attacker:
        for _ in range(8):
            await fail(attacker, username)
        assert await fail(attacker, username, device="A" * 43) == HTTPStatus.TOO_MANY_REQUESTS

        again = await phone.begin(username, password=PASSWORD, device=known)

        assert again.status_code == HTTPStatus.OK
        assert again.json()["device"] is None


async def test_auth_21_a_known_device_is_slowed_by_its_own_failures(
    phone: Device, clinician: Person
) -> None:
    username = email_of(clinician)
    first = await phone.begin(username, password=PASSWORD)
    known = first.json()["device"]

    statuses = [await fail(phone, username, device=known) for _ in range(6)]

    assert statuses == [HTTPStatus.BAD_REQUEST] * 5 + [HTTPStatus.TOO_MANY_REQUESTS]


async def test_auth_21_a_device_is_known_to_its_own_account_only(
    make: Make, phone: Device, clinician: Person
) -> None:
    other = await make.staff()
    await give_password(make, other)
    first = await phone.begin(email_of(other), password=PASSWORD)
    known = first.json()["device"]
    for _ in range(5):
        await fail(phone, email_of(clinician))

    assert await fail(phone, email_of(clinician), device=known) == HTTPStatus.TOO_MANY_REQUESTS


async def test_auth_21_a_network_waits_after_guessing_at_many_logins(
    app: FastAPI, phone: Device
) -> None:
    statuses = [
        await fail(phone, f"{new_id().hex}@example.org") for _ in range(FREE[Counted.NETWORK] + 1)
    ]

    assert statuses[:-1] == [HTTPStatus.BAD_REQUEST] * FREE[Counted.NETWORK]
    assert statuses[-1] == HTTPStatus.TOO_MANY_REQUESTS
    async with device(app) as elsewhere:
        assert await fail(elsewhere, f"{new_id().hex}@example.org") == HTTPStatus.BAD_REQUEST


async def test_auth_21_an_account_of_ones_own_does_not_buy_guesses_at_others(
    phone: Device, clinician: Person
) -> None:
    for _ in range(FREE[Counted.NETWORK] - 1):
        await fail(phone, f"{new_id().hex}@example.org")

    await phone.sign_in(email_of(clinician))

    assert await fail(phone, f"{new_id().hex}@example.org") == HTTPStatus.BAD_REQUEST
    assert await fail(phone, f"{new_id().hex}@example.org") == HTTPStatus.TOO_MANY_REQUESTS


async def test_auth_21_guesses_that_arrive_together_are_counted_one_by_one(
    app: FastAPI, make: Make, clinician: Person
) -> None:
    # A second process: its own pool, its own caches, the same database.
    runtime = make_runtime(make.runtime.settings, str(make.runtime.connections.engine.url))
    other = create_app(runtime)

    async def guess(place: int) -> list[int]:
        async with device(app if place % 2 else other) as phone:
            return [await fail(phone, email_of(clinician)) for _ in range(4)]

    guesses = await asyncio.gather(*(guess(place) for place in range(10)))
    await runtime.connections.close()

    answers = list(chain.from_iterable(guesses))
    reached = answers.count(HTTPStatus.BAD_REQUEST)
    assert len(answers) == 40
    assert FREE[Counted.LOGIN] <= reached <= FREE[Counted.LOGIN] + 3
    assert answers.count(HTTPStatus.TOO_MANY_REQUESTS) == 40 - reached


async def test_auth_21_nobody_is_locked_out_for_good(
    app: FastAPI, make: Make, phone: Device, clinician: Person
) -> None:
    username = email_of(clinician)
    await fail(phone, username)
    async with make.transaction() as db:
        login_index = await db.scalar(
            select(Account.login_index).where(Account.id == clinician.account_id)
        )
        assert login_index is not None
        await db.execute(
            update(Throttle)
            .where(Throttle.key == login(login_index).key)
            .values(failures=MOST_FAILURES - 1)
        )
    # The last one that reaches the hasher: whoever guesses has to wait for a day.
    assert await fail(phone, username) == HTTPStatus.BAD_REQUEST

    async with later(PAUSE - timedelta(seconds=60)), device(app) as other:
        assert await fail(other, username) == HTTPStatus.TOO_MANY_REQUESTS
    async with later(PAUSE), device(app) as other:
        assert await fail(other, username) == HTTPStatus.BAD_REQUEST
        assert await fail(other, username) == HTTPStatus.BAD_REQUEST
        await other.sign_in(username)
