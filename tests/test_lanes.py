"""What a transaction promises in either lane: true before it is told, undone when it is left.

The routes here are the tests' own: they do in two lines what a real route does on a bad day.
"""

import asyncio
import dataclasses
import random
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Annotated, Any, Final
from uuid import UUID

import pytest
from fastapi import APIRouter, Depends, FastAPI, WebSocket
from httpx import ASGITransport, AsyncClient, Response
from sqlalchemy import select, text
from starlette.types import Message, Receive, Scope, Send

from app.core.database import Connections
from app.core.embedded import EmbeddedServer
from app.domain.roles import StaffRole
from app.main import create_app
from app.models.programs import Program
from app.routers.route import Route, router
from app.runtime import Runtime
from app.security.guards import (
    Database,
    Public,
    ReadLane,
    Requires,
    RequiresInLane,
    UnguardedRoute,
    check_routes,
)
from app.security.permissions import Permission
from app.security.principal import Principal
from tests.factories import Make, Person
from tests.watching import Watcher, watch

Commander = Annotated[Principal, Depends(Requires(Permission.PROGRAM_READ))]
Reader = Annotated[Principal, Depends(RequiresInLane(Permission.PROGRAM_READ))]

POOL: Final = "stepwell-lanes"
DISCONNECTS: Final = 100
SEED: Final = 20260301
LATE: Final = """
    create schema late;
    create table late.promise (
        id int, constraint promise_kept unique (id) deferrable initially deferred
    );
    grant usage on schema late to stepwell_api;
    grant select, insert on late.promise to stepwell_api;
"""
BREAK_PROMISE: Final = "insert into late.promise values (1), (1)"
KEEP_PROMISE: Final = "insert into late.promise values (2)"


@pytest.fixture
async def watcher(server: EmbeddedServer) -> AsyncIterator[Watcher]:
    async with watch(server) as watcher:
        yield watcher


@pytest.fixture
async def late(watcher: Watcher) -> AsyncIterator[None]:
    """A table whose constraint is checked at COMMIT, when everything else has succeeded."""
    await watcher.connection.execute(LATE)
    yield
    await watcher.connection.execute("drop schema late cascade")


@pytest.fixture
async def own(runtime: Runtime, server: EmbeddedServer, make: Make) -> AsyncIterator[Runtime]:
    """A pool that only this test uses, under an application that its people call."""
    async with pool(runtime, server) as own:
        make.app = create_app(own)
        yield own


@asynccontextmanager
async def pool(runtime: Runtime, server: EmbeddedServer, size: int = 4) -> AsyncIterator[Runtime]:
    url = server.url(role="stepwell_api")
    connections = Connections(url, size=size, application_name=POOL)
    try:
        yield dataclasses.replace(runtime, connections=connections)
    finally:
        await connections.close()


def add(app: FastAPI, routes: APIRouter) -> None:
    app.router.routes.extend(routes.routes)


def promises() -> APIRouter:
    """Two routes that write what is refused at COMMIT, and one whose writing succeeds."""
    routes = router("/v1/promises", "promises")

    @routes.post("/command")
    async def break_by_command(db: Database, _: Commander) -> str:
        await db.execute(text(BREAK_PROMISE))
        return "kept"

    @routes.post("/lane")
    async def break_in_lane(lane: ReadLane, _: Reader) -> str:
        await lane.execute(BREAK_PROMISE)
        return "kept"

    @routes.post("/kept")
    async def keep(db: Database, _: Commander) -> str:
        await db.execute(text(KEEP_PROMISE))
        return "kept"

    return routes


# What the server knows of our connections


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("application_name", "stepwell"),
        ("enable_seqscan", "off"),
        ("idle_in_transaction_session_timeout", "10s"),
        ("jit", "off"),
        ("lock_timeout", "2s"),
        ("plan_cache_mode", "force_generic_plan"),
        ("search_path", "stepwell"),
        ("statement_timeout", "5s"),
        ("timezone", "UTC"),
        ("transaction_isolation", "read committed"),
    ],
)
async def test_rel_01_connections_are_what_they_should_be(
    runtime: Runtime, setting: str, value: str
) -> None:
    async with runtime.connections.lane() as lane:
        in_lane = await lane.fetchval(f"show {setting}")
    async with runtime.connections.command() as db:
        by_command = await db.scalar(text(f"show {setting}"))
    assert in_lane == by_command == value


