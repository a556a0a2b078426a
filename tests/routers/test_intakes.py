import asyncio
from datetime import timedelta
from http import HTTPStatus
from typing import Any
from uuid import UUID

import pytest
from fastapi import FastAPI
from httpx import Response
from sqlalchemy import select, update

from app.core import clock
from app.core.ids import new_id
from app.domain.alerts import AlertState, Tier
from app.domain.roles import StaffRole
from app.models.alerts import Alert, AlertSource
from app.models.intakes import Decision, Enrollment, LevelAuthorization
from app.models.staff import StaffAuthorization
from app.runtime import Runtime
from tests.factories import Make, Person, problem_of
from tests.routers.admission import (
    ADMITTING,
    admitted,
    decided,
    open_intake,
    recommended,
    screened,
)
from tests.routers.assessing import accesses, answered, assigned, events_of, submitted

ADMISSION = {"outcome": "admit_iop", "rationale": "Moderate symptoms; wants to begin."}


async def test_without_forms_nothing_is_known_and_nobody_is_admitted(make: Make) -> None:
    clinician, _, intake = await open_intake(make)

    read = await recommended(clinician, intake)

    suggestion = read["recommendation"]
    assert suggestion["verdict"] == "defer_more_info"
    assert suggestion["axes"] == {
        "severity": "undetermined",
        "commitment": "undetermined",
        "virtual_ability": "undetermined",
    }
    known = [each["code"] for each in suggestion["criteria"] if each["outcome"] != "unknown"]
    # Where the participant lives is known, and that their clinician may treat people there.
    assert known == ["license_gap"]


async def test_the_recommendation_keeps_the_policy_and_every_reason(make: Make) -> None:
    clinician, participant, intake = await open_intake(make)
    forms = await screened(clinician, participant)

    read = await recommended(clinician, intake, **ADMITTING)

    suggestion = read["recommendation"]
    assert read["state"] == "awaiting_decision"
    assert suggestion["verdict"] == "admit"
    assert suggestion["axes"] == {
        "severity": "iop_range",
        "commitment": "ready",
        "virtual_ability": "able",
    }
    assert (suggestion["policy"], suggestion["policy_version"]) == ("admission-default", "1.0.0")
    assert suggestion["made_by"] == str(clinician.account_id)
    by_code = {criterion["code"]: criterion for criterion in suggestion["criteria"]}
    assert {criterion["outcome"] for criterion in by_code.values()} == {"met"}
    assert by_code["private_space"]["evidence"] == [forms["readiness"]]
    assert by_code["diagnosis_present"]["evidence"] == [suggestion["id"]]
    assert by_code["violence_risk"]["is_overridable"] is False
    assert by_code["commitment_ruler"]["reason"] == "Readiness to attend is 7 or more."
    assert await events_of(make, intake) == ["intake.recommended"]


async def test_a_symptom_is_judged_by_the_latest_form(make: Make) -> None:
    clinician, participant, intake = await open_intake(make)
    await screened(clinician, participant)
    # Both screens are low now.
    await screened(clinician, participant, worth=0)

    read = await recommended(clinician, intake, **ADMITTING)

    assert read["recommendation"]["verdict"] == "outpatient"


async def test_a_form_that_was_not_submitted_counts_for_nothing(make: Make) -> None:
    clinician, participant, intake = await open_intake(make)
    given = await assigned(clinician, participant, "rulers")
    await answered(participant, given, {"commitment": 10})

    read = await recommended(clinician, intake)

    by_code = {each["code"]: each for each in read["recommendation"]["criteria"]}
    assert by_code["commitment_ruler"]["outcome"] == "unknown"


async def test_an_open_acute_alert_suggests_a_higher_level(make: Make) -> None:
    clinician, participant, intake = await open_intake(make)
    await screened(clinician, participant)
    alert_id = await _acute_alert(make, participant)

    read = await recommended(clinician, intake, **ADMITTING)

    suggestion = read["recommendation"]
    assert suggestion["verdict"] == "higher_level"
    acute = next(each for each in suggestion["criteria"] if each["code"] == "no_acute_alert")
    assert (acute["outcome"], acute["evidence"]) == ("not_met", [str(alert_id)])


