"""The feed of events, over HTTP, with positions given by the worker."""

import asyncio
import random
from collections.abc import AsyncIterator
from http import HTTPStatus

import pytest
from sqlalchemy import text

from app import events
from app.core import embedded
from app.core.ids import new_id
from app.domain.roles import StaffRole
from app.jobs import sequencer
from app.jobs.workplace import Workplace
from app.settings import Settings
from tests.factories import Make, Person
from tests.working import workplace


@pytest.fixture
async def place(server: embedded.EmbeddedServer, settings: Settings) -> AsyncIterator[Workplace]:
    async with workplace(server, settings) as place:
        yield place


@pytest.fixture
async def administrator(make: Make) -> Person:
    return await make.staff(StaffRole.ADMINISTRATOR)


async def happen(make: Make, type_: str = "plan.signed") -> str:
    async with make.transaction() as db:
        return str(await events.record(db, type_, new_id(), version=1))


async def walk(reader: Person, after: int = 0) -> list[dict[str, object]]:
    """Read on until nothing is left, three at a time."""
    found: list[dict[str, object]] = []
    while True:
        answer = await reader.get("/v1/events", params={"after": after, "limit": 3})
        assert answer.status_code == HTTPStatus.OK
        page = answer.json()
        found += page["items"]
        if not page["has_more"]:
            return found
        after = page["next_after"]


async def test_an_event_is_read_once_it_has_a_position(
    make: Make, place: Workplace, administrator: Person
) -> None:
    event_id = await happen(make)
    before = (await administrator.get("/v1/events")).json()

    await sequencer.sequence(place)
    after = (await administrator.get("/v1/events")).json()

    assert before == {"items": [], "next_after": 0, "has_more": False}
    [item] = after["items"]
    assert (item["id"], item["position"], item["type"]) == (event_id, 1, "plan.signed")
    assert after["next_after"] == 1


async def test_reading_on_gives_only_what_came_later(
    make: Make, place: Workplace, administrator: Person
) -> None:
    await happen(make)
    await sequencer.sequence(place)
    later = await happen(make, "plan.activated")
    await sequencer.sequence(place)

    answer = (await administrator.get("/v1/events", params={"after": 1})).json()

    assert [item["id"] for item in answer["items"]] == [later]


async def test_api_05_what_commits_late_is_not_missed(
    make: Make, place: Workplace, administrator: Person
) -> None:
    async with make.transaction() as slow:
        # Recorded first, so its id is lower; committed last.
        late = str(await events.record(slow, "plan.drafted", new_id()))
        early = await happen(make)
        await sequencer.sequence(place)
        seen = await walk(administrator)
    await sequencer.sequence(place)

    assert late < early
    assert [item["id"] for item in seen] == [early]
    assert [item["id"] for item in await walk(administrator, after=1)] == [late]


async def test_api_05_the_feed_has_no_gap_under_concurrent_writers(
    make: Make, place: Workplace, administrator: Person
) -> None:
    order = random.Random(7)  # noqa: S311 (which transaction takes long, not a secret)
    written: list[str] = []
    is_over = asyncio.Event()

    async def write() -> None:
        async with make.transaction() as db:
            mine = [str(await events.record(db, "plan.signed", new_id())) for _ in range(3)]
            for _ in range(order.randrange(6)):
                await db.execute(text("select 1"))  # time passes between the id and the commit
        written.extend(mine)

    async def give_positions() -> None:
        while not is_over.is_set():
            await sequencer.sequence(place)

    async def follow() -> list[dict[str, object]]:
        found: list[dict[str, object]] = []
        while True:
            was_over = is_over.is_set()
            found += await walk(administrator, after=len(found))
            if was_over:
                return found

    workers = [asyncio.create_task(give_positions()) for _ in range(2)]
    reader = asyncio.create_task(follow())
    for _ in range(10):
        await asyncio.gather(*(write() for _ in range(4)))
    is_over.set()
    await asyncio.gather(*workers)
    await sequencer.sequence(place)
    seen = await reader
    seen += await walk(administrator, after=len(seen))

    assert [item["position"] for item in seen] == list(range(1, len(written) + 1))
    assert {str(item["id"]) for item in seen} == set(written)


async def test_the_feed_names_no_participant(
    make: Make, place: Workplace, administrator: Person
) -> None:
    person = await make.participant()
    async with make.transaction() as db:
        await events.record(db, "plan.signed", new_id(), participant_id=person.participant_id)
    await sequencer.sequence(place)

    answer = await administrator.get("/v1/events")

    assert len(answer.json()["items"]) == 1
    assert str(person.participant_id) not in answer.text


async def test_only_administrators_read_the_feed(make: Make) -> None:
    clinician = await make.staff()
    person = await make.participant()

    refusals = [await who.get("/v1/events") for who in (clinician, person)]

    assert [answer.status_code for answer in refusals] == [HTTPStatus.FORBIDDEN] * 2


async def test_another_organization_has_a_feed_of_its_own(
    make: Make, place: Workplace, administrator: Person
) -> None:
    other = await Make.organization(make.app, make.runtime)
    await happen(other)
    await sequencer.sequence(place)

    assert await walk(administrator) == []
    await other.close()


async def test_nobody_reads_on_from_where_nothing_is_yet(
    make: Make, place: Workplace, administrator: Person
) -> None:
    """A position of another server would skip everything up to it, without a word."""
    await happen(make)
    await sequencer.sequence(place)

    at_the_head = await administrator.get("/v1/events", params={"after": 1})
    beyond = await administrator.get("/v1/events", params={"after": 2})

    assert at_the_head.json() == {"items": [], "next_after": 1, "has_more": False}
    assert beyond.status_code == HTTPStatus.BAD_REQUEST
    assert beyond.json()["type"].endswith("/position-unknown")


@pytest.mark.parametrize(
    ("name", "value"), [("after", "-1"), ("after", str(2**63)), ("limit", "0"), ("limit", "101")]
)
async def test_api_05_bounds_of_the_feed(administrator: Person, name: str, value: str) -> None:
    answer = await administrator.get("/v1/events", params={name: value})

    assert answer.status_code == HTTPStatus.UNPROCESSABLE_ENTITY
    assert answer.json()["errors"][0]["pointer"] == f"query/{name}"
