"""Staff members over HTTP: invited, changed, authorized and disabled by an administrator."""

import asyncio
from collections.abc import AsyncIterator
from http import HTTPStatus
from typing import Any

import asyncpg
import pytest
from fastapi import FastAPI
from httpx import Response
from sqlalchemy import select

from app.core.embedded import EmbeddedServer
from app.core.ids import new_id
from app.domain.roles import StaffRole
from app.models.accounts import Account
from app.models.events import Event
from tests.factories import Make, Person, problem_of
from tests.routers.admission import open_intake
from tests.routers.signing_in import (
    PASSWORD,
    Device,
    Tokens,
    audited,
    device,
    give_password,
)


@pytest.fixture
async def phone(app: FastAPI) -> AsyncIterator[Device]:
    async with device(app) as phone:
        yield phone


@pytest.fixture
async def administrator(make: Make) -> Person:
    return await make.staff(StaffRole.ADMINISTRATOR)


def newcomer(**fields: object) -> dict[str, Any]:
    return {
        "name": "Sky Marsh",
        "email": f"{new_id().hex}@example.org",
        "roles": ["clinician"],
        **fields,
    }


async def change(administrator: Person, member_id: object, **fields: object) -> Response:
    """A change of the version that stands now."""
    read = await administrator.get(f"/v1/staff/{member_id}")
    return await administrator.patch(
        f"/v1/staff/{member_id}", json=fields, headers={"If-Match": read.headers["etag"]}
    )


async def test_somebody_is_invited_and_signs_in(
    make: Make, administrator: Person, phone: Device
) -> None:
    supervisor = await make.staff(StaffRole.SUPERVISOR)
    body = newcomer(supervisor_id=str(supervisor.staff_member_id))

    created = await administrator.post("/v1/staff", json=body)

    assert created.status_code == HTTPStatus.CREATED, created.text
    member = created.json()
    assert created.headers["location"] == f"/v1/staff/{member['id']}"
    assert (member["account_state"], member["name"]) == ("invited", "Sky Marsh")
    assert member["supervisor_id"] == str(supervisor.staff_member_id)
    token = member["invitation"]["token"]
    accepted = await phone.http.post(
        "/v1/invitations/accept", json={"token": token, "password": PASSWORD}
    )
    assert accepted.status_code == HTTPStatus.NO_CONTENT
    tokens = await phone.sign_in(body["email"])
    me = (await phone.http.get("/v1/me", headers=tokens.header)).json()
    assert (me["staff_member_id"], me["roles"]) == (member["id"], ["clinician"])
    read = (await administrator.get(f"/v1/staff/{member['id']}")).json()
    assert (read["account_state"], read["email"]) == ("active", body["email"])


async def test_colleagues_are_listed_in_pages(make: Make, administrator: Person) -> None:
    for _ in range(3):
        await make.staff()

    first = (await administrator.get("/v1/staff", params={"limit": 3})).json()
    second = (
        await administrator.get("/v1/staff", params={"limit": 3, "cursor": first["next_cursor"]})
    ).json()

    ids = [item["id"] for item in first["items"] + second["items"]]
    assert len(ids) == 4
    assert ids == sorted(ids)
    assert second["next_cursor"] is None
    assert {item["name"] for item in first["items"]} == {"Robin Vale"}


async def test_auth_13_new_roles_reach_every_open_app(
    make: Make, server: EmbeddedServer, administrator: Person, phone: Device
) -> None:
    clinician = await make.staff(StaffRole.CLINICIAN)
    tokens = await phone.sign_in(await give_password(make, clinician))
    assert "user/Patient" in tokens.scope

    changed = await change(administrator, clinician.staff_member_id, roles=["peer_specialist"])

    assert changed.json()["roles"] == ["peer_specialist"]
    assert await phone.status_of(tokens) == HTTPStatus.UNAUTHORIZED
    assert (await clinician.get("/v1/me")).status_code == HTTPStatus.UNAUTHORIZED
    refreshed = Tokens.of(await phone.refresh(tokens.refresh))
    assert "user/Patient" not in refreshed.scope
    assert await phone.status_of(refreshed) == HTTPStatus.OK
    assert "staff:roles success" in await audited(server, make.organization_id)
    async with make.transaction() as db:
        assert "staff.updated" in (await db.scalars(select(Event.type))).all()


