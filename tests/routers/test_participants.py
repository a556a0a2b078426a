"""Referral, record and care team, as those see them who may and those who may not."""

import asyncio
from http import HTTPStatus
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import select
from sqlalchemy.exc import DBAPIError

from app.core.ids import new_id
from app.core.problems import from_database_error
from app.domain.roles import StaffRole
from app.models.participants import CareTeamMember
from app.services.care_teams import AlreadyInCareTeam
from tests.factories import Make, Person, problem_of

REFERRED = {"given_name": "Ari", "family_name": "Stone", "time_zone": "America/Denver"}


@pytest.fixture
async def coordinator(make: Make) -> Person:
    return await make.staff(StaffRole.CARE_COORDINATOR)


async def refer(coordinator: Person, make: Make, **fields: str) -> dict[str, Any]:
    program = await make.program()
    body = {
        "program_id": str(program.id),
        "source": "self",
        "participant": {**REFERRED, **fields},
    }
    answer = await coordinator.post("/v1/referrals", json=body)
    assert answer.status_code == HTTPStatus.CREATED, answer.text
    referral: dict[str, Any] = answer.json()
    return referral


async def test_a_referral_begins_a_record_that_the_coordinator_sees(
    make: Make, coordinator: Person
) -> None:
    referral = await refer(coordinator, make, email="ari@example.org", born_on="1990-02-03")

    record = (await coordinator.get(f"/v1/participants/{referral['participant_id']}")).json()

    assert record["given_name"] == "Ari"
    assert record["born_on"] == "1990-02-03"
    assert record["alias"].startswith("Member ")
    assert record["has_account"] is False


async def test_a_part2_program_labels_the_record_from_its_first_moment(
    make: Make, coordinator: Person
) -> None:
    program = await make.program(is_part2=True)
    body = {"program_id": str(program.id), "source": "court", "participant": REFERRED}

    referral = (await coordinator.post("/v1/referrals", json=body)).json()

    record = (await coordinator.get(f"/v1/participants/{referral['participant_id']}")).json()
    assert record["sensitivity"] == ["part2"]


async def test_a_program_that_is_not_ours_is_not_found(coordinator: Person) -> None:
    body = {"program_id": str(uuid4()), "source": "self", "participant": REFERRED}
    answer = await coordinator.post("/v1/referrals", json=body)
    assert answer.status_code == HTTPStatus.NOT_FOUND


async def test_authz_05_a_record_out_of_reach_is_answered_like_a_random_id(
    make: Make, coordinator: Person
) -> None:
    referral = await refer(coordinator, make)
    stranger = await make.staff(StaffRole.CLINICIAN)

    hidden = await stranger.get(f"/v1/participants/{referral['participant_id']}")
    missing = await stranger.get(f"/v1/participants/{uuid4()}")

    assert hidden.status_code == missing.status_code == HTTPStatus.NOT_FOUND
    assert without_id(hidden.json()) == without_id(missing.json())


async def test_authz_02_joining_and_leaving_the_care_team_opens_and_closes_the_record(
    make: Make, coordinator: Person
) -> None:
    referral = await refer(coordinator, make)
    record = f"/v1/participants/{referral['participant_id']}"
    clinician = await make.staff(StaffRole.CLINICIAN)
    body = {"staff_member_id": str(clinician.staff_member_id), "role": "primary_clinician"}

    joined = await coordinator.post(f"{record}/care-team", json=body)
    assert joined.status_code == HTTPStatus.CREATED
    assert (await clinician.get(record)).status_code == HTTPStatus.OK

    left = await coordinator.post(f"{record}/care-team/{joined.json()['id']}/end")
    assert left.status_code == HTTPStatus.NO_CONTENT
    assert (await clinician.get(record)).status_code == HTTPStatus.NOT_FOUND


async def team_of(person: Person, participant_id: object) -> dict[str, str]:
    """The relationships in a care team, by staff member."""
    team = await person.get(f"/v1/participants/{participant_id}/care-team")
    return {each["staff_member_id"]: each["id"] for each in team.json()["items"]}


async def let_join(person: Person, participant_id: object, colleague: Person) -> str:
    joined = await person.post(
        f"/v1/participants/{participant_id}/care-team",
        json={"staff_member_id": str(colleague.staff_member_id), "role": "primary_clinician"},
    )
    assert joined.status_code == HTTPStatus.CREATED, joined.text
    return str(joined.json()["id"])


