"""One's own account: who am I, where am I signed in, and my password."""

from collections.abc import AsyncIterator
from datetime import timedelta
from http import HTTPStatus

import pytest
from fastapi import FastAPI
from sqlalchemy import select

from app.core.embedded import EmbeddedServer
from app.core.ids import new_id
from app.domain.roles import StaffRole
from app.models.accounts import Notification, SignIn
from app.models.events import Event
from tests.factories import Make, problem_of
from tests.routers.signing_in import (
    PASSWORD,
    Device,
    audited,
    device,
    email_of,
    give_password,
    later,
)

BETTER = "a lantern for the long way home"


@pytest.fixture
async def phone(app: FastAPI) -> AsyncIterator[Device]:
    async with device(app) as phone:
        yield phone


async def test_a_staff_member_learns_who_they_are(make: Make) -> None:
    clinician = await make.staff(StaffRole.SUPERVISOR, StaffRole.CLINICIAN)

    me = (await clinician.get("/v1/me")).json()

    assert me["kind"] == "staff"
    assert me["roles"] == ["clinician", "supervisor"]
    assert me["staff_member_id"] == str(clinician.staff_member_id)
    assert me["participant_id"] is None
    assert me["organization"]["id"] == str(make.organization_id)
    assert me["organization"]["environment"] == "development"
    assert me["time"].endswith("Z")


async def test_a_participant_learns_who_they_are(make: Make) -> None:
    participant = await make.participant()

    me = (await participant.get("/v1/me")).json()

    assert (me["kind"], me["roles"]) == ("participant", [])
    assert me["participant_id"] == str(participant.participant_id)
    assert me["staff_member_id"] is None


async def test_auth_13_devices_are_listed_and_ended_one_by_one(make: Make, phone: Device) -> None:
    person = await make.participant()
    tokens = await phone.sign_in(await give_password(make, person))

    items = (await person.get("/v1/me/sign-ins")).json()["items"]
    assert [item["is_current"] for item in items] == [False, True]
    assert items[0]["client_name"] == "Stepwell in the browser"

    ended = await person.post(f"/v1/me/sign-ins/{items[0]['id']}/end")
    assert ended.status_code == HTTPStatus.NO_CONTENT
    assert await phone.status_of(tokens) == HTTPStatus.UNAUTHORIZED
    assert len((await person.get("/v1/me/sign-ins")).json()["items"]) == 1


async def test_nobody_ends_the_sign_in_of_another(make: Make) -> None:
    mine, theirs = await make.participant(), await make.participant()

    for sign_in_id in (theirs.sign_in_id, new_id()):
        response = await mine.post(f"/v1/me/sign-ins/{sign_in_id}/end")
        assert problem_of(response) == "not-found"

    assert (await theirs.get("/v1/me")).status_code == HTTPStatus.OK


async def test_auth_13_signing_out_ends_this_device_and_clears_the_browser(make: Make) -> None:
    person = await make.participant()

    response = await person.post("/v1/me/sign-out")

    assert response.status_code == HTTPStatus.NO_CONTENT
    assert response.headers["clear-site-data"] == '"cache", "storage"'
    assert response.headers["cache-control"] == "no-store"
    assert (await person.get("/v1/me")).status_code == HTTPStatus.UNAUTHORIZED


async def test_auth_13_signing_out_everywhere_ends_every_device(make: Make, phone: Device) -> None:
    person = await make.participant()
    tokens = await phone.sign_in(await give_password(make, person))

    response = await person.post("/v1/me/sign-out-everywhere")

    assert "clear-site-data" in response.headers
    assert (await person.get("/v1/me")).status_code == HTTPStatus.UNAUTHORIZED
    assert await phone.status_of(tokens) == HTTPStatus.UNAUTHORIZED
    assert (await phone.refresh(tokens.refresh)).json()["error"] == "invalid_grant"


async def test_auth_13_a_new_password_ends_the_other_devices(
    make: Make, server: EmbeddedServer, phone: Device
) -> None:
    person = await make.staff()
    username = await give_password(make, person)
    tokens = await phone.sign_in(username)

    response = await person.post(
        "/v1/me/password", json={"current_password": PASSWORD, "new_password": BETTER}
    )

    assert response.status_code == HTTPStatus.NO_CONTENT
    assert (await person.get("/v1/me")).status_code == HTTPStatus.OK
    assert await phone.status_of(tokens) == HTTPStatus.UNAUTHORIZED
    assert (await phone.begin(username, password=PASSWORD)).status_code == HTTPStatus.BAD_REQUEST
    await phone.sign_in(username, BETTER)
    assert "account:password success" in await audited(server, make.organization_id)
    async with make.transaction() as db:
        assert "account.password_changed" in (await db.scalars(select(Event.type))).all()
        assert (await db.scalars(select(Notification.template))).all() == ["password_changed"]
        reasons = (await db.scalars(select(SignIn.revoked_because))).all()
    assert "password_changed" in reasons


@pytest.mark.parametrize(
    ("candidate", "code"),
    [
        ("fourteen chars", "password_too_short"),
        ("a" * 129, "password_too_long"),
        ("Robin and the river Vale", "password_personal"),
        ("I love Cedar trees a lot", "password_personal"),
        ("stepwell is my favorite", "password_personal"),
    ],
)
async def test_auth_20_a_weak_password_is_refused_with_its_reason(
    make: Make, candidate: str, code: str
) -> None:
    # Staff "Robin Vale" of the organization "Cedar Bridge".
    person = await make.staff()
    await give_password(make, person)

    response = await person.post(
        "/v1/me/password", json={"current_password": PASSWORD, "new_password": candidate}
    )

    assert problem_of(response) == "password-refused"
    assert {"pointer": "/new_password", "code": code} in response.json()["errors"]
    assert candidate not in response.text


async def test_auth_20_a_participants_own_name_is_refused(make: Make) -> None:
    person = await make.participant(given_name="Jordan")
    await give_password(make, person)

    response = await person.post(
        "/v1/me/password",
        json={"current_password": PASSWORD, "new_password": "over the river jordan"},
    )

    assert problem_of(response) == "password-refused"


async def test_auth_21_guesses_with_a_stolen_token_are_counted_although_refused(
    make: Make, app: FastAPI, server: EmbeddedServer
) -> None:
    person = await make.staff()
    username = await give_password(make, person)
    body = {"current_password": "eight loud herons at dawn", "new_password": BETTER}

    for _ in range(5):
        response = await person.post("/v1/me/password", json=body)
        assert problem_of(response) == "wrong-password"
    blocked = await person.post("/v1/me/password", json={**body, "current_password": PASSWORD})

    assert problem_of(blocked) == "too-many-requests"
    assert blocked.headers["retry-after"] == "1"
    # Who really knows the password is not slowed by it.
    async with device(app) as phone:
        await phone.sign_in(username)
    async with later(timedelta(seconds=1)):
        right = await person.post("/v1/me/password", json={**body, "current_password": PASSWORD})
    assert right.status_code == HTTPStatus.NO_CONTENT
    trail = await audited(server, make.organization_id)
    assert trail.count("account:password failed") == 5


async def test_authz_01_a_password_needs_the_scope_to_change_it(make: Make, phone: Device) -> None:
    person = await make.staff()
    username = await give_password(make, person)
    tokens = await phone.sign_in(username, scope="user/Person.r")

    response = await phone.http.post(
        "/v1/me/password",
        json={"current_password": PASSWORD, "new_password": BETTER},
        headers=tokens.header,
    )

    assert problem_of(response) == "insufficient-scope"
    await phone.sign_in(email_of(person))