async def test_auth_13_the_same_roles_disturb_nobody(make: Make, administrator: Person) -> None:
    clinician = await make.staff(StaffRole.CLINICIAN)

    changed = await change(
        administrator,
        clinician.staff_member_id,
        name="Robin Vale-Marsh",
        roles=["clinician"],
        is_independently_licensed=False,
    )

    assert changed.json()["name"] == "Robin Vale-Marsh"
    assert changed.json()["is_independently_licensed"] is False
    assert (await clinician.get("/v1/me")).status_code == HTTPStatus.OK


async def test_a_change_names_the_version_that_was_read(make: Make, administrator: Person) -> None:
    clinician = await make.staff()
    path = f"/v1/staff/{clinician.staff_member_id}"
    etag = (await administrator.get(path)).headers["etag"]
    fresh = {"If-Match": etag}

    assert problem_of(await administrator.patch(path, json={})) == "precondition-required"
    first = await administrator.patch(path, json={"name": "Sky"}, headers=fresh)
    second = await administrator.patch(path, json={"name": "Lake"}, headers=fresh)

    assert first.headers["etag"] != etag
    assert problem_of(second) == "precondition-failed"


async def test_auth_13_a_disabled_colleague_is_out_at_once(
    make: Make, administrator: Person, phone: Device
) -> None:
    clinician = await make.staff()
    username = await give_password(make, clinician)
    tokens = await phone.sign_in(username)
    path = f"/v1/staff/{clinician.staff_member_id}/disable"

    disabled = await administrator.post(path)
    again = await administrator.post(path)

    assert disabled.json()["account_state"] == "disabled"
    assert again.json() == disabled.json()
    assert await phone.status_of(tokens) == HTTPStatus.UNAUTHORIZED
    assert (await phone.refresh(tokens.refresh)).json()["error"] == "invalid_grant"
    assert (await phone.begin(username, password=PASSWORD)).status_code == HTTPStatus.BAD_REQUEST


async def test_who_alone_attends_somebody_in_treatment_is_not_disabled(
    make: Make, administrator: Person
) -> None:
    coordinator = await make.staff(StaffRole.CARE_COORDINATOR)
    first, second, _ = [(await open_intake(make, coordinator))[1] for _ in range(3)]
    path = f"/v1/staff/{coordinator.staff_member_id}/disable"
    body = {"staff_member_id": str((await make.staff()).staff_member_id), "role": "clinician"}

    refused = await administrator.post(path)
    for participant in (first, second):
        await coordinator.post(
            f"/v1/participants/{participant.participant_id}/care-team", json=body
        )
    still = await administrator.post(path)

    assert problem_of(refused) == problem_of(still) == "last-of-care-team"
    assert (refused.json()["participants"], still.json()["participants"]) == (3, 1)
    member = await administrator.get(f"/v1/staff/{coordinator.staff_member_id}")
    assert member.json()["account_state"] == "active"
    assert (await coordinator.get("/v1/me")).status_code == HTTPStatus.OK


async def test_who_alone_attends_somebody_in_treatment_keeps_a_role_that_can(
    make: Make, administrator: Person
) -> None:
    coordinator = await make.staff(StaffRole.CARE_COORDINATOR)
    await open_intake(make, coordinator)
    member_id = coordinator.staff_member_id

    refused = await change(administrator, member_id, roles=["administrator"])
    other = await change(administrator, member_id, roles=["clinician", "administrator"])

    assert problem_of(refused) == "last-of-care-team"
    assert refused.json()["participants"] == 1
    assert other.json()["roles"] == ["administrator", "clinician"]