async def test_the_last_of_a_care_team_stays_while_there_is_treatment(
    make: Make, coordinator: Person
) -> None:
    who = (await refer(coordinator, make))["participant_id"]
    own = (await team_of(coordinator, who))[str(coordinator.staff_member_id)]
    end = f"/v1/participants/{who}/care-team/{own}/end"

    alone = await coordinator.post(end)
    still = await coordinator.get(f"/v1/participants/{who}")
    await let_join(coordinator, who, await make.staff())
    replaced = await coordinator.post(end)

    assert (alone.status_code, problem_of(alone)) == (HTTPStatus.CONFLICT, "last-of-care-team")
    assert alone.json()["participants"] == 1
    assert still.status_code == HTTPStatus.OK
    assert replaced.status_code == HTTPStatus.NO_CONTENT


async def test_a_colleague_who_cannot_sign_in_attends_nobody(
    make: Make, coordinator: Person
) -> None:
    administrator = await make.staff(StaffRole.ADMINISTRATOR)
    clinician = await make.staff()
    who = (await refer(coordinator, make))["participant_id"]
    await let_join(coordinator, who, clinician)
    own = (await team_of(coordinator, who))[str(coordinator.staff_member_id)]
    await administrator.post(f"/v1/staff/{clinician.staff_member_id}/disable")

    refused = await coordinator.post(f"/v1/participants/{who}/care-team/{own}/end")

    assert problem_of(refused) == "last-of-care-team"


async def test_a_colleague_whose_role_opens_no_record_attends_nobody(
    make: Make, coordinator: Person
) -> None:
    who = (await refer(coordinator, make))["participant_id"]
    await let_join(coordinator, who, await make.staff(StaffRole.PEER_SPECIALIST))
    own = (await team_of(coordinator, who))[str(coordinator.staff_member_id)]

    refused = await coordinator.post(f"/v1/participants/{who}/care-team/{own}/end")

    assert problem_of(refused) == "last-of-care-team"


async def test_one_of_the_last_two_in_a_care_team_stays(make: Make, coordinator: Person) -> None:
    colleague = await make.staff(StaffRole.CARE_COORDINATOR)
    who = (await refer(coordinator, make))["participant_id"]
    await let_join(coordinator, who, colleague)
    both = (await team_of(coordinator, who)).values()

    answers = await asyncio.gather(
        *(
            person.post(f"/v1/participants/{who}/care-team/{member_id}/end")
            for person, member_id in zip((coordinator, colleague), both, strict=True)
        )
    )

    assert sorted(answer.status_code for answer in answers) == [
        HTTPStatus.NO_CONTENT,
        HTTPStatus.CONFLICT,
    ]


@pytest.mark.parametrize("role", [StaffRole.CARE_COORDINATOR, StaffRole.SUPERVISOR])
async def test_authz_02_who_gives_care_teams_finds_whom_nobody_attends(
    make: Make, role: StaffRole
) -> None:
    last = await make.staff(StaffRole.CARE_COORDINATOR)
    left = await make.participant(team=[last])
    attended = await make.participant(team=[await make.staff()])
    own = (await team_of(last, left.participant_id))[str(last.staff_member_id)]
    await last.post(f"/v1/participants/{left.participant_id}/care-team/{own}/end")
    finder, clinician = await make.staff(role), await make.staff()

    found = (await finder.get("/v1/participants")).json()["items"]
    unread = await finder.get(f"/v1/participants/{left.participant_id}")
    by_clinician = (await clinician.get("/v1/participants")).json()["items"]
    await let_join(finder, left.participant_id, clinician)

    assert [each["id"] for each in found] == [str(left.participant_id)]
    assert str(attended.participant_id) not in str(found)
    assert unread.status_code == HTTPStatus.NOT_FOUND
    assert by_clinician == []
    assert (await finder.get("/v1/participants")).json()["items"] == []
    read = await clinician.get(f"/v1/participants/{left.participant_id}")
    assert read.status_code == HTTPStatus.OK


async def test_nobody_joins_a_care_team_twice_in_one_role(make: Make, coordinator: Person) -> None:
    referral = await refer(coordinator, make)
    clinician = await make.staff(StaffRole.CLINICIAN)
    path = f"/v1/participants/{referral['participant_id']}/care-team"
    body = {"staff_member_id": str(clinician.staff_member_id), "role": "clinician"}

    await coordinator.post(path, json=body)
    again = await coordinator.post(path, json=body)

    assert again.status_code == HTTPStatus.CONFLICT
    assert problem_of(again) == "already-in-care-team"