async def test_safety_that_nobody_asked_about_is_unknown(make: Make) -> None:
    clinician, participant, intake = await open_intake(make)
    blank = {f"q{n}": 2 for n in range(1, 9)}
    given = await assigned(clinician, participant)
    await submitted(participant, await answered(participant, given, blank))

    read = await recommended(clinician, intake, **ADMITTING)

    by_code = {each["code"]: each for each in read["recommendation"]["criteria"]}
    assert by_code["no_acute_alert"]["outcome"] == "unknown"
    assert by_code["symptom_severity"]["outcome"] == "met"


async def test_asking_again_makes_a_new_recommendation(make: Make) -> None:
    clinician, participant, intake = await open_intake(make)
    first = await recommended(clinician, intake)
    await screened(clinician, participant)

    second = await recommended(clinician, intake, **ADMITTING)

    read = (await clinician.get(f"/v1/intakes/{intake}")).json()
    assert first["recommendation"]["id"] != second["recommendation"]["id"]
    assert read["recommendation"] == second["recommendation"]
    assert second["version"] > first["version"]


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"attestations": [{"code": "is_nice", "holds": True}]}, "/attestations/0/code"),
        (
            {"attestations": [{"code": "can_benefit", "holds": True}] * 2},
            "/attestations/1/code",
        ),
        (
            {"functional_ratings": [{"domain": "hobbies", "rating": 1}]},
            "/functional_ratings/0/domain",
        ),
        (
            {"functional_ratings": [{"domain": "home", "rating": 5}]},
            "/functional_ratings/0/rating",
        ),
    ],
)
async def test_a_statement_that_the_policy_does_not_know_is_pointed_at(
    make: Make, body: dict[str, object], pointer: str
) -> None:
    clinician, _, intake = await open_intake(make)

    refused = await clinician.post(f"/v1/intakes/{intake}/recommend", json=body)

    assert refused.status_code == HTTPStatus.UNPROCESSABLE_ENTITY
    assert [error["pointer"] for error in refused.json()["errors"]] == [pointer]
    assert (await clinician.get(f"/v1/intakes/{intake}")).json()["state"] == "referred"


async def test_a_coordinator_asks_but_attests_nothing(make: Make) -> None:
    coordinator = await make.staff(StaffRole.CARE_COORDINATOR, is_licensed=False)
    _, _, intake = await open_intake(make, coordinator)

    attesting = await coordinator.post(f"/v1/intakes/{intake}/recommend", json=ADMITTING)
    asking = await coordinator.post(f"/v1/intakes/{intake}/recommend", json={})

    assert attesting.status_code == HTTPStatus.FORBIDDEN
    assert asking.status_code == HTTPStatus.OK


async def test_an_admission_begins_the_enrollment(make: Make) -> None:
    clinician, participant, intake = await open_intake(make)
    await screened(clinician, participant)
    await recommended(clinician, intake, **ADMITTING)

    read = await decided(clinician, intake, **ADMISSION)

    assert read["state"] == "decided"
    decision = read["decision"]
    assert decision["outcome"] == "admit_iop"
    assert decision["agrees_with_recommendation"] is True
    assert decision["rationale"] == ADMISSION["rationale"]
    assert decision["decided_by"] == str(clinician.staff_member_id)
    enrollment = (await participant.get(f"/v1/enrollments/{read['enrollment_id']}")).json()
    assert enrollment["participant_id"] == str(participant.participant_id)
    assert enrollment["decision_id"] == decision["id"]
    assert enrollment["level_of_care"] == "intensive_outpatient"
    assert enrollment["ended_on"] is None
    assert await events_of(make, intake) == ["intake.recommended", "intake.decided"]
    assert await events_of(make, read["enrollment_id"]) == ["enrollment.started"]


async def test_a_rationale_is_sealed(make: Make) -> None:
    clinician, participant, intake = await open_intake(make)
    await screened(clinician, participant)
    await recommended(clinician, intake, **ADMITTING)
    await decided(clinician, intake, **ADMISSION)

    async with make.transaction() as db:
        blob = (await db.scalars(select(Decision.rationale))).one()

    assert ADMISSION["rationale"].encode() not in blob


