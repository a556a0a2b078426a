"""A repeated request has one effect (API-07), in one process; `test_processes` has several."""

import asyncio
from collections.abc import AsyncIterator
from http import HTTPStatus
from typing import Any
from uuid import UUID

import pytest
from httpx import Response
from sqlalchemy import func, select, text

from app.core import clock
from app.core.embedded import EmbeddedServer
from app.core.ids import new_id
from app.domain.roles import StaffRole
from app.models.participants import Participant
from app.models.programs import Program
from tests.factories import Make, Person, problem_of
from tests.watching import Watcher, watch

REPLAYED = "idempotency-replayed"


@pytest.fixture
async def coordinator(make: Make) -> Person:
    return await make.staff(StaffRole.CARE_COORDINATOR)


@pytest.fixture
async def watcher(server: EmbeddedServer) -> AsyncIterator[Watcher]:
    async with watch(server) as watcher:
        yield watcher


def referral(program: Program) -> dict[str, Any]:
    return {
        "program_id": str(program.id),
        "source": "self",
        "participant": {"given_name": "Ari", "family_name": "Stone", "time_zone": "America/Denver"},
    }


async def refer(
    person: Person, body: dict[str, Any], key: str | None, path: str = "/v1/referrals"
) -> Response:
    headers = {} if key is None else {"Idempotency-Key": key}
    return await person.post(path, json=body, headers=headers)


async def participants(make: Make) -> int:
    async with make.transaction() as db:
        return await db.scalar(select(func.count()).select_from(Participant)) or 0


async def test_api_07_a_repeated_request_is_answered_with_the_very_same_octets(
    make: Make, coordinator: Person
) -> None:
    body, key = referral(await make.program()), str(new_id())

    first, again = [await refer(coordinator, body, key) for _ in range(2)]

    assert first.status_code == again.status_code == HTTPStatus.CREATED
    assert REPLAYED not in first.headers
    assert again.headers[REPLAYED] == "true"
    assert again.content == first.content
    for header in ("content-type", "location"):
        assert again.headers[header] == first.headers[header]
    assert await participants(make) == 1


async def test_api_07_without_a_key_a_repeated_request_is_another(
    make: Make, coordinator: Person
) -> None:
    body = referral(await make.program())
    for _ in range(2):
        assert (await refer(coordinator, body, None)).status_code == HTTPStatus.CREATED
    assert await participants(make) == 2


async def test_api_07_a_refusal_is_no_answer_to_keep(make: Make, coordinator: Person) -> None:
    program, key = await make.program(), str(new_id())
    wrong = {**referral(program), "program_id": str(new_id())}
    assert (await refer(coordinator, wrong, key)).status_code == HTTPStatus.NOT_FOUND

    put_right = await refer(coordinator, referral(program), key)

    assert put_right.status_code == HTTPStatus.CREATED
    assert REPLAYED not in put_right.headers


async def test_api_07_a_key_is_not_used_for_another_request(
    make: Make, coordinator: Person
) -> None:
    body, key = referral(await make.program()), str(new_id())
    await refer(coordinator, body, key)

    other_body = await refer(coordinator, {**body, "source": "family"}, key)
    participant = await make.participant()
    path = f"/v1/participants/{participant.participant_id}/care-team"
    member = {"staff_member_id": str(coordinator.staff_member_id), "role": "clinician"}
    other_path = await refer(coordinator, member, key, path)

    for answer in (other_body, other_path):
        assert answer.status_code == HTTPStatus.UNPROCESSABLE_ENTITY
        assert problem_of(answer) == "idempotency-key-reused"
    assert await participants(make) == 2


async def test_api_07_a_key_belongs_to_one_account(make: Make, coordinator: Person) -> None:
    body, key = referral(await make.program()), str(new_id())
    colleague = await make.staff(StaffRole.CARE_COORDINATOR)

    mine, theirs = await refer(coordinator, body, key), await refer(colleague, body, key)

    assert REPLAYED not in theirs.headers
    assert mine.json()["participant_id"] != theirs.json()["participant_id"]
    assert await participants(make) == 2


@pytest.mark.parametrize("key", ["", "a" * 256, "caf\u00e9", "a\tb"])
async def test_api_07_a_key_that_is_no_key_is_refused(
    make: Make, coordinator: Person, key: str
) -> None:
    headers = {b"Idempotency-Key": key.encode("latin-1")}

    answer = await coordinator.post(
        "/v1/referrals", json=referral(await make.program()), headers=headers
    )

    assert answer.status_code == HTTPStatus.BAD_REQUEST
    assert problem_of(answer) == "invalid-idempotency-key"
    assert await participants(make) == 0


