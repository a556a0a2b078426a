"""Health, with each dependency broken in turn (REL-16); `faults` has a database that hangs."""

import asyncio
import dataclasses
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import datetime, timedelta
from http import HTTPStatus
from typing import Any, Final
from uuid import UUID

import pytest
from fastapi import FastAPI
from httpx import ASGITransport, AsyncClient, Response
from pydantic import SecretStr
from sqlalchemy import event, update

from app import events, migrate
from app.core import clock, metrics
from app.core.database import Connections
from app.core.embedded import EmbeddedServer
from app.core.ids import new_id
from app.main import create_app
from app.models.events import Event
from app.models.organizations import Organization
from app.models.webhooks import (
    DeliveryState,
    EndpointState,
    WebhookDelivery,
    WebhookEndpoint,
)
from app.readiness import Link
from app.runtime import Runtime
from tests.factories import Make, Person
from tests.watching import PATIENCE, Watcher, a_moment, watch

PROBES = ("/livez", "/startupz", "/readyz")
NO_LONGER = 1.5
"""Seconds."""
NOWHERE = "postgresql+asyncpg://stepwell_api@127.0.0.1:1/stepwell"
TOKEN: Final = "an-operator-who-may-look-behind-it"  # noqa: S105  # of this test only
AS_MUCH_AS_IS_ASKED_FOR: Final = f"""
    create schema stepwell; grant usage on schema stepwell to stepwell_api;
    create table stepwell.alembic_version (version_num text);
    insert into stepwell.alembic_version values ('{migrate.head()}');
    create function stepwell.longest_waits(out events_for float8, out deliveries_for float8)
        language sql as 'select 0::float8, 0::float8';
    grant select on all tables in schema stepwell to stepwell_api
"""  # noqa: S608  # a revision of our own
YEARS: Final = timedelta(days=800)
"""Longer than any other test lets an event lie."""
UNHURRIED: Final = {"outbox_limit": YEARS, "deliveries_limit": YEARS}


class Health:
    """Starts applications whose health is to be seen, and looks at their database."""

    def __init__(self, stack: AsyncExitStack, runtime: Runtime, server: EmbeddedServer) -> None:
        self._stack, self._runtime, self._server = stack, runtime, server

    async def start(self, url: str | None = None, size: int = 2, **changed: object) -> FastAPI:
        """An application that has started, over a pool of its own."""
        url = url or self._server.url(role="stepwell_api")
        connections = Connections(url, size=size, application_name="stepwell-health")
        self._stack.push_async_callback(connections.close)
        settings = self._runtime.settings.model_copy(
            update={"operator_token": SecretStr(TOKEN), **UNHURRIED, **changed}
        )
        app = create_app(
            dataclasses.replace(self._runtime, connections=connections, settings=settings)
        )
        app.state.has_started = True
        app.state.readiness.kept_seconds = 0
        return app

    async def watch(self) -> Watcher:
        """A superuser who looks."""
        return await self._stack.enter_async_context(watch(self._server))

    async def elsewhere(self, breaking: str) -> str:
        """The URL of a database that has as much as is asked for, and was then changed."""
        watcher = await self.watch()
        await watcher.connection.execute("drop database if exists elsewhere with (force)")
        await watcher.connection.execute("create database elsewhere")
        connections = Connections(self._server.url(role="postgres", database="elsewhere"), size=1)
        self._stack.push_async_callback(connections.close)
        async with connections.lane() as lane:
            await lane.execute(AS_MUCH_AS_IS_ASKED_FOR)
            await lane.execute(breaking)
        return self._server.url(role="stepwell_api", database="elsewhere")


@pytest.fixture
async def health(runtime: Runtime, server: EmbeddedServer) -> AsyncIterator[Health]:
    async with AsyncExitStack() as stack:
        yield Health(stack, runtime, server)


@asynccontextmanager
async def calling(app: FastAPI) -> AsyncIterator[AsyncClient]:
    transport = ASGITransport(app=app, raise_app_exceptions=False)
    async with AsyncClient(transport=transport, base_url="http://testserver") as client:
        yield client