async def test_two_who_attend_somebody_are_not_disabled_at_once(
    make: Make, administrator: Person
) -> None:
    one, another = await make.staff(), await make.staff()
    participant = await make.participant(team=[one, another])
    await open_intake(make, one, participant=participant)
    other = await make.staff(StaffRole.ADMINISTRATOR)

    answers = await asyncio.gather(
        administrator.post(f"/v1/staff/{one.staff_member_id}/disable"),
        other.post(f"/v1/staff/{another.staff_member_id}/disable"),
    )

    assert sorted(answer.status_code for answer in answers) == [HTTPStatus.OK, HTTPStatus.CONFLICT]


async def test_disabling_ends_an_open_invitation(administrator: Person, phone: Device) -> None:
    member = (await administrator.post("/v1/staff", json=newcomer())).json()
    await administrator.post(f"/v1/staff/{member['id']}/disable")

    accepted = await phone.http.post(
        "/v1/invitations/accept",
        json={"token": member["invitation"]["token"], "password": PASSWORD},
    )
    invited = await administrator.post(f"/v1/staff/{member['id']}/invitations")

    assert problem_of(accepted) == "invitation-not-usable"
    assert problem_of(invited) == "not-invitable"


async def test_a_lost_invitation_is_replaced(administrator: Person, phone: Device) -> None:
    member = (await administrator.post("/v1/staff", json=newcomer())).json()

    again = await administrator.post(f"/v1/staff/{member['id']}/invitations")

    assert again.status_code == HTTPStatus.CREATED
    for token, status in (
        (member["invitation"]["token"], HTTPStatus.NOT_FOUND),
        (again.json()["token"], HTTPStatus.NO_CONTENT),
    ):
        accepted = await phone.http.post(
            "/v1/invitations/accept", json={"token": token, "password": PASSWORD}
        )
        assert accepted.status_code == status


async def test_the_last_administrator_stays(administrator: Person) -> None:
    path = f"/v1/staff/{administrator.staff_member_id}"

    lost = await change(administrator, administrator.staff_member_id, roles=["clinician"])
    gone = await administrator.post(f"{path}/disable")
    # Who was invited and never came is no administrator yet.
    await administrator.post("/v1/staff", json=newcomer(roles=["administrator"]))
    still = await administrator.post(f"{path}/disable")

    assert [problem_of(r) for r in (lost, gone, still)] == ["last-administrator"] * 3
    assert (await administrator.get("/v1/me")).status_code == HTTPStatus.OK


async def test_two_administrators_cannot_disable_each_other_at_once(
    make: Make, server: EmbeddedServer
) -> None:
    one = await make.staff(StaffRole.ADMINISTRATOR)
    other = await make.staff(StaffRole.ADMINISTRATOR)

    # Both accounts are held, so that both requests are under way before either can change one.
    async with make.transaction() as db:
        await db.execute(select(Account.id).with_for_update())
        requests = asyncio.gather(
            one.post(f"/v1/staff/{other.staff_member_id}/disable"),
            other.post(f"/v1/staff/{one.staff_member_id}/disable"),
        )
        await _until_two_wait(server)
    answers = await requests

    assert min(answer.status_code for answer in answers) == HTTPStatus.OK
    left = [(await person.get("/v1/me")).status_code for person in (one, other)]
    assert sorted(left) == [HTTPStatus.OK, HTTPStatus.UNAUTHORIZED]


async def _until_two_wait(server: EmbeddedServer) -> None:
    """Ask the server until two transactions wait for a lock."""
    connection = await asyncpg.connect(
        host=str(server.socket_dir), user="postgres", database="stepwell"
    )
    waiting = "select count(*) from pg_stat_activity where wait_event_type = 'Lock'"
    try:
        async with asyncio.timeout(2):
            while await connection.fetchval(waiting) < 2:
                pass
    finally:
        await connection.close()