async def test_the_database_keeps_one_place_in_a_care_team_for_each_role(make: Make) -> None:
    clinician = await make.staff()
    participant = await make.participant(team=[clinician])

    async with make.transaction() as db:
        (tie,) = await db.scalars(select(CareTeamMember))
    again = CareTeamMember(
        id=new_id(),
        participant_id=participant.participant_id,
        staff_member_id=clinician.staff_member_id,
        role=tie.role,
        started_at=tie.started_at,
    )

    with pytest.raises(DBAPIError) as refused:
        async with make.transaction() as db:
            db.add(again)

    assert isinstance(from_database_error(refused.value), AlreadyInCareTeam)


async def test_a_supervisor_sees_whom_the_supervised_treat(make: Make) -> None:
    supervisor = await make.staff(StaffRole.SUPERVISOR)
    clinician = await make.staff(StaffRole.CLINICIAN, supervisor=supervisor)
    theirs = await make.participant(team=[clinician])
    others = await make.participant()

    seen = await supervisor.get(f"/v1/participants/{theirs.participant_id}")
    hidden = await supervisor.get(f"/v1/participants/{others.participant_id}")

    assert (seen.status_code, hidden.status_code) == (HTTPStatus.OK, HTTPStatus.NOT_FOUND)


async def test_participants_read_themselves_and_nobody_else(make: Make) -> None:
    me = await make.participant(given_name="Jordan")
    other = await make.participant(given_name="Casey")

    own = await me.get(f"/v1/participants/{me.participant_id}")
    foreign = await me.get(f"/v1/participants/{other.participant_id}")
    everybody = await me.get("/v1/participants")

    assert own.json()["given_name"] == "Jordan"
    assert foreign.status_code == HTTPStatus.NOT_FOUND
    assert everybody.status_code == HTTPStatus.FORBIDDEN


async def test_api_08_a_change_names_the_version_that_it_changes(make: Make) -> None:
    me = await make.participant()
    path = f"/v1/participants/{me.participant_id}"

    unnamed = await me.patch(path, json={"pronouns": "they/them"})
    first = await me.patch(path, json={"pronouns": "they/them"}, headers={"If-Match": '"1"'})
    stale = await me.patch(path, json={"pronouns": "she/her"}, headers={"If-Match": '"1"'})

    assert unnamed.status_code == HTTPStatus.PRECONDITION_REQUIRED
    assert first.status_code == HTTPStatus.OK
    assert first.headers["ETag"] == '"2"'
    assert stale.status_code == HTTPStatus.PRECONDITION_FAILED
    assert (await me.get(path)).json()["pronouns"] == "they/them"


async def test_a_change_leaves_what_is_absent_and_empties_what_is_null(make: Make) -> None:
    me = await make.participant()
    path = f"/v1/participants/{me.participant_id}"
    body = {"preferred_name": "Jo", "phone": "+13035550100"}

    await me.patch(path, json=body, headers={"If-Match": '"1"'})
    changed = await me.patch(path, json={"phone": None}, headers={"If-Match": '"2"'})

    assert changed.json()["preferred_name"] == "Jo"
    assert changed.json()["phone"] is None


async def test_an_unchanged_record_is_not_sent_again(make: Make) -> None:
    me = await make.participant()
    path = f"/v1/participants/{me.participant_id}"
    tag = (await me.get(path)).headers["ETag"]

    again = await me.get(path, headers={"If-None-Match": tag})

    assert again.status_code == HTTPStatus.NOT_MODIFIED
    assert again.content == b""


async def test_api_05_a_walk_over_pages_meets_everybody_once(make: Make) -> None:
    clinician = await make.staff(StaffRole.CLINICIAN)
    everybody = {str((await make.participant(team=[clinician])).participant_id) for _ in range(5)}

    seen: list[str] = []
    query: dict[str, Any] = {"limit": 2}
    while True:
        page = (await clinician.get("/v1/participants", params=query)).json()
        seen += [item["id"] for item in page["items"]]
        if page["next_cursor"] is None:
            break
        query["cursor"] = page["next_cursor"]

    assert len(seen) == len(set(seen))
    assert set(seen) == everybody


async def test_api_05_a_cursor_of_another_organization_is_refused(make: Make) -> None:
    clinician = await make.staff(StaffRole.CLINICIAN)
    for _ in range(2):
        await make.participant(team=[clinician])
    cursor = (await clinician.get("/v1/participants?limit=1")).json()["next_cursor"]
    elsewhere = await Make.organization(make.app, make.runtime)
    stranger = await elsewhere.staff(StaffRole.CLINICIAN)

    answer = await stranger.get("/v1/participants", params={"cursor": cursor})

    assert answer.status_code == HTTPStatus.BAD_REQUEST
    assert problem_of(answer) == "invalid-cursor"
    await elsewhere.close()


def without_id(problem: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in problem.items() if name != "request_id"}
