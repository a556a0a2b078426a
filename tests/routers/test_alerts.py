import asyncio
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from http import HTTPStatus
from typing import Any
from uuid import UUID

import pytest
from fastapi import FastAPI
from sqlalchemy import select

from app.core.database import Connections
from app.core.embedded import EmbeddedServer
from app.domain.roles import StaffRole
from app.jobs import alert_clocks
from app.jobs.workplace import Workplace
from app.models.alerts import AlertStep
from app.runtime import Runtime
from app.settings import Settings
from tests.factories import Make, Person, problem_of
from tests.routers.assessing import (
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

DISPOSITION = {
    "assessment": "Structured interview by phone.",
    "risk": "low",
    "rationale": "Passive thoughts, no plan or intent.",
    "protective_factors": "Lives with a sister.",
    "is_means_safety_discussed": True,
    "is_safety_plan_reviewed": False,
    "decision": "increase_contact",
    "told": "The supervisor, as part of treatment.",
    "next_check_due_at": "2026-03-03T17:00:00Z",
}


@pytest.fixture
async def workplace(
    server: EmbeddedServer, settings: Settings, runtime: Runtime
) -> AsyncIterator[Workplace]:
    connections = Connections(server.url(role="stepwell_worker"), size=2)
    yield Workplace(settings, connections, runtime.vault)
    await connections.close()


async def escalate(workplace: Workplace, make: Make) -> int:
    async with workplace.enter(make.organization_id) as db:
        return await alert_clocks.run(db)


async def concerned(make: Make) -> tuple[Person, Person, dict[str, Any]]:
    """A clinician, a participant, and an alert that the participant's answer has raised."""
    clinician, participant = await treated(make)
    await answered(participant, await assigned(clinician, participant), {"q9": 1})
    (alert,) = await alerts_of(clinician, participant)
    return clinician, participant, alert


def later(one: dict[str, Any], other: dict[str, Any], field: str) -> timedelta:
    return datetime.fromisoformat(one[field]) - datetime.fromisoformat(other[field])


async def step(person: Person, alert: dict[str, Any], verb: str, **body: object) -> dict[str, Any]:
    answer = await person.post(f"/v1/alerts/{alert['id']}/{verb}", json=body)
    assert answer.status_code == HTTPStatus.OK, answer.text
    taken: dict[str, Any] = answer.json()
    return taken


async def test_a_safety_answer_opens_an_alert_before_anything_is_submitted(make: Make) -> None:
    clinician, participant = await treated(make)
    given = await assigned(clinician, participant)

    saved = await answered(participant, given, {"q9": 1})

    (alert,) = await alerts_of(clinician, participant)
    assert saved["state"] == "in_progress"
    assert (alert["code"], alert["tier"], alert["state"]) == ("si_endorsed", "urgent", "open")
    assert (alert["source"], alert["source_id"]) == ("assessment", given["id"])
    assert alert["policy_version"] == "1.0.0"
    assert await events_of(make, alert["id"]) == ["alert.opened"]


async def test_an_urgent_alert_is_acknowledged_within_the_hour_and_contact_made_that_day(
    make: Make,
) -> None:
    _, _, alert = await concerned(make)

    opened_at = datetime.fromisoformat(alert["opened_at"])
    contact_by = datetime.fromisoformat(alert["contact_by"])

    assert datetime.fromisoformat(alert["acknowledge_by"]) == opened_at + timedelta(hours=1)
    assert timedelta(hours=1) <= contact_by - opened_at <= timedelta(days=1)


async def test_who_answered_gets_the_crisis_card_at_once(make: Make) -> None:
    clinician, participant = await treated(make)
    given = await assigned(clinician, participant)

    calm = await answered(participant, given, {"q9": 0})
    concerning = await answered(participant, calm, {"q9": 1})

    assert calm["crisis_resources"] == []
    assert [resource["key"] for resource in concerning["crisis_resources"]][:2] == [
        "emergency",
        "988",
    ]
    assert concerning["crisis_resources"][1]["contacts"][0] == {
        "mode": "call",
        "to": "988",
        "body": None,
        "label": None,
    }
    assert "alert" not in str(concerning)


async def test_each_concern_of_an_answer_is_an_alert_of_its_own(make: Make) -> None:
    clinician, participant = await treated(make)
    await completed(clinician, participant, dict.fromkeys(PHQ9, 0))

    given = await assigned(clinician, participant)
    await answered(participant, given, {"q9": 3})

    alerts = await alerts_of(clinician, participant)
    assert {alert["code"] for alert in alerts} == {
        "si_endorsed",
        "si_frequent",
        "si_new_or_worse",
    }


async def test_a_calm_answer_opens_nothing(make: Make) -> None:
    clinician, participant = await treated(make)

    await completed(clinician, participant, dict.fromkeys(PHQ9, 1) | {"q9": 0})

    assert await alerts_of(clinician, participant) == []


async def test_a_blank_safety_item_opens_an_alert_when_the_form_is_submitted(make: Make) -> None:
    clinician, participant = await treated(make)
    given = await assigned(clinician, participant)
    saved = await answered(participant, given, {"q1": 1})
    before = await alerts_of(clinician, participant)

    await submitted(participant, saved)

    (alert,) = await alerts_of(clinician, participant)
    assert before == []
    assert (alert["code"], alert["tier"]) == ("safety_item_unanswered", "watch")


async def test_submitting_does_not_raise_again_what_the_answer_has_raised(make: Make) -> None:
    clinician, participant = await treated(make)

    done = await completed(clinician, participant, {"q9": 2})

    (alert,) = await alerts_of(clinician, participant)
    read = (await clinician.get(f"/v1/alerts/{alert['id']}")).json()
    assert [each["kind"] for each in read["steps"]] == ["opened"]
    assert done["crisis_resources"]


async def test_a_severe_score_is_watched(make: Make) -> None:
    clinician, participant = await treated(make)

    await completed(clinician, participant, dict.fromkeys(PHQ9, 3) | {"q9": 0})

    (alert,) = await alerts_of(clinician, participant)
    assert (alert["code"], alert["tier"]) == ("severe_depression", "watch")


async def test_a_second_hit_on_a_running_alert_is_noted_there(make: Make) -> None:
    clinician, participant = await treated(make)
    saved = await answered(participant, await assigned(clinician, participant), {"q9": 1})

    await answered(participant, saved, {"q9": 2})

    (alert,) = await alerts_of(clinician, participant)
    read = (await clinician.get(f"/v1/alerts/{alert['id']}")).json()
    assert [each["kind"] for each in read["steps"]] == ["opened", "raised_again"]


async def test_a_second_hit_is_told_and_a_conditional_read_sees_it(make: Make) -> None:
    clinician, participant = await treated(make)
    saved = await answered(participant, await assigned(clinician, participant), {"q9": 1})
    (first,) = await alerts_of(clinician, participant)

    await answered(participant, saved, {"q9": 2})

    (again,) = await alerts_of(clinician, participant)
    unseen = await clinician.get(
        f"/v1/alerts/{first['id']}", headers={"If-None-Match": f'"{first["version"]}"'}
    )
    assert unseen.status_code == HTTPStatus.OK
    assert again["acknowledge_by"] == first["acknowledge_by"]
    assert await events_of(make, first["id"]) == ["alert.opened", "alert.raised_again"]
    assert ("U", "alert:raise_again") in await accesses(make, participant, "alert")


@pytest.mark.parametrize("verbs", [["acknowledge"], ["acknowledge", "assess"]])
async def test_a_second_hit_opens_an_alert_that_somebody_had_in_hand(
    make: Make, verbs: list[str]
) -> None:
    clinician, participant = await treated(make)
    saved = await answered(participant, await assigned(clinician, participant), {"q9": 1})
    (first,) = await alerts_of(clinician, participant)
    for verb in verbs:
        await step(clinician, first, verb)
    await move_clock(make, timedelta(minutes=20))

    await answered(participant, saved, {"q9": 2})

    (again,) = await alerts_of(clinician, participant)
    assert (again["id"], again["state"]) == (first["id"], "open")
    assert (again["acknowledged_at"], again["acknowledged_by"]) == (None, None)
    assert later(again, first, "acknowledge_by") >= timedelta(minutes=20)
    assert again["opened_at"] == first["opened_at"]
    seen = await step(clinician, first, "acknowledge")
    assert [each["kind"] for each in seen["steps"]][-2:] == ["raised_again", "acknowledged"]


async def test_an_alert_that_was_raised_again_is_escalated_again(
    make: Make, workplace: Workplace
) -> None:
    clinician, participant = await treated(make)
    saved = await answered(participant, await assigned(clinician, participant), {"q9": 1})
    (alert,) = await alerts_of(clinician, participant)
    await move_clock(make, timedelta(minutes=61))
    before = [await escalate(workplace, make)]
    await step(clinician, alert, "acknowledge")
    saved = await answered(participant, saved, {"q9": 2})

    before.append(await escalate(workplace, make))
    await move_clock(make, timedelta(minutes=123))
    after = [await escalate(workplace, make), await escalate(workplace, make)]

    assert (before, after) == ([1, 0], [1, 0])
    steps = (await clinician.get(f"/v1/alerts/{alert['id']}")).json()["steps"]
    assert [each["kind"] for each in steps] == [
        "opened",
        "escalated_on_call",
        "acknowledged",
        "raised_again",
        "escalated_on_call",
    ]


async def test_a_hit_after_an_alert_was_answered_opens_a_new_one(make: Make) -> None:
    clinician, participant = await treated(make)
    saved = await answered(participant, await assigned(clinician, participant), {"q9": 1})
    (first,) = await alerts_of(clinician, participant)
    await step(clinician, first, "acknowledge")
    await step(clinician, first, "assess")
    await step(clinician, first, "disposition", **DISPOSITION)
    await step(clinician, first, "close")

    await answered(participant, saved, {"q9": 2})

    second, closed = await alerts_of(clinician, participant)
    assert (closed["id"], closed["state"]) == (first["id"], "closed")
    assert (second["code"], second["state"]) == ("si_endorsed", "open")


async def test_taking_an_answer_back_takes_no_alert_back(make: Make) -> None:
    clinician, participant = await treated(make)
    saved = await answered(participant, await assigned(clinician, participant), {"q9": 3})
    before = await alerts_of(clinician, participant)

    await answered(participant, saved, {"q9": None})

    assert await alerts_of(clinician, participant) == before


async def test_an_alert_is_seen_assessed_answered_and_closed(make: Make) -> None:
    clinician, _, alert = await concerned(make)

    seen = await step(clinician, alert, "acknowledge", note="Calling now.")
    await step(clinician, alert, "assess")
    written = await step(clinician, alert, "disposition", **DISPOSITION)
    closed = await step(clinician, alert, "close")

    assert seen["acknowledged_by"] == str(clinician.account_id)
    assert written["state"] == "dispositioned"
    assert closed["state"] == "closed"
    steps = closed["steps"]
    assert [each["kind"] for each in steps] == [
        "opened",
        "acknowledged",
        "assessed",
        "dispositioned",
        "closed",
    ]
    assert steps[1]["note"] == "Calling now."
    assert steps[3]["disposition"] == DISPOSITION
    assert steps[3]["note"] is None
    assert {each["actor_id"] for each in steps[1:]} == {str(clinician.account_id)}
    assert await events_of(make, alert["id"]) == [
        "alert.opened",
        "alert.acknowledged",
        "alert.assessed",
        "alert.dispositioned",
        "alert.closed",
    ]


async def test_what_is_written_down_is_sealed(make: Make) -> None:
    clinician, _, alert = await concerned(make)
    await step(clinician, alert, "acknowledge", note="Sister answered the phone.")

    async with make.transaction() as db:
        notes = await db.scalars(select(AlertStep.note).where(AlertStep.note.is_not(None)))
        (note,) = notes.all()

    assert note is not None
    assert b"Sister" not in note


async def test_a_step_needs_no_note(make: Make) -> None:
    clinician, _, alert = await concerned(make)

    seen = await clinician.post(f"/v1/alerts/{alert['id']}/acknowledge")

    assert seen.json()["state"] == "acknowledged"


async def test_one_of_two_people_acknowledges(make: Make) -> None:
    clinician, _, alert = await concerned(make)
    url = f"/v1/alerts/{alert['id']}/acknowledge"

    both = await asyncio.gather(clinician.post(url), clinician.post(url))

    assert sorted(answer.status_code for answer in both) == [HTTPStatus.OK, HTTPStatus.CONFLICT]
    steps = (await clinician.get(f"/v1/alerts/{alert['id']}")).json()["steps"]
    assert [each["kind"] for each in steps] == ["opened", "acknowledged"]


async def test_two_answers_at_one_moment_open_one_alert(make: Make) -> None:
    clinician, participant = await treated(make)
    given = await assigned(clinician, participant)

    both = await asyncio.gather(
        *(
            participant.patch(
                f"/v1/assessments/{given['id']}/answers",
                json={"answers": [{"item_id": "q9", "value": value}]},
                headers={"If-Match": f'"{given["version"]}"'},
            )
            for value in (1, 2)
        )
    )

    assert sorted(answer.status_code for answer in both) == [
        HTTPStatus.OK,
        HTTPStatus.PRECONDITION_FAILED,
    ]
    assert len(await alerts_of(clinician, participant)) == 1


async def test_steps_are_taken_in_their_order(make: Make) -> None:
    clinician, _, alert = await concerned(make)

    early = await clinician.post(f"/v1/alerts/{alert['id']}/close", json={})
    await step(clinician, alert, "acknowledge")
    twice = await clinician.post(f"/v1/alerts/{alert['id']}/acknowledge", json={})

    assert problem_of(early) == problem_of(twice) == "alert-state"
    assert early.json()["state"] == "open"
    assert twice.json()["state"] == "acknowledged"


async def test_a_disposition_formulates_the_risk(make: Make) -> None:
    clinician, _, alert = await concerned(make)
    await step(clinician, alert, "acknowledge")
    await step(clinician, alert, "assess")

    unknown = await clinician.post(
        f"/v1/alerts/{alert['id']}/disposition", json={**DISPOSITION, "risk": "unknown"}
    )
    unwritten = await clinician.post(
        f"/v1/alerts/{alert['id']}/disposition",
        json={k: v for k, v in DISPOSITION.items() if k != "rationale"},
    )

    assert unknown.json()["errors"][0]["pointer"] == "/risk"
    assert unwritten.json()["errors"][0]["pointer"] == "/rationale"
    assert (await clinician.get(f"/v1/alerts/{alert['id']}")).json()["state"] == "assessing"


async def test_high_risk_takes_two_people(make: Make) -> None:
    supervisor = await make.staff(StaffRole.CLINICIAN, StaffRole.SUPERVISOR)
    clinician = await make.staff(supervisor=supervisor)
    participant = await make.participant(team=[clinician, supervisor])
    await answered(participant, await assigned(clinician, participant), {"q9": 1})
    (alert,) = await alerts_of(clinician, participant)
    await step(supervisor, alert, "acknowledge")
    await step(supervisor, alert, "assess")
    await step(supervisor, alert, "disposition", **DISPOSITION | {"risk": "high"})

    by_clinician = await clinician.post(f"/v1/alerts/{alert['id']}/close", json={})
    by_the_same = await supervisor.post(f"/v1/alerts/{alert['id']}/close", json={})

    assert problem_of(by_clinician) == problem_of(by_the_same) == "supervisor-needed"
    assert (await clinician.get(f"/v1/alerts/{alert['id']}")).json()["state"] == "dispositioned"


async def test_a_supervisor_closes_after_high_risk(make: Make) -> None:
    supervisor = await make.staff(StaffRole.SUPERVISOR)
    clinician = await make.staff(supervisor=supervisor)
    participant = await make.participant(team=[clinician])
    await answered(participant, await assigned(clinician, participant), {"q9": 1})
    (alert,) = await alerts_of(supervisor, participant)
    await step(clinician, alert, "acknowledge")
    await step(clinician, alert, "assess")
    await step(clinician, alert, "disposition", **DISPOSITION | {"risk": "imminent"})

    closed = await step(supervisor, alert, "close", note="Reviewed together.")

    assert closed["state"] == "closed"


async def test_what_nobody_has_seen_comes_first_and_pages_hold_everything_once(
    make: Make,
) -> None:
    clinician, participant = await treated(make)
    await answered(participant, await assigned(clinician, participant), {"q9": 3})
    await answered(participant, await assigned(clinician, participant), {"q9": 1})
    first_seen = (await alerts_of(clinician, participant))[0]
    await step(clinician, first_seen, "acknowledge")

    whole = await alerts_of(clinician, participant)
    paged: list[dict[str, Any]] = []
    query = "limit=1"
    while True:
        page = (await clinician.get(f"/v1/alerts?{query}")).json()
        paged += page["items"]
        if page["next_cursor"] is None:
            break
        query = f"limit=1&cursor={page['next_cursor']}"

    assert [alert["state"] for alert in whole] == ["open", "open", "acknowledged"]
    assert [alert["id"] for alert in paged] == [alert["id"] for alert in whole]
    waiting = [alert["acknowledge_by"] for alert in whole[:2]]
    assert waiting == sorted(waiting)


async def test_who_is_not_related_finds_no_alert(
    make: Make, app: FastAPI, runtime: Runtime
) -> None:
    _, _, alert = await concerned(make)
    elsewhere = await Make.organization(app, runtime)

    for stranger in (await make.staff(), await elsewhere.staff()):
        answers = [
            await stranger.get(f"/v1/alerts/{alert['id']}"),
            await stranger.post(f"/v1/alerts/{alert['id']}/acknowledge", json={}),
            await stranger.post(f"/v1/alerts/{alert['id']}/assess", json={}),
            await stranger.post(f"/v1/alerts/{alert['id']}/disposition", json=DISPOSITION),
            await stranger.post(f"/v1/alerts/{alert['id']}/close", json={}),
        ]
        assert {answer.status_code for answer in answers} == {HTTPStatus.NOT_FOUND}
        assert (await stranger.get("/v1/alerts")).json()["items"] == []
    await elsewhere.close()


async def test_an_alert_about_somebody_whom_nobody_attends_reaches_the_supervisors(
    make: Make,
) -> None:
    clinician, participant, _ = await concerned(make)
    administrator = await make.staff(StaffRole.ADMINISTRATOR)
    supervisor, stranger = await make.staff(StaffRole.SUPERVISOR), await make.staff()
    before = await alerts_of(supervisor, participant)
    await administrator.post(f"/v1/staff/{clinician.staff_member_id}/disable")

    (alert,) = await alerts_of(supervisor, participant)
    seen = await step(supervisor, alert, "acknowledge")

    assert before == []
    assert seen["acknowledged_by"] == str(supervisor.account_id)
    assert await alerts_of(stranger, participant) == []


async def test_an_alert_about_somebody_whom_coordinators_alone_attend_reaches_the_supervisors(
    make: Make,
) -> None:
    """So it is from a referral until a clinician joins the care team."""
    coordinator, supervisor = (
        await make.staff(StaffRole.CARE_COORDINATOR),
        await make.staff(StaffRole.SUPERVISOR),
    )
    participant = await make.participant(team=[coordinator])
    await answered(participant, await assigned(coordinator, participant), {"q9": 1})

    (alert,) = await alerts_of(supervisor, participant)
    await step(supervisor, alert, "acknowledge")
    await coordinator.post(
        f"/v1/participants/{participant.participant_id}/care-team",
        json={
            "staff_member_id": str((await make.staff()).staff_member_id),
            "role": "primary_clinician",
        },
    )

    assert await alerts_of(supervisor, participant) == []


async def test_participants_see_no_alerts(make: Make) -> None:
    _, participant, alert = await concerned(make)

    one = await participant.get(f"/v1/alerts/{alert['id']}")
    every = await participant.get("/v1/alerts")

    assert one.status_code == every.status_code == HTTPStatus.FORBIDDEN


async def test_a_coordinator_handles_no_alert(make: Make) -> None:
    coordinator = await make.staff(StaffRole.CARE_COORDINATOR)
    clinician = await make.staff()
    participant = await make.participant(team=[clinician, coordinator])
    await answered(participant, await assigned(clinician, participant), {"q9": 1})
    (alert,) = await alerts_of(clinician, participant)

    refused = await coordinator.post(f"/v1/alerts/{alert['id']}/acknowledge", json={})

    assert refused.status_code == HTTPStatus.FORBIDDEN


async def test_aud_01_alerts_leave_their_trail(make: Make) -> None:
    clinician, participant, alert = await concerned(make)

    await clinician.get(f"/v1/alerts/{alert['id']}")
    await step(clinician, alert, "acknowledge")

    assert await accesses(make, participant, "alert") == [
        ("C", "alert:open"),
        ("R", "alert:read"),
        ("R", "alert:read"),
        ("U", "alert:handle"),
    ]


async def test_nobody_further_is_told_before_the_time(make: Make, workplace: Workplace) -> None:
    await concerned(make)
    await move_clock(make, timedelta(minutes=59))

    assert await escalate(workplace, make) == 0


async def test_an_unseen_alert_is_escalated_step_by_step_and_each_once(
    make: Make, workplace: Workplace
) -> None:
    clinician, _, alert = await concerned(make)
    await move_clock(make, timedelta(minutes=61))

    first = [await escalate(workplace, make), await escalate(workplace, make)]
    await move_clock(make, timedelta(minutes=121))
    second = [await escalate(workplace, make), await escalate(workplace, make)]

    assert (first, second) == ([1, 0], [1, 0])
    steps = (await clinician.get(f"/v1/alerts/{alert['id']}")).json()["steps"]
    assert [(each["kind"], each["actor_id"]) for each in steps[1:]] == [
        ("escalated_on_call", None),
        ("escalated_supervisor", None),
    ]
    assert (await events_of(make, alert["id"]))[1:] == ["alert.escalated", "alert.escalated"]


async def test_an_escalation_is_a_change_that_a_conditional_read_sees(
    make: Make, workplace: Workplace
) -> None:
    clinician, participant, alert = await concerned(make)
    await move_clock(make, timedelta(minutes=61))
    await escalate(workplace, make)

    (escalated,) = await alerts_of(clinician, participant)

    assert escalated["version"] > alert["version"]


async def test_steps_that_were_missed_are_taken_after_an_outage(
    make: Make, workplace: Workplace
) -> None:
    await concerned(make)
    await move_clock(make, timedelta(days=2))

    assert await escalate(workplace, make) == 2


async def test_an_acknowledged_alert_is_not_escalated(make: Make, workplace: Workplace) -> None:
    clinician, _, alert = await concerned(make)
    await step(clinician, alert, "acknowledge")
    await move_clock(make, timedelta(days=2))

    assert await escalate(workplace, make) == 0


async def test_a_crashed_escalation_leaves_the_alert_due(make: Make, workplace: Workplace) -> None:
    _, _, alert = await concerned(make)
    await move_clock(make, timedelta(minutes=61))

    async def escalate_and_crash() -> None:
        async with workplace.enter(make.organization_id) as db:
            await alert_clocks.run(db)
            raise ConnectionAbortedError

    with pytest.raises(ConnectionAbortedError):
        await escalate_and_crash()

    assert await escalate(workplace, make) == 1
    async with make.transaction() as db:
        kinds = await db.scalars(
            select(AlertStep.kind).where(AlertStep.alert_id == UUID(alert["id"]))
        )
        assert sorted(kinds) == ["escalated_on_call", "opened"]


async def test_two_workers_take_each_step_once(make: Make, workplace: Workplace) -> None:
    await concerned(make)
    await move_clock(make, timedelta(minutes=61))

    async with workplace.enter(make.organization_id) as db:
        taken = await alert_clocks.run(db)
        meanwhile = await escalate(workplace, make)

    assert (taken, meanwhile) == (1, 0)
    assert await escalate(workplace, make) == 0