async def checks(app: FastAPI) -> dict[str, str]:
    """What the operator is shown of each check."""
    return {name: check["status"] for name, check in (await details(app)).items()}


async def details(app: FastAPI) -> dict[str, dict[str, Any]]:
    async with calling(app) as client:
        answer = await client.get("/readyz", headers={"Authorization": f"Bearer {TOKEN}"})
    return {check["name"]: check for check in answer.json()["checks"]}


async def probe(app: FastAPI) -> dict[str, int]:
    """What each probe answers; none of them takes long or gives details."""
    async with calling(app) as client:
        return {path: await _status(client, path) for path in PROBES}


async def _status(client: AsyncClient, path: str) -> int:
    began = clock.monotonic()
    answer: Response = await client.get(path)
    assert clock.monotonic() - began < NO_LONGER
    is_ok = answer.status_code == HTTPStatus.OK
    assert answer.json() == {"status": "ok" if is_ok else "fail"}
    return answer.status_code


def answers(live: int, startup: int, ready: int) -> dict[str, int]:
    return dict(zip(PROBES, (live, startup, ready), strict=True))


async def test_rel_16_all_is_well(health: Health) -> None:
    app = await health.start()
    assert await probe(app) == answers(200, 200, 200)


async def test_rel_16_a_process_that_has_not_started(health: Health) -> None:
    app = await health.start()
    app.state.has_started = False
    assert await probe(app) == answers(200, 503, 200)


async def test_rel_16_a_process_that_is_draining(health: Health) -> None:
    app = await health.start()
    app.state.is_draining = True
    assert await probe(app) == answers(200, 200, 503)


@pytest.mark.parametrize(
    "url", [NOWHERE, NOWHERE.replace("127.0.0.1:1/stepwell", "/stepwell?host=/nowhere")]
)
async def test_rel_16_a_database_that_is_not_there(health: Health, url: str) -> None:
    app = await health.start(url)
    assert await probe(app) == answers(200, 200, 503)


async def test_rel_16_a_pool_without_a_free_connection(health: Health) -> None:
    app = await health.start(size=1)
    connections = app.state.runtime.connections
    async with connections.lane():
        assert await probe(app) == answers(200, 200, 503)
    assert await probe(app) == answers(200, 200, 200)


async def test_rel_16_connections_that_died_in_the_pool_are_replaced(health: Health) -> None:
    app = await health.start()
    assert await probe(app) == answers(200, 200, 200)
    watcher = await health.watch()
    assert await watcher.terminate("stepwell-health") > 0
    # The first to ask may meet the dead one; nobody meets it twice.
    assert (await probe(app))["/livez"] == HTTPStatus.OK
    assert await probe(app) == answers(200, 200, 200)


# What only this database can tell


@pytest.mark.parametrize(
    ("breaking", "ready", "schema"),
    [
        ("select 1", 200, "ok"),
        ("update stepwell.alembic_version set version_num = '0001'", 503, "fail"),
        ("delete from stepwell.alembic_version", 503, "fail"),
        ("drop table stepwell.alembic_version", 503, "fail"),
        ("drop function stepwell.longest_waits", 503, "fail"),
        # The next release has migrated, and this process goes on until it is replaced (REL-30).
        ("update stepwell.alembic_version set version_num = '9999'", 200, "degraded"),
    ],
)
async def test_rel_16_a_schema_of_another_version(
    health: Health,
    breaking: str,
    ready: int,
    schema: str,
) -> None:
    app = await health.start(await health.elsewhere(breaking))
    async with calling(app) as client:
        answer = await client.get("/readyz")

    assert (answer.status_code, answer.json()) == (ready, {"status": schema})
    assert (await checks(app))["schema"] == schema


async def record_event(make: Make) -> UUID:
    """Something that happened, which no worker will see."""
    async with make.transaction() as db:
        return await events.record(db, "program.created", new_id())


