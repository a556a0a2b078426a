"""A database that stops answering, or whose answer is lost: what a client is told, and when."""

import asyncio
import dataclasses
from collections.abc import AsyncIterator, Awaitable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import pytest
from httpx import Response
from sqlalchemy import func, select

from app.core import clock
from app.core.database import Connections
from app.core.embedded import EmbeddedServer
from app.core.ids import new_id
from app.domain.roles import StaffRole
from app.main import create_app
from app.models.participants import Participant
from app.runtime import Runtime
from tests.factories import Make, problem_of
from tests.faults.proxy import DatabaseProxy, database_proxy

NO_REQUEST_LONGER = 12.0
"""Seconds (fault F5)."""
HEALTH_NO_LONGER = 1.5
"""Seconds (REL-16)."""


@dataclass(frozen=True)
class Wired:
    """An application whose wire to the database can be cut."""

    make: Make
    proxy: DatabaseProxy
    connections: Connections

    async def participants(self) -> int:
        """How many there are, asked over another wire."""
        async with self.make.transaction() as db:
            return await db.scalar(select(func.count()).select_from(Participant)) or 0


@pytest.fixture
async def wired(runtime: Runtime, server: EmbeddedServer, make: Make) -> AsyncIterator[Wired]:
    async with database_proxy(server) as proxy:
        connections = Connections(proxy.url(role="stepwell_api"), size=4)
        make.app = create_app(dataclasses.replace(runtime, connections=connections))
        try:
            yield Wired(make, proxy, connections)
        finally:
            await connections.close()


async def timed(answer: Awaitable[Response]) -> tuple[Response, float]:
    """An answer, and after how many seconds it came."""
    began = clock.monotonic()
    return await answer, clock.monotonic() - began


async def test_rel_01_a_database_that_does_not_answer_fails_requests_in_time(
    wired: Wired,
) -> None:
    clinician = await wired.make.staff()
    # Two connections are in the pool, and two are still to be made.
    await asyncio.gather(*(clinician.get("/v1/programs") for _ in range(2)))

    wired.proxy.hold()
    answers = await asyncio.gather(
        *(timed(clinician.get(path)) for path in ("/v1/participants", "/v1/programs") * 2)
    )
    wired.proxy.release()
    afterwards = [await clinician.get("/v1/participants") for _ in range(8)]

    for answer, seconds in answers:
        assert answer.status_code == HTTPStatus.SERVICE_UNAVAILABLE
        assert "retry-after" in answer.headers
        assert seconds < NO_REQUEST_LONGER
    assert [answer.status_code for answer in afterwards] == [HTTPStatus.OK] * 8
    assert wired.connections.engine.pool.checkedout() == 0  # type: ignore[attr-defined]  # of the pool that is configured


async def test_rel_16_a_database_that_does_not_answer_ends_readiness_and_not_life(
    wired: Wired,
) -> None:
    clinician = await wired.make.staff()
    wired.make.app.state.has_started = True
    wired.make.app.state.readiness.kept_seconds = 0
    await clinician.get("/v1/programs")
    before = [(await clinician.get(path)).json() for path in ("/livez", "/startupz", "/readyz")]

    wired.proxy.hold()
    live, started, ready = await asyncio.gather(
        *(timed(clinician.get(path)) for path in ("/livez", "/startupz", "/readyz"))
    )
    wired.proxy.release()
    again = await clinician.get("/readyz")

    assert before == [{"status": "ok"}] * 3
    assert (live[0].status_code, started[0].status_code) == (HTTPStatus.OK, HTTPStatus.OK)
    assert ready[0].status_code == HTTPStatus.SERVICE_UNAVAILABLE
    assert ready[0].json() == {"status": "fail"}
    assert max(seconds for _, seconds in (live, started, ready)) < HEALTH_NO_LONGER
    assert again.json() == {"status": "ok"}


@pytest.mark.parametrize(("is_done", "replayed"), [(True, "true"), (False, None)])
async def test_rel_14_api_07_an_unknown_outcome_is_resolved_by_the_same_key(
    wired: Wired, *, is_done: bool, replayed: str | None
) -> None:
    coordinator = await wired.make.staff(StaffRole.CARE_COORDINATOR)
    program = await wired.make.program()
    body: dict[str, Any] = {
        "program_id": str(program.id),
        "source": "self",
        "participant": {"given_name": "Ari", "family_name": "Stone", "time_zone": "UTC"},
    }
    key = {"Idempotency-Key": str(new_id())}
    cut = wired.proxy.cut_after if is_done else wired.proxy.cut_before

    cut(b"COMMIT")
    unknown = await coordinator.post("/v1/referrals", json=body, headers=key)
    count = await wired.participants()
    resolved = await coordinator.post("/v1/referrals", json=body, headers=key)

    assert wired.proxy.cuts == 1
    assert unknown.status_code == HTTPStatus.SERVICE_UNAVAILABLE
    assert problem_of(unknown) == "outcome-unknown"
    assert count == int(is_done)
    assert resolved.status_code == HTTPStatus.CREATED
    assert resolved.headers.get("idempotency-replayed") == replayed
    assert await wired.participants() == 1


async def test_rel_14_a_read_whose_commit_is_lost_is_not_told_as_done(wired: Wired) -> None:
    """A read commits too: the trace that it leaves in the audit trail."""
    clinician = await wired.make.staff()
    me = await wired.make.participant(team=[clinician])
    path = f"/v1/participants/{me.participant_id}"

    wired.proxy.cut_before(b"commit")
    lost = await clinician.get(path)

    assert wired.proxy.cuts == 1
    assert lost.status_code == HTTPStatus.SERVICE_UNAVAILABLE
    assert "Jordan" not in lost.text
    assert (await clinician.get(path)).status_code == HTTPStatus.OK
