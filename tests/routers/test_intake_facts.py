from datetime import timedelta
from http import HTTPStatus
from typing import Any

import pytest
from httpx import Response
from sqlalchemy import select, update

from app.core import clock
from app.domain.roles import StaffRole
from app.models.intakes import Intake
from app.models.participants import Participant
from app.models.staff import StaffAuthorization
from tests.factories import Make, Person, problem_of
from tests.routers.admission import ADMITTING, licensed_in, open_intake, recommended, screened
from tests.routers.assessing import accesses, answered, assigned, events_of, submitted

EMERGENCY = {
    "police": "+17205550111",
    "fire_and_ambulance": "+17205550112",
    "mobile_crisis": None,
    "nearest_department": "St. Anne, 4 Elm Street, Denver",
}
HOME = {
    "label": "Home",
    "is_primary": True,
    "address": "12 Cedar Street, Denver",
    "state": "US-CO",
    "emergency": EMERGENCY,
}
CONTACT = {
    "name": "Sam Reed",
    "relation": "brother",
    "phone": "+13035550101",
    "distance": "20 minutes",
    "is_release_signed": True,
}


async def put(person: Person, intake: str, version: int | None = None, **facts: object) -> Response:
    path = f"/v1/intakes/{intake}/facts"
    if version is None:
        version = (await person.get(path)).json()["version"]
    return await person.put(path, json=facts, headers={"If-Match": f'"{version}"'})


async def present(person: Person, intake: str) -> dict[str, Any]:
    answer = await person.get(f"/v1/intakes/{intake}/recommendation")
    assert answer.status_code == HTTPStatus.OK, answer.text
    read: dict[str, Any] = answer.json()
    return read


def outcomes(read: dict[str, Any]) -> dict[str, str]:
    return {each["code"]: each["outcome"] for each in read["criteria"]}


async def test_facts_are_kept_whole_sealed_and_read_back(make: Make) -> None:
    clinician, participant, intake = await open_intake(make)
    facts = {
        **ADMITTING,
        "history": {"presenting": "Low mood since spring."},
        "commitment": {"decided_by": "self", "barriers": "Child care on Thursdays."},
        "locations": [HOME],
        "emergency_contact": CONTACT,
        "other_providers": [{"name": "Dr. Lee", "role": "primary care"}],
        "accommodations": {"needs_captions": True},
    }

    saved = await put(clinician, intake, **facts)

    assert saved.status_code == HTTPStatus.OK, saved.text
    read = (await clinician.get(f"/v1/intakes/{intake}/facts")).json()
    assert read == saved.json()
    assert read["facts"]["locations"] == [HOME]
    assert read["facts"]["emergency_contact"] == CONTACT
    assert read["facts"]["accommodations"]["needs_captions"] is True
    assert read["facts"]["accommodations"]["needs_interpreter"] is None
    async with make.transaction() as db:
        blob = (await db.scalars(select(Intake.facts))).one()
    assert blob is not None
    assert b"Cedar" not in blob
    assert await events_of(make, intake) == ["intake.updated"]
    assert ("U", "intake:recommend") in await accesses(make, participant, "intake")


async def test_facts_that_changed_meanwhile_are_not_overwritten(make: Make) -> None:
    clinician, _, intake = await open_intake(make)
    await put(clinician, intake, 1, locations=[HOME])

    stale = await put(clinician, intake, 1, locations=[])
    bare = await clinician.put(f"/v1/intakes/{intake}/facts", json={})

    assert stale.status_code == HTTPStatus.PRECONDITION_FAILED
    assert bare.status_code == HTTPStatus.PRECONDITION_REQUIRED
    read = (await clinician.get(f"/v1/intakes/{intake}/facts")).json()
    assert read["facts"]["locations"] == [HOME]


