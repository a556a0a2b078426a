"""What a program asks by the calendar: given in time, once, and over when its window is."""

import asyncio
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from itertools import pairwise
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import select, update

from app.core import clock, embedded
from app.domain.roles import StaffRole
from app.jobs import measurement
from app.models.assessments import Assessment
from app.models.intakes import Intake
from app.models.participants import Participant
from app.settings import Settings
from tests.factories import Make, Person, problem_of
from tests.routers.admission import admitted, open_intake
from tests.routers.assessing import answered, assigned, events_of, submitted
from tests.routers.scheduling import set_clock
from tests.working import workplace

NOON = datetime(2027, 3, 1, 19, tzinfo=UTC)
WEEKLY = {"occasion": "weekly", "instruments": ["phq-9"], "open_days": 4, "opens_days_before": 1}
INTAKE = {"occasion": "intake", "instruments": ["phq-9", "gad-7"], "open_days": 14}


async def _asks(make: Make, program_id: UUID, *measurements: dict[str, object]) -> None:
    administrator = await make.staff(StaffRole.ADMINISTRATOR)
    answer = await administrator.put(
        f"/v1/programs/{program_id}/measurements",
        json={"measurements": list(measurements)},
        headers={"If-Match": '"1"'},
    )
    assert answer.status_code == HTTPStatus.OK, answer.text


async def _program_of(make: Make) -> UUID:
    async with make.transaction() as db:
        found: UUID | None = await db.scalar(select(Intake.program_id))
    assert found is not None
    return found


async def _work(make: Make, server: embedded.EmbeddedServer, settings: Settings) -> int:
    async with workplace(server, settings) as place:
        return await measurement.give(place, make.organization_id)


async def _begun_at(make: Make, at: datetime) -> None:
    """Let intakes have begun at an instant, which is now."""
    await set_clock(make, at)
    async with make.transaction() as db:
        await db.execute(update(Intake).values(created_at=at))


async def _expire(server: embedded.EmbeddedServer, settings: Settings) -> None:
    async with workplace(server, settings) as place:
        await measurement.run(place)


async def _listed(person: Person, query: str = "") -> list[dict[str, Any]]:
    answer = await person.get(f"/v1/assessments?limit=100{query}")
    assert answer.status_code == HTTPStatus.OK, answer.text
    items: list[dict[str, Any]] = answer.json()["items"]
    return items


async def _lives_in(make: Make, participant: Person, zone: str) -> None:
    async with make.transaction() as db:
        await db.execute(
            update(Participant)
            .where(Participant.id == participant.participant_id)
            .values(time_zone=zone)
        )


async def test_an_intake_is_asked_what_the_program_asks(
    make: Make, server: embedded.EmbeddedServer, settings: Settings
) -> None:
    _, participant, _ = await open_intake(make)
    await _begun_at(make, NOON)
    await _asks(make, await _program_of(make), INTAKE)

    given = await _work(make, server, settings)

    found = await _listed(participant, "&is_due=true")
    assert given == 2
    assert {each["instrument_key"] for each in found} == {"phq-9", "gad-7"}
    assert {each["occasion"] for each in found} == {"intake"}
    assert {each["opens_at"] for each in found} == {"2027-03-01T07:00:00Z"}
    # The clocks have changed by then, so midnight is an hour earlier.
    assert {each["expires_at"] for each in found} == {"2027-03-15T06:00:00Z"}
    assert await events_of(make, found[0]["id"]) == ["assessment.assigned"]


async def test_a_day_is_that_of_the_participant(
    make: Make, server: embedded.EmbeddedServer, settings: Settings
) -> None:
    _, participant, _ = await open_intake(make)
    await _begun_at(make, NOON)
    await _lives_in(make, participant, "Pacific/Auckland")
    await _asks(make, await _program_of(make), INTAKE)

    await _work(make, server, settings)

    assert {each["occasion_on"] for each in await _listed(participant)} == {"2027-03-02"}


async def test_looking_again_gives_nothing_twice(
    make: Make, server: embedded.EmbeddedServer, settings: Settings
) -> None:
    await open_intake(make)
    await _asks(make, await _program_of(make), INTAKE)

    first = await _work(make, server, settings)
    again = await _work(make, server, settings)

    assert (first, again) == (2, 0)


async def test_two_workers_at_once_give_one_form(
    make: Make, server: embedded.EmbeddedServer, settings: Settings
) -> None:
    _, participant, _ = await open_intake(make)
    await _asks(make, await _program_of(make), INTAKE)

    given = await asyncio.gather(*(_work(make, server, settings) for _ in range(3)))

    assert sum(given) == len(await _listed(participant)) == 2


async def test_nobody_is_asked_what_they_are_being_asked(
    make: Make, server: embedded.EmbeddedServer, settings: Settings
) -> None:
    clinician, participant, _ = await open_intake(make)
    await assigned(clinician, participant, "phq-9")
    await _asks(make, await _program_of(make), INTAKE)

    assert await _work(make, server, settings) == 1