async def test_disagreement_is_allowed_with_a_reason_and_recorded(make: Make) -> None:
    clinician, participant, intake = await open_intake(make)
    await screened(clinician, participant)
    await recommended(clinician, intake, **ADMITTING)
    body = {"outcome": "refer_php", "rationale": "Needs days, not evenings."}

    silent = await _decide(clinician, intake, **body)
    read = await decided(clinician, intake, **body, override_reason="Two lapses this week.")

    assert silent.status_code == HTTPStatus.UNPROCESSABLE_ENTITY
    assert silent.json()["errors"][0]["pointer"] == "/override_reason"
    assert read["decision"]["agrees_with_recommendation"] is False
    assert read["decision"]["override_reason"] == "Two lapses this week."
    assert read["recommendation"]["verdict"] == "admit"
    assert read["enrollment_id"] is None


async def test_what_no_reason_can_override_stands(make: Make) -> None:
    clinician, participant, intake = await open_intake(make)
    await screened(clinician, participant)
    unsaid = [said for said in ADMITTING["attestations"] if said["code"] != "violence_risk"]
    await recommended(clinician, intake, **{**ADMITTING, "attestations": unsaid})

    refused = await _decide(clinician, intake, **ADMISSION, override_reason="I am sure.")

    assert refused.status_code == HTTPStatus.CONFLICT
    assert problem_of(refused) == "criterion-not-overridable"
    assert refused.json()["criteria"] == ["violence_risk"]
    assert await _enrollments(make) == []


AUTHORIZED: dict[str, Any] = {
    "level_of_care": "outpatient",
    "payer": "Front Range Health Plan",
    "number": "A-204417",
    "units": 24,
    "unit": "sessions",
    "starts_on": "2026-03-02",
    "ends_on": "2026-05-29",
    "next_review_on": "2026-03-16",
}


async def test_an_admission_against_the_suggestion_gives_a_reason_for_each_criterion(
    make: Make,
) -> None:
    clinician, participant, intake = await open_intake(make)
    await screened(clinician, participant, worth=0)
    body = {**ADMISSION, "override_reason": "Back from the hospital on Friday."}
    await recommended(clinician, intake, **ADMITTING)

    silent = await _decide(clinician, intake, **body)
    reason = {"criterion": "symptom_severity", "reason": "Under-reports; seen in the interview."}
    unknown = await _decide(
        clinician, intake, **body, overrides=[reason, {"criterion": "luck", "reason": "None."}]
    )
    read = await decided(clinician, intake, **body, overrides=[reason])

    assert problem_of(silent) == "overrides-needed"
    assert silent.json()["criteria"] == ["symptom_severity"]
    assert unknown.json()["errors"][0]["pointer"] == "/overrides/1/criterion"
    assert read["recommendation"]["verdict"] == "outpatient"
    assert read["recommendation"]["suggested_level"] == "outpatient"
    assert read["decision"]["outcome"] == "admit_iop"
    assert read["decision"]["overrides"] == [reason]
    assert read["enrollment_id"] is not None


async def test_what_a_payer_authorizes_stands_beside_the_clinical_level(make: Make) -> None:
    clinician, participant, intake = await open_intake(make)
    await screened(clinician, participant)
    await recommended(clinician, intake, **ADMITTING)
    late = {**AUTHORIZED, "next_review_on": "2026-06-01"}

    impossible = await _decide(clinician, intake, **ADMISSION, authorization=late)
    read = await decided(clinician, intake, **ADMISSION, authorization=AUTHORIZED)

    path = f"/v1/enrollments/{read['enrollment_id']}"
    assert impossible.json()["errors"][0]["code"] == "outside"
    assert (await clinician.get(path)).json()["level_of_care"] == "intensive_outpatient"
    [authorized] = (await participant.get(f"{path}/authorizations")).json()["items"]
    assert AUTHORIZED.items() <= authorized.items()
    extended = {**AUTHORIZED, "number": "A-204418", "ends_on": "2026-08-29"}
    more = await clinician.post(f"{path}/authorizations", json=extended)
    assert more.status_code == HTTPStatus.CREATED
    both = (await clinician.get(f"{path}/authorizations")).json()["items"]
    assert [each["number"] for each in both] == ["A-204417", "A-204418"]
    assert await events_of(make, read["enrollment_id"]) == [
        "enrollment.started",
        "enrollment.authorized",
        "enrollment.authorized",
    ]