@pytest.mark.parametrize(
    ("facts", "pointer"),
    [
        ({"attestations": [{"code": "is_nice", "holds": True}]}, "/attestations/0/code"),
        (
            {"functional_ratings": [{"domain": "home", "rating": 1}] * 2},
            "/functional_ratings/1/domain",
        ),
        ({"locations": [HOME, HOME]}, "/locations/1/is_primary"),
        ({"locations": [{**HOME, "state": "Colorado"}]}, "/locations/0/state"),
        (
            {"emergency_contact": {**CONTACT, "name": "Sam\u001b"}},
            "/emergency_contact/name",
        ),
    ],
)
async def test_what_cannot_be_so_is_pointed_at_and_nothing_is_kept(
    make: Make, facts: dict[str, Any], pointer: str
) -> None:
    clinician, _, intake = await open_intake(make)

    refused = await put(clinician, intake, **facts)

    assert refused.status_code == HTTPStatus.UNPROCESSABLE_ENTITY
    assert [error["pointer"] for error in refused.json()["errors"]] == [pointer]
    assert (await clinician.get(f"/v1/intakes/{intake}/facts")).json()["version"] == 1


async def test_a_coordinator_collects_facts_but_attests_nothing(make: Make) -> None:
    coordinator = await make.staff(StaffRole.CARE_COORDINATOR, is_licensed=False)
    _, _, intake = await open_intake(make, coordinator)

    attesting = await put(coordinator, intake, **ADMITTING)
    collecting = await put(coordinator, intake, locations=[HOME])

    assert attesting.status_code == HTTPStatus.FORBIDDEN
    assert collecting.status_code == HTTPStatus.OK


async def test_a_stranger_neither_reads_nor_writes_facts(make: Make) -> None:
    _, _, intake = await open_intake(make)
    stranger = await make.staff()

    answers = [
        await stranger.get(f"/v1/intakes/{intake}/facts"),
        await put(stranger, intake, 1),
        await stranger.get(f"/v1/intakes/{intake}/recommendation"),
    ]

    assert {each.status_code for each in answers} == {HTTPStatus.NOT_FOUND}


async def test_a_closed_intake_keeps_its_facts(make: Make) -> None:
    clinician, _, intake = await open_intake(make)
    await clinician.post(
        f"/v1/intakes/{intake}/transitions", json={"action": "withdraw", "reason": "Moved away."}
    )

    refused = await put(clinician, intake, locations=[HOME])

    assert problem_of(refused) == "intake-closed"


async def test_a_half_finished_intake_says_what_is_missing_and_stores_nothing(make: Make) -> None:
    clinician, participant, intake = await open_intake(make)
    empty = await present(clinician, intake)
    await screened(clinician, participant)
    await put(clinician, intake, **ADMITTING)

    full = await present(clinician, intake)

    assert empty["verdict"] == "defer_more_info"
    assert empty["suggested_level"] is None
    assert {each["outcome"] for each in empty["missing"]} == {"unknown"}
    assert {"no_acute_alert", "symptom_severity", "consents_signed", "private_space"} <= {
        each["code"] for each in empty["missing"]
    }
    assert (full["verdict"], full["suggested_level"]) == ("admit", "intensive_outpatient")
    assert full["missing"] == full["exclusions"] == []
    assert all(each["source"] for each in full["criteria"])
    read = (await clinician.get(f"/v1/intakes/{intake}")).json()
    assert (read["state"], read["recommendation"]) == ("referred", None)


async def test_facts_stand_in_for_what_the_checklist_left_open(make: Make) -> None:
    clinician, _, intake = await open_intake(make)
    before = outcomes(await present(clinician, intake))
    await put(clinician, intake, locations=[HOME], emergency_contact=CONTACT)

    read = await present(clinician, intake)

    of_facts = (
        "primary_location",
        "state_of_location",
        "local_emergency_numbers",
        "emergency_contact",
        "emergency_contact_release",
    )
    assert {before[code] for code in of_facts} == {"unknown"}
    assert {outcomes(read)[code] for code in of_facts} == {"met"}
    cited = {each["code"]: each["evidence"] for each in read["criteria"]}
    assert {tuple(cited[code]) for code in of_facts} == {(intake,)}


