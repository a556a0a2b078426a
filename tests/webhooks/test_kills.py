"""A worker is killed at every step between a commit and a receiver; nothing is lost (WH-05, I7).

No code of ours knows of it. Each step is held up from outside, by a lock that another connection
holds or by a receiver that keeps the worker waiting, and there the process is ended by SIGKILL.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final
from uuid import UUID

import asyncpg
import pytest
from sqlalchemy import update
from standardwebhooks.webhooks import Webhook

from app import events
from app.core import clock, embedded
from app.core.ids import new_id
from app.jobs import sequencer
from app.jobs.workplace import Workplace
from app.models.webhooks import EndpointState, WebhookDelivery, WebhookEndpoint
from app.settings import Settings
from tests.factories import Make, Person
from tests.watching import Watcher, a_moment, watch
from tests.webhooks.nursery import Nursery, nursery
from tests.webhooks.receivers import Receiver, receiver, reply
from tests.working import body_of, headers_of

PATIENCE: Final = 60
SOON_ENOUGH: Final = 90
"""Seconds after which a worker's death must not be noticed any more (WH-06)."""


@dataclass
class Door:
    """A receiver that lets nobody pass until it is told to."""

    status: int = 204
    knocked: asyncio.Event = field(default_factory=asyncio.Event)
    is_open: asyncio.Event = field(default_factory=asyncio.Event)

    async def answer(
        self, _receiver: Receiver, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.knocked.set()
        await self.is_open.wait()
        writer.write(reply(self.status))
        await writer.drain()


Standing = tuple[bool, str | None, int | None, bool]
"""Whether an event has a position; its delivery's state, attempts, and whether it is leased."""

UNPLACED: Final[Standing] = (False, None, None, False)
PLACED: Final[Standing] = (True, "waiting", 0, False)
LEASED: Final[Standing] = (True, "waiting", 1, True)
REFUSED: Final[Standing] = (True, "waiting", 1, False)


@dataclass
class Stage:
    """An organization with one active endpoint, and workers to be killed."""

    make: Make
    server: embedded.EmbeddedServer
    workers: Nursery
    watcher: Watcher
    door: Door
    listening: Receiver
    endpoint_id: UUID
    secret: str
    participant_id: UUID
    recorded: list[UUID] = field(default_factory=list)
    blocked: list[int] = field(default_factory=list)

    async def happen(self) -> UUID:
        """Something is recorded and committed."""
        async with self.make.transaction() as db:
            event_id = await events.record(
                db, "plan.signed", new_id(), participant_id=self.participant_id, version=1
            )
        self.recorded.append(event_id)
        return event_id

    @asynccontextmanager
    async def holding(self, statement: str, *arguments: object) -> AsyncIterator[None]:
        """Hold a lock for a while, as a superuser whom nothing that happens here can touch."""
        connection = await asyncpg.connect(
            host=str(self.server.socket_dir), user="postgres", database="stepwell"
        )
        try:
            await connection.execute("set search_path = stepwell; begin")
            await connection.execute(statement, *arguments)
            yield
        finally:
            await connection.close()

    async def standing(self, event_id: UUID) -> Standing:
        """How far an event has come; what is not committed has not happened."""
        row = await self.watcher.connection.fetchrow(
            "select e.position is not null, d.state, d.attempts, d.leased_until is not null"
            " from stepwell.event e left join stepwell.webhook_delivery d on d.event_id = e.id"
            " where e.id = $1",
            event_id,
        )
        assert row is not None
        return row[0], row[1], row[2], row[3]

    async def until_standing(self, event_id: UUID, standing: Standing) -> None:
        """Wait until it stands so."""
        while await self.standing(event_id) != standing:
            await a_moment()

    async def until_delivered(self) -> None:
        """Wait until everything that was recorded is known to have been taken."""
        while await self.watcher.connection.fetchval(
            "select count(*) from stepwell.webhook_delivery"
            " where event_id = any($1) and state = 'delivered'",
            self.recorded,
        ) < len(self.recorded):
            pass

    async def positions(self) -> list[UUID]:
        """What has positions, in their order; what was there before is left out."""
        rows = await self.watcher.connection.fetch(
            "select id from stepwell.event where position is not null and organization_id = $1"
            " and subject <> 'endpoint' order by position",
            self.make.organization_id,
        )
        return [row["id"] for row in rows]

    async def kill_when_blocked(self, worker: int, statement: str) -> None:
        """Wait until the worker waits for a lock with this statement, and kill it there."""
        self.blocked = list(await self.watcher.until_blocked(statement))
        self.workers.kill(worker)

    async def until_gone(self) -> None:
        """Wait until the backends that a dead worker left behind have noticed."""
        for pid in self.blocked:
            await self.watcher.until_gone(pid)
        self.blocked = []


UNCOMMITTED: Final = """
    insert into event (organization_id, id, type, subject, subject_id, at)
    values ($1, $2, 'plan.signed', 'plan', $2, now())
"""
ENDPOINT: Final = "select from webhook_endpoint where id = $1 for update"


async def committed_before_its_position(stage: Stage) -> None:
    lock = "select from event_head where organization_id = $1 for update"
    async with stage.holding(lock, stage.make.organization_id):
        event_id = await stage.happen()
        await stage.kill_when_blocked(await stage.workers.start(), "%event_head%")
    await stage.until_gone()
    assert await stage.standing(event_id) == UNPLACED


async def positioned_before_the_commit(stage: Stage) -> None:
    async with stage.holding(ENDPOINT, stage.endpoint_id):
        event_id = await stage.happen()
        await stage.kill_when_blocked(await stage.workers.start(), "%insert into webhook_delivery%")
    await stage.until_gone()
    assert await stage.standing(event_id) == UNPLACED


async def positioned_before_the_lease(stage: Stage) -> None:
    """The worker stops between two transactions: the second waits for whoever asked in between."""
    async with stage.holding(ENDPOINT, stage.endpoint_id):
        event_id = await stage.happen()
        worker = await stage.workers.start()
        await stage.watcher.until_blocked("%insert into webhook_delivery%")
        table = stage.holding("lock table webhook_delivery in access exclusive mode")
        queued = asyncio.create_task(table.__aenter__())
        await stage.watcher.until_blocked("lock table%")
    await queued
    await stage.kill_when_blocked(worker, "%worker_claim_deliveries%")
    await table.__aexit__(None, None, None)
    await stage.until_gone()
    assert await stage.standing(event_id) == PLACED


async def leased_before_it_is_sent(stage: Stage) -> None:
    async with stage.holding("lock table participant in access exclusive mode"):
        event_id = await stage.happen()
        worker = await stage.workers.start()
        # Other loops read participants as well, and may be held up before anything is leased.
        await stage.until_standing(event_id, LEASED)
        await stage.kill_when_blocked(worker, "%participant.sensitivity%")
    await stage.until_gone()
    assert await stage.standing(event_id) == LEASED
    assert not stage.door.knocked.is_set()


async def sent_before_the_answer(stage: Stage) -> None:
    event_id = await stage.happen()
    worker = await stage.workers.start()
    await stage.door.knocked.wait()
    stage.workers.kill(worker)
    assert await stage.standing(event_id) == LEASED


async def answered_before_it_is_marked(stage: Stage) -> None:
    event_id = await stage.happen()
    worker = await stage.workers.start()
    await stage.door.knocked.wait()
    async with stage.holding(ENDPOINT, stage.endpoint_id):
        stage.door.is_open.set()
        await stage.kill_when_blocked(worker, "%webhook_endpoint%for update%")
    await stage.until_gone()
    assert await stage.standing(event_id) == LEASED


async def marked_before_the_commit(stage: Stage) -> None:
    async with stage.holding("lock table webhook_attempt in share mode"):
        event_id = await stage.happen()
        stage.door.is_open.set()
        await stage.kill_when_blocked(await stage.workers.start(), "%insert into webhook_attempt%")
    await stage.until_gone()
    assert await stage.standing(event_id) == LEASED


async def refused_before_it_is_tried_again(stage: Stage) -> None:
    stage.door.status = 500
    stage.door.is_open.set()
    event_id = await stage.happen()
    worker = await stage.workers.start()
    await stage.until_standing(event_id, REFUSED)
    stage.workers.kill(worker)


STEPS: Final[Sequence[tuple[Callable[[Stage], Awaitable[None]], int]]] = (
    (committed_before_its_position, 1),
    (positioned_before_the_commit, 1),
    (positioned_before_the_lease, 1),
    (leased_before_it_is_sent, 1),
    (sent_before_the_answer, 2),
    (answered_before_it_is_marked, 2),
    (marked_before_the_commit, 2),
    (refused_before_it_is_tried_again, 2),
)
"""Where the worker dies, and how often the receiver is then told."""


@pytest.fixture(scope="module")
async def workers(server: embedded.EmbeddedServer, settings: Settings) -> AsyncIterator[Nursery]:
    async with nursery(server, settings) as workers:
        yield workers


@pytest.fixture
async def stage(
    make: Make,
    administrator: Person,
    place: Workplace,
    server: embedded.EmbeddedServer,
    workers: Nursery,
) -> AsyncIterator[Stage]:
    door = Door()
    participant = await make.participant()
    assert participant.participant_id is not None
    async with receiver(door.answer) as listening, watch(server) as watcher:
        endpoint = await registered(make, place, administrator, listening)
        yield Stage(
            make,
            server,
            workers,
            watcher,
            door,
            listening,
            UUID(endpoint["id"]),
            endpoint["secret"],
            participant.participant_id,
        )


@pytest.mark.parametrize(("step", "receipts"), STEPS, ids=[step.__name__ for step, _ in STEPS])
@pytest.mark.parametrize(
    "is_patient",
    [
        pytest.param(False, id="leases taken back"),
        pytest.param(True, id="leases run out", marks=[pytest.mark.long, pytest.mark.faults]),
    ],
)
async def test_wh_05_wh_06_wherever_a_worker_dies_every_event_arrives_under_one_id(
    stage: Stage, step: Callable[[Stage], Awaitable[None]], receipts: int, *, is_patient: bool
) -> None:
    lost = new_id()
    async with asyncio.timeout(PATIENCE + SOON_ENOUGH * is_patient):
        async with stage.holding(UNCOMMITTED, stage.make.organization_id, lost):
            await step(stage)
        killed_at = clock.monotonic()
        later = await stage.happen()
        if not is_patient:
            await let_time_pass(stage.make)
        stage.door.status = 204
        stage.door.is_open.set()
        successor = await stage.workers.start()
        await stage.until_delivered()
        waited = clock.monotonic() - killed_at
        stage.workers.kill(successor)

    for request in stage.listening.requests:
        Webhook(stage.secret).verify(body_of(request), headers_of(request))
    received = Counter(headers_of(request)["webhook-id"] for request in stage.listening.requests)
    (event_id,) = [one for one in stage.recorded if one != later]
    assert received == {f"msg_{event_id.hex}": receipts, f"msg_{later.hex}": 1}
    assert await stage.positions() == [event_id, later]
    assert waited <= SOON_ENOUGH


async def registered(
    make: Make, place: Workplace, administrator: Person, listening: Receiver
) -> dict[str, Any]:
    """An endpoint that has proven itself, in an organization whose events have begun."""
    body = {"url": listening.url, "event_types": ["*"]}
    endpoint: dict[str, Any] = (await administrator.post("/v1/webhooks", json=body)).json()
    async with make.transaction() as db:
        await db.execute(update(WebhookEndpoint).values(state=EndpointState.ACTIVE))
    await sequencer.sequence(place)
    return endpoint


async def let_time_pass(make: Make) -> None:
    """Let every lease have run out, and every pause be over."""
    async with make.transaction() as db:
        await db.execute(
            update(WebhookDelivery).values(
                leased_until=None, next_attempt_at=clock.wall() - timedelta(seconds=1)
            )
        )