async def test_the_number_of_an_authorization_is_sealed_and_strangers_see_none(make: Make) -> None:
    clinician, participant, intake = await open_intake(make)
    await screened(clinician, participant)
    await recommended(clinician, intake, **ADMITTING)
    read = await decided(clinician, intake, **ADMISSION, authorization=AUTHORIZED)
    path = f"/v1/enrollments/{read['enrollment_id']}/authorizations"
    stranger = await make.staff()

    async with make.transaction() as db:
        blob = (await db.scalars(select(LevelAuthorization.number))).one()

    assert AUTHORIZED["number"].encode() not in blob
    assert (await stranger.get(path)).status_code == HTTPStatus.NOT_FOUND
    assert (await stranger.post(path, json=AUTHORIZED)).status_code == HTTPStatus.NOT_FOUND
    assert (await participant.post(path, json=AUTHORIZED)).status_code == HTTPStatus.FORBIDDEN


async def test_who_declines_agrees_with_nobody(make: Make) -> None:
    clinician, _, intake = await open_intake(make)
    await recommended(clinician, intake)

    read = await decided(
        clinician, intake, outcome="decline_by_person", rationale="Wants to wait until spring."
    )

    assert read["state"] == "declined"
    assert read["decision"]["agrees_with_recommendation"] is None


async def test_a_deferral_asks_for_more_and_the_intake_goes_on(make: Make) -> None:
    clinician, participant, intake = await open_intake(make)
    await recommended(clinician, intake)
    deferred = await decided(
        clinician, intake, outcome="defer_more_info", rationale="The forms are missing."
    )
    too_early = await _decide(clinician, intake, **ADMISSION)
    await screened(clinician, participant)
    await recommended(clinician, intake, **ADMITTING)

    read = await decided(clinician, intake, **ADMISSION)

    assert deferred["state"] == "assessment"
    assert problem_of(too_early) == "recommendation-needed"
    assert read["state"] == "decided"
    assert (await events_of(make, intake))[1:] == [
        "intake.deferred",
        "intake.recommended",
        "intake.decided",
    ]


async def test_a_decision_answers_the_latest_recommendation(make: Make) -> None:
    clinician, _, intake = await open_intake(make)
    first = await recommended(clinician, intake)
    second = await recommended(clinician, intake)

    refused = await clinician.post(
        f"/v1/intakes/{intake}/decision",
        json={
            "recommendation_id": first["recommendation"]["id"],
            "outcome": "defer_more_info",
            "rationale": "The forms are missing.",
        },
    )

    assert problem_of(refused) == "recommendation-superseded"
    assert refused.json()["recommendation_id"] == second["recommendation"]["id"]


async def test_a_decided_intake_is_closed(make: Make) -> None:
    clinician, participant, intake = await open_intake(make)
    await screened(clinician, participant)
    await recommended(clinician, intake, **ADMITTING)
    await decided(clinician, intake, **ADMISSION)

    again = await _decide(clinician, intake, **ADMISSION)
    asked = await clinician.post(f"/v1/intakes/{intake}/recommend", json={})

    assert problem_of(again) == problem_of(asked) == "intake-closed"
    assert again.json()["state"] == "decided"
    assert len(await _enrollments(make)) == 1


async def test_two_decisions_at_one_moment_are_one(make: Make) -> None:
    clinician, participant, intake = await open_intake(make)
    await screened(clinician, participant)
    await recommended(clinician, intake, **ADMITTING)

    both = await asyncio.gather(
        _decide(clinician, intake, **ADMISSION), _decide(clinician, intake, **ADMISSION)
    )

    assert sorted(answer.status_code for answer in both) == [HTTPStatus.OK, HTTPStatus.CONFLICT]
    assert len(await _enrollments(make)) == 1


async def test_nobody_is_enrolled_twice_in_one_program(make: Make) -> None:
    program = await make.program()
    clinician, participant, first = await open_intake(make, program=program)
    await screened(clinician, participant)
    _, _, second = await open_intake(make, clinician, participant=participant, program=program)
    for intake in (first, second):
        await recommended(clinician, intake, **ADMITTING)
    await decided(clinician, first, **ADMISSION)

    refused = await _decide(clinician, second, **ADMISSION)

    assert refused.status_code == HTTPStatus.CONFLICT
    assert problem_of(refused) == "already-enrolled"
    # The decision went with the enrollment that could not be.
    read = (await clinician.get(f"/v1/intakes/{second}")).json()
    assert (read["state"], read["decision"]) == ("awaiting_decision", None)