async def test_rel_16_an_event_that_lies_degrades_and_does_not_end_readiness(
    health: Health, make: Make
) -> None:
    app = await health.start(outbox_limit=YEARS - timedelta(days=1))
    lying = await record_event(make)
    before = await checks(app)
    async with make.transaction() as db:
        await db.execute(update(Event).where(Event.id == lying).values(at=clock.wall() - YEARS))
    async with calling(app) as client:
        answer = await client.get("/readyz")
    during = await details(app)
    gauge = metrics.REGISTRY.get_sample_value("stepwell_outbox_age_seconds")
    async with make.transaction() as db:
        await db.execute(update(Event).where(Event.id == lying).values(position=2**40))

    assert before["outbox"] == (await checks(app))["outbox"] == "ok"
    assert (answer.status_code, answer.json()) == (HTTPStatus.OK, {"status": "degraded"})
    assert during["outbox"]["status"] == "degraded"
    assert during["outbox"]["limit_seconds"] == (YEARS - timedelta(days=1)).total_seconds()
    assert during["outbox"]["seconds"] == pytest.approx(YEARS.total_seconds(), abs=60)
    assert gauge == pytest.approx(YEARS.total_seconds(), abs=60)


async def test_rel_16_an_organization_at_another_time_is_not_late(
    health: Health, make: Make
) -> None:
    app = await health.start(outbox_limit=YEARS)
    async with make.transaction() as db:
        await db.execute(update(Organization).values(clock_offset=-2 * YEARS))
    lying = await record_event(make)
    async with make.transaction() as db:
        await db.execute(update(Event).where(Event.id == lying).values(at=clock.wall() - 2 * YEARS))

    assert (await checks(app))["outbox"] == "ok"


def endpoint_of(owner: Person) -> dict[str, Any]:
    now = clock.wall()
    return {
        "id": new_id(),
        "created_by": owner.account_id,
        "url": "https://hooks.example/in",
        "event_types": ["*"],
        "secret": b"sealed",
        "state": EndpointState.ACTIVE,
        "created_at": now,
        "updated_at": now,
    }


def delivery_of(
    endpoint: WebhookEndpoint, event_id: UUID, leased_until: datetime | None = None
) -> WebhookDelivery:
    """A delivery that has been due for years."""
    now = clock.wall()
    return WebhookDelivery(
        id=new_id(),
        endpoint_id=endpoint.id,
        event_id=event_id,
        state=DeliveryState.WAITING,
        next_attempt_at=now - YEARS,
        leased_until=leased_until,
        created_at=now,
    )


@pytest.mark.parametrize(
    ("endpoint", "others_leased", "found"),
    [
        ({}, False, "degraded"),
        # Its receiver takes its time: others of its deliveries are being sent.
        ({}, True, "ok"),
        ({"paused_until": clock.wall() + YEARS}, False, "ok"),
        ({"state": EndpointState.DISABLED, "disabled_because": "failing"}, False, "ok"),
        # Until it has proven itself it is owed nothing but the question.
        ({"state": EndpointState.PENDING}, False, "ok"),
    ],
    ids=["nobody began", "slow receiver", "paused", "disabled", "unproven"],
)
async def test_rel_16_a_webhook_that_nobody_begins_degrades(
    health: Health,
    make: Make,
    endpoint: dict[str, Any],
    others_leased: bool,  # noqa: FBT001  # a case of the table
    found: str,
) -> None:
    app = await health.start(deliveries_limit=YEARS - timedelta(days=1))
    owner = await make.staff()
    lying, another = await record_event(make), await record_event(make)
    now = clock.wall()
    async with make.transaction() as db:
        # A worker of another test must not send them once more.
        for position, event_id in enumerate((lying, another), 1):
            await db.execute(update(Event).where(Event.id == event_id).values(position=position))
        row = WebhookEndpoint(**{**endpoint_of(owner), **endpoint})
        db.add(row)
        await db.flush()
        db.add(delivery_of(row, lying))
        if others_leased:
            db.add(delivery_of(row, another, leased_until=now + YEARS))
    seen = (await checks(app))["deliveries"]
    async with make.transaction() as db:
        await db.execute(update(WebhookDelivery).values(next_attempt_at=now + YEARS))

    assert seen == found
    assert (await checks(app))["deliveries"] == "ok"


