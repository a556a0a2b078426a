"""Invitations: a participant comes to a password that nobody else knows."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from http import HTTPStatus
from typing import Any
from uuid import UUID

import pytest
from fastapi import FastAPI
from httpx import AsyncClient, Response
from sqlalchemy import select, text, update

from app.core.embedded import EmbeddedServer
from app.core.ids import new_id
from app.domain.roles import StaffRole
from app.models.accounts import Account, Notification
from app.models.events import Event
from app.models.organizations import Environment, Organization
from app.security import seals, secrets
from app.security.seals import Cell
from app.services.invitations import withdraw_invitations
from tests.factories import Make, Person, problem_of
from tests.routers.signing_in import PASSWORD, Device, audited, device, later
from tests.watching import watch


@pytest.fixture
async def phone(app: FastAPI) -> AsyncIterator[Device]:
    async with device(app) as phone:
        yield phone


@pytest.fixture
async def coordinator(make: Make) -> Person:
    return await make.staff(StaffRole.CARE_COORDINATOR)


async def refer(make: Make, coordinator: Person, email: str | None) -> str:
    """Somebody new, whom the coordinator has referred."""
    program = await make.program()
    response = await coordinator.post(
        "/v1/referrals",
        json={
            "program_id": str(program.id),
            "source": "self",
            "participant": {
                "given_name": "Jordan",
                "family_name": "Reed",
                "email": email,
                "time_zone": "America/Denver",
            },
        },
    )
    assert response.status_code == HTTPStatus.CREATED, response.text
    return str(response.json()["participant_id"])


def fresh_email() -> str:
    return f"{new_id().hex}@example.org"


async def invite(coordinator: Person, participant_id: str) -> dict[str, Any]:
    response = await coordinator.post(f"/v1/participants/{participant_id}/invitations")
    assert response.status_code == HTTPStatus.CREATED, response.text
    invitation: dict[str, Any] = response.json()
    return invitation


async def accept(client: AsyncClient, token: str, password: str = PASSWORD) -> Response:
    return await client.post("/v1/invitations/accept", json={"token": token, "password": password})


async def test_a_participant_accepts_and_signs_in(
    make: Make, server: EmbeddedServer, coordinator: Person, phone: Device
) -> None:
    email = fresh_email()
    participant_id = await refer(make, coordinator, email)
    invitation = await invite(coordinator, participant_id)
    assert (await phone.begin(email, password=PASSWORD)).status_code == HTTPStatus.BAD_REQUEST

    accepted = await accept(phone.http, invitation["token"])

    assert accepted.status_code == HTTPStatus.NO_CONTENT
    tokens = await phone.sign_in(email)
    me = (await phone.http.get("/v1/me", headers=tokens.header)).json()
    assert me["participant_id"] == participant_id
    record = (await coordinator.get(f"/v1/participants/{participant_id}")).json()
    assert record["has_account"]
    async with make.transaction() as db:
        types = set((await db.scalars(select(Event.type))).all())
        of_record = await db.execute(
            text("select subtype from accesses_to_participant(:id, null, 100)"),
            {"id": UUID(participant_id)},
        )
        assert "account:activate" in {row.subtype for row in of_record}
    assert {"participant.invited", "account.activated"} <= types
    trail = await audited(server, make.organization_id)
    assert "participant:invite success" in trail
    assert "account:activate success" in trail


async def test_the_secret_waits_sealed_in_the_outbox(make: Make, coordinator: Person) -> None:
    invitation = await invite(coordinator, await refer(make, coordinator, fresh_email()))

    async with make.transaction() as db:
        notification = (await db.scalars(select(Notification))).one()
        assert notification.template == "invitation"
        assert notification.account_id == UUID(invitation["account_id"])
        assert notification.secret is not None
        assert invitation["token"].encode() not in notification.secret
        keys = await seals.keys_for(db, [notification.secret])
        cell = Cell("notification", "secret", notification.id)
        assert keys.unseal(cell, notification.secret) == invitation["token"]


async def test_only_a_development_organization_shows_the_secret(
    make: Make, coordinator: Person
) -> None:
    participant_id = await refer(make, coordinator, fresh_email())
    async with make.transaction() as db:
        await db.execute(update(Organization).values(environment=Environment.PRODUCTION))

    assert (await invite(coordinator, participant_id))["token"] is None


async def test_an_invitation_works_once(make: Make, coordinator: Person, phone: Device) -> None:
    email = fresh_email()
    invitation = await invite(coordinator, await refer(make, coordinator, email))

    answers = await asyncio.gather(
        *(accept(phone.http, invitation["token"], f"{PASSWORD} {n}") for n in range(4))
    )

    statuses = sorted(answer.status_code for answer in answers)
    assert statuses == [HTTPStatus.NO_CONTENT] + [HTTPStatus.NOT_FOUND] * 3
    winner = [a.status_code for a in answers].index(HTTPStatus.NO_CONTENT)
    await phone.sign_in(email, f"{PASSWORD} {winner}")


async def test_an_invitation_lives_for_a_week(
    make: Make, coordinator: Person, phone: Device
) -> None:
    invitation = await invite(coordinator, await refer(make, coordinator, fresh_email()))

    async with later(timedelta(days=7)):
        assert problem_of(await accept(phone.http, invitation["token"])) == "invitation-not-usable"
    async with later(timedelta(days=7, seconds=-5)):
        accepted = await accept(phone.http, invitation["token"])
    assert accepted.status_code == HTTPStatus.NO_CONTENT


async def test_a_newer_invitation_ends_the_older(
    make: Make, coordinator: Person, phone: Device
) -> None:
    participant_id = await refer(make, coordinator, fresh_email())
    older = await invite(coordinator, participant_id)
    newer = await invite(coordinator, participant_id)

    assert newer["account_id"] == older["account_id"]
    assert problem_of(await accept(phone.http, older["token"])) == "invitation-not-usable"
    assert (await accept(phone.http, newer["token"])).status_code == HTTPStatus.NO_CONTENT


async def test_an_invitation_that_is_taken_back_at_this_moment_opens_nothing(
    make: Make, coordinator: Person, phone: Device, server: EmbeddedServer
) -> None:
    invitation = await invite(coordinator, await refer(make, coordinator, fresh_email()))
    account_id = UUID(invitation["account_id"])

    async with watch(server) as watcher:
        async with make.transaction() as db:
            await db.execute(
                select(Account.id).where(Account.id == account_id).with_for_update(key_share=True)
            )
            accepting = asyncio.create_task(accept(phone.http, invitation["token"]))
            await watcher.until_blocked("%from account%")
            # Nobody holds what this changes: it would wait for somebody who waits for us.
            await db.execute(text("set local lock_timeout = '200ms'"))
            await withdraw_invitations(db, account_id)
        refused = await accepting

    assert problem_of(refused) == "invitation-not-usable"


async def test_auth_22_every_unusable_invitation_gets_one_answer(
    make: Make, coordinator: Person, phone: Device
) -> None:
    used = await invite(coordinator, await refer(make, coordinator, fresh_email()))
    await accept(phone.http, used["token"])

    answers = [await accept(phone.http, t) for t in (used["token"], "unknown", "A" * 43)]

    bodies = [{**answer.json(), "request_id": None} for answer in answers]
    assert bodies[0] == bodies[1] == bodies[2]


async def test_auth_20_a_weak_password_leaves_the_invitation_open(
    make: Make, coordinator: Person, phone: Device
) -> None:
    invitation = await invite(coordinator, await refer(make, coordinator, fresh_email()))

    refused = await accept(phone.http, invitation["token"], "jordan" * 3)

    assert problem_of(refused) == "password-refused"
    assert refused.json()["errors"] == [{"pointer": "/password", "code": "password_personal"}]
    assert (await accept(phone.http, invitation["token"])).status_code == HTTPStatus.NO_CONTENT


async def test_somebody_without_an_address_cannot_be_invited(
    make: Make, coordinator: Person
) -> None:
    participant_id = await refer(make, coordinator, None)

    response = await coordinator.post(f"/v1/participants/{participant_id}/invitations")

    assert problem_of(response) == "no-email"


async def test_an_address_has_one_account_in_an_organization(
    make: Make, coordinator: Person
) -> None:
    email = fresh_email()
    await invite(coordinator, await refer(make, coordinator, email))
    twin = await refer(make, coordinator, email.upper())

    response = await coordinator.post(f"/v1/participants/{twin}/invitations")

    assert problem_of(response) == "email-not-usable"


async def test_an_active_account_needs_no_invitation(
    make: Make, coordinator: Person, phone: Device
) -> None:
    participant_id = await refer(make, coordinator, fresh_email())
    await accept(phone.http, (await invite(coordinator, participant_id))["token"])

    response = await coordinator.post(f"/v1/participants/{participant_id}/invitations")

    assert problem_of(response) == "not-invitable"


async def test_authz_02_only_the_care_team_invites(make: Make, coordinator: Person) -> None:
    participant_id = await refer(make, coordinator, fresh_email())
    stranger = await make.staff(StaffRole.CLINICIAN)
    peer = await make.staff(StaffRole.PEER_SPECIALIST)
    participant = await make.participant()
    path = f"/v1/participants/{participant_id}/invitations"

    assert problem_of(await stranger.post(path)) == "not-found"
    assert problem_of(await peer.post(path)) == "forbidden"
    assert problem_of(await participant.post(path)) == "forbidden"


async def test_auth_15_the_database_holds_only_the_digest(make: Make, coordinator: Person) -> None:
    invitation = await invite(coordinator, await refer(make, coordinator, fresh_email()))

    async with make.transaction() as db:
        account = (
            await db.scalars(select(Account).where(Account.id == UUID(invitation["account_id"])))
        ).one()
    assert account.password_hash is None
    assert secrets.digest(invitation["token"]) != invitation["token"].encode()
