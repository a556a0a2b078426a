"""A form that was submitted is corrected by a revision; what it said before stays."""

import asyncio
from http import HTTPStatus
from typing import Any

import pytest
from httpx import Response
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from tests.factories import Make, Person, problem_of
from tests.routers.assessing import (
    GAD7,
    PHQ9,
    accesses,
    alerts_of,
    assigned,
    completed,
    events_of,
    treated,
)

MILD = dict.fromkeys(PHQ9, 1) | {"q9": 0}


async def _corrected(
    person: Person, assessment: dict[str, Any], answers: dict[str, object], **fields: object
) -> Response:
    return await person.post(
        f"/v1/assessments/{assessment['id']}/correct",
        json={
            "answers": [{"item_id": k, "value": v} for k, v in answers.items()],
            "reason": "Read the wrong row of the paper.",
            **fields,
        },
    )


async def _read(person: Person, assessment_id: str) -> dict[str, Any]:
    answer = await person.get(f"/v1/assessments/{assessment_id}")
    assert answer.status_code == HTTPStatus.OK, answer.text
    read: dict[str, Any] = answer.json()
    return read


async def test_a_correction_is_a_new_revision_and_the_old_one_stays(make: Make) -> None:
    clinician, participant = await treated(make)
    first = await completed(clinician, participant, MILD)
    before = await _read(clinician, first["id"])

    answer = await _corrected(clinician, first, {"q1": 3}, entered_as="paper")

    assert answer.status_code == HTTPStatus.CREATED
    correction = answer.json()
    after = await _read(clinician, first["id"])
    assert correction["revision"] == before["revision"] + 1
    assert correction["corrects_id"] == first["id"]
    assert correction["scores"][0]["value"] == before["scores"][0]["value"] + 2
    assert correction["correction_reason"] == "Read the wrong row of the paper."
    assert correction["taken_at"] == before["taken_at"]
    assert after["corrected_by_id"] == correction["id"]
    kept = ("answers", "scores", "flags", "state", "submitted_at", "taken_at")
    assert {name: after[name] for name in kept} == {name: before[name] for name in kept}


async def test_what_is_taken_over_keeps_who_entered_it(make: Make) -> None:
    clinician, participant = await treated(make)
    first = await completed(clinician, participant, MILD)

    correction = (await _corrected(clinician, first, {"q1": 3}, entered_as="paper")).json()

    entered = {a["item_id"]: (a["answered_by"], a["entered_as"]) for a in correction["answers"]}
    assert entered["q1"] == (str(clinician.account_id), "paper")
    assert entered["q2"] == (str(participant.account_id), "self")


async def test_a_correction_is_corrected_but_nothing_is_twice(make: Make) -> None:
    clinician, participant = await treated(make)
    first = await completed(clinician, participant, MILD)
    second = (await _corrected(clinician, first, {"q1": 3})).json()

    again = await _corrected(clinician, first, {"q1": 2})
    third = await _corrected(clinician, second, {"q1": 2})

    assert problem_of(again) == "assessment-corrected"
    assert again.json()["corrected_by_id"] == second["id"]
    assert third.json()["revision"] == 3


async def test_of_two_corrections_at_one_moment_one_counts(make: Make) -> None:
    clinician, participant = await treated(make)
    first = await completed(clinician, participant, MILD)

    answers = await asyncio.gather(
        *(_corrected(clinician, first, {"q1": worth}) for worth in (2, 3))
    )

    assert sorted(a.status_code for a in answers) == [HTTPStatus.CREATED, HTTPStatus.CONFLICT]


async def test_only_what_was_submitted_is_corrected(make: Make) -> None:
    clinician, participant = await treated(make)
    given = await assigned(clinician, participant)

    refused = await _corrected(clinician, given, {"q1": 3})

    assert problem_of(refused) == "assessment-not-submitted"


async def test_a_correction_that_changes_nothing_is_refused(make: Make) -> None:
    clinician, participant = await treated(make)
    first = await completed(clinician, participant, MILD)

    refused = await _corrected(clinician, first, {"q1": 1})

    assert refused.status_code == HTTPStatus.UNPROCESSABLE_ENTITY
    assert refused.json()["errors"][0]["code"] == "nothing_changes"


