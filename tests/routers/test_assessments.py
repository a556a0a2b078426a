import asyncio
from datetime import timedelta
from http import HTTPStatus
from typing import Any
from uuid import UUID

import pytest
from fastapi import FastAPI
from sqlalchemy import func, select, text, update
from sqlalchemy.exc import DBAPIError

from app.core import clock
from app.core.embedded import EmbeddedServer
from app.core.ids import new_id
from app.core.problems import from_database_error
from app.models.alerts import Alert
from app.models.assessments import Answer, Assessment, AssessmentState
from app.runtime import Runtime
from app.services.assessments import AssessmentSubmitted
from tests.factories import Make, Person, problem_of
from tests.routers.assessing import (
    GAD7,
    PHQ9,
    accesses,
    alerts_of,
    answered,
    assigned,
    completed,
    events_of,
    move_clock,
    submitted,
    treated,
)
from tests.watching import watch

MILD = dict.fromkeys(PHQ9, 1) | {"q9": 0}


async def test_a_clinician_gives_an_instrument_in_the_version_of_the_day(make: Make) -> None:
    clinician, participant = await treated(make)
    due_at = clock.render(clock.now() + timedelta(days=2))

    given = await assigned(clinician, participant, due_at=due_at)

    assert given["state"] == "assigned"
    assert given["instrument_version"] == "1.0.0"
    assert given["due_at"] == due_at
    assert await events_of(make, given["id"]) == ["assessment.assigned"]


async def test_an_unknown_instrument_is_refused_where_it_was_named(make: Make) -> None:
    clinician, participant = await treated(make)

    refused = await clinician.post(
        "/v1/assessments",
        json={"participant_id": str(participant.participant_id), "instrument_key": "phq-99"},
    )

    assert refused.status_code == HTTPStatus.UNPROCESSABLE_ENTITY
    assert refused.json()["errors"][0]["pointer"] == "/instrument_key"


async def test_nothing_is_given_that_has_expired_already(make: Make) -> None:
    clinician, participant = await treated(make)

    refused = await clinician.post(
        "/v1/assessments",
        json={
            "participant_id": str(participant.participant_id),
            "instrument_key": "phq-9",
            "expires_at": clock.render(clock.now() - timedelta(minutes=1)),
        },
    )

    assert refused.status_code == HTTPStatus.UNPROCESSABLE_ENTITY
    assert refused.json()["errors"][0]["pointer"] == "/expires_at"


async def test_a_participant_gives_nobody_an_instrument(make: Make) -> None:
    participant = await make.participant()

    refused = await participant.post(
        "/v1/assessments",
        json={"participant_id": str(participant.participant_id), "instrument_key": "phq-9"},
    )

    assert refused.status_code == HTTPStatus.FORBIDDEN


async def test_answers_are_saved_item_by_item(make: Make) -> None:
    clinician, participant = await treated(make)
    given = await assigned(clinician, participant)

    first = await answered(participant, given, {"q1": 2})
    second = await answered(participant, first, {"q2": 1, "q1": None})

    assert first["state"] == "in_progress"
    assert [(a["item_id"], a["value"]) for a in second["answers"]] == [("q2", 1)]
    assert second["version"] > first["version"] > given["version"]


async def test_answers_keep_the_type_in_which_they_were_given(make: Make) -> None:
    clinician, participant = await treated(make)
    given = await assigned(clinician, participant, "readiness")
    answers = {
        "headphones": True,
        "screen_size": "computer",
        "bandwidth_down_mbps": 25.5,
        "bandwidth_up_mbps": 8,
        "others_in_home": "My sister, from six o'clock.\nShe has headphones.",
    }

    saved = await answered(participant, given, answers)

    assert {a["item_id"]: a["value"] for a in saved["answers"]} == answers
    assert saved["answers"][0]["value"] is True


