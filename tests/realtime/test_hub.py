"""The hub when hints are lost, when connections die, and when the process leaves."""

import asyncio
import json
import signal
from contextlib import AsyncExitStack, ExitStack
from dataclasses import replace
from datetime import timedelta
from http import HTTPStatus
from typing import Any, Final
from uuid import UUID

import pytest
from httpx import AsyncClient
from sqlalchemy import select, text, update
from websockets.asyncio.client import ClientConnection

from app import events
from app.core import clock, embedded
from app.core.ids import new_id
from app.core.problems import ServiceBusy, TooManyRequests
from app.domain.roles import RoomRole, StaffRole
from app.jobs.sequencer import give_positions
from app.models.accounts import SignIn
from app.models.rooms import Presence, RoomMember
from app.models.sessions import Attendance
from app.realtime.bus import Channel, Listener
from app.realtime.frames import Subscribe
from app.realtime.hub import READS_AT_ONCE, Hub
from app.realtime.lines import LINES_OF_ADDRESS, Line
from app.realtime.protocol import CloseCode, Connection
from app.runtime import Runtime
from app.security.principal import Principal, Reach
from app.security.scopes import ScopeSet
from app.services.rooms import lanes, presence, standing
from app.settings import Settings
from tests.factories import FULL_SCOPE, Make, Person
from tests.processes import ApiProcess, api_processes
from tests.realtime.making import seen
from tests.realtime.staging import (
    Stage,
    ask,
    close_of,
    device,
    ended,
    hear,
    raw,
    refusal,
)
from tests.routers.scheduling import an_evening, minutes, set_clock

SLOW_MESSAGES: Final = 500


# Without a socket: what the hub decides


class DeafBus:
    """A bus that never says anything."""

    async def listen(self, _listener: Listener) -> None:
        await asyncio.Event().wait()


@pytest.fixture
def hub(make: Make) -> Hub:
    return Hub(make.runtime, DeafBus(), most_lines=3)


async def line_of(stage: Stage, person: Person, hub: Hub) -> Line:
    """A line that follows the stage's room, as a socket would have made it."""
    account = "participant" if person.participant_id else "staff"
    async with stage.make.transaction() as db:
        member = (
            await db.scalars(
                select(RoomMember).where(
                    RoomMember.room_id == UUID(stage.room_id),
                    RoomMember.account_id == person.account_id,
                    RoomMember.left_at.is_(None),
                )
            )
        ).one()
        sign_in = (await db.scalars(select(SignIn).where(SignIn.id == person.sign_in_id))).one()
    principal = Principal(
        organization_id=stage.make.organization_id,
        account_id=sign_in.account_id,
        kind=next(kind for kind in FULL_SCOPE if kind == account),
        roles=frozenset({StaffRole.FACILITATOR} if account == "staff" else ()),
        staff_member_id=person.staff_member_id,
        participant_id=person.participant_id,
        is_licensed=False,
        sign_in_id=sign_in.id,
        sign_in_version=sign_in.version,
        client_id=sign_in.client_id,
        scope=ScopeSet.parse(sign_in.scope),
        acr=sign_in.acr,
        authenticated_at=sign_in.authenticated_at,
        reach=Reach.MEMBER,
    )
    line = Line(principal, Connection(0.0))
    hub.join(line, 0)
    room_id, head = UUID(stage.room_id), len(await stage.log())
    line.connection.receive(
        Subscribe(type="subscribe", ref="1", room_id=room_id).model_dump_json(), 0.0
    )
    hub.expect(line, room_id)
    (request,) = [each.request for each in line.connection._rooms.values()]  # noqa: SLF001 (the protocol keeps it)
    line.connection.subscribed(
        request, member_id=member.id, role=RoomRole.PARTICIPANT, head_seq=head, first_seq=1
    )
    hub.follow(line, room_id, member.id, head)
    assert seen(line.connection)[0] == "subscribed"
    return line


async def until_read(hub: Hub) -> None:
    """Wait until the hub has done what it was told to do."""
    while hub._tasks:  # noqa: SLF001 (its work in the background)
        await asyncio.gather(*hub._tasks, return_exceptions=True)  # noqa: SLF001


