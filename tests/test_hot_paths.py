"""Hot routes ask the database as often as they must, and no more (REL-18).

A round trip is counted where the driver sends it, BEGIN and COMMIT included. Callers are known to
the process, as they are from their second request on.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, cast
from uuid import UUID, uuid4

import asyncpg
import pytest
from asyncpg.connection import LoggedQuery
from sqlalchemy import event

from app.core import clock
from app.core.database import Query
from app.domain.roles import StaffRole
from app.runtime import Runtime
from app.security.principal import Reach
from app.services import participants
from tests.factories import Make, Person
from tests.realtime.staging import Stage, open_stage

ALONE: Final = 1
"""A read that checks the access, leaves its audit row and commits by itself."""
READ: Final = 3
"""The opening with BEGIN, the statement, and COMMIT."""
LOG: Final = 5
"""The same, with two statements more."""
_PLANS: Final = """
    select generic_plans, custom_plans from pg_prepared_statements where statement = $1
"""


@dataclass
class Trips:
    """What was sent to the database, in order."""

    statements: list[str]

    def note(self, query: LoggedQuery) -> None:
        self.statements.append(" ".join(query.query.split())[:60])


@contextmanager
def counted(runtime: Runtime) -> Iterator[Trips]:
    """Count the round trips of whatever takes a connection of the pool meanwhile."""
    trips, engine = Trips([]), runtime.connections.engine.sync_engine
    seen: list[asyncpg.Connection[asyncpg.Record]] = []

    def attach(pooled: Any, *_: object) -> None:  # noqa: ANN401  # SQLAlchemy leaves it untyped
        connection = cast("asyncpg.Connection[asyncpg.Record]", pooled.driver_connection)
        if connection not in seen:
            seen.append(connection)
            connection.add_query_logger(trips.note)

    event.listen(engine, "checkout", attach)
    try:
        yield trips
    finally:
        event.remove(engine, "checkout", attach)
        for connection in seen:
            connection.remove_query_logger(trips.note)


@pytest.fixture
async def stage(make: Make) -> Stage:
    return await open_stage(make)


async def warmed(person: Person, method: str, path: str, times: int = 3, **sent: Any) -> None:  # noqa: ANN401  # httpx's
    for _ in range(times):
        answer = await person.request(method, path, **sent)
        assert answer.is_success, answer.text


async def trips_of(
    runtime: Runtime,
    person: Person,
    method: str,
    path: str,
    **sent: Any,  # noqa: ANN401  # httpx's
) -> list[str]:
    with counted(runtime) as trips:
        answer = await person.request(method, path, **sent)
        # The driver tells of a query at the loop's next turn.
        await asyncio.sleep(0)
    assert answer.is_success, answer.text
    return trips.statements


@pytest.mark.parametrize(
    "path",
    [
        "/v1/rooms",
        "/v1/rooms/{room}",
    ],
)
async def test_rel_18_a_read_is_three_round_trips(
    runtime: Runtime, stage: Stage, path: str
) -> None:
    path = path.replace("{room}", stage.room_id)
    await stage.say(stage.leader, "Good evening.")
    await warmed(stage.leader, "GET", path)

    trips = await trips_of(runtime, stage.leader, "GET", path)

    assert len(trips) == READ, trips


@pytest.mark.parametrize("path", ["/v1/participants", "/v1/alerts", "/v1/plans", "/v1/sessions"])
async def test_rel_18_a_list_is_one_round_trip(runtime: Runtime, make: Make, path: str) -> None:
    clinician = await make.staff(StaffRole.CLINICIAN)
    await make.participant(team=[clinician])
    await warmed(clinician, "GET", path)

    trips = await trips_of(runtime, clinician, "GET", path)

    assert len(trips) == ALONE, trips


async def test_rel_18_a_rooms_log_is_five_round_trips(runtime: Runtime, stage: Stage) -> None:
    """Whose room it is, what was said, and the trace of having read it are three statements."""
    path = f"/v1/rooms/{stage.room_id}/entries"
    await stage.say(stage.leader, "Good evening.")
    await warmed(stage.leader, "GET", path)

    trips = await trips_of(runtime, stage.leader, "GET", path)

    assert len(trips) <= LOG, trips


async def test_rel_18_a_record_is_one_round_trip(runtime: Runtime, make: Make) -> None:
    clinician = await make.staff(StaffRole.CLINICIAN)
    person = await make.participant(team=[clinician])
    path = f"/v1/participants/{person.participant_id}"
    await warmed(clinician, "GET", path)

    trips = await trips_of(runtime, clinician, "GET", path)

    assert len(trips) == ALONE, trips
    assert trips[0].startswith("WITH checked AS (SELECT open_known_request(")


async def test_rel_18_a_message_is_three_round_trips_under_a_key_too(
    runtime: Runtime, stage: Stage
) -> None:
    path = f"/v1/rooms/{stage.room_id}/entries"
    await stage.say(stage.leader, "Good evening.")
    for _ in range(2):  # the first makes the key that seals stored answers, the second keeps it
        await trips_of(runtime, stage.leader, "POST", path, json=message(), headers=once())

    plain = await trips_of(runtime, stage.leader, "POST", path, json=message())
    keyed = await trips_of(runtime, stage.leader, "POST", path, json=message(), headers=once())

    assert len(plain) == READ, plain
    # The key is claimed together with the opening, and its answer kept together with COMMIT.
    assert len(keyed) == READ, keyed


async def test_rel_18_a_page_is_planned_once(runtime: Runtime, make: Make) -> None:
    """A plan that is made anew for each page costs more than the page."""
    clinician = await make.staff(StaffRole.CLINICIAN)
    async with runtime.connections.lane() as lane:
        await lane.execute("select enter_organization($1)", make.organization_id)
        values = {"after": UUID(int=0), "me": clinician.staff_member_id, "now": clock.now()}
        query = participants._page(Reach.CARE_TEAM)  # noqa: SLF001  # no route shows its plan
        for limit in (2, 26, 101, 2, 26, 101, 2, 26, 101):
            await lane.all(query, limit=limit, **values)
        plans = await lane.fetchrow(_PLANS, query.sql)

    assert plans is not None
    assert plans["custom_plans"] == 0
    assert plans["generic_plans"] >= 9


def message() -> dict[str, str]:
    return {"client_message_id": str(uuid4()), "body": "I tried it twice."}


def once() -> dict[str, str]:
    return {"Idempotency-Key": str(uuid4())}


HOT: Final = {
    "a record": participants._one(Reach.CARE_TEAM),  # noqa: SLF001  # no route shows its plan
    "a page of participants": participants._page(Reach.CARE_TEAM),  # noqa: SLF001  # as above
    "a page of the supervised": participants._page(Reach.SUPERVISEES),  # noqa: SLF001  # as above
}
_SCANS: Final = {"Seq Scan", "Index Scan", "Index Only Scan", "Bitmap Heap Scan"}


@pytest.mark.parametrize("query", HOT.values(), ids=HOT)
async def test_authz_25_a_hot_query_finds_its_tenant_by_an_index(
    runtime: Runtime, make: Make, query: Query
) -> None:
    """Costs must not grow with other organizations, so the policy's condition leads the index.

    The tables are small, and no pooled connection reads one as a whole for that.
    """
    async with runtime.connections.lane() as lane:
        await lane.execute("select enter_organization($1)", make.organization_id)
        await lane.execute("set local enable_bitmapscan = off")
        values = {
            "id": uuid4(),
            "me": uuid4(),
            "now": clock.now(),
            "after": UUID(int=0),
            "limit": 26,
        }
        explained = await lane.fetchval(
            f"explain (format json) {query.sql}", *query.arguments(values)
        )

    scans = [node for node in nodes(explained[0]["Plan"]) if is_of_a_tenant(node)]
    assert scans
    for scan in scans:
        assert "organization_id" in scan.get("Index Cond", ""), scan


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for inner in plan.get("Plans", ()):
        yield from nodes(inner)


def is_of_a_tenant(node: dict[str, Any]) -> bool:
    return node["Node Type"] in _SCANS and "Relation Name" in node
