"""Groups, series and sessions, for tests that are about what comes after them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import Any, NamedTuple
from uuid import UUID

from httpx import AsyncClient, Response
from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncSession

from app.core import clock
from app.core.embedded import EmbeddedServer
from app.domain.roles import StaffRole
from app.jobs import horizon
from app.models.events import Event
from app.models.organizations import Organization
from app.settings import Settings
from tests.factories import Make, Person
from tests.tracer import repeated
from tests.working import workplace

AUTUMN = datetime(2027, 10, 20, 12, tzinfo=UTC)
"""A Wednesday, eighteen days before the clocks of Denver go back."""


async def set_clock(make: Make, at: datetime) -> None:
    """Let the organization live at an instant from now on."""
    async with make.transaction() as db:
        await db.execute(update(Organization).values(clock_offset=at - clock.now()))


@asynccontextmanager
async def transaction_at(make: Make, at: datetime) -> AsyncIterator[AsyncSession]:
    """A transaction of the organization at an instant, as the worker opens it."""
    token = clock.set_organization_offset(at - clock.wall())
    try:
        async with make.transaction() as db:
            yield db
    finally:
        clock.reset_organization_offset(token)


async def live_on(make: Make, at: datetime, server: EmbeddedServer, settings: Settings) -> int:
    """Let the organization live at an instant, and the worker do what has come due by then."""
    await set_clock(make, at)
    async with workplace(server, settings) as place:
        return await horizon.keep_up(place, make.organization_id)


@repeated
async def open_group(make: Make, coordinator: AsyncClient, **fields: object) -> dict[str, Any]:
    """A group of a fresh program."""
    program = await make.program()
    body = {
        "program_id": str(program.id),
        "name": "Tuesday Skills",
        "kind": "skill_building",
        "capacity": 8,
        **fields,
    }
    return created(await coordinator.post("/v1/groups", json=body))


@repeated
async def join(
    coordinator: AsyncClient, group: dict[str, Any], participant: Person, **fields: object
) -> dict[str, Any]:
    """A membership."""
    body = {"participant_id": str(participant.participant_id), **fields}
    return created(await coordinator.post(f"/v1/groups/{group['id']}/members", json=body))


@repeated
async def lead(
    coordinator: AsyncClient, group: dict[str, Any], staff: Person, *, is_lead: bool = True
) -> dict[str, Any]:
    """A facilitation."""
    body = {"staff_member_id": str(staff.staff_member_id), "is_lead": is_lead}
    return created(await coordinator.post(f"/v1/groups/{group['id']}/facilitators", json=body))


def weekly(group: dict[str, Any], **fields: object) -> dict[str, Any]:
    """The body of a series: four Tuesdays at 17:00 in Denver, across the change of clocks."""
    return {
        "group_id": group["id"],
        "title": "Tuesday Skills",
        "kind": "skill_building",
        "modality": "video",
        "local_start": "2027-10-26T17:00",
        "time_zone": "America/Denver",
        "duration_minutes": 90,
        "rule": "FREQ=WEEKLY;COUNT=4",
        **fields,
    }


async def schedule(
    staff: AsyncClient, group: dict[str, Any], **fields: object
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """A series with the sessions that it brought, in order."""
    series = created(await staff.post("/v1/series", json=weekly(group, **fields)))
    return series, [each for each in await sessions_of(staff) if each["series_id"] == series["id"]]


async def sessions_of(person: AsyncClient) -> list[dict[str, Any]]:
    """Every session that somebody sees."""
    answer = await person.get("/v1/sessions?limit=100")
    assert answer.status_code == HTTPStatus.OK, answer.text
    items: list[dict[str, Any]] = answer.json()["items"]
    return items


async def events_of(make: Make, *types: str) -> list[Event]:
    """What was recorded of these types, in order."""
    async with make.transaction() as db:
        query = select(Event).where(Event.type.in_(types)).order_by(Event.id)
        return list((await db.scalars(query)).all())


def created(answer: Response) -> dict[str, Any]:
    """The body of what was made."""
    assert answer.status_code == HTTPStatus.CREATED, answer.text
    body: dict[str, Any] = answer.json()
    return body


def instant(text: str) -> datetime:
    """An instant of an answer."""
    return datetime.fromisoformat(text)


def minutes(number: int) -> timedelta:
    """A stretch of time."""
    return timedelta(minutes=number)


def id_of(resource: dict[str, Any]) -> UUID:
    """The id of what an answer describes."""
    return UUID(resource["id"])


class Evening(NamedTuple):
    """A group with one leader and one participant, and the sessions of its series."""

    coordinator: Person
    leader: Person
    jordan: Person
    group: dict[str, Any]
    member: dict[str, Any]
    sessions: list[dict[str, Any]]

    @property
    def first(self) -> str:
        """The address of the first session."""
        return f"/v1/sessions/{self.sessions[0]['id']}"

    @property
    def starts_at(self) -> datetime:
        """When the first session starts."""
        return instant(self.sessions[0]["starts_at"])

    @property
    def ends_at(self) -> datetime:
        """When the first session ends."""
        return instant(self.sessions[0]["ends_at"])


@repeated
async def an_evening(make: Make) -> Evening:
    """A group that meets on four Tuesdays, seen from a Wednesday before."""
    await set_clock(make, AUTUMN)
    coordinator = await make.staff(StaffRole.CARE_COORDINATOR)
    leader, jordan = await make.staff(StaffRole.FACILITATOR), await make.participant()
    group = await open_group(make, coordinator)
    await lead(coordinator, group, leader)
    member = await join(coordinator, group, jordan)
    _, sessions = await schedule(leader, group)
    return Evening(coordinator, leader, jordan, group, member, sessions)