async def test_without_numbers_for_the_place_the_gate_stays_open(make: Make) -> None:
    clinician, _, intake = await open_intake(make)
    await put(clinician, intake, locations=[{**HOME, "emergency": None}])

    found = outcomes(await present(clinician, intake))

    assert (found["primary_location"], found["local_emergency_numbers"]) == ("met", "unknown")


async def test_a_step_down_is_read_from_the_history(make: Make) -> None:
    clinician, _, intake = await open_intake(make)
    ended_on = str((clock.now() - timedelta(days=5)).date())
    history = {"prior_treatment": [{"level_of_care": "inpatient", "ended_on": ended_on}]}
    await put(clinician, intake, history=history)

    assert outcomes(await present(clinician, intake))["functional_impairment"] == "met"


@pytest.mark.parametrize(
    ("answers", "outcome"),
    [
        ({"q1": "no", "q2": "no", "q3": "no", "q4": "no"}, "met"),
        ({"q1": "no", "q2": "no", "q3": "no"}, "unknown"),
        # What an earlier answer brings up was not answered.
        ({"q1": "yes", "q2": "no", "q3": "no", "q4": "no"}, "unknown"),
        ({"q1": "yes", "q2": "no", "q3": "no", "q4": "no", "q5": "no"}, "met"),
        ({"q1": "yes", "q2": "no", "q3": "no", "q4": "no", "q5": "yes"}, "not_met"),
    ],
)
async def test_safety_is_known_when_every_question_that_was_put_was_answered(
    make: Make, answers: dict[str, str], outcome: str
) -> None:
    clinician, participant, intake = await open_intake(make)
    given = await assigned(clinician, participant, "asq")
    await submitted(clinician, await answered(clinician, given, answers))

    assert outcomes(await present(clinician, intake))["no_acute_alert"] == outcome


async def test_a_clinician_must_be_licensed_where_the_participant_is(make: Make) -> None:
    clinician, participant, intake = await open_intake(make)
    await screened(clinician, participant)
    await put(clinician, intake, **ADMITTING, locations=[{**HOME, "state": "US-WY"}])

    gap = await present(clinician, intake)
    async with make.transaction() as db:
        db.add(licensed_in(clinician, "US-WY"))
    closed = await present(clinician, intake)

    assert (gap["verdict"], gap["state"]) == ("in_person_or_support", "US-WY")
    assert gap["available_clinicians"] == []
    assert [(each["code"], each["is_overridable"]) for each in gap["exclusions"]] == [
        ("license_gap", False)
    ]
    assert closed["verdict"] == "admit"
    assert [each["staff_member_id"] for each in closed["available_clinicians"]] == [
        str(clinician.staff_member_id)
    ]


async def test_a_license_that_has_ended_and_a_place_that_nobody_knows_admit_nobody(
    make: Make,
) -> None:
    clinician, _, intake = await open_intake(make)
    yesterday = (clock.now() - timedelta(days=2)).date()
    async with make.transaction() as db:
        await db.execute(update(StaffAuthorization).values(ends_on=yesterday))
    ended = outcomes(await present(clinician, intake))["license_gap"]
    async with make.transaction() as db:
        await db.execute(update(Participant).values(home_state=None))

    unknown = outcomes(await present(clinician, intake))["license_gap"]

    assert (ended, unknown) == ("not_met", "unknown")


async def test_what_is_said_while_asking_goes_before_what_was_collected(make: Make) -> None:
    clinician, participant, intake = await open_intake(make)
    await screened(clinician, participant)
    await put(clinician, intake, **ADMITTING)

    read = await recommended(
        clinician, intake, attestations=[{"code": "violence_risk", "holds": True}]
    )

    suggestion = read["recommendation"]
    assert (suggestion["verdict"], suggestion["suggested_level"]) == ("higher_level", "inpatient")
