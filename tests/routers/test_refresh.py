"""Refresh tokens: one use each, a lost answer forgiven, a stolen one noticed (AUTH-15, AUTH-16)."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from uuid import UUID

import asyncpg
import pytest
from fastapi import FastAPI
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select, update

from app.core.embedded import EmbeddedServer
from app.core.ids import new_id
from app.domain.roles import StaffRole
from app.models.accounts import Notification, RefreshToken, SignIn
from app.security import secrets
from app.services.refresh import TOLERANCE, Use, judge
from tests.factories import Make, Person
from tests.routers.signing_in import Device, Tokens, audited, device, email_of, give_password, later

NOW = datetime(2026, 3, 1, 17, tzinfo=UTC)


@pytest.fixture
async def phone(app: FastAPI) -> AsyncIterator[Device]:
    async with device(app) as phone:
        yield phone


@pytest.fixture
async def clinician(make: Make) -> Person:
    clinician = await make.staff(StaffRole.CLINICIAN)
    await give_password(make, clinician)
    return clinician


async def is_refused(phone: Device, refresh_token: str) -> bool:
    response = await phone.refresh(refresh_token)
    return response.status_code == HTTPStatus.BAD_REQUEST and (
        response.json()["error"] == "invalid_grant"
    )


# The rule


def token(*, rotated: timedelta | None = None, revoked: bool = False) -> RefreshToken:
    return RefreshToken(
        id=new_id(),
        rotated_at=None if rotated is None else NOW - rotated,
        revoked_at=NOW if revoked else None,
    )


moments = st.timedeltas(min_value=timedelta(), max_value=timedelta(minutes=2))
links = st.builds(token, rotated=st.none() | moments, revoked=st.booleans())


@given(links, st.none() | links)
def test_auth_16_only_the_current_token_or_its_lost_repeat_is_good(
    presented: RefreshToken, successor: RefreshToken | None
) -> None:
    use = judge(presented, successor, NOW)

    is_current = presented.revoked_at is None and presented.rotated_at is None
    is_lost = (
        presented.revoked_at is None
        and presented.rotated_at is not None
        and NOW - presented.rotated_at <= TOLERANCE
        and successor is not None
        and successor.rotated_at is None
        and successor.revoked_at is None
    )
    expected = Use.ROTATE if is_current else Use.REPEAT if is_lost else Use.REUSE
    assert use is expected


# The chain


async def test_auth_15_each_use_rotates(phone: Device, clinician: Person) -> None:
    first = await phone.sign_in(email_of(clinician))

    second = Tokens.of(await phone.refresh(first.refresh))
    third = Tokens.of(await phone.refresh(second.refresh))

    assert len({first.refresh, second.refresh, third.refresh}) == 3
    assert await phone.status_of(third) == HTTPStatus.OK


async def test_auth_15_the_database_holds_no_usable_token(
    server: EmbeddedServer, phone: Device, clinician: Person
) -> None:
    tokens = await phone.sign_in(email_of(clinician))
    connection = await asyncpg.connect(
        host=str(server.socket_dir), user="postgres", database="stepwell"
    )
    try:
        rows = await connection.fetch("select t::text as row from stepwell.refresh_token t")
    finally:
        await connection.close()

    dump = "\n".join(row["row"] for row in rows)
    assert secrets.digest(tokens.refresh).hex() in dump
    assert tokens.refresh not in dump
    assert await is_refused(phone, secrets.digest(tokens.refresh).hex())


async def test_auth_16_a_lost_answer_is_given_again(phone: Device, clinician: Person) -> None:
    first = await phone.sign_in(email_of(clinician))
    lost = Tokens.of(await phone.refresh(first.refresh))

    again = Tokens.of(await phone.refresh(first.refresh))

    assert again.refresh != lost.refresh
    assert await phone.status_of(Tokens.of(await phone.refresh(again.refresh))) == HTTPStatus.OK


async def test_auth_16_successors_are_told_apart_although_clocks_differ(
    make: Make, phone: Device, clinician: Person
) -> None:
    first = await phone.sign_in(email_of(clinician))
    await phone.refresh(first.refresh)
    second = Tokens.of(await phone.refresh(first.refresh))
    async with make.transaction() as db:
        await db.execute(
            update(RefreshToken)
            .where(RefreshToken.digest == secrets.digest(second.refresh))
            .values(id=UUID(int=1))
        )

    third = Tokens.of(await phone.refresh(first.refresh))

    assert await phone.status_of(third) == HTTPStatus.OK


async def test_auth_16_a_lost_answer_is_forgiven_for_half_a_minute(
    phone: Device, clinician: Person
) -> None:
    first = await phone.sign_in(email_of(clinician))
    second = Tokens.of(await phone.refresh(first.refresh))

    async with later(timedelta(seconds=31)):
        assert await is_refused(phone, first.refresh)
        assert await is_refused(phone, second.refresh)


async def test_auth_16_the_victim_first_then_the_thief(phone: Device, clinician: Person) -> None:
    first = await phone.sign_in(email_of(clinician))
    second = Tokens.of(await phone.refresh(first.refresh))
    third = Tokens.of(await phone.refresh(second.refresh))

    assert await is_refused(phone, first.refresh)

    assert await is_refused(phone, third.refresh)
    assert await phone.status_of(third) == HTTPStatus.UNAUTHORIZED


async def test_auth_16_the_thief_first_then_the_victim(phone: Device, clinician: Person) -> None:
    first = await phone.sign_in(email_of(clinician))
    victims = Tokens.of(await phone.refresh(first.refresh))
    thiefs = Tokens.of(await phone.refresh(first.refresh))

    assert await is_refused(phone, victims.refresh)

    assert await is_refused(phone, thiefs.refresh)
    assert await phone.status_of(thiefs) == HTTPStatus.UNAUTHORIZED


async def test_auth_16_reuse_is_audited_and_told_to_the_owner(
    make: Make, server: EmbeddedServer, phone: Device, clinician: Person
) -> None:
    first = await phone.sign_in(email_of(clinician))
    second = Tokens.of(await phone.refresh(first.refresh))
    await phone.refresh(second.refresh)

    await phone.refresh(first.refresh)

    assert "sign_in:refresh_reuse success" in await audited(server, make.organization_id)
    async with make.transaction() as db:
        templates = (await db.scalars(select(Notification.template))).all()
        reasons = (await db.scalars(select(SignIn.revoked_because))).all()
    assert templates == ["sign_in_ended"]
    assert "refresh_reuse" in reasons


async def test_auth_16_fifty_at_once_leave_one_live_token(
    make: Make, phone: Device, clinician: Person
) -> None:
    first = await phone.sign_in(email_of(clinician))

    answers = await asyncio.gather(*(phone.refresh(first.refresh) for _ in range(50)))

    assert {answer.status_code for answer in answers} <= {
        HTTPStatus.OK,
        HTTPStatus.SERVICE_UNAVAILABLE,
    }
    given_tokens = {a.json()["refresh_token"] for a in answers if a.status_code == HTTPStatus.OK}
    async with make.transaction() as db:
        live = (
            await db.scalars(
                select(RefreshToken).where(
                    RefreshToken.rotated_at.is_(None), RefreshToken.revoked_at.is_(None)
                )
            )
        ).all()
    assert len(live) == 1
    [last] = [t for t in given_tokens if secrets.digest(t) == live[0].digest]
    assert (await phone.refresh(last)).status_code == HTTPStatus.OK


async def test_auth_15_a_token_belongs_to_its_client(phone: Device, clinician: Person) -> None:
    tokens = await phone.sign_in(email_of(clinician))
    phone.client_id = "stepwell-mobile"
    assert await is_refused(phone, tokens.refresh)

    phone.client_id = "stepwell-spa"
    assert (await phone.refresh(tokens.refresh)).status_code == HTTPStatus.OK


async def test_auth_31_a_refresh_may_narrow_the_scope_and_never_widens_it(
    phone: Device, clinician: Person
) -> None:
    tokens = await phone.sign_in(email_of(clinician), scope="user/Patient.rs")

    narrow = Tokens.of(await phone.refresh(tokens.refresh, scope="user/Patient.r user/Flag.r"))
    wide = Tokens.of(await phone.refresh(narrow.refresh))

    foreign = await phone.refresh(wide.refresh, scope="user/Flag.r")

    assert narrow.scope == "user/Patient.r"
    assert foreign.json()["error"] == "invalid_scope"
    assert wide.scope == "user/Patient.rs"