async def test_the_database_holds_no_answer_that_it_can_read(make: Make) -> None:
    clinician, participant = await treated(make)
    given = await assigned(clinician, participant, "rulers")
    barrier = "Nobody may know about my sister"

    await answered(participant, given, {"barriers": barrier})

    async with make.transaction() as db:
        values = (await db.scalars(select(Answer.value))).all()
    assert len(values) == 1
    assert barrier.encode() not in values[0]


@pytest.mark.parametrize(
    ("instrument_key", "item_id", "value", "code"),
    [
        ("phq-9", "q1", 4, "not_an_option"),
        ("phq-9", "q1", True, "not_an_option"),
        ("phq-9", "q1", "1", "not_an_option"),
        ("phq-9", "q1", 1.0, "not_an_option"),
        ("phq-9", "q99", 1, "unknown_item"),
        ("rulers", "importance", 11, "out_of_range"),
        ("rulers", "importance", 7.5, "wrong_type"),
        ("rulers", "importance", True, "wrong_type"),
        ("readiness", "headphones", 1, "wrong_type"),
        ("readiness", "bandwidth_up_mbps", "8", "wrong_type"),
        ("readiness", "backup_phone", "0555-CANARY", "malformed"),
        ("readiness", "primary_location", "CANARY" * 100, "too_long"),
        ("readiness", "orientation_done", True, "answered_by_staff"),
        ("phq-9", "q1", [1], "answer_type"),
        ("phq-9", "q1", {"CANARY": 1}, "answer_type"),
    ],
)
async def test_phi_14_a_refused_answer_is_pointed_at_and_never_repeated(
    make: Make, instrument_key: str, item_id: str, value: object, code: str
) -> None:
    clinician, participant = await treated(make)
    given = await assigned(clinician, participant, instrument_key)
    other = {"item_id": "confidence", "value": 1} if instrument_key == "rulers" else None
    answers = [*([other] if other else []), {"item_id": item_id, "value": value}]

    refused = await participant.patch(
        f"/v1/assessments/{given['id']}/answers",
        json={"answers": answers},
        headers={"If-Match": f'"{given["version"]}"'},
    )

    assert refused.status_code == HTTPStatus.UNPROCESSABLE_ENTITY
    (error,) = refused.json()["errors"]
    field = "item_id" if code in {"unknown_item", "answered_by_staff"} else "value"
    assert error["pointer"] == f"/answers/{len(answers) - 1}/{field}"
    assert error["code"] == code
    assert "CANARY" not in refused.text
    read = (await participant.get(f"/v1/assessments/{given['id']}")).json()
    assert read["answers"] == []
    assert read["version"] == given["version"]


async def test_an_item_is_answered_once_in_a_request(make: Make) -> None:
    clinician, participant = await treated(make)
    given = await assigned(clinician, participant)

    refused = await participant.patch(
        f"/v1/assessments/{given['id']}/answers",
        json={"answers": [{"item_id": "q1", "value": 1}, {"item_id": "q1", "value": 2}]},
        headers={"If-Match": f'"{given["version"]}"'},
    )

    assert refused.json()["errors"] == [
        {
            "pointer": "/answers/1/item_id",
            "code": "repeated",
            "detail": "An item is answered once in a request.",
        }
    ]


async def test_staff_answer_what_is_theirs_and_the_participant_does_not_see_it(
    make: Make,
) -> None:
    clinician, participant = await treated(make)
    given = await assigned(clinician, participant, "readiness")

    await answered(clinician, given, {"firearms_means_asked": "asked_yes"})

    for_staff = (await clinician.get(f"/v1/assessments/{given['id']}")).json()
    for_participant = (await participant.get(f"/v1/assessments/{given['id']}")).json()
    assert [a["item_id"] for a in for_staff["answers"]] == ["firearms_means_asked"]
    assert for_participant["answers"] == []