async def test_care_begins_on_a_day_of_the_participants_zone(make: Make) -> None:
    clinician, participant, intake = await open_intake(make)
    await screened(clinician, participant)
    await recommended(clinician, intake, **ADMITTING)
    long_ago = clock.now().date() - timedelta(days=2)
    later = clock.now().date() + timedelta(days=9)

    past = await _decide(clinician, intake, **ADMISSION, starts_on=str(long_ago))
    read = await decided(clinician, intake, **ADMISSION, starts_on=str(later))

    assert past.json()["errors"][0]["pointer"] == "/starts_on"
    enrollment = (await clinician.get(f"/v1/enrollments/{read['enrollment_id']}")).json()
    assert enrollment["started_on"] == str(later)


async def test_only_an_admission_begins(make: Make) -> None:
    clinician, _, intake = await open_intake(make)
    await recommended(clinician, intake)

    refused = await _decide(
        clinician,
        intake,
        outcome="defer_more_info",
        rationale="The forms are missing.",
        starts_on="2100-01-01",
    )

    assert refused.json()["errors"][0]["code"] == "not_an_admission"


async def test_every_move_is_kept_with_its_actor_time_and_reason(make: Make) -> None:
    coordinator = await make.staff(StaffRole.CARE_COORDINATOR, is_licensed=False)
    _, _, intake = await open_intake(make, coordinator)
    way = ("screen", "assess", "check_eligibility", "ask_consents", "reassess", "withdraw")
    for action in way:
        moved = await _move(coordinator, intake, action, f"Why: {action}.")
        assert moved.status_code == HTTPStatus.OK, moved.text

    found = (await coordinator.get(f"/v1/intakes/{intake}/transitions")).json()["items"]

    assert [each["action"] for each in found] == list(way)
    assert [each["to_state"] for each in found] == [
        "screening",
        "assessment",
        "eligibility",
        "consents",
        "assessment",
        "withdrawn",
    ]
    assert [each["from_state"] for each in found[1:]] == [each["to_state"] for each in found[:-1]]
    assert {each["actor_id"] for each in found} == {str(coordinator.account_id)}
    assert [each["reason"] for each in found] == [f"Why: {action}." for action in way]
    assert await events_of(make, intake) == ["intake.moved"] * len(way)


async def test_a_move_that_the_state_does_not_allow_is_refused_with_those_that_it_does(
    make: Make,
) -> None:
    clinician, _, intake = await open_intake(make)

    refused = await _move(clinician, intake, "ask_consents")

    assert refused.status_code == HTTPStatus.CONFLICT
    assert problem_of(refused) == "intake-move-refused"
    assert refused.json()["state"] == "referred"
    assert refused.json()["possible_states"] == [
        "awaiting_decision",
        "declined",
        "screening",
        "withdrawn",
    ]
    assert refused.json()["possible_actions"] == ["decline", "present", "screen", "withdraw"]
    assert (await clinician.get(f"/v1/intakes/{intake}/transitions")).json()["items"] == []


async def test_two_moves_at_one_moment_are_one(make: Make) -> None:
    clinician, _, intake = await open_intake(make)

    both = await asyncio.gather(
        _move(clinician, intake, "screen"), _move(clinician, intake, "screen")
    )

    assert sorted(answer.status_code for answer in both) == [HTTPStatus.OK, HTTPStatus.CONFLICT]
    found = (await clinician.get(f"/v1/intakes/{intake}/transitions")).json()["items"]
    assert [each["to_state"] for each in found] == ["screening"]


async def test_no_hand_makes_the_moves_of_a_recommendation_and_of_a_decision(make: Make) -> None:
    clinician, _, intake = await open_intake(make)

    answers = [await _move(clinician, intake, each) for each in ("present", "decide", "defer")]

    assert {each.status_code for each in answers} == {HTTPStatus.UNPROCESSABLE_ENTITY}


async def test_a_recommendation_and_a_decision_are_moves_with_the_rationale(make: Make) -> None:
    clinician, _, intake = await open_intake(make)
    await recommended(clinician, intake)
    await decided(clinician, intake, outcome="defer_more_info", rationale="Forms are missing.")

    found = (await clinician.get(f"/v1/intakes/{intake}/transitions")).json()["items"]

    assert [(each["action"], each["to_state"]) for each in found] == [
        ("present", "awaiting_decision"),
        ("defer", "assessment"),
    ]
    assert found[1]["reason"] == "Forms are missing."