async def test_rel_01_parameters_are_hidden_and_the_pool_has_its_bound(runtime: Runtime) -> None:
    engine = runtime.connections.engine
    assert engine.sync_engine.hide_parameters is True
    assert engine.pool.status().startswith("Pool size: 8 ")
    assert engine.pool.overflow() <= 0  # type: ignore[attr-defined]  # of the pool that is configured


async def test_rel_01_who_finds_no_free_connection_is_told_in_time(
    runtime: Runtime, server: EmbeddedServer, make: Make
) -> None:
    async with pool(runtime, server, size=1) as small:
        make.app = create_app(small)
        clinician = await make.staff()
        async with small.connections.lane(), asyncio.timeout(2.5):
            refused = await clinician.get("/v1/programs")
        afterwards = await clinician.get("/v1/programs")

    assert refused.status_code == HTTPStatus.SERVICE_UNAVAILABLE
    assert "retry-after" in refused.headers
    assert afterwards.status_code == HTTPStatus.OK


# The commit comes before the answer


@pytest.mark.usefixtures("late")
@pytest.mark.parametrize("lane", ["command", "lane"])
async def test_what_fails_at_commit_is_never_told_as_done(
    own: Runtime, make: Make, watcher: Watcher, lane: str
) -> None:
    add(make.app, promises())
    clinician = await make.staff()

    answers = [
        await clinician.post(f"/v1/promises/{lane}", headers={"Idempotency-Key": "once"})
        for _ in range(2)
    ]

    for answer in answers:
        assert answer.status_code == HTTPStatus.CONFLICT
        assert "idempotency-replayed" not in answer.headers
    assert await watcher.connection.fetchval("select count(*) from late.promise") == 0
    assert own.connections.engine.pool.checkedout() == 0  # type: ignore[attr-defined]  # of the pool that is configured


@pytest.mark.usefixtures("own", "late")
async def test_what_is_told_as_done_is_visible_to_everybody(make: Make, watcher: Watcher) -> None:
    add(make.app, promises())
    clinician = await make.staff()
    visible: list[int] = []

    async def spy(scope: Scope, receive: Receive, send: Send) -> None:
        async def tell(message: Message) -> None:
            if message["type"] == "http.response.start":
                count = await watcher.connection.fetchval("select count(*) from late.promise")
                visible.append(count)
            await send(message)

        await make.app(scope, receive, tell)

    async with AsyncClient(
        transport=ASGITransport(app=spy), base_url="http://testserver", headers=clinician.headers
    ) as http:
        answer = await http.post("/v1/promises/kept")

    assert answer.status_code == HTTPStatus.OK
    assert visible == [1]


# Races that the database decides


def crossing(meeting: asyncio.Barrier, runs: Counter[UUID]) -> APIRouter:
    """A route that changes one program and then another: two callers can meet in the middle."""
    routes = router("/v1/crossings", "crossings")

    @routes.post("/{first_id}/{second_id}")
    async def cross(first_id: UUID, second_id: UUID, db: Database, _: Commander) -> str:
        runs[first_id] += 1
        await mark(db, first_id)
        if runs[first_id] == 1:
            await meeting.wait()
        await mark(db, second_id)
        return "crossed"

    async def mark(db: Database, program_id: UUID) -> None:
        await db.execute(
            text("update program set name = name || '+' where id = :id"), {"id": program_id}
        )

    return routes