async def test_a_safety_answer_that_is_corrected_opens_its_alert(make: Make) -> None:
    clinician, participant = await treated(make)
    first = await completed(clinician, participant, MILD)

    correction = await _corrected(participant, first, {"q9": 2})

    assert correction.json()["crisis_resources"]
    (alert,) = await alerts_of(clinician, participant)
    assert alert["source_id"] == correction.json()["id"]


async def test_what_a_form_has_raised_is_not_raised_again_by_its_correction(make: Make) -> None:
    clinician, participant = await treated(make)
    first = await completed(clinician, participant, MILD | {"q9": 1})
    before = await alerts_of(clinician, participant)

    await _corrected(clinician, first, {"q1": 0})

    assert await alerts_of(clinician, participant) == before


async def test_a_safety_answer_to_a_form_that_was_corrected_is_heard(make: Make) -> None:
    clinician, participant = await treated(make)
    first = await completed(clinician, participant, MILD)
    await _corrected(clinician, first, {"q1": 2})

    refused = await _corrected(participant, first, {"q9": 1})

    assert problem_of(refused) == "assessment-corrected"
    assert refused.json()["crisis_resources"]
    assert await alerts_of(clinician, participant)


async def test_change_is_measured_from_what_counts(make: Make) -> None:
    clinician, participant = await treated(make)
    first = await completed(clinician, participant, dict.fromkeys(GAD7, 1), "gad-7")
    await _corrected(clinician, first, dict.fromkeys(GAD7, 3))

    later = await completed(clinician, participant, dict.fromkeys(GAD7, 0), "gad-7")

    seen = await _read(clinician, later["id"])
    assert seen["scores"][0]["change"]["baseline"] == 21


async def test_a_baseline_that_is_corrected_is_not_held_against_later_forms(make: Make) -> None:
    clinician, participant = await treated(make)
    first = await completed(clinician, participant, dict.fromkeys(GAD7, 1), "gad-7")
    await completed(clinician, participant, dict.fromkeys(GAD7, 3), "gad-7")

    correction = await _corrected(clinician, first, {"q1": 2})

    assert correction.json()["scores"][0]["change"] is None
    assert correction.json()["scores"][0]["change_from_previous"] is None


async def test_the_participant_is_not_told_why_staff_corrected(make: Make) -> None:
    clinician, participant = await treated(make)
    first = await completed(clinician, participant, MILD)
    correction = (await _corrected(clinician, first, {"q1": 3})).json()

    seen = await _read(participant, correction["id"])

    assert seen["correction_reason"] is None
    assert seen["flags"] == []


async def test_a_correction_is_on_record_on_both_forms(make: Make) -> None:
    clinician, participant = await treated(make)
    first = await completed(clinician, participant, MILD)

    correction = (await _corrected(clinician, first, {"q1": 3})).json()

    assert (await events_of(make, first["id"]))[-1] == "assessment.corrected"
    assert await events_of(make, correction["id"]) == ["assessment.submitted"]
    trail = await accesses(make, participant, "assessment")
    assert trail[-2:] == [("U", "assessment:answer"), ("C", "assessment:answer")]


async def test_the_reason_is_sealed(make: Make) -> None:
    clinician, participant = await treated(make)
    first = await completed(clinician, participant, MILD)
    await _corrected(clinician, first, {"q1": 3})

    async with make.transaction() as db:
        kept = (await db.scalars(text("select correction_reason from assessment"))).all()

    assert [b"paper" in reason for reason in kept if reason is not None] == [False]


@pytest.mark.parametrize("change", ["revision = 2", "corrected_by_id = null", "flags = '[]'"])
async def test_the_database_lets_nobody_change_what_was_submitted(make: Make, change: str) -> None:
    clinician, participant = await treated(make)
    first = await completed(clinician, participant, MILD)
    await _corrected(clinician, first, {"q1": 3})

    with pytest.raises(IntegrityError):
        async with make.transaction() as db:
            await db.execute(text(f"update assessment set {change}"))  # noqa: S608 (ours)


async def test_who_is_not_related_corrects_nothing(make: Make) -> None:
    clinician, participant = await treated(make)
    first = await completed(clinician, participant, MILD)
    stranger, other = await make.staff(), await make.participant(team=[clinician])

    refused = [await _corrected(person, first, {"q1": 3}) for person in (stranger, other)]

    assert [each.status_code for each in refused] == [HTTPStatus.NOT_FOUND] * 2
