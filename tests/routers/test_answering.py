"""What a form does not take: each its own problem, heard if it asks for help, never stored."""

import asyncio
from http import HTTPStatus
from typing import Any

import pytest
from httpx import Response
from sqlalchemy import func, select

from app.core.ids import new_id
from app.models.assessments import Answer
from tests.factories import Make, Person, problem_of
from tests.routers.assessing import (
    GAD7,
    alerts_of,
    answered,
    assigned,
    completed,
    submitted,
    treated,
)


async def _sent(
    person: Person, assessment: dict[str, Any], answers: dict[str, object], **fields: object
) -> Response:
    return await person.patch(
        f"/v1/assessments/{assessment['id']}/answers",
        json={"answers": [{"item_id": k, "value": v} for k, v in answers.items()], **fields},
        headers={"If-Match": f'"{assessment["version"]}"'},
    )


async def _kept(make: Make) -> int:
    async with make.transaction() as db:
        return await db.scalar(select(func.count()).select_from(Answer)) or 0


async def _asq(make: Make) -> tuple[Person, Person, dict[str, Any]]:
    """A suicide screen of which the last question is hidden: nothing before it was affirmed."""
    clinician, participant = await treated(make)
    given = await assigned(clinician, participant, "asq")
    saved = await answered(clinician, given, dict.fromkeys(["q1", "q2", "q3", "q4"], "no"))
    return clinician, participant, saved


async def test_an_answer_to_a_hidden_item_is_refused_and_heard(make: Make) -> None:
    clinician, participant, form = await _asq(make)
    before = await _kept(make)

    refused = await _sent(clinician, form, {"q5": "yes"})

    assert problem_of(refused) == "item-not-asked"
    assert refused.json()["item_ids"] == ["q5"]
    assert refused.json()["crisis_resources"]
    assert {alert["tier"] for alert in await alerts_of(clinician, participant)} == {"acute"}
    assert await _kept(make) == before


async def test_one_hidden_item_refuses_the_others_too(make: Make) -> None:
    clinician, _, form = await _asq(make)

    refused = await _sent(clinician, form, {"q1": "no", "q5": "no"})

    assert problem_of(refused) == "item-not-asked"


async def test_an_item_is_asked_once_an_answer_in_the_same_request_shows_it(make: Make) -> None:
    clinician, _, form = await _asq(make)

    saved = await _sent(clinician, form, {"q5": "no", "q4": "yes"})

    assert saved.status_code == HTTPStatus.OK


async def test_what_is_hidden_can_still_be_taken_back(make: Make) -> None:
    clinician, _, form = await _asq(make)
    shown = (await _sent(clinician, form, {"q4": "yes", "q5": "no"})).json()
    hidden = (await _sent(clinician, shown, {"q4": "no"})).json()

    taken_back = await _sent(clinician, hidden, {"q5": None})

    assert taken_back.status_code == HTTPStatus.OK
    assert "q5" not in {answer["item_id"] for answer in taken_back.json()["answers"]}


async def test_answers_for_another_version_are_refused_and_heard(make: Make) -> None:
    clinician, participant = await treated(make)
    given = await assigned(clinician, participant)

    refused = await _sent(participant, given, {"q9": 1}, instrument_version="0.9.0")
    taken = await _sent(participant, given, {"q1": 1}, instrument_version="1.0.0")

    assert problem_of(refused) == "instrument-version-differs"
    assert refused.json()["instrument_version"] == "1.0.0"
    assert refused.json()["crisis_resources"]
    assert await alerts_of(clinician, participant)
    assert [a["item_id"] for a in taken.json()["answers"]] == ["q1"]


@pytest.mark.parametrize("text", [r"\u0000", r"\ud800"])
async def test_text_that_no_database_keeps_is_refused_and_nothing_is_stored(
    make: Make, text: str
) -> None:
    clinician, participant = await treated(make)
    given = await assigned(clinician, participant, "rulers")

    refused = await participant.patch(
        f"/v1/assessments/{given['id']}/answers",
        content=(
            '{"answers": [{"item_id": "importance", "value": 8},'
            f' {{"item_id": "barriers", "value": "a{text}b"}}]}}'
        ),
        headers={"If-Match": '"1"', "Content-Type": "application/json"},
    )

    assert refused.status_code in {HTTPStatus.BAD_REQUEST, HTTPStatus.UNPROCESSABLE_ENTITY}
    assert await _kept(make) == 0


async def test_of_two_answers_at_one_moment_one_is_told(make: Make) -> None:
    clinician, participant = await treated(make)
    given = await assigned(clinician, participant)

    answers = await asyncio.gather(*(_sent(participant, given, {"q1": w}) for w in (1, 2)))

    assert sorted(each.status_code for each in answers) == [
        HTTPStatus.OK,
        HTTPStatus.PRECONDITION_FAILED,
    ]
    assert await _kept(make) == 1


async def test_a_form_that_is_sent_again_by_its_key_is_answered_once(make: Make) -> None:
    clinician, participant = await treated(make)
    given = await assigned(clinician, participant)
    await answered(participant, given, {"q1": 1})
    headers = {"Idempotency-Key": str(new_id())}
    path = f"/v1/assessments/{given['id']}/submit"

    first = await participant.post(path, headers=headers)
    again = await participant.post(path, headers=headers)

    assert first.status_code == again.status_code == HTTPStatus.OK
    assert first.json() == again.json()