async def test_only_a_licensed_clinician_declines(make: Make) -> None:
    unlicensed = await make.staff(is_licensed=False)
    clinician = await make.staff()
    participant = await make.participant(team=[unlicensed, clinician])
    _, _, intake = await open_intake(make, unlicensed, participant=participant)

    refused = await _move(unlicensed, intake, "decline")
    declined = await _move(clinician, intake, "decline")

    assert refused.status_code == HTTPStatus.FORBIDDEN
    assert declined.json()["state"] == "declined"


async def test_who_waits_for_a_place_is_assessed_again(make: Make) -> None:
    clinician, _, intake = await open_intake(make)
    await recommended(clinician, intake)

    waiting = await _move(clinician, intake, "waitlist", "No place before spring.")
    again = await _move(clinician, intake, "reassess", "A place is free.")

    assert waiting.json()["state"] == "waitlisted"
    assert again.json()["state"] == "assessment"


async def test_a_stranger_neither_moves_an_intake_nor_reads_its_moves(make: Make) -> None:
    _, _, intake = await open_intake(make)
    stranger = await make.staff()

    moved = await _move(stranger, intake, "screen")
    read = await stranger.get(f"/v1/intakes/{intake}/transitions")

    assert moved.status_code == read.status_code == HTTPStatus.NOT_FOUND


async def test_a_readmission_is_a_new_enrollment_of_the_same_person(make: Make) -> None:
    clinician, participant, first = await admitted(make)
    enrollment = (await clinician.get(f"/v1/enrollments/{first}")).json()
    path = f"/v1/participants/{participant.participant_id}/referrals"
    body = {"program_id": enrollment["program_id"], "source": "php_step_down", "reason": "Back."}
    too_early = await clinician.post(path, json=body)
    await clinician.post(f"/v1/enrollments/{first}/discharge", json={"reason": "completed"})

    referral = await clinician.post(path, json=body)
    twice = await clinician.post(path, json=body)
    intake = referral.json()["intake_id"]
    await recommended(clinician, intake, **ADMITTING)
    second = (await decided(clinician, intake, **ADMISSION))["enrollment_id"]

    assert problem_of(too_early) == "already-enrolled"
    assert referral.status_code == HTTPStatus.CREATED
    assert (problem_of(twice), twice.json()["intake_id"]) == ("intake-under-way", intake)
    read = (await clinician.get(f"/v1/enrollments/{second}")).json()
    assert read["participant_id"] == enrollment["participant_id"]
    assert second != first
    began = (await clinician.get(f"/v1/intakes/{intake}/transitions")).json()["items"][0]
    assert (began["action"], began["to_state"], began["reason"]) == (None, "referred", "Back.")


async def test_a_participant_refers_themselves_and_nobody_else(make: Make) -> None:
    clinician = await make.staff()
    participant = await make.participant(team=[clinician])
    other = await make.participant(team=[clinician])
    program = await make.program()
    body = {"program_id": str(program.id), "source": "court"}

    own = await participant.post(
        f"/v1/participants/{participant.participant_id}/referrals", json=body
    )
    alien = await participant.post(f"/v1/participants/{other.participant_id}/referrals", json=body)

    assert (own.status_code, own.json()["source"]) == (HTTPStatus.CREATED, "self")
    assert alien.status_code == HTTPStatus.NOT_FOUND


async def test_who_comes_to_a_part2_program_gets_its_label(make: Make) -> None:
    clinician = await make.staff()
    participant = await make.participant(team=[clinician])
    program = await make.program(is_part2=True)
    path = f"/v1/participants/{participant.participant_id}"

    await clinician.post(f"{path}/referrals", json={"program_id": str(program.id)})

    assert (await clinician.get(path)).json()["sensitivity"] == ["part2"]


async def test_a_license_that_is_not_in_force_decides_nothing(make: Make) -> None:
    clinician, _, intake = await open_intake(make)
    await recommended(clinician, intake)
    said = {"outcome": "defer_more_info", "rationale": "The forms are missing."}
    async with make.transaction() as db:
        await db.execute(
            update(StaffAuthorization).values(ends_on=(clock.now() - timedelta(days=1)).date())
        )

    refused = await _decide(clinician, intake, **said)
    async with make.transaction() as db:
        await db.execute(update(StaffAuthorization).values(ends_on=None))
    taken = await _decide(clinician, intake, **said)

    assert refused.status_code == HTTPStatus.FORBIDDEN
    assert problem_of(refused) == "license-not-active"
    assert taken.status_code == HTTPStatus.OK


