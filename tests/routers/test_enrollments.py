import asyncio
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from uuid import UUID
from zoneinfo import ZoneInfo

from fastapi import FastAPI
from sqlalchemy import update

from app.core import clock
from app.core.embedded import EmbeddedServer
from app.core.ids import new_id
from app.domain.roles import StaffRole
from app.models.intakes import Enrollment
from app.runtime import Runtime
from app.services import groups
from tests.factories import Make, Person, problem_of
from tests.routers.admission import admitted
from tests.routers.assessing import accesses, events_of, move_clock
from tests.routers.scheduling import join, open_group
from tests.watching import watch

DENVER = ZoneInfo("America/Denver")


async def test_care_begins_on_the_participants_day(make: Make) -> None:
    """An evening in Denver is the next day in UTC; the enrollment begins on the evening's day."""
    now = clock.now()
    evening = datetime(now.year, now.month, now.day, 20, 30, tzinfo=DENVER) + timedelta(days=2)
    await move_clock(make, evening.astimezone(UTC) - now)

    clinician, _, enrollment = await admitted(make)

    read = (await clinician.get(f"/v1/enrollments/{enrollment}")).json()
    assert read["started_on"] == str(evening.date())
    assert evening.astimezone(UTC).date() > evening.date()


async def test_a_discharge_ends_the_enrollment_with_its_reason(make: Make) -> None:
    clinician, participant, enrollment = await admitted(make)

    ended = await clinician.post(
        f"/v1/enrollments/{enrollment}/discharge", json={"reason": "completed"}
    )

    today = clock.now().astimezone(DENVER).date()
    assert ended.status_code == HTTPStatus.OK
    assert ended.json()["ended_on"] == str(today)
    assert ended.json()["discharge_reason"] == "completed"
    assert (await participant.get(f"/v1/enrollments/{enrollment}")).json() == ended.json()
    assert await events_of(make, enrollment) == ["enrollment.started", "enrollment.ended"]


async def test_a_discharge_ends_the_places_in_the_programs_groups_and_in_no_others(
    make: Make,
) -> None:
    coordinator = await make.staff(StaffRole.CARE_COORDINATOR)
    clinician, participant, enrollment = await admitted(make)
    program = (await clinician.get(f"/v1/enrollments/{enrollment}")).json()["program_id"]
    here = await open_group(make, coordinator, program_id=program)
    elsewhere = await open_group(make, coordinator)
    for group in (here, elsewhere):
        await join(coordinator, group, participant)

    await _discharge(clinician, enrollment)

    left = await participant.get(f"/v1/groups/{here['id']}")
    kept = await participant.get(f"/v1/groups/{elsewhere['id']}")
    assert left.status_code == HTTPStatus.NOT_FOUND
    assert kept.status_code == HTTPStatus.OK


async def test_a_place_that_somebody_ends_meanwhile_does_not_stop_a_discharge(
    make: Make, server: EmbeddedServer
) -> None:
    coordinator = await make.staff(StaffRole.CARE_COORDINATOR)
    clinician, participant, enrollment = await admitted(make)
    program = (await clinician.get(f"/v1/enrollments/{enrollment}")).json()["program_id"]
    group = await open_group(make, coordinator, program_id=program)
    member = await join(coordinator, group, participant)
    ending = f"/v1/groups/{group['id']}/members/{member['id']}/end"

    async with watch(server) as watcher:
        async with make.transaction() as db:
            await groups.hold(db, UUID(group["id"]))
            ended = asyncio.create_task(coordinator.post(ending))
            await watcher.until_blocked("%care_group%")
            discharged = asyncio.create_task(
                clinician.post(
                    f"/v1/enrollments/{enrollment}/discharge", json={"reason": "completed"}
                )
            )
            await watcher.until_blocked("%care_group%", count=2)
        answers = [(await answer).status_code for answer in (ended, discharged)]

    assert answers == [HTTPStatus.NO_CONTENT, HTTPStatus.OK]
    assert await events_of(make, group["id"]) == [
        "group.created",
        "group.member_joined",
        "group.member_left",
    ]


