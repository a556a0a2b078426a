"""The organization and its clock, over HTTP."""

from datetime import UTC, datetime, timedelta
from http import HTTPStatus

import pytest
from sqlalchemy import update

from app.core import clock
from app.domain.roles import StaffRole
from app.models.organizations import Environment, Organization
from tests.factories import Make, Person, problem_of

SOON = timedelta(seconds=30)


@pytest.fixture
async def administrator(make: Make) -> Person:
    return await make.staff(StaffRole.ADMINISTRATOR)


def instant(text: str) -> datetime:
    return datetime.fromisoformat(text)


async def test_everybody_reads_their_organization_and_its_clock(make: Make) -> None:
    person = await make.participant()

    organization = (await person.get("/v1/organization")).json()
    time = (await person.get("/v1/clock")).json()

    assert organization["id"] == str(make.organization_id)
    assert organization["environment"] == "development"
    assert (time["offset_seconds"], time["is_movable"]) == (0, True)
    assert abs(instant(time["now"]) - clock.wall()) < SOON


async def test_the_clock_goes_onward_and_everybody_notices(
    make: Make, administrator: Person
) -> None:
    colleague = await make.staff()

    moved = await administrator.post("/v1/clock", json={"advance": 3 * 24 * 60})
    again = await administrator.post("/v1/clock", json={"advance": 60})
    me = (await colleague.get("/v1/me")).json()

    assert moved.status_code == again.status_code == HTTPStatus.OK
    assert again.json()["offset_seconds"] == timedelta(days=3, hours=1).total_seconds()
    assert abs(instant(me["time"]) - clock.wall() - timedelta(days=3, hours=1)) < SOON


async def test_the_clock_goes_to_an_instant_and_back_to_the_real_time(
    administrator: Person,
) -> None:
    then = datetime(clock.wall().year + 1, 1, 4, 17, tzinfo=UTC)

    moved = (await administrator.post("/v1/clock", json={"now": then.isoformat()})).json()
    reset = (await administrator.post("/v1/clock", json={"reset": True})).json()

    assert abs(instant(moved["now"]) - then) < SOON
    assert abs(instant(moved["wall"]) - clock.wall()) < SOON
    assert reset["offset_seconds"] == 0


async def test_the_clock_never_goes_behind_the_real_time(administrator: Person) -> None:
    await administrator.post("/v1/clock", json={"advance": 60})

    answer = await administrator.post("/v1/clock", json={"now": "2020-01-01T00:00:00Z"})

    assert answer.status_code == HTTPStatus.UNPROCESSABLE_ENTITY
    assert problem_of(answer) == "before-real-time"
    [error] = answer.json()["errors"]
    assert (error["pointer"], error["code"]) == ("/now", "before_real_time")
    assert "real time" in error["detail"]
    assert answer.json()["errors"][0]["pointer"] == "/now"
    assert (await administrator.get("/v1/clock")).json()["offset_seconds"] == 3600


async def test_the_clock_stays_within_ten_years(administrator: Person) -> None:
    answer = await administrator.post("/v1/clock", json={"now": "2190-01-01T00:00:00Z"})

    assert answer.status_code == HTTPStatus.CONFLICT
    assert problem_of(answer) == "too-far-ahead"


async def test_a_production_organization_has_the_real_time(
    make: Make, administrator: Person
) -> None:
    async with make.transaction() as db:
        await db.execute(update(Organization).values(environment=Environment.PRODUCTION))

    answer = await administrator.post("/v1/clock", json={"advance": 1})

    assert answer.status_code == HTTPStatus.FORBIDDEN
    assert problem_of(answer) == "clock-is-real"
    assert (await administrator.get("/v1/clock")).json()["is_movable"] is False


async def test_only_an_administrator_moves_the_clock(make: Make) -> None:
    clinician = await make.staff()
    person = await make.participant()

    refusals = [await who.post("/v1/clock", json={"advance": 1}) for who in (clinician, person)]

    assert [answer.status_code for answer in refusals] == [HTTPStatus.FORBIDDEN] * 2


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"advance": 0},
        {"advance": -5},
        {"advance": True},
        {"advance": "5"},
        {"advance": 5, "reset": True},
        {"advance": 2**40},
        {"now": "2027-01-01T00:00:00"},
        {"now": 1},
        {"reset": False},
        {"reset": 1},
    ],
)
async def test_a_move_is_exactly_one_of_three(
    administrator: Person, body: dict[str, object]
) -> None:
    answer = await administrator.post("/v1/clock", json=body)

    assert answer.status_code == HTTPStatus.UNPROCESSABLE_ENTITY
    assert problem_of(answer) == "invalid"


async def test_another_organizations_clock_stands_still(make: Make, administrator: Person) -> None:
    other = await Make.organization(make.app, make.runtime)
    neighbour = await other.staff()

    await administrator.post("/v1/clock", json={"advance": 600})

    assert (await neighbour.get("/v1/clock")).json()["offset_seconds"] == 0
    await other.close()