async def test_only_a_licensed_clinician_decides(make: Make) -> None:
    unlicensed = await make.staff(is_licensed=False)
    _, _, intake = await open_intake(make, unlicensed)
    coordinator = await make.staff(StaffRole.CARE_COORDINATOR)
    await recommended(unlicensed, intake)

    for person in (unlicensed, coordinator):
        refused = await _decide(
            person, intake, outcome="defer_more_info", rationale="The forms are missing."
        )
        assert refused.status_code == HTTPStatus.FORBIDDEN


async def test_who_is_not_related_finds_no_intake(
    make: Make, app: FastAPI, runtime: Runtime
) -> None:
    clinician, _, intake = await open_intake(make)
    await recommended(clinician, intake)
    elsewhere = await Make.organization(app, runtime)

    for stranger in (await make.staff(), await elsewhere.staff()):
        answers = [
            await stranger.get(f"/v1/intakes/{intake}"),
            await stranger.post(f"/v1/intakes/{intake}/recommend", json={}),
            await _decide(stranger, intake, **ADMISSION),
        ]
        assert {answer.status_code for answer in answers} == {HTTPStatus.NOT_FOUND}
        assert (await stranger.get("/v1/intakes")).json()["items"] == []
    await elsewhere.close()


async def test_participants_read_no_intakes(make: Make) -> None:
    _, participant, intake = await open_intake(make)

    one = await participant.get(f"/v1/intakes/{intake}")
    every = await participant.get("/v1/intakes")

    assert one.status_code == every.status_code == HTTPStatus.FORBIDDEN


async def test_intakes_are_listed_page_by_page_and_by_participant(make: Make) -> None:
    clinician, participant, first = await open_intake(make)
    _, _, second = await open_intake(make, clinician)

    page = (await clinician.get("/v1/intakes?limit=1")).json()
    rest = (await clinician.get(f"/v1/intakes?limit=1&cursor={page['next_cursor']}")).json()
    of_one = (
        await clinician.get(f"/v1/intakes?participant_id={participant.participant_id}")
    ).json()

    assert [item["id"] for item in page["items"] + rest["items"]] == [first, second]
    assert [item["id"] for item in of_one["items"]] == [first]


async def test_aud_01_intakes_leave_their_trail(make: Make) -> None:
    clinician, participant, intake = await open_intake(make)
    await recommended(clinician, intake)
    await decided(clinician, intake, outcome="defer_more_info", rationale="Forms are missing.")

    assert await accesses(make, participant, "intake") == [
        ("E", "intake:recommend"),
        # `decided` reads which recommendation it answers.
        ("R", "intake:read"),
        ("U", "intake:decide"),
    ]


async def _decide(person: Person, intake: str, **body: object) -> Response:
    """Answer the latest recommendation, or a made-up one if the person sees none."""
    read = await person.get(f"/v1/intakes/{intake}")
    suggestion: dict[str, Any] = read.json().get("recommendation") or {"id": str(new_id())}
    return await person.post(
        f"/v1/intakes/{intake}/decision", json={"recommendation_id": suggestion["id"], **body}
    )


async def _move(person: Person, intake: str, action: str, reason: str = "It is time.") -> Response:
    return await person.post(
        f"/v1/intakes/{intake}/transitions", json={"action": action, "reason": reason}
    )


async def _enrollments(make: Make) -> list[UUID]:
    async with make.transaction() as db:
        return list(await db.scalars(select(Enrollment.id)))


async def _acute_alert(make: Make, participant: Person) -> UUID:
    now = clock.now()
    alert = Alert(
        id=new_id(),
        participant_id=participant.participant_id,
        tier=Tier.ACUTE,
        code="help_now",
        state=AlertState.DISPOSITIONED,
        source=AlertSource.PERSON,
        policy_version="1.0.0",
        opened_at=now,
        acknowledge_by=now,
        contact_by=now,
        created_at=now,
        updated_at=now,
    )
    async with make.transaction() as db:
        db.add(alert)
    return alert.id