@pytest.mark.usefixtures("own")
async def test_rel_04_both_callers_of_a_deadlock_succeed_once(make: Make) -> None:
    runs: Counter[UUID] = Counter()
    add(make.app, crossing(asyncio.Barrier(2), runs))
    administrator = await make.staff(StaffRole.ADMINISTRATOR)
    here, there = [(await make.program()).id for _ in range(2)]

    answers = await asyncio.gather(
        administrator.post(f"/v1/crossings/{here}/{there}"),
        administrator.post(f"/v1/crossings/{there}/{here}"),
    )

    assert [answer.status_code for answer in answers] == [HTTPStatus.OK] * 2
    # One of them was undone and ran again; each has left one mark on each program.
    assert sorted(runs.values()) == [1, 2]
    async with make.transaction() as db:
        names = (await db.scalars(select(Program.name).where(Program.id.in_([here, there])))).all()
    assert [name.count("+") for name in names] == [2, 2]


@pytest.mark.usefixtures("own")
async def test_rel_04_a_transaction_that_goes_on_losing_is_given_up(make: Make) -> None:
    runs: list[int] = []
    routes = router("/v1/losers", "losers")

    @routes.post("")
    async def lose(db: Database, _: Commander) -> None:
        runs.append(1)
        await db.execute(text("do $$ begin raise sqlstate '40001'; end $$"))

    add(make.app, routes)
    clinician = await make.staff()

    answer = await clinician.post("/v1/losers")

    assert answer.status_code == HTTPStatus.SERVICE_UNAVAILABLE
    assert len(runs) == 4


# Connections that die


@pytest.mark.parametrize("path", ["/v1/participants", "/v1/programs", "/v1/me"])
async def test_rel_14_connections_that_died_between_requests_fail_nobody(
    own: Runtime, make: Make, watcher: Watcher, path: str
) -> None:
    clinician = await make.staff()
    await asyncio.gather(*(clinician.get(path) for _ in range(8)))

    killed = await watcher.terminate(POOL)
    answers = await asyncio.gather(*(clinician.get(path) for _ in range(8)))

    assert killed == own.connections.engine.pool.checkedin()  # type: ignore[attr-defined]  # of the pool that is configured
    assert [answer.status_code for answer in answers] == [HTTPStatus.OK] * 8


@pytest.mark.parametrize("path", ["/v1/participants", "/v1/programs", "/v1/me"])
async def test_rel_14_one_caller_after_another_meets_no_dead_connection(
    own: Runtime, make: Make, watcher: Watcher, path: str
) -> None:
    clinician = await make.staff()
    await asyncio.gather(*(clinician.get(path) for _ in range(8)))

    assert await watcher.terminate(POOL) > 1
    answers = [await clinician.get(path) for _ in range(8)]

    assert [answer.status_code for answer in answers] == [HTTPStatus.OK] * 8
    assert own.connections.engine.pool.checkedout() == 0  # type: ignore[attr-defined]  # of the pool that is configured


async def test_rel_14_connections_that_die_during_requests_give_503_and_the_pool_recovers(
    own: Runtime, make: Make, watcher: Watcher
) -> None:
    clinician = await make.staff(StaffRole.CARE_COORDINATOR)
    program = await make.program()
    body = {
        "program_id": str(program.id),
        "source": "self",
        "participant": {"given_name": "Ari", "family_name": "Stone", "time_zone": "UTC"},
    }
    answers: list[Response] = []

    async def call() -> None:
        for _ in range(10):
            answers.append(await clinician.get("/v1/participants"))
            answers.append(await clinician.post("/v1/referrals", json=body))

    calls = [asyncio.create_task(call()) for _ in range(4)]
    killed = 0
    while not all(each.done() for each in calls):
        killed += await watcher.terminate(POOL)
    await asyncio.gather(*calls)
    afterwards = [await clinician.get("/v1/participants") for _ in range(20)]

    assert killed > 0
    busy = [answer for answer in answers if answer.status_code >= 400]
    assert busy
    for answer in busy:
        assert answer.status_code == HTTPStatus.SERVICE_UNAVAILABLE, answer.text
        assert "retry-after" in answer.headers
    assert [answer.status_code for answer in afterwards] == [HTTPStatus.OK] * 20
    assert own.connections.engine.pool.checkedout() == 0  # type: ignore[attr-defined]  # of the pool that is configured


