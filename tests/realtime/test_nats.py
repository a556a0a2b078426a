"""NATS as the bus: it wakes processes, and whatever happens to it, nothing is lost (WS-12)."""

import asyncio
import signal
from collections.abc import AsyncIterator, Coroutine
from typing import Any

import pytest

from app.core import embedded
from app.settings import Settings
from tests.processes import ApiProcess, api_processes, free_port
from tests.realtime.nats_server import NatsServer, nats_server
from tests.realtime.staging import Stage, device


@pytest.fixture
async def nats() -> AsyncIterator[NatsServer]:
    async with nats_server(free_port()) as server:
        yield server


async def test_ws_12_messages_reach_every_process_whatever_happens_to_nats(
    server: embedded.EmbeddedServer, settings: Settings, nats: NatsServer, stage: Stage
) -> None:
    heron, wren = await stage.member(), await stage.member()
    async with (
        api_processes(server, settings, 2, nats_url=nats.url) as apis,
        device(apis[0], heron) as a,
        device(apis[1], wren) as b,
    ):
        await a.follow(stage.room_id)
        await b.follow(stage.room_id)
        said = [await a.say(stage.room_id, "while it runs")]
        await b.until_shown(stage.room_id, said[-1]["seq"])
        await nats.kill()
        said.append(await a.say(stage.room_id, "while it is gone"))
        await b.until_shown(stage.room_id, said[-1]["seq"])
        await nats.start()
        said.append(await a.say(stage.room_id, "while it comes back"))
        await b.until_shown(stage.room_id, said[-1]["seq"])
        shown = b.rooms[stage.room_id].shown

    assert [each["entry_id"] for each in shown] == [ack["message_id"] for ack in said]


async def test_ws_12_one_process_listens_to_postgresql_and_another_takes_over(
    server: embedded.EmbeddedServer, settings: Settings, nats: NatsServer, stage: Stage
) -> None:
    heron = await stage.member()
    async with api_processes(server, settings, 2, nats_url=nats.url) as apis:
        first = await first_of(*(api.until_said("bus_bridge_opened") for api in apis))
        (other,) = [api for api in apis if api is not first]
        assert not any("bus_bridge_opened" in line for line in other.lines)
        first.send_signal(signal.SIGKILL)
        await first.until_ended()
        await other.until_said("bus_bridge_opened")
        async with device(other, heron) as client:
            view = await client.follow(stage.room_id)
            await stage.remove(heron)
            async with view.changed:
                await view.changed.wait_for(lambda: view.ended_because is not None)

    assert view.ended_because == "removed"


async def first_of(*waiting: Coroutine[Any, Any, ApiProcess]) -> ApiProcess:
    """What the first to be done gives."""
    tasks = [asyncio.create_task(each) for each in waiting]
    done, others = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in others:
        task.cancel()
    return done.pop().result()