@pytest.mark.parametrize(("mode", "kept"), [(None, "interview"), ("paper", "paper")])
async def test_what_staff_enter_says_who_entered_it(
    make: Make, mode: str | None, kept: str
) -> None:
    clinician, participant = await treated(make)
    given = await assigned(clinician, participant)

    saved = (await _sent(clinician, given, {"q1": 1}, entered_as=mode)).json()

    (answer,) = saved["answers"]
    assert answer["answered_by"] == str(clinician.account_id)
    assert answer["entered_as"] == kept


async def test_what_a_participant_enters_is_their_own(make: Make) -> None:
    clinician, participant = await treated(make)
    given = await assigned(clinician, participant)

    as_paper = await _sent(participant, given, {"q1": 1}, entered_as="paper")
    as_self = await _sent(clinician, given, {"q1": 1}, entered_as="self")
    saved = (await _sent(participant, given, {"q1": 1})).json()

    for refused in (as_paper, as_self):
        assert refused.json()["errors"][0]["pointer"] == "/entered_as"
    assert saved["answers"][0]["entered_as"] == "self"


async def test_a_safety_item_that_is_left_blank_raises_a_flag_of_the_data(make: Make) -> None:
    clinician, participant = await treated(make)

    form = await completed(clinician, participant, {f"q{n}": 0 for n in range(1, 9)})
    seen = (await clinician.get(f"/v1/assessments/{form['id']}")).json()

    assert [(f["code"], f["kind"], f["tier"]) for f in seen["flags"]] == [
        ("safety_item_unanswered", "data_quality", "watch")
    ]
    assert seen["flags"][0]["item_ids"] == ["q9"]
    assert [alert["code"] for alert in await alerts_of(clinician, participant)] == [
        "safety_item_unanswered"
    ]
    assert form["flags"] == []


async def test_change_is_measured_from_the_previous_form_too(make: Make) -> None:
    clinician, participant = await treated(make)
    for worth in (3, 2):
        await completed(clinician, participant, dict.fromkeys(GAD7, worth), "gad-7")
    form = await completed(clinician, participant, dict.fromkeys(GAD7, 1), "gad-7")

    seen = (await clinician.get(f"/v1/assessments/{form['id']}")).json()

    total = seen["scores"][0]
    assert (total["change"]["baseline"], total["change"]["improvement"]) == (21, 14)
    previous = total["change_from_previous"]
    assert (previous["baseline"], previous["improvement"]) == (14, 7)
    assert previous["reliable_points"]
    assert previous["sources"]


async def test_a_battery_is_given_whole(make: Make) -> None:
    clinician, participant = await treated(make)
    body = {
        "participant_id": str(participant.participant_id),
        "instrument_keys": ["phq-9", "gad-7"],
    }

    given = await clinician.post("/v1/batteries", json=body)

    assert given.status_code == HTTPStatus.CREATED
    battery = given.json()
    assert [each["instrument_key"] for each in battery["items"]] == body["instrument_keys"]
    assert {each["battery_id"] for each in battery["items"]} == {battery["id"]}
    due = (await participant.get("/v1/assessments?is_due=true")).json()["items"]
    assert {each["id"] for each in due} == {each["id"] for each in battery["items"]}
    await submitted(participant, await answered(participant, battery["items"][0], {"q9": 0}))
    left = (await participant.get("/v1/assessments?is_due=true")).json()["items"]
    assert [each["instrument_key"] for each in left] == ["gad-7"]


async def test_what_staff_alone_answer_is_due_to_staff_alone(make: Make) -> None:
    clinician, participant = await treated(make)
    given = await assigned(clinician, participant, "asq")

    due = [
        (await person.get("/v1/assessments?is_due=true")).json()["items"]
        for person in (clinician, participant)
    ]

    assert [[each["id"] for each in items] for items in due] == [[given["id"]], []]


@pytest.mark.parametrize(
    ("keys", "place"), [(["phq-9", "nothing"], 1), (["gad-7", "phq-9", "gad-7"], 2)]
)
async def test_of_a_battery_with_a_mistake_nothing_is_given(
    make: Make, keys: list[str], place: int
) -> None:
    clinician, participant = await treated(make)

    refused = await clinician.post(
        "/v1/batteries",
        json={"participant_id": str(participant.participant_id), "instrument_keys": keys},
    )

    assert refused.json()["errors"][0]["pointer"] == f"/instrument_keys/{place}"
    assert (await clinician.get("/v1/assessments")).json()["items"] == []


async def test_a_window_that_ends_before_it_opens_is_refused(make: Make) -> None:
    clinician, participant = await treated(make)

    refused = await clinician.post(
        "/v1/assessments",
        json={
            "participant_id": str(participant.participant_id),
            "instrument_key": "phq-9",
            "opens_at": "2040-03-02T17:00:00Z",
            "expires_at": "2040-03-01T17:00:00Z",
        },
    )

    assert refused.json()["errors"][0]["code"] == "before_it_opens"