async def test_a_change_names_the_version_that_it_changes(make: Make) -> None:
    clinician, participant = await treated(make)
    given = await assigned(clinician, participant)
    await answered(participant, given, {"q1": 1})
    body = {"answers": [{"item_id": "q1", "value": 2}]}

    unnamed = await participant.patch(f"/v1/assessments/{given['id']}/answers", json=body)
    stale = await participant.patch(
        f"/v1/assessments/{given['id']}/answers",
        json=body,
        headers={"If-Match": f'"{given["version"]}"'},
    )

    assert unnamed.status_code == HTTPStatus.PRECONDITION_REQUIRED
    assert stale.status_code == HTTPStatus.PRECONDITION_FAILED


async def test_an_answer_that_is_sent_again_changes_nothing(make: Make) -> None:
    clinician, participant = await treated(make)
    saved = await answered(participant, await assigned(clinician, participant), {"q9": 1})

    again = await answered(participant, saved, {"q9": 1})

    assert again["version"] == saved["version"]
    assert again["crisis_resources"]


async def test_submitting_scores_and_bands(make: Make) -> None:
    clinician, participant = await treated(make)

    done = await completed(clinician, participant, MILD)

    assert done["state"] == "submitted"
    read = (await clinician.get(f"/v1/assessments/{done['id']}")).json()
    total, phq2, phq8, _ = read["scores"]
    assert (total["code"], total["value"], total["band"]) == ("total", 8, "mild")
    assert (phq2["code"], phq2["value"]) == ("phq2", 2)
    assert (phq8["code"], phq8["value"]) == ("phq8", 8)
    assert (total["is_prorated"], total["missing"], total["change"]) == (False, 0, None)
    assert await events_of(make, done["id"]) == [
        "assessment.assigned",
        "assessment.answered",
        "assessment.submitted",
    ]


async def test_blank_items_are_borne_up_to_the_limit_and_then_there_is_no_score(
    make: Make,
) -> None:
    clinician, participant = await treated(make)
    two_blank = {item: 2 for item in PHQ9 if item not in {"q1", "q2"}} | {"q9": 0}
    three_blank = {item: 2 for item in two_blank if item != "q3"}

    borne = await completed(clinician, participant, two_blank)
    too_many = await completed(clinician, participant, three_blank)

    first = (await clinician.get(f"/v1/assessments/{borne['id']}")).json()["scores"][0]
    second = (await clinician.get(f"/v1/assessments/{too_many['id']}")).json()["scores"][0]
    # Six items worth 2 and one worth 0, of nine: 12 * 9 / 7 = 15.43.
    assert (first["value"], first["is_prorated"], first["missing"]) == (15, True, 2)
    assert (second["value"], second["band"], second["missing"]) == (None, None, 3)


async def test_change_is_measured_from_the_first_form(make: Make) -> None:
    clinician, participant = await treated(make)
    await completed(clinician, participant, dict.fromkeys(GAD7, 2), "gad-7")
    await completed(clinician, participant, dict.fromkeys(GAD7, 3), "gad-7")

    third = await completed(clinician, participant, dict.fromkeys(GAD7, 0), "gad-7")

    read = (await clinician.get(f"/v1/assessments/{third['id']}")).json()
    change = read["scores"][0]["change"]
    assert (change["baseline"], change["current"], change["improvement"]) == (14, 0, 14)
    assert change["percent"] == 100
    assert change["change_class"] == "recovered"
    assert change["is_response"] is True
    assert change["reliable_points"] == 4
    assert change["sources"]["reliable"]


async def test_a_submitted_assessment_never_changes(make: Make) -> None:
    clinician, participant = await treated(make)
    done = await completed(clinician, participant, MILD)

    answer = await participant.patch(
        f"/v1/assessments/{done['id']}/answers",
        json={"answers": [{"item_id": "q1", "value": 3}]},
        headers={"If-Match": f'"{done["version"]}"'},
    )
    again = await participant.post(f"/v1/assessments/{done['id']}/submit")

    assert answer.status_code == again.status_code == HTTPStatus.CONFLICT
    assert problem_of(answer) == problem_of(again) == "assessment-submitted"