# The listener


async def until(app: FastAPI, name: str, verdict: str) -> dict[str, dict[str, Any]]:
    """Wait until a check says so."""
    async with asyncio.timeout(PATIENCE):
        while (found := await details(app))[name]["status"] != verdict:
            await a_moment()
    return found


@asynccontextmanager
async def limited(watcher: Watcher) -> AsyncIterator[None]:
    """Let the API's role make no further connection for a while."""
    await watcher.connection.execute("alter role stepwell_api connection limit 0")
    try:
        yield
    finally:
        await watcher.connection.execute("alter role stepwell_api connection limit -1")


async def test_rel_16_a_listener_that_is_gone_degrades_until_it_is_back(health: Health) -> None:
    app = await health.start(listener_limit=timedelta(0))
    watcher = await health.watch()
    async with app.router.lifespan_context(app):
        await until(app, "listener", "ok")
        # Who is connected stays; nobody may come back.
        async with limited(watcher):
            assert await watcher.terminate("stepwell-listener") >= 1
            gone = await until(app, "listener", "degraded")
            async with calling(app) as client:
                answer = await client.get("/readyz")
        await until(app, "listener", "ok")

    assert (answer.status_code, answer.json()) == (HTTPStatus.OK, {"status": "degraded"})
    assert gone["listener"]["limit_seconds"] == 0
    assert gone["database"]["status"] == "ok"


def test_a_link_counts_from_when_it_was_lost() -> None:
    link = Link()
    link.is_up()
    assert link.seconds_down == 0
    link.is_down()
    first = link.seconds_down
    link.is_down()
    assert link.seconds_down >= first


# Who asks, and how often


@pytest.mark.parametrize("authorization", [None, "Bearer wrong", f"Basic {TOKEN}", TOKEN, "é"])
async def test_rel_16_details_are_for_the_operator(
    health: Health, authorization: str | None
) -> None:
    app = await health.start()
    headers = [] if authorization is None else [(b"Authorization", authorization.encode())]
    async with calling(app) as client:
        assert (await client.get("/readyz", headers=headers)).json() == {"status": "ok"}


async def test_rel_16_without_a_token_nobody_is_the_operator(health: Health) -> None:
    app = await health.start(operator_token=None)
    async with calling(app) as client:
        answer = await client.get("/readyz", headers={"Authorization": "Bearer "})
    assert answer.json() == {"status": "ok"}


async def test_rel_16_what_an_operator_sees_names_no_one(health: Health, make: Make) -> None:
    await record_event(make)
    app = await health.start()
    found = await details(app)

    assert set(found) == {
        "database",
        "schema",
        "outbox",
        "deliveries",
        "draining",
        "keys",
        "listener",
    }
    for check in found.values():
        assert set(check) == {"name", "status", "seconds", "limit_seconds"}
        assert all(isinstance(check[name], float | None) for name in ("seconds", "limit_seconds"))


async def test_rel_16_a_flood_of_probes_asks_the_database_once(health: Health) -> None:
    app = await health.start()
    app.state.readiness.kept_seconds = 60
    taken = 0

    def take(*_: object) -> None:
        nonlocal taken
        taken += 1

    event.listen(app.state.runtime.connections.engine.sync_engine, "checkout", take)
    async with calling(app) as client:
        answers = await asyncio.gather(*(client.get("/readyz") for _ in range(50)))
        answers.append(await client.get("/readyz"))
        app.state.is_draining = True
        leaving = await client.get("/readyz")

    assert Counter(answer.status_code for answer in answers) == {200: 51}
    assert taken == 1
    # What the process knows by itself is never an old answer.
    assert leaving.status_code == HTTPStatus.SERVICE_UNAVAILABLE
