"""The worker's own port: it answers from the loop that works, and names nobody (REL-16, REL-17)."""

import asyncio
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Any, Final

import pytest
from httpx import ASGITransport, AsyncClient
from prometheus_client.parser import text_string_to_metric_families
from pydantic import SecretStr

from app import worker
from app.core import clock, metrics
from app.core.embedded import EmbeddedServer
from app.jobs.probes import Probes
from app.jobs.supervision import Loop, Supervisor
from app.jobs.workplace import Workplace
from app.readiness import Check, Link, Readiness, Verdict
from app.settings import Misconfigured, Settings
from tests.processes import ApiProcess, worker_process
from tests.watching import PATIENCE, a_moment
from tests.working import workplace

TOKEN: Final = "an-operator-who-may-look-behind-it"  # noqa: S105  # of this test only
UNHURRIED: Final = {"outbox_limit": "P365D", "deliveries_limit": "P365D"}
"""Other tests leave events and deliveries lying."""


@pytest.fixture(scope="module")
async def working(server: EmbeddedServer, settings: Settings) -> AsyncIterator[ApiProcess]:
    async with worker_process(server, settings, operator_token=TOKEN, **UNHURRIED) as process:
        yield process


@pytest.fixture
async def place(server: EmbeddedServer, settings: Settings) -> AsyncIterator[Workplace]:
    async with workplace(server, settings) as place:
        yield place


async def until_checked(client: AsyncClient, name: str, verdict: str) -> dict[str, Any]:
    """Wait until a check says so."""
    async with asyncio.timeout(PATIENCE):
        while True:
            answer = await client.get("/readyz", headers={"Authorization": f"Bearer {TOKEN}"})
            found = {check["name"]: check for check in answer.json()["checks"]}
            if found[name]["status"] == verdict:
                return found
            await a_moment()


async def test_rel_16_a_worker_answers_for_itself(working: ApiProcess) -> None:
    async with working.client() as client:
        found = await until_checked(client, "listener", "ok")
        live, ready = await client.get("/livez"), await client.get("/readyz")
        elsewhere = await client.get("/v1/participants")

    assert (live.status_code, live.json()) == (HTTPStatus.OK, {"status": "ok"})
    assert (ready.status_code, ready.json()) == (HTTPStatus.OK, {"status": "ok"})
    assert elsewhere.status_code == HTTPStatus.NOT_FOUND
    assert set(found) == {
        "database",
        "schema",
        "outbox",
        "deliveries",
        "draining",
        "keys",
        "listener",
        "jobs",
    }
    assert found["jobs"]["limit_seconds"] == 120


async def test_rel_17_a_worker_says_what_its_jobs_do(working: ApiProcess) -> None:
    jobs = ("sequencer", "webhooks", "alert_clocks", "horizon", "cleanup")
    async with working.client() as client, asyncio.timeout(PATIENCE):
        while True:
            text = (await client.get("/metrics")).text
            families = {each.name: each for each in text_string_to_metric_families(text)}
            done = {
                sample.labels["job"]: sample.value
                for sample in families["stepwell_job_last_success_timestamp_seconds"].samples
            }
            if done.keys() >= set(jobs):
                break

    for job in jobs:
        assert done[job] == pytest.approx(clock.wall().timestamp(), abs=PATIENCE)
    timed = {
        sample.labels["job"]
        for sample in families["stepwell_job_seconds"].samples
        if sample.name.endswith("_count") and sample.value > 0
    }
    assert timed >= set(jobs)
    assert families["stepwell_outbox_age_seconds"].samples[0].value >= 0
    assert families["stepwell_pool_in_use"].samples[0].value >= 0
    labels = {
        label for each in families.values() for sample in each.samples for label in sample.labels
    }
    assert labels <= metrics.LABELS | {"le"}


async def test_rel_06_a_worker_with_probes_ends_in_order(
    server: EmbeddedServer, settings: Settings
) -> None:
    async with worker_process(server, settings, **UNHURRIED) as process:
        process.send_signal(signal.SIGTERM)
        assert await process.until_ended() == 0


async def test_a_port_that_is_taken_is_said(server: EmbeddedServer, settings: Settings) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        at_taken = settings.model_copy(
            update={
                "worker_metrics_port": taken.getsockname()[1],
                "worker_database_url": SecretStr(server.url(role="stepwell_worker")),
            }
        )
        with pytest.raises(Misconfigured, match="STEPWELL_WORKER_METRICS_PORT cannot be listened"):
            await worker.run(at_taken)


@asynccontextmanager
async def probed(place: Workplace, *own: Check) -> AsyncIterator[AsyncClient]:
    """The probes of a worker that knows this of itself."""
    probes = Probes(Readiness(place.connections, place.settings, lambda: own), place.settings)
    async with AsyncClient(transport=ASGITransport(app=probes), base_url="http://worker") as client:
        yield client


@pytest.mark.parametrize(
    ("verdict", "status"),
    [(Verdict.OK, 200), (Verdict.DEGRADED, 200), (Verdict.FAIL, 503)],
)
async def test_rel_16_a_worker_is_as_ready_as_its_worst_check(
    place: Workplace, verdict: Verdict, status: int
) -> None:
    async with probed(place, Check("one", Verdict.OK), Check("jobs", verdict)) as client:
        answer = await client.get("/readyz")
    assert (answer.status_code, answer.json()) == (status, {"status": verdict})


async def _nothing_more() -> bool:
    return False


def checks_of(settings: Settings, supervisor: Supervisor) -> dict[str, Verdict]:
    found = worker._own_checks(settings, supervisor, Link())  # noqa: SLF001  # what a hung job shows
    return {check.name: check.verdict for check in found}


def test_rel_16_a_job_that_hangs_degrades_its_worker(settings: Settings) -> None:
    loops = [Loop("one", _nothing_more, 1), Loop("two", _nothing_more, 1, is_critical=False)]
    supervisor, late = Supervisor(loops), settings.jobs_limit.total_seconds() + 2
    loops[1].done_at -= late
    assert checks_of(settings, supervisor)["jobs"] is Verdict.OK
    loops[0].done_at -= late
    assert checks_of(settings, supervisor)["jobs"] is Verdict.DEGRADED


async def test_rel_16_a_worker_that_leaves_is_not_ready(settings: Settings) -> None:
    supervisor = Supervisor([Loop("one", _nothing_more, 1)])
    assert checks_of(settings, supervisor)["draining"] is Verdict.OK
    supervisor.stop()
    assert checks_of(settings, supervisor)["draining"] is Verdict.FAIL