async def test_an_answer_that_meets_a_submission_waits_for_it_and_is_refused(
    make: Make, server: EmbeddedServer
) -> None:
    clinician, participant = await treated(make)
    assessment = await assigned(clinician, participant)
    await answered(participant, assessment, {"q1": 1})

    async def answer_again() -> None:
        async with make.transaction() as db:
            await db.execute(update(Answer).values(answered_at=clock.now()))

    async with watch(server) as watcher:
        async with make.transaction() as db:
            await db.execute(
                update(Assessment).values(
                    state=AssessmentState.SUBMITTED,
                    submitted_at=clock.now(),
                    taken_at=clock.now(),
                    submitted_by=participant.account_id,
                )
            )
            writing = asyncio.create_task(answer_again())
            await watcher.until_blocked("%update answer%")
        with pytest.raises(DBAPIError) as refused:
            await writing

    assert isinstance(from_database_error(refused.value), AssessmentSubmitted)


async def test_two_submissions_at_one_moment_are_one(make: Make) -> None:
    clinician, participant = await treated(make)
    saved = await answered(participant, await assigned(clinician, participant), MILD)
    url = f"/v1/assessments/{saved['id']}/submit"

    both = await asyncio.gather(participant.post(url), participant.post(url))

    assert sorted(answer.status_code for answer in both) == [HTTPStatus.OK, HTTPStatus.CONFLICT]
    read = (await clinician.get(f"/v1/assessments/{saved['id']}")).json()
    assert [score["code"] for score in read["scores"]] == ["total", "phq2", "phq8", "mds"]


async def test_an_expired_assessment_takes_no_answers(make: Make) -> None:
    clinician, participant = await treated(make)
    soon = clock.render(clock.now() + timedelta(hours=1))
    given = await assigned(clinician, participant, expires_at=soon)
    await move_clock(make, timedelta(hours=2))

    read = (await participant.get(f"/v1/assessments/{given['id']}")).json()
    answer = await participant.patch(
        f"/v1/assessments/{given['id']}/answers",
        json={"answers": [{"item_id": "q1", "value": 3}]},
        headers={"If-Match": f'"{given["version"]}"'},
    )
    submission = await participant.post(f"/v1/assessments/{given['id']}/submit")

    assert read["state"] == "expired"
    assert problem_of(answer) == problem_of(submission) == "assessment-expired"


async def until_closed(make: Make, participant: Person, given: dict[str, Any], by: str) -> int:
    """Bring a form to where it takes no answers any more; gives its version then."""
    if by == "assessment-submitted":
        version: int = (await submitted(participant, given))["version"]
        return version
    past = {"assessment-expired": {"expires_at": clock.now() - timedelta(hours=1)}}
    async with make.transaction() as db:
        await db.execute(
            update(Assessment)
            .where(Assessment.id == UUID(given["id"]))
            .values(past.get(by, {"instrument_version": "0.9.0"}))
        )
    return int(given["version"])


CLOSED = pytest.mark.parametrize(
    "by", ["assessment-submitted", "assessment-expired", "instrument-replaced"]
)


@CLOSED
async def test_a_safety_answer_that_comes_too_late_is_heard_all_the_same(
    make: Make, by: str
) -> None:
    clinician, participant = await treated(make)
    given = await answered(participant, await assigned(clinician, participant), {"q9": 0})
    version = await until_closed(make, participant, given, by)

    refused = await participant.patch(
        f"/v1/assessments/{given['id']}/answers",
        # What is wrong beside it does not hide what was said.
        json={"answers": [{"item_id": "q1", "value": 17}, {"item_id": "q9", "value": 3}]},
        headers={"If-Match": f'"{version}"'},
    )

    assert (refused.status_code, problem_of(refused)) == (HTTPStatus.CONFLICT, by)
    assert refused.json()["crisis_resources"][0]["contacts"]
    assert refused.headers["content-type"] == "application/problem+json"
    alerts = await alerts_of(clinician, participant)
    assert {(alert["code"], alert["source_id"]) for alert in alerts} == {
        ("si_endorsed", given["id"]),
        ("si_frequent", given["id"]),
    }
    read = (await participant.get(f"/v1/assessments/{given['id']}")).json()
    assert read["version"] == version
    async with make.transaction() as db:
        assert await db.scalar(select(func.count()).select_from(Answer)) == 1