async def test_whoever_is_enrolled_is_asked_every_week(
    make: Make, server: embedded.EmbeddedServer, settings: Settings
) -> None:
    _, participant, _ = await admitted(make)
    program_id = await _program_of(make)
    await _asks(make, program_id, WEEKLY)
    begun = clock.now()

    for week in range(1, 4):
        await set_clock(make, begun + timedelta(days=7 * week))
        await _work(make, server, settings)
        await _expire(server, settings)

    weekly = [each for each in await _listed(participant) if each["occasion"] == "weekly"]
    days = sorted(datetime.fromisoformat(each["occasion_on"]) for each in weekly)
    assert len(days) >= 3
    assert {(later - sooner).days for sooner, later in pairwise(days)} == {7}


async def test_a_form_that_is_not_open_yet_takes_nothing(make: Make) -> None:
    clinician = await make.staff()
    participant = await make.participant(team=[clinician])
    opens_at = clock.render(clock.now() + timedelta(days=1))
    given = await assigned(clinician, participant, opens_at=opens_at)

    refused = await participant.patch(
        f"/v1/assessments/{given['id']}/answers",
        json={"answers": [{"item_id": "q9", "value": 2}]},
        headers={"If-Match": '"1"'},
    )

    assert problem_of(refused) == "assessment-not-open"
    assert refused.json()["opens_at"] == opens_at
    # It is heard all the same.
    assert refused.json()["crisis_resources"]
    assert await _listed(participant, "&is_due=true") == []
    assert problem_of(await participant.post(f"/v1/assessments/{given['id']}/submit")) == (
        "assessment-not-open"
    )


async def test_what_is_over_expires_with_an_event(
    make: Make, server: embedded.EmbeddedServer, settings: Settings
) -> None:
    clinician = await make.staff()
    participant = await make.participant(team=[clinician])
    ends = clock.render(clock.now() + timedelta(days=1))
    left = await assigned(clinician, participant, expires_at=ends)
    done = await assigned(clinician, participant, "gad-7", expires_at=ends)
    await submitted(participant, await answered(participant, done, {"q1": 1}))

    await set_clock(make, clock.now() + timedelta(days=2))
    await _expire(server, settings)
    await _expire(server, settings)

    assert (await events_of(make, left["id"]))[-1] == "assessment.expired"
    assert (await events_of(make, left["id"])).count("assessment.expired") == 1
    assert "assessment.expired" not in await events_of(make, done["id"])
    async with make.transaction() as db:
        kept = await db.scalar(select(Assessment.state).where(Assessment.id == UUID(left["id"])))
    assert kept == "expired"


async def test_the_schedule_that_ships_is_shown_until_the_program_has_its_own(make: Make) -> None:
    administrator = await make.staff(StaffRole.ADMINISTRATOR)
    program = await make.program()
    path = f"/v1/programs/{program.id}/measurements"

    shipped = await administrator.get(path)
    changed = await administrator.put(
        path, json={"measurements": [WEEKLY]}, headers={"If-Match": shipped.headers["ETag"]}
    )

    assert shipped.json()["version"] == 1
    assert shipped.json()["measurements"]
    assert changed.json()["version"] == 2
    assert (await administrator.get(path)).json() == changed.json()


async def test_of_two_who_set_a_schedule_at_once_one_is_told(make: Make) -> None:
    administrator = await make.staff(StaffRole.ADMINISTRATOR)
    program = await make.program()

    answers = await asyncio.gather(
        *(
            administrator.put(
                f"/v1/programs/{program.id}/measurements",
                json={"measurements": [WEEKLY]},
                headers={"If-Match": '"1"'},
            )
            for _ in range(2)
        )
    )

    assert sorted(each.status_code for each in answers) == [
        HTTPStatus.OK,
        HTTPStatus.PRECONDITION_FAILED,
    ]


async def test_a_schedule_that_names_an_unknown_instrument_is_refused_at_its_place(
    make: Make,
) -> None:
    administrator = await make.staff(StaffRole.ADMINISTRATOR)
    program = await make.program()

    refused = await administrator.put(
        f"/v1/programs/{program.id}/measurements",
        json={"measurements": [INTAKE, {**WEEKLY, "instruments": ["phq-9", "nothing"]}]},
        headers={"If-Match": '"1"'},
    )

    assert refused.status_code == HTTPStatus.UNPROCESSABLE_ENTITY
    assert refused.json()["errors"][0]["pointer"] == "/measurements/1/instruments/1"


@pytest.mark.parametrize("role", [StaffRole.CLINICIAN, StaffRole.CARE_COORDINATOR])
async def test_only_administrators_set_a_schedule(make: Make, role: StaffRole) -> None:
    program = await make.program()
    person = await make.staff(role)

    refused = await person.put(
        f"/v1/programs/{program.id}/measurements",
        json={"measurements": [WEEKLY]},
        headers={"If-Match": '"1"'},
    )

    assert refused.status_code == HTTPStatus.FORBIDDEN