async def test_ws_11_heads_are_compared_when_hints_are_lost(stage: Stage, hub: Hub) -> None:
    heron = await stage.member()
    line = await line_of(stage, heron, hub)
    said = [await stage.say(heron, f"{n}") for n in range(3)]

    await hub.compare_heads()
    await until_read(hub)

    assert seen(line.connection) == [f"entry {each['seq']}" for each in said]


async def test_a_hint_that_is_doubled_or_false_changes_nothing(stage: Stage, hub: Hub) -> None:
    heron = await stage.member()
    line = await line_of(stage, heron, hub)
    said = await stage.say(heron, "once")
    for seq in (said["seq"], said["seq"], said["seq"] + 40, said["seq"] - 1):
        hub.hear(Channel.ROOMS, f"{stage.make.organization_id}:{stage.room_id}:{seq}")
        await until_read(hub)
    again = await stage.say(heron, "again")
    hub.hear(Channel.ROOMS, f"{stage.make.organization_id}:{stage.room_id}:{again['seq']}")
    await until_read(hub)

    assert seen(line.connection) == [f"entry {said['seq']}", f"entry {again['seq']}"]


@pytest.mark.parametrize("channel", list(Channel))
async def test_a_payload_that_nobody_understands_is_let_go(hub: Hub, channel: Channel) -> None:
    for payload in ("", "nonsense", "a:b:c", "sign_in:x", "1:2:3:4:5"):
        hub.hear(channel, payload)


async def test_ws_14_a_removal_that_nobody_told_of_ends_with_the_next_entry(
    stage: Stage, hub: Hub
) -> None:
    heron, wren = await stage.member(), await stage.member()
    gone, stays = await line_of(stage, heron, hub), await line_of(stage, wren, hub)
    await stage.remove(heron)
    said = await stage.say(wren, "after")

    await hub.compare_heads()
    await until_read(hub)

    assert seen(gone.connection) == ["unsubscribed"]
    assert seen(stays.connection)[-1] == f"entry {said['seq']}"


async def test_ws_14_the_sweep_ends_what_nobody_told_of(stage: Stage, hub: Hub) -> None:
    heron, wren, owl = [await stage.member() for _ in range(3)]
    removed, signed_out, stays = [
        await line_of(stage, person, hub) for person in (heron, wren, owl)
    ]
    await stage.remove(heron)
    await wren.post("/v1/me/sign-out")

    await hub.sweep()

    assert seen(removed.connection) == ["unsubscribed"]
    assert signed_out.connection.closing is CloseCode.AUTHENTICATION
    assert stays.connection.closing is None
    assert stays.members


async def test_what_still_holds_is_asked_of_all_organizations_at_once_and_of_each_by_name(
    stage: Stage, runtime: Runtime
) -> None:
    elsewhere = await Make.organization(stage.make.app, runtime)
    here, there = stage.make.organization_id, elsewhere.organization_id
    ours, theirs = await stage.member(), await elsewhere.staff()
    member_id = UUID(await stage.member_id(ours))
    async with elsewhere.transaction() as db:
        await events.record(db, "plan.signed", new_id())
        await give_positions(db)

    async with lanes.entered(runtime, None) as lane:
        signed_in = await standing.live_sign_ins(
            lane, [(here, ours.sign_in_id), (there, theirs.sign_in_id), (here, theirs.sign_in_id)]
        )
        members = await standing.standing_members(lane, [(here, member_id), (there, member_id)])
        heads = await standing.heads_of(lane, [(here, UUID(stage.room_id))])
        nothing = await standing.heads_of(lane, [(there, UUID(stage.room_id))])
        positions = await standing.positions_of(lane, [there])

    assert signed_in == {(ours.sign_in_id, 1), (theirs.sign_in_id, 1)}
    assert members == {member_id}
    assert (heads, nothing) == ({UUID(stage.room_id): len(await stage.log())}, {})
    assert positions == {there: 1}
    await elsewhere.close()


async def test_ws_14_a_sign_in_that_was_idle_too_long_is_swept(stage: Stage, hub: Hub) -> None:
    line = await line_of(stage, await stage.member(), hub)
    async with stage.make.transaction() as db:
        await db.execute(
            update(SignIn)
            .where(SignIn.id == line.principal.sign_in_id)
            .values(last_seen_at=clock.wall() - timedelta(hours=1))
        )
    await hub.sweep()
    assert line.connection.closing is CloseCode.AUTHENTICATION