@CLOSED
async def test_a_calm_answer_that_comes_too_late_alarms_nobody(make: Make, by: str) -> None:
    clinician, participant = await treated(make)
    given = await answered(participant, await assigned(clinician, participant), {"q9": 0})
    version = await until_closed(make, participant, given, by)

    refused = await participant.patch(
        f"/v1/assessments/{given['id']}/answers",
        json={"answers": [{"item_id": "q1", "value": 3}, {"item_id": "q9", "value": 0}]},
        headers={"If-Match": f'"{version}"'},
    )

    assert problem_of(refused) == by
    assert "crisis_resources" not in refused.json()
    assert await alerts_of(clinician, participant) == []


async def test_a_form_is_not_scored_by_another_version_than_it_was_given_in(make: Make) -> None:
    clinician, participant = await treated(make)
    given = await assigned(clinician, participant)
    async with make.transaction() as db:
        await db.execute(
            update(Assessment)
            .where(Assessment.id == UUID(given["id"]))
            .values(instrument_version="0.9.0")
        )

    refused = await participant.post(f"/v1/assessments/{given['id']}/submit")

    assert refused.status_code == HTTPStatus.CONFLICT
    assert problem_of(refused) == "instrument-replaced"


async def test_a_participant_sees_answers_but_no_scores_that_are_not_for_them(
    make: Make,
) -> None:
    clinician, participant = await treated(make)

    done = await completed(clinician, participant, MILD)

    read = (await participant.get(f"/v1/assessments/{done['id']}")).json()
    assert done["result"] == read["result"] == "withheld"
    assert done["scores"] == read["scores"] == []
    assert {a["item_id"]: a["value"] for a in read["answers"]} == MILD


async def test_results_are_pending_until_the_form_is_submitted(make: Make) -> None:
    clinician, participant = await treated(make)
    given = await assigned(clinician, participant, "readiness")

    before = (await participant.get(f"/v1/assessments/{given['id']}")).json()
    after = await submitted(participant, given)

    assert before["result"] == "pending"
    # The checklist's result is for the participant at once.
    assert after["result"] == "shown"


async def test_a_list_shows_what_the_caller_may_see(make: Make) -> None:
    clinician, participant = await treated(make)
    other = await make.participant(team=[clinician])
    mine = [(await assigned(clinician, participant))["id"] for _ in range(3)]
    theirs = (await assigned(clinician, other))["id"]

    own = (await participant.get("/v1/assessments")).json()
    everything = (await clinician.get("/v1/assessments")).json()
    of_one = (await clinician.get(f"/v1/assessments?participant_id={other.participant_id}")).json()
    of_another = (
        await participant.get(f"/v1/assessments?participant_id={other.participant_id}")
    ).json()

    assert [item["id"] for item in own["items"]] == mine
    assert [item["id"] for item in everything["items"]] == [*mine, theirs]
    assert [item["id"] for item in of_one["items"]] == [theirs]
    assert of_another["items"] == []


async def test_a_list_is_read_page_by_page(make: Make) -> None:
    clinician, participant = await treated(make)
    ids = [(await assigned(clinician, participant))["id"] for _ in range(3)]

    first = (await participant.get("/v1/assessments?limit=2")).json()
    second = (
        await participant.get(f"/v1/assessments?limit=2&cursor={first['next_cursor']}")
    ).json()

    assert [item["id"] for item in first["items"] + second["items"]] == ids
    assert second["next_cursor"] is None