async def test_a_discharge_happens_once(make: Make) -> None:
    clinician, _, enrollment = await admitted(make)
    await _discharge(clinician, enrollment)

    again = await clinician.post(
        f"/v1/enrollments/{enrollment}/discharge", json={"reason": "dropped_out"}
    )

    assert again.status_code == HTTPStatus.CONFLICT
    assert problem_of(again) == "already-discharged"


async def test_a_retried_discharge_gets_the_first_answer(make: Make) -> None:
    clinician, _, enrollment = await admitted(make)
    url, key = f"/v1/enrollments/{enrollment}/discharge", {"Idempotency-Key": "first-try"}

    first = await clinician.post(url, json={"reason": "completed"}, headers=key)
    retried = await clinician.post(url, json={"reason": "completed"}, headers=key)

    assert retried.status_code == HTTPStatus.OK
    assert retried.content == first.content


async def test_who_leaves_before_the_first_day_ends_on_it(make: Make) -> None:
    clinician, _, enrollment = await admitted(make)
    next_week = clock.now().date() + timedelta(days=7)
    async with make.transaction() as db:
        await db.execute(
            update(Enrollment).where(Enrollment.id == UUID(enrollment)).values(started_on=next_week)
        )

    await _discharge(clinician, enrollment)

    read = (await clinician.get(f"/v1/enrollments/{enrollment}")).json()
    assert read["ended_on"] == str(next_week)


async def test_an_unlicensed_clinician_and_a_coordinator_discharge_nobody(make: Make) -> None:
    _, participant, enrollment = await admitted(make)
    for person in (
        await make.staff(is_licensed=False),
        await make.staff(StaffRole.CARE_COORDINATOR),
        participant,
    ):
        refused = await person.post(
            f"/v1/enrollments/{enrollment}/discharge", json={"reason": "completed"}
        )
        assert refused.status_code == HTTPStatus.FORBIDDEN


async def test_who_is_not_related_finds_no_enrollment(
    make: Make, app: FastAPI, runtime: Runtime
) -> None:
    _, _, enrollment = await admitted(make)
    elsewhere = await Make.organization(app, runtime)

    for stranger in (await make.staff(), await make.participant(), await elsewhere.staff()):
        read = await stranger.get(f"/v1/enrollments/{enrollment}")
        assert read.status_code == HTTPStatus.NOT_FOUND
        assert (await stranger.get("/v1/enrollments")).json()["items"] == []
    for stranger in (await make.staff(), await elsewhere.staff()):
        refused = await stranger.post(
            f"/v1/enrollments/{enrollment}/discharge", json={"reason": "completed"}
        )
        assert refused.status_code == HTTPStatus.NOT_FOUND
    await elsewhere.close()


async def test_enrollments_are_listed_for_those_who_may_see_them(make: Make) -> None:
    clinician, participant, enrollment = await admitted(make)

    of_one = await clinician.get(f"/v1/enrollments?participant_id={participant.participant_id}")
    of_another = await clinician.get(f"/v1/enrollments?participant_id={new_id()}")
    own = await participant.get("/v1/enrollments")

    assert [item["id"] for item in of_one.json()["items"]] == [enrollment]
    assert of_another.json()["items"] == []
    assert own.json()["items"] == of_one.json()["items"]


async def test_aud_01_enrollments_leave_their_trail(make: Make) -> None:
    clinician, participant, enrollment = await admitted(make)
    await participant.get(f"/v1/enrollments/{enrollment}")
    await _discharge(clinician, enrollment)

    assert await accesses(make, participant, "enrollment") == [
        ("C", "intake:decide"),
        ("R", "enrollment:read"),
        ("U", "enrollment:discharge"),
    ]


async def _discharge(clinician: Person, enrollment: str) -> None:
    ended = await clinician.post(
        f"/v1/enrollments/{enrollment}/discharge", json={"reason": "completed"}
    )
    assert ended.status_code == HTTPStatus.OK, ended.text