async def test_api_07_a_request_under_way_is_not_begun_again(
    make: Make, coordinator: Person, watcher: Watcher
) -> None:
    program = await make.program()
    body, key = referral(program), str(new_id())

    async with make.transaction() as db:
        await db.execute(select(Program).where(Program.id == program.id).with_for_update())
        first = asyncio.create_task(refer(coordinator, body, key))
        await watcher.until_blocked()
        meanwhile = await refer(coordinator, body, key)

    assert meanwhile.status_code == HTTPStatus.CONFLICT
    assert problem_of(meanwhile) == "request-under-way"
    assert meanwhile.headers["retry-after"] == "1"
    assert (await first).status_code == HTTPStatus.CREATED
    again = await refer(coordinator, body, key)
    assert again.headers[REPLAYED] == "true"
    assert again.content == first.result().content
    assert await participants(make) == 1


async def test_api_07_a_failure_of_ours_is_not_kept(make: Make, coordinator: Person) -> None:
    program = await make.program()
    body, key = referral(program), str(new_id())

    async with make.transaction() as db:
        await db.execute(select(Program).where(Program.id == program.id).with_for_update())
        failed = await refer(coordinator, body, key)  # waits as long as a lock may be waited for
    again = await refer(coordinator, body, key)

    assert failed.status_code == HTTPStatus.SERVICE_UNAVAILABLE
    assert "retry-after" in failed.headers
    assert again.status_code == HTTPStatus.CREATED
    assert REPLAYED not in again.headers
    assert await participants(make) == 1


async def test_api_07_what_is_kept_is_sealed_and_its_key_is_not_kept(
    make: Make, coordinator: Person, watcher: Watcher
) -> None:
    key = f"for-{new_id()}"
    answer = (await refer(coordinator, referral(await make.program()), key)).json()

    kept = await watcher.connection.fetchrow(
        "select * from stepwell.stored_answer where account_id = $1", coordinator.account_id
    )

    assert kept is not None
    octets = b"\0".join(
        value if isinstance(value, bytes) else str(value).encode() for value in kept.values()
    )
    assert len(kept["body"]) > len(str(answer["id"]))
    for plain in (key, answer["intake_id"], UUID(answer["intake_id"]).hex):
        assert plain.encode() not in octets


async def test_api_07_an_answer_is_not_given_again_to_who_may_no_longer_see_whom_it_is_about(
    make: Make,
) -> None:
    coordinator = await make.staff(StaffRole.CARE_COORDINATOR)
    clinician = await make.staff(StaffRole.CLINICIAN)
    participant = await make.participant(team=[coordinator, clinician])
    body = {"participant_id": str(participant.participant_id), "instrument_key": "phq-9"}
    keyed = {"Idempotency-Key": "assign-once"}
    given = await clinician.post("/v1/assessments", json=body, headers=keyed)
    assert given.status_code == HTTPStatus.CREATED, given.text
    again = await clinician.post("/v1/assessments", json=body, headers=keyed)
    assert again.headers["Idempotency-Replayed"] == "true"

    async with make.transaction() as db:
        await db.execute(
            text("update care_team_member set ended_at = :now where staff_member_id = :id"),
            {"now": clock.now(), "id": clinician.staff_member_id},
        )
    refused = await clinician.post("/v1/assessments", json=body, headers=keyed)

    assert refused.status_code == HTTPStatus.NOT_FOUND


async def test_aud_09_an_answer_that_is_given_again_is_on_record(make: Make) -> None:
    clinician = await make.staff(StaffRole.CLINICIAN)
    participant = await make.participant(team=[clinician])
    body = {"participant_id": str(participant.participant_id), "instrument_key": "phq-9"}
    for _ in range(2):
        await clinician.post("/v1/assessments", json=body, headers={"Idempotency-Key": "twice"})

    async with make.transaction() as db:
        accesses = await db.execute(
            text("select subtype from accesses_to_participant(:id, null, 10)"),
            {"id": participant.participant_id},
        )

    assert "answer:replay" in set(accesses.scalars())


async def test_authz_01_a_narrower_token_of_the_same_account_gets_no_earlier_answer(
    make: Make,
) -> None:
    clinician = await make.staff(StaffRole.CLINICIAN)
    participant = await make.participant(team=[clinician])
    body = {"participant_id": str(participant.participant_id), "instrument_key": "phq-9"}
    keyed = {"Idempotency-Key": "narrow"}
    await clinician.post("/v1/assessments", json=body, headers=keyed)

    narrow = make.token_of(clinician, scope="user/Person.r")
    refused = await clinician.post(
        "/v1/assessments", json=body, headers={**keyed, "Authorization": f"Bearer {narrow}"}
    )

    assert refused.status_code == HTTPStatus.FORBIDDEN


async def test_a_change_is_answered_in_full_whatever_the_client_knows(make: Make) -> None:
    me = await make.participant()

    changed = await me.patch(
        f"/v1/participants/{me.participant_id}",
        json={"pronouns": "they/them"},
        headers={"If-Match": '"1"', "If-None-Match": '"2"'},
    )

    assert changed.status_code == HTTPStatus.OK
    assert changed.json()["pronouns"] == "they/them"
