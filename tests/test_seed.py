"""The demonstration: made once, whole, and as its people see it over HTTP."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from http import HTTPStatus
from typing import Any

import pytest
from fastapi import FastAPI
from httpx import ASGITransport, AsyncClient

from app import seed
from app.core import clock, embedded
from app.runtime import Runtime
from app.seed.cast import PARTICIPANTS, STAFF, address, login_of
from app.services import development
from app.settings import Misconfigured, Mode, Settings
from tests.routers.signing_in import Device

GROUP_SIZE = 8


@pytest.fixture(scope="module")
async def lines(server: embedded.EmbeddedServer, settings: Settings) -> list[str]:
    """The demonstration, made."""
    return await seed.run(settings, server.url(role="stepwell_api"))


@asynccontextmanager
async def signed_in(app: FastAPI, runtime: Runtime, login: str) -> AsyncIterator[AsyncClient]:
    tokens = await development.issue_development_token(
        runtime, address(login), organization="cedar-bridge"
    )
    async with AsyncClient(
        transport=ASGITransport(app=app, raise_app_exceptions=False),
        base_url="http://testserver",
        headers={"Authorization": f"Bearer {tokens.access_token}"},
    ) as client:
        yield client


async def items(client: AsyncClient, path: str) -> list[dict[str, Any]]:
    answer = await client.get(path, params={"limit": 100})
    assert answer.status_code == HTTPStatus.OK, answer.text
    found: list[dict[str, Any]] = answer.json()["items"]
    return found


async def test_everybody_can_sign_in_with_the_password_that_is_printed(
    lines: list[str], client: AsyncClient
) -> None:
    printed = "\n".join(lines)

    for login in ("administrator", "clinician", "participant1", "participant10"):
        code = await Device(client).code(address(login), seed.PASSWORD)
        assert code
        assert address(login) in printed
    assert seed.PASSWORD in printed


async def test_the_command_that_is_printed_works(
    lines: list[str], client: AsyncClient, settings: Settings
) -> None:
    [command] = [line for line in lines if line.startswith("  curl ")]
    _, header, rest = command.split("'")
    name, _, value = header.partition(": ")

    answer = await client.get(rest.strip().removeprefix(settings.issuer), headers={name: value})

    assert len(answer.json()["items"]) == len(PARTICIPANTS)


async def test_making_it_again_changes_nothing(
    lines: list[str],
    server: embedded.EmbeddedServer,
    settings: Settings,
    app: FastAPI,
    runtime: Runtime,
) -> None:
    async with signed_in(app, runtime, "clinician") as clinician:
        before = await items(clinician, "/v1/participants")
        again = await seed.run(settings, server.url(role="stepwell_api"))
        after = await items(clinician, "/v1/participants")

    assert before == after
    assert [line for line in again if "curl" not in line] == [
        line for line in lines if "curl" not in line
    ]


@pytest.mark.usefixtures("lines")
async def test_every_role_works_there(app: FastAPI, runtime: Runtime) -> None:
    roles = set()
    for colleague in STAFF:
        async with signed_in(app, runtime, colleague.login) as client:
            roles |= set((await client.get("/v1/me")).json()["roles"])

    assert roles == {role.value for colleague in STAFF for role in colleague.roles}
    assert len(roles) == 8


@pytest.mark.usefixtures("lines")
async def test_two_programs_one_of_them_under_part_2(app: FastAPI, runtime: Runtime) -> None:
    async with signed_in(app, runtime, "clinician") as clinician:
        programs = await items(clinician, "/v1/programs")
        people = [
            (await clinician.get(f"/v1/participants/{one['id']}")).json()
            for one in await items(clinician, "/v1/participants")
        ]

    assert sorted(program["is_part2"] for program in programs) == [False, True]
    assert sum(person["sensitivity"] == ["part2"] for person in people) == 2


@pytest.mark.usefixtures("lines")
async def test_six_weeks_of_forms_lie_behind(app: FastAPI, runtime: Runtime) -> None:
    async with signed_in(app, runtime, "participant1") as participant:
        forms = await items(participant, "/v1/assessments")
        read = (await participant.get(f"/v1/assessments/{forms[0]['id']}")).json()

    submitted = [
        datetime.fromisoformat(form["submitted_at"]) for form in forms if form["submitted_at"]
    ]
    assert (max(submitted) - min(submitted)).days >= 41
    assert max(submitted) <= clock.wall()
    assert sum(form["state"] != "submitted" for form in forms) == 1
    assert len(read["answers"]) == 9


@pytest.mark.usefixtures("lines")
async def test_the_one_mention_was_answered(app: FastAPI, runtime: Runtime) -> None:
    async with signed_in(app, runtime, "clinician") as clinician:
        alerts = await items(clinician, "/v1/alerts")

    assert alerts
    assert {alert["state"] for alert in alerts} == {"closed"}


@pytest.mark.usefixtures("lines")
async def test_intakes_are_decided_but_for_one(app: FastAPI, runtime: Runtime) -> None:
    async with signed_in(app, runtime, "clinician") as clinician:
        intakes = await items(clinician, "/v1/intakes")
        enrollments = await items(clinician, "/v1/enrollments")

    assert sorted(intake["state"] for intake in intakes) == ["awaiting_decision"] + [
        "decided"
    ] * len(enrollments)
    assert len(enrollments) == len(PARTICIPANTS) - 1


@pytest.mark.usefixtures("lines")
async def test_one_plan_is_in_force_and_one_waits_for_its_participant(
    app: FastAPI, runtime: Runtime
) -> None:
    async with signed_in(app, runtime, "participant1") as participant:
        [active] = await items(participant, "/v1/plans")
    async with signed_in(app, runtime, "participant2") as participant:
        [proposed] = await items(participant, "/v1/plans")

    assert (active["state"], proposed["state"]) == ("active", "proposed")


@pytest.mark.usefixtures("lines")
async def test_the_group_has_met_and_will_meet(app: FastAPI, runtime: Runtime) -> None:
    async with signed_in(app, runtime, "clinician") as clinician:
        sessions = await items(clinician, "/v1/sessions")
        ended = [session for session in sessions if session["state"] == "ended"]
        attendance = (await clinician.get(f"/v1/sessions/{ended[0]['id']}/attendance")).json()[
            "lines"
        ]
        [group] = await items(clinician, "/v1/groups")
        roster = await items(clinician, f"/v1/groups/{group['id']}/members")

    assert len(ended) >= 3
    assert len(sessions) - len(ended) >= 3
    assert len(roster) == GROUP_SIZE
    assert sum(line["minutes"] > 170 for line in attendance) >= GROUP_SIZE // 2


@pytest.mark.usefixtures("lines")
async def test_members_read_the_room_under_aliases(app: FastAPI, runtime: Runtime) -> None:
    async with signed_in(app, runtime, "participant3") as participant:
        [room] = await items(participant, "/v1/rooms")
        entries = await participant.get(f"/v1/rooms/{room['id']}/entries", params={"limit": 100})
        members = await participant.get(f"/v1/rooms/{room['id']}/members")

    assert "I cooked twice." in entries.text
    assert PARTICIPANTS[0].alias in members.text
    for other in PARTICIPANTS[:2]:
        assert other.family_name not in entries.text + members.text


@pytest.mark.usefixtures("lines")
async def test_what_was_done_is_audited_by_who_did_it(app: FastAPI, runtime: Runtime) -> None:
    async with signed_in(app, runtime, login_of(1)) as participant:
        me = (await participant.get("/v1/me")).json()
        answer = await participant.get(f"/v1/participants/{me['participant_id']}/accesses")

    assert answer.status_code == HTTPStatus.OK, answer.text
    assert {"care_coordinator", "clinician"} <= {
        access["actor_role"] for access in answer.json()["items"]
    }


async def test_published_passwords_are_not_for_production(settings: Settings) -> None:
    production = settings.model_copy(update={"mode": Mode.PRODUCTION})

    with pytest.raises(Misconfigured, match="not for production"):
        await seed.run(production, "postgresql+asyncpg://nobody@/nowhere")