async def test_ws_03_a_process_and_an_address_have_only_so_many_sockets(make: Make) -> None:
    small = Hub(make.runtime, DeafBus(), most_lines=3)
    with ExitStack() as places:
        for n in range(3):
            places.enter_context(small.handshake(f"192.0.2.{n}"))
        with pytest.raises(ServiceBusy), small.handshake("192.0.2.9"):
            pass

    large = Hub(make.runtime, DeafBus(), most_lines=1_000)
    with ExitStack() as places:
        for _ in range(LINES_OF_ADDRESS):
            places.enter_context(large.handshake("192.0.2.1"))
        with pytest.raises(TooManyRequests), large.handshake("192.0.2.1"):
            pass
        with large.handshake("192.0.2.2"):
            pass
    with large.handshake("192.0.2.1"):
        pass


async def test_ws_16_the_presences_of_a_process_that_died_end_with_their_last_heartbeat(
    stage: Stage, hub: Hub
) -> None:
    heron = await stage.member()
    line = await line_of(stage, heron, hub)
    room_id, member_id = UUID(stage.room_id), UUID(await stage.member_id(heron))
    dead, alive = new_id(), new_id()
    async with stage.make.transaction() as db:
        for each, life in ((dead, timedelta(seconds=-1)), (alive, timedelta(seconds=1))):
            db.add(
                Presence(
                    id=each,
                    room_id=room_id,
                    member_id=member_id,
                    expires_at=clock.wall() + life,
                )
            )
    line.presences[room_id] = alive

    await hub.sweep()

    async with stage.make.transaction() as db:
        (kept,) = (await db.scalars(select(Presence))).all()
    assert kept.id == alive
    assert kept.expires_at > clock.wall() + presence.LIFE - timedelta(seconds=5)


# With processes of our own: what the network and the operator do


async def test_ws_11_delivery_goes_on_when_the_listening_connection_is_killed(
    apis: list[ApiProcess], stage: Stage
) -> None:
    heron, wren = await stage.member(), await stage.member()
    async with device(apis[0], heron) as a, device(apis[1], wren) as b:
        await a.follow(stage.room_id)
        await b.follow(stage.room_id)
        for n in range(3):
            assert await kill_backends(stage, "stepwell-listener") == 2
            ack = await a.say(stage.room_id, f"{n}")
            await b.until_shown(stage.room_id, ack["seq"])
            await until_listening(stage, 2)
        shown = b.rooms[stage.room_id].shown

    assert [each["body"] for each in shown] == ["0", "1", "2"]


async def test_ws_14_a_removal_while_nobody_listens_is_noticed_when_listening_again(
    apis: list[ApiProcess], stage: Stage
) -> None:
    heron = await stage.member()
    async with device(apis[0], heron) as a:
        view = await a.follow(stage.room_id)
        await kill_backends(stage, "stepwell-listener")
        await stage.remove(heron)
        assert await ended(view) == "removed"


async def test_ws_08_messages_are_neither_lost_nor_doubled_when_every_connection_is_killed(
    apis: list[ApiProcess], stage: Stage
) -> None:
    heron, wren = await stage.member(), await stage.member()
    async with device(apis[0], heron) as a, device(apis[1], wren) as b:
        await a.follow(stage.room_id)
        await b.follow(stage.room_id)
        said = []
        for n in range(4):
            saying = asyncio.create_task(a.say(stage.room_id, f"{n}"))
            await kill_backends(stage, "stepwell")
            said.append(await saying)
        await b.until_shown(stage.room_id, said[-1]["seq"])
        shown = b.rooms[stage.room_id].shown

    assert [each["body"] for each in shown] == ["0", "1", "2", "3"]
    assert [each["entry_id"] for each in shown] == [ack["message_id"] for ack in said]


