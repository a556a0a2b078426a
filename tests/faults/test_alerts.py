"""The API and the worker are killed between what somebody says and the last escalation.

No alert is lost, none is doubled, and no clock stops (clinical reference, section 5.2). No code
of ours knows of it: each step is held up from outside, by a lock that another connection holds,
and there the process is ended by SIGKILL.
"""

import asyncio
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from http import HTTPStatus
from typing import Any, Final
from uuid import uuid4

import asyncpg
import pytest
from httpx import AsyncClient, HTTPError, Response

from app.core import embedded
from app.settings import Settings
from tests.factories import Make, Person
from tests.processes import api_processes
from tests.realtime.staging import Stage, open_stage
from tests.routers.assessing import alerts_of, assigned, events_of, move_clock, treated
from tests.watching import Watcher, watch
from tests.webhooks.nursery import Nursery, nursery

PATIENCE: Final = 90
MESSAGE: Final = "I am going to kill myself tonight"
# What a table's lock holds up; each is a step of one transaction, in this order.
STEPS: Final = {
    "alert": "%insert into alert (%",
    "alert_step": "%insert into alert_step (%",
    "event": "%insert into event (%",
}
TAKEN: Final = "select exists (select from stepwell.alert_step where alert_id = $1 and kind = $2)"
ESCALATIONS: Final = (
    (timedelta(minutes=6), "escalated_supervisor"),
    (timedelta(minutes=11), "escalated_medical_director"),
    (timedelta(minutes=16), "escalated_all_on_call"),
)


@asynccontextmanager
async def holding(server: embedded.EmbeddedServer, table: str) -> AsyncIterator[None]:
    """Let nobody write to a table for a while, and everybody read it."""
    connection = await asyncpg.connect(
        host=str(server.socket_dir), user="postgres", database="stepwell"
    )
    try:
        await connection.execute(f"begin; lock table stepwell.{table} in share mode")
        yield
    finally:
        await connection.close()


@pytest.fixture(scope="module")
async def workers(server: embedded.EmbeddedServer, settings: Settings) -> AsyncIterator[Nursery]:
    async with nursery(server, settings) as workers:
        yield workers


@pytest.fixture
async def watcher(server: embedded.EmbeddedServer) -> AsyncIterator[Watcher]:
    async with watch(server) as watcher:
        yield watcher


@pytest.fixture
async def stage(make: Make) -> Stage:
    return await open_stage(make)


Saying = Callable[[AsyncClient], Awaitable[Response]]


async def sayings(stage: Stage, clinician: Person, participant: Person) -> tuple[Saying, Saying]:
    """An acute message, and an answer that is acute and urgent, as a client sends them again."""
    assessment = await assigned(clinician, participant, "core-10")
    said = {"client_message_id": str(uuid4()), "body": MESSAGE}
    answers = {"answers": [{"item_id": "q6", "value": 2}]}
    tag = {"If-Match": f'"{assessment["version"]}"'}

    async def post(client: AsyncClient) -> Response:
        return await client.post(f"/v1/rooms/{stage.room_id}/entries", json=said)

    async def answer(client: AsyncClient) -> Response:
        path = f"/v1/assessments/{assessment['id']}/answers"
        return await client.patch(path, json=answers, headers=tag)

    return post, answer


async def steps_of(clinician: Person, alert: dict[str, Any]) -> list[str]:
    read = (await clinician.get(f"/v1/alerts/{alert['id']}")).json()
    return [step["kind"] for step in read["steps"]]


@pytest.mark.parametrize("table", STEPS)
async def test_wherever_the_api_dies_what_was_said_and_its_alert_are_both_there_or_neither(
    stage: Stage, server: embedded.EmbeddedServer, settings: Settings, watcher: Watcher, table: str
) -> None:
    clinician, participant = await treated(stage.make)
    await stage.admit(participant)
    both = await sayings(stage, clinician, participant)
    before = len(await stage.log())

    async with (
        asyncio.timeout(PATIENCE),
        api_processes(server, settings) as (api,),
        api.client(participant.token) as client,
    ):
        async with holding(server, table):
            asked = [asyncio.ensure_future(say(client)) for say in both]
            blocked = await watcher.until_blocked(STEPS[table], count=2)
            api.send_signal(signal.SIGKILL)
            outcomes = await asyncio.gather(*asked, return_exceptions=True)
        for pid in blocked:
            await watcher.until_gone(pid)

    assert all(isinstance(outcome, HTTPError) for outcome in outcomes)
    assert len(await stage.log()) == before
    assert await alerts_of(clinician, participant) == []

    repeated = [await say(participant) for say in both]

    assert [answer.status_code for answer in repeated] == [HTTPStatus.CREATED, HTTPStatus.OK]
    alerts = await alerts_of(clinician, participant)
    assert sorted((one["source"], one["tier"]) for one in alerts) == [
        ("assessment", "acute"),
        ("assessment", "urgent"),
        ("message", "acute"),
    ]
    for alert in alerts:
        assert await steps_of(clinician, alert) == ["opened"]
        assert await events_of(stage.make, alert["id"]) == ["alert.opened"]


async def test_an_api_that_dies_after_its_answer_takes_no_alert_with_it(
    stage: Stage, server: embedded.EmbeddedServer, settings: Settings
) -> None:
    clinician, participant = await treated(stage.make)
    await stage.admit(participant)
    post, answer = await sayings(stage, clinician, participant)

    async with (
        api_processes(server, settings) as (api,),
        api.client(participant.token) as client,
    ):
        first = [await post(client), await answer(client)]
        api.send_signal(signal.SIGKILL)
    again = await post(participant)

    assert [one.status_code for one in first] == [HTTPStatus.CREATED, HTTPStatus.OK]
    assert again.json() == {**first[0].json(), "duplicate": True}
    assert len(await alerts_of(clinician, participant)) == 3


async def test_wherever_a_worker_dies_every_escalation_is_taken_once(
    stage: Stage, server: embedded.EmbeddedServer, workers: Nursery, watcher: Watcher
) -> None:
    clinician, participant = await treated(stage.make)
    await stage.admit(participant)
    await stage.say(participant, MESSAGE)
    (alert,) = await alerts_of(clinician, participant)
    taken = ["opened"]

    for passed, escalation in ESCALATIONS:
        await move_clock(stage.make, passed)
        for table in ("alert_step", "event"):
            async with asyncio.timeout(PATIENCE), holding(server, table):
                worker = await workers.start()
                blocked = await watcher.until_blocked(STEPS[table])
                workers.kill(worker)
            for pid in blocked:
                await watcher.until_gone(pid)
            assert await steps_of(clinician, alert) == taken
        taken.append(escalation)
        worker = await workers.start()
        await watcher.until(TAKEN, alert["id"], escalation)
        workers.kill(worker)
        assert await steps_of(clinician, alert) == taken

    (now,) = await alerts_of(clinician, participant)
    assert (now["state"], now["acknowledge_by"]) == ("open", alert["acknowledge_by"])
    assert await events_of(stage.make, alert["id"]) == ["alert.opened", *["alert.escalated"] * 3]
