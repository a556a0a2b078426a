"""The receiver that `docs/` gives to integrators, as they would run it, and against a worker."""

import asyncio
import json
import os
import runpy
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import exists, select, update

from app import events
from app.core import clock, embedded
from app.core.ids import new_id
from app.jobs import sequencer
from app.jobs.workplace import Workplace
from app.models.events import Event
from app.models.webhooks import WebhookDelivery
from app.settings import Settings
from app.webhooks.signing import WebhookSecret, sign
from tests.factories import Make, Person
from tests.processes import ROOT, free_port
from tests.watching import a_moment
from tests.webhooks.nursery import nursery

SAMPLE = ROOT / "docs" / "webhook_receiver.py"
PATIENCE = 30


@pytest.fixture(scope="module")
def sample() -> dict[str, Any]:
    """The names that the sample defines."""
    return runpy.run_path(str(SAMPLE))


def signed(secret: WebhookSecret, body: bytes, age: timedelta = timedelta()) -> dict[str, str]:
    return sign([secret], f"msg_{uuid4().hex}", datetime.now(UTC) - age, body)


def test_wh_02_the_sample_takes_what_we_sign(sample: dict[str, Any]) -> None:
    secret, body = WebhookSecret.generate(), b'{"type":"plan.signed"}'
    headers = sign(
        [WebhookSecret.generate(), secret], f"msg_{uuid4().hex}", datetime.now(UTC), body
    )

    assert sample["verify"](secret.reveal(), headers, body) == json.loads(body)


@pytest.mark.parametrize(
    ("age", "sent"),
    [
        (timedelta(), b'{"type":"plan.signed" }'),
        (timedelta(minutes=6), b'{"type":"plan.signed"}'),
        (timedelta(minutes=-6), b'{"type":"plan.signed"}'),
    ],
)
def test_wh_02_the_sample_refuses_what_we_did_not_sign_now(
    sample: dict[str, Any], age: timedelta, sent: bytes
) -> None:
    secret = WebhookSecret.generate()

    with pytest.raises(sample["Refused"]):
        sample["verify"](secret.reveal(), signed(secret, b'{"type":"plan.signed"}', age), sent)


@pytest.mark.parametrize("missing", ["webhook-id", "webhook-timestamp", "webhook-signature"])
@pytest.mark.parametrize("value", [None, "", "nonsense", "v1,\u00e9"])
def test_wh_02_the_sample_refuses_headers_that_are_not_ours(
    sample: dict[str, Any], missing: str, value: str | None
) -> None:
    secret, body = WebhookSecret.generate(), b"{}"
    headers: dict[str, str | None] = {**signed(secret, body), missing: value}

    with pytest.raises(sample["Refused"]):
        sample["verify"](secret.reveal(), headers, body)


def message(version: int | None, subject: str = "plan") -> dict[str, Any]:
    data = {"id": "a", "resource": None, "version": version}
    return {"type": f"{subject}.signed", "data": data}


def test_wh_10_the_sample_tells_new_from_stale_from_again(
    sample: dict[str, Any], tmp_path: Path
) -> None:
    inbox = sample["Inbox"](str(tmp_path / "inbox"))

    told = [
        inbox.take("1", message(2)),
        inbox.take("2", message(1)),
        inbox.take("1", message(2)),
        inbox.take("3", message(2)),  # two things happened in one change
        inbox.take("4", message(None)),
        inbox.take("5", message(1, "note")),
        inbox.take("2", message(1)),
    ]
    reopened = sample["Inbox"](str(tmp_path / "inbox"))

    assert told == ["new", "stale", "again", "new", "new", "new", "again"]
    assert reopened.take("6", message(1)) == "stale"
    assert reopened.take("7", message(3)) == "new"


# As a process


@asynccontextmanager
async def running(port: int, secret: str, inbox: Path) -> AsyncIterator[asyncio.StreamReader]:
    """The sample, as an integrator starts it; gives what it says."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(SAMPLE),
        env={**os.environ, "PORT": str(port), "SECRET": secret, "INBOX": str(inbox)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        assert process.stdout is not None
        yield process.stdout
    finally:
        process.kill()
        await process.wait()


async def heard(said: asyncio.StreamReader) -> str:
    """The next line."""
    return (await said.readline()).decode().rstrip()


async def test_wh_10_the_sample_keeps_the_newer_of_two_that_a_worker_brings_in_reverse_order(  # noqa: PLR0913, PLR0917 (a whole service)
    make: Make,
    administrator: Person,
    place: Workplace,
    server: embedded.EmbeddedServer,
    settings: Settings,
    tmp_path: Path,
) -> None:
    port, plan_id = free_port(), new_id()
    registered = await administrator.post(
        "/v1/webhooks", json={"url": f"http://127.0.0.1:{port}/", "event_types": ["plan.*"]}
    )
    endpoint_id, secret = registered.json()["id"], registered.json()["secret"]
    async with (
        asyncio.timeout(PATIENCE),
        running(port, secret, tmp_path / "inbox") as said,
        nursery(server, settings) as workers,
    ):
        worker = await workers.start()
        proof = await heard(said)
        await until_active(administrator, endpoint_id)
        await until_positioned(make)
        os.kill(worker, signal.SIGSTOP)
        older = await change(make, plan_id, version=1)
        await change(make, plan_id, version=2)
        await sequencer.sequence(place)
        await put_off(make, older, by=timedelta(hours=1))
        os.kill(worker, signal.SIGCONT)
        newer = await heard(said)
        await put_off(make, older, by=timedelta())
        late = await heard(said)
        await replay_everything(administrator, endpoint_id)
        repeated = sorted([await heard(said), await heard(said)])

    named = f"plan.updated /v1/plans/{plan_id}"
    assert proof.startswith("proof endpoint.verification ")
    assert (newer, late) == (f"new {named} 2", f"stale {named} 1")
    assert repeated == [f"again {named} 1", f"again {named} 2"]


async def until_active(administrator: Person, endpoint_id: str) -> None:
    while (await administrator.get(f"/v1/webhooks/{endpoint_id}")).json()["state"] != "active":
        await a_moment()


async def until_positioned(make: Make) -> None:
    """Wait until the worker has nothing to position, and so no lock with which it could stop."""
    async with make.transaction() as db:
        while await db.scalar(select(exists().where(Event.position.is_(None)))):
            await a_moment()


async def change(make: Make, plan_id: UUID, *, version: int) -> UUID:
    async with make.transaction() as db:
        return await events.record(db, "plan.updated", plan_id, version=version)


async def put_off(make: Make, event_id: UUID, *, by: timedelta) -> None:
    """Let an event's next attempt be later, as after a failure, or now."""
    async with make.transaction() as db:
        await db.execute(
            update(WebhookDelivery)
            .where(WebhookDelivery.event_id == event_id)
            .values(next_attempt_at=clock.wall() + by)
        )


async def replay_everything(administrator: Person, endpoint_id: str) -> None:
    """Have each of its deliveries sent again, as soon as the worker knows what came of it."""
    path = f"/v1/webhooks/{endpoint_id}/deliveries"
    while (await administrator.get(path, params={"state": "waiting"})).json()["items"]:
        await a_moment()
    for one in (await administrator.get(path)).json()["items"]:
        if one["event_type"] == "plan.updated":
            assert (await administrator.post(f"{path}/{one['id']}/replay")).is_success