# Callers who leave


async def test_callers_who_leave_take_no_connection_with_them(
    own: Runtime, make: Make, watcher: Watcher
) -> None:
    clinician = await make.staff()
    me = await make.participant(team=[clinician])
    patience = random.Random(SEED)  # noqa: S311  # moments, not secrets

    async def leave_early(number: int) -> bool:
        """Ask, and leave some steps of the loop later; one in ten stays for the answer."""
        task = asyncio.create_task(request_of(number, me, clinician))
        if number % 10:
            # From one step, before anything has begun, to long after the answer.
            for _ in range(round(2 ** patience.uniform(0, 14))):
                await asyncio.sleep(0)
            task.cancel()
        return isinstance((await asyncio.gather(task, return_exceptions=True))[0], Response)

    answered = Counter([await leave_early(number) for number in range(DISCONNECTS)])

    assert answered[False] > DISCONNECTS // 10, answered
    assert answered[True] >= DISCONNECTS // 10, answered
    assert own.connections.engine.pool.checkedout() == 0  # type: ignore[attr-defined]  # of the pool that is configured
    assert await watcher.idle_in_transaction(POOL) == 0
    answers = await asyncio.gather(*(clinician.get("/v1/participants") for _ in range(8)))
    assert [answer.status_code for answer in answers] == [HTTPStatus.OK] * 8


def request_of(number: int, me: Person, clinician: Person) -> Any:  # noqa: ANN401  # as above
    """One of a read in the driver's lane, a read and a change in the ORM's."""
    record = f"/v1/participants/{me.participant_id}"
    match number % 3:
        case 0:
            return clinician.get(record)
        case 1:
            return clinician.get(f"{record}/care-team")
        case _:
            return me.patch(record, json={"pronouns": "they"}, headers={"If-Match": '"1"'})


# Routes that nobody guards


def bare(app: FastAPI, route_class: type[Route] | None, **options: Any) -> None:  # noqa: ANN401  # as FastAPI takes them
    routes = APIRouter() if route_class is None else APIRouter(route_class=route_class)

    @routes.get("/v1/bare", **options)
    async def _bare() -> str:
        return "bare"

    add(app, routes)


def test_authz_01_a_route_without_a_gate_stops_the_start() -> None:
    app = FastAPI()
    bare(app, Route)
    with pytest.raises(UnguardedRoute, match="/v1/bare declares no permission"):
        check_routes(app)


def test_authz_01_a_socket_without_a_gate_stops_the_start() -> None:
    app = FastAPI()

    @app.websocket("/v1/bare")
    async def _bare(socket: WebSocket) -> None:
        await socket.accept()

    with pytest.raises(UnguardedRoute, match="/v1/bare declares no permission"):
        check_routes(app)


@pytest.mark.parametrize(
    "gate", [Requires(Permission.PROGRAM_READ), RequiresInLane(Permission.PROGRAM_READ)]
)
def test_authz_01_a_transaction_that_nobody_ends_stops_the_start(gate: Any) -> None:  # noqa: ANN401  # either lane's
    app = FastAPI()
    bare(app, None, dependencies=[Depends(gate)])
    with pytest.raises(UnguardedRoute, match="/v1/bare opens a transaction that nobody ends"):
        check_routes(app)


def test_authz_01_a_route_with_a_gate_may_start() -> None:
    app = FastAPI()
    bare(app, Route, dependencies=[Depends(Requires(Permission.PROGRAM_READ))])
    bare(app, None, dependencies=[Public])
    check_routes(app)


def test_authz_01_the_application_itself_is_checked(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    unguarded = router("/v1/unguarded", "unguarded")

    @unguarded.get("")
    async def _read() -> str:
        return "anybody's"

    monkeypatch.setattr("app.main.ROUTERS", (unguarded,))
    with pytest.raises(UnguardedRoute, match="/v1/unguarded"):
        create_app(runtime)