async def test_ws_13_who_does_not_read_is_closed_and_misses_nothing(
    apis: list[ApiProcess], stage: Stage
) -> None:
    heron, wren, owl = [await stage.member() for _ in range(3)]
    async with raw(apis[0], heron, max_queue=1) as slow, device(apis[0], wren) as quick:
        await ask(slow, "subscribe", ref="1", room_id=stage.room_id)
        await hear(slow, "caught_up")
        await quick.follow(stage.room_id)
        first = len(await stage.log()) + 1
        # Some sixteen kilobytes each: more than the network and the queue together hold.
        said = [await stage.say(owl, "\N{GRINNING FACE}" * 4_000) for _ in range(SLOW_MESSAGES)]
        await quick.until_shown(stage.room_id, said[-1]["seq"])
        assert await close_of(slow) == (4409, "slow_consumer")
    async with device(apis[1], heron) as resumed:
        view = await resumed.follow(stage.room_id, after_seq=first - 1)

    assert [entry["seq"] for entry in view.shown] == [each["seq"] for each in said]


async def test_people_hear_of_the_events_that_concern_them_and_of_no_others(
    apis: list[ApiProcess], stage: Stage
) -> None:
    clinician = await stage.make.staff()
    heron = await stage.make.participant(team=[clinician])
    wren = await stage.make.participant()
    async with (
        raw(apis[0], heron) as own,
        raw(apis[1], wren) as foreign,
        raw(apis[1], clinician) as treating,
    ):
        for socket in (own, foreign, treating):
            await ask(socket, "ping", n=1)
            await hear(socket, "pong")
        async with stage.make.transaction() as db:
            drafting = ("plan.drafted", "plan.updated")
            for type_ in ("alert.opened", *drafting, "plan.signed", "unheard.of"):
                await events.record(db, type_, new_id(), participant_id=heron.participant_id)
            for type_ in (*drafting, "plan.proposed"):
                await events.record(db, type_, new_id(), participant_id=wren.participant_id)
        async with stage.make.transaction() as db:
            await give_positions(db)
        told = [await hear(own, "event")]
        told_team = [await hear(treating, "event") for _ in range(4)]
        told_other = [await hear(foreign, "event")]
        for socket in (own, foreign, treating):
            await ask(socket, "ping", n=2)
            assert (await next_frame(socket))["type"] == "pong"

    def types(frames: list[dict[str, Any]]) -> list[str]:
        return [frame["event"]["type"] for frame in frames]

    assert types(told) == ["plan.signed"]
    assert types(told_team) == ["alert.opened", *drafting, "plan.signed"]
    assert types(told_other) == ["plan.proposed"]
    assert told_team[-1] == told[0]


@pytest.mark.parametrize("is_wide_first", [True, False])
async def test_two_applications_of_one_person_each_hear_what_they_may_read(
    stage: Stage, hub: Hub, *, is_wide_first: bool
) -> None:
    heron = await stage.member()
    wide = await line_of(stage, stage.leader, hub)
    hub.leave(wide)
    narrow = Line(
        replace(wide.principal, scope=ScopeSet.parse("user/Communication.rs")), Connection(0.0)
    )
    for line in (wide, narrow) if is_wide_first else (narrow, wide):
        hub.join(line, 0)
    async with stage.make.transaction() as db:
        await events.record(db, "booking.made", new_id(), participant_id=heron.participant_id)
        await give_positions(db)

    await hub.compare_heads()
    await until_read(hub)

    assert "event" in seen(wide.connection)
    assert seen(narrow.connection) == []


async def test_whoever_comes_before_the_events_were_read_hears_of_them(
    stage: Stage, hub: Hub
) -> None:
    heron = await stage.member()
    first = await line_of(stage, stage.leader, hub)
    late = Line(
        replace(first.principal, scope=ScopeSet.parse("user/Appointment.rs")), Connection(0.0)
    )
    async with stage.make.transaction() as db:
        await events.record(db, "booking.made", new_id(), participant_id=heron.participant_id)
        await give_positions(db)

    async with AsyncExitStack() as reads:
        for _ in range(READS_AT_ONCE):  # so that the hub has to wait
            await reads.enter_async_context(hub._reads)  # noqa: SLF001 (what it waits for)
        hub.hear(Channel.POSITIONS, f"{stage.make.organization_id}:1000")
        await asyncio.sleep(0)  # it has begun
        hub.join(late, 0)
    await until_read(hub)

    assert [seen(line.connection)[-1:] for line in (first, late)] == [["event"], ["event"]]