async def test_a_supervisor_is_somebody_else_of_the_organization(
    make: Make, app: FastAPI, administrator: Person
) -> None:
    elsewhere = await Make.organization(app, make.runtime)
    stranger = await elsewhere.staff()
    clinician = await make.staff()

    foreign = await administrator.post(
        "/v1/staff", json=newcomer(supervisor_id=str(stranger.staff_member_id))
    )
    oneself = await change(
        administrator, clinician.staff_member_id, supervisor_id=str(clinician.staff_member_id)
    )
    right = await change(
        administrator, clinician.staff_member_id, supervisor_id=str(administrator.staff_member_id)
    )
    none = await change(administrator, clinician.staff_member_id, supervisor_id=None)

    assert problem_of(foreign) == problem_of(oneself) == "unknown-supervisor"
    assert right.json()["supervisor_id"] == str(administrator.staff_member_id)
    assert none.json()["supervisor_id"] is None
    await elsewhere.close()


async def test_an_authorization_says_where_and_until_when(
    make: Make, administrator: Person
) -> None:
    clinician = await make.staff()
    path = f"/v1/staff/{clinician.staff_member_id}"
    right = {
        "state": "US-CO",
        "kind": "full_license",
        "starts_on": "2025-07-01",
        "ends_on": "2027-06-30",
    }

    created = await administrator.post(f"{path}/authorizations", json=right)
    reversed_dates = await administrator.post(
        f"{path}/authorizations", json={**right, "ends_on": "2025-06-30"}
    )

    assert created.status_code == HTTPStatus.CREATED
    assert problem_of(reversed_dates) == "bad-dates"
    [read] = (await administrator.get(path)).json()["authorizations"]
    assert read == created.json()
    assert {name: read[name] for name in right} == right


@pytest.mark.parametrize(
    "fields",
    [
        {"roles": []},
        {"roles": ["king"]},
        {"name": ""},
        {"email": "nobody"},
        {"password": "x"},
        {"is_independently_licensed": "yes"},
    ],
)
async def test_a_malformed_newcomer_is_refused(
    administrator: Person, fields: dict[str, Any]
) -> None:
    response = await administrator.post("/v1/staff", json=newcomer(**fields))

    assert problem_of(response) == "invalid"


async def test_an_address_is_used_once(administrator: Person) -> None:
    body = newcomer()
    await administrator.post("/v1/staff", json=body)

    again = await administrator.post("/v1/staff", json={**body, "email": body["email"].upper()})

    assert problem_of(again) == "email-not-usable"


async def test_authz_01_only_administrators_manage_staff(make: Make, administrator: Person) -> None:
    clinician = await make.staff(StaffRole.CLINICIAN)
    participant = await make.participant()
    path = f"/v1/staff/{administrator.staff_member_id}"

    for person in (clinician, participant):
        assert problem_of(await person.post("/v1/staff", json=newcomer())) == "forbidden"
        assert problem_of(await person.post(f"{path}/disable")) == "forbidden"
    assert (await clinician.get(path)).status_code == HTTPStatus.OK
    assert problem_of(await participant.get(path)) == "forbidden"
    assert problem_of(await participant.get("/v1/staff")) == "forbidden"


async def test_authz_21_another_organizations_staff_does_not_exist(
    make: Make, app: FastAPI, administrator: Person
) -> None:
    elsewhere = await Make.organization(app, make.runtime)
    stranger = await elsewhere.staff()
    path = f"/v1/staff/{stranger.staff_member_id}"

    answers = [
        await administrator.get(path),
        await administrator.patch(path, json={"name": "X"}, headers={"If-Match": '"1"'}),
        await administrator.post(f"{path}/disable"),
        await administrator.post(f"{path}/invitations"),
    ]

    assert [problem_of(answer) for answer in answers] == ["not-found"] * 4
    assert (await stranger.get("/v1/me")).status_code == HTTPStatus.OK
    await elsewhere.close()
