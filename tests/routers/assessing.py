"""What tests of assessments, alerts and intakes have in common: forms, given and filled in."""

from collections.abc import Mapping
from datetime import timedelta
from http import HTTPStatus
from typing import Any
from uuid import UUID

from sqlalchemy import select, text, update

from app.models.events import Event
from app.models.organizations import Organization
from tests.factories import Make, Person
from tests.tracer import repeated

PHQ9 = [f"q{number}" for number in range(1, 10)]
GAD7 = [f"q{number}" for number in range(1, 8)]


async def assigned(
    clinician: Person, participant: Person, instrument_key: str = "phq-9", **fields: object
) -> dict[str, Any]:
    """Give an instrument to a participant."""
    answer = await clinician.post(
        "/v1/assessments",
        json={
            "participant_id": str(participant.participant_id),
            "instrument_key": instrument_key,
            **fields,
        },
    )
    assert answer.status_code == HTTPStatus.CREATED, answer.text
    given: dict[str, Any] = answer.json()
    return given


async def answered(
    person: Person, assessment: Mapping[str, Any], answers: Mapping[str, object]
) -> dict[str, Any]:
    """Answer items of an assessment."""
    answer = await person.patch(
        f"/v1/assessments/{assessment['id']}/answers",
        json={"answers": [{"item_id": k, "value": v} for k, v in answers.items()]},
        headers={"If-Match": f'"{assessment["version"]}"'},
    )
    assert answer.status_code == HTTPStatus.OK, answer.text
    saved: dict[str, Any] = answer.json()
    return saved


async def submitted(person: Person, assessment: Mapping[str, Any]) -> dict[str, Any]:
    """Submit an assessment."""
    answer = await person.post(f"/v1/assessments/{assessment['id']}/submit")
    assert answer.status_code == HTTPStatus.OK, answer.text
    saved: dict[str, Any] = answer.json()
    return saved


async def completed(
    clinician: Person,
    participant: Person,
    answers: Mapping[str, object],
    instrument_key: str = "phq-9",
) -> dict[str, Any]:
    """Give an instrument, have the participant fill it in, and submit it."""
    assessment = await assigned(clinician, participant, instrument_key)
    return await submitted(participant, await answered(participant, assessment, answers))


@repeated
async def treated(make: Make) -> tuple[Person, Person]:
    """A clinician, and a participant in their care."""
    clinician = await make.staff()
    return clinician, await make.participant(team=[clinician])


async def alerts_of(clinician: Person, participant: Person) -> list[dict[str, Any]]:
    """The alerts that a clinician sees about a participant."""
    listed = await clinician.get(f"/v1/alerts?participant_id={participant.participant_id}")
    assert listed.status_code == HTTPStatus.OK, listed.text
    items: list[dict[str, Any]] = listed.json()["items"]
    return items


async def events_of(make: Make, subject_id: str) -> list[str]:
    """What is known to have happened to a subject, in order."""
    async with make.transaction() as db:
        found = await db.scalars(
            select(Event.type).where(Event.subject_id == UUID(subject_id)).order_by(Event.id)
        )
        return list(found)


async def accesses(make: Make, participant: Person, resource: str) -> list[tuple[str, str]]:
    """Who did what to a participant's record, in order, as its audit trail says."""
    async with make.transaction() as db:
        rows = await db.execute(
            text("select * from accesses_to_participant(:id, null, 100)"),
            {"id": participant.participant_id},
        )
        found = [(row.action, row.subtype) for row in rows if row.resource == resource]
    return found[::-1]


async def move_clock(make: Make, by: timedelta) -> None:
    """Let the organization live so much later than the machine."""
    async with make.transaction() as db:
        await db.execute(
            update(Organization)
            .where(Organization.organization_id == make.organization_id)
            .values(clock_offset=by)
        )