async def test_ws_16_a_session_counts_the_time_of_a_process_that_was_killed(
    server: embedded.EmbeddedServer, settings: Settings, make: Make
) -> None:
    evening = await an_evening(make)
    await set_clock(make, evening.starts_at + minutes(5))
    room_id = (await evening.leader.post(f"{evening.first}/join")).json()["room_id"]
    assert (await evening.jordan.post(f"{evening.first}/join")).status_code == HTTPStatus.OK
    stage = Stage(make, evening.group, room_id, evening.leader, evening.coordinator)
    async with api_processes(server, settings) as (api,):
        async with raw(api, evening.jordan) as left:
            await ask(left, "subscribe", ref="1", room_id=room_id)
            await hear(left, "caught_up")
            await ask(left, "unsubscribe", ref="2", room_id=room_id)
            await hear(left, "unsubscribed")
        async with raw(api, evening.jordan) as killed:
            await ask(killed, "subscribe", ref="1", room_id=room_id)
            await hear(killed, "caught_up")
            api.send_signal(signal.SIGKILL)
            await api.until_ended()
    hub = Hub(make.runtime, DeafBus(), most_lines=3)
    await line_of(stage, evening.leader, hub)
    async with make.transaction() as db:
        await db.execute(update(Presence).values(expires_at=clock.wall() - timedelta(seconds=1)))
    await hub.sweep()

    async with make.transaction() as db:
        stretches = (await db.scalars(select(Attendance).order_by(Attendance.id))).all()
        assert (await db.scalars(select(Presence))).all() == []
    assert len(stretches) == 2
    for stretch in stretches:
        assert stretch.participant_id == evening.jordan.participant_id
        assert stretch.left_at is not None


async def test_ws_18_a_process_that_leaves_says_so_and_drops_nobody(
    server: embedded.EmbeddedServer, settings: Settings, stage: Stage
) -> None:
    heron, wren = await stage.member(), await stage.member()
    head = len(await stage.log())
    async with api_processes(server, settings) as (api,), AsyncExitStack() as stack:
        sockets = [await stack.enter_async_context(raw(api, person)) for person in (heron, wren)]
        for socket in sockets:
            await ask(socket, "subscribe", ref="1", room_id=stage.room_id)
            await hear(socket, "caught_up")
        client = await stack.enter_async_context(api.client(heron.token))
        polling = asyncio.create_task(
            client.get(
                f"/v1/rooms/{stage.room_id}/entries",
                params={"after_seq": head, "wait": 25},
                timeout=30,
            )
        )
        await until_polling(api, client)
        assert await refusal(api, heron, "stepwell.v1") == HTTPStatus.UNAUTHORIZED

        api.send_signal(signal.SIGTERM)
        for socket in sockets:
            assert 0 <= (await hear(socket, "drain"))["reconnect_in_ms"] <= 5_000
            assert await close_of(socket) == (1012, "restart")
        assert (await polling).json()["items"] == []
        status = await api.until_ended()

    assert status == 0
    assert not [line for line in api.lines if '"level":"error"' in line]


async def until_polling(api: ApiProcess, client: AsyncClient) -> None:
    """Wait until the server serves another request beside the one that asks."""
    while "stepwell_http_in_flight 2.0" not in (await client.get("/metrics")).text:
        assert api.lines is not None


async def kill_backends(stage: Stage, application: str) -> int:
    """Kill every connection of this name that is not of our own pool."""
    runtime = stage.make.runtime
    async with AsyncExitStack() as stack:
        own = [
            await stack.enter_async_context(runtime.connections.lane())
            for _ in range(runtime.settings.pool_size)
        ]
        pids = [await lane.fetchval("select pg_backend_pid()") for lane in own]
        killed = await own[0].fetch(
            "select pg_terminate_backend(pid) from pg_stat_activity"
            " where application_name = $1 and pid <> all ($2::int[])",
            application,
            pids,
        )
    return len(killed)


async def until_listening(stage: Stage, count: int) -> None:
    """Wait until so many processes listen again."""
    query = text("select count(*) from pg_stat_activity where application_name = :name")
    listening = -1
    while listening != count:
        async with stage.make.transaction() as db:
            listening = (await db.execute(query, {"name": "stepwell-listener"})).scalar_one()


async def next_frame(socket: ClientConnection) -> dict[str, Any]:
    """The very next frame."""
    frame: dict[str, Any] = json.loads(await socket.recv())
    return frame