async def test_who_is_not_related_finds_nothing(make: Make, app: FastAPI, runtime: Runtime) -> None:
    clinician, participant = await treated(make)
    given = await assigned(clinician, participant)
    elsewhere = await Make.organization(app, runtime)
    strangers: list[Person] = [
        await make.participant(),
        await make.staff(),
        await elsewhere.staff(),
        await elsewhere.participant(),
    ]

    for stranger in strangers:
        answers = [
            await stranger.get(f"/v1/assessments/{given['id']}"),
            await stranger.post(f"/v1/assessments/{given['id']}/submit"),
            await stranger.patch(
                f"/v1/assessments/{given['id']}/answers",
                json={"answers": [{"item_id": "q9", "value": 3}]},
                headers={"If-Match": f'"{given["version"]}"'},
            ),
        ]
        assert {answer.status_code for answer in answers} == {HTTPStatus.NOT_FOUND}
    assert (await clinician.get(f"/v1/assessments/{given['id']}")).json()["answers"] == []
    await elsewhere.close()


async def test_an_unrelated_clinician_gives_nothing_to_a_participant(make: Make) -> None:
    _, participant = await treated(make)
    unrelated = await make.staff()
    body = {"participant_id": str(participant.participant_id), "instrument_key": "phq-9"}

    refused = await unrelated.post("/v1/assessments", json=body)
    unknown = await unrelated.post("/v1/assessments", json=body | {"participant_id": str(new_id())})

    assert refused.status_code == unknown.status_code == HTTPStatus.NOT_FOUND


async def test_aud_01_each_read_and_change_leaves_its_row(make: Make) -> None:
    clinician, participant = await treated(make)
    done = await completed(clinician, participant, MILD)

    await clinician.get(f"/v1/assessments/{done['id']}")
    await participant.get("/v1/assessments")

    assert await accesses(make, participant, "assessment") == [
        ("C", "assessment:assign"),
        ("U", "assessment:answer"),
        ("U", "assessment:answer"),
        ("R", "assessment:read"),
        ("R", "assessment:list"),
    ]


async def test_an_answer_and_its_alert_are_one(make: Make) -> None:
    """When the alert cannot be written, the answer is not stored either."""
    clinician, participant = await treated(make)
    given = await assigned(clinician, participant)
    async with make.transaction() as db:
        # A participant whose zone is no zone: the alert's clock cannot be reckoned.
        await db.execute(
            text("update participant set time_zone = 'Nowhere/Land' where id = :id"),
            {"id": participant.participant_id},
        )

    failed = await participant.patch(
        f"/v1/assessments/{given['id']}/answers",
        json={"answers": [{"item_id": "q1", "value": 1}, {"item_id": "q9", "value": 3}]},
        headers={"If-Match": f'"{given["version"]}"'},
    )

    assert failed.status_code == HTTPStatus.INTERNAL_SERVER_ERROR
    assert await _count(make, Answer) == await _count(make, Alert) == 0


async def _count(make: Make, table: type[Answer | Alert]) -> int:
    async with make.transaction() as db:
        return await db.scalar(select(func.count()).select_from(table)) or 0


async def test_aud_01_answers_that_are_shown_again_leave_their_trail(make: Make) -> None:
    clinician, participant = await treated(make)
    saved = await answered(participant, await assigned(clinician, participant), {"q1": 2})
    before = await accesses(make, participant, "assessment")

    again = await answered(clinician, saved, {"q1": 2})

    after = await accesses(make, participant, "assessment")
    assert [each["item_id"] for each in again["answers"]] == ["q1"]
    assert after[len(before) :] == [("R", "assessment:read")]


async def test_an_app_that_may_not_read_is_shown_what_it_sent_and_no_more(make: Make) -> None:
    clinician = await make.staff(scope="user/QuestionnaireResponse.cu")
    participant = await make.participant(team=[clinician])
    given = await assigned(clinician, participant)
    theirs = await answered(participant, given, {"q2": 3})

    saved = await answered(clinician, theirs, {"q1": 2})
    done = await submitted(clinician, saved)

    assert [each["item_id"] for each in saved["answers"]] == ["q1"]
    assert (done["answers"], done["result"], done["scores"]) == ([], "withheld", [])
