"""Live connections over real processes: nothing lost, nothing doubled, nothing accepted unseen."""

import asyncio
import json
from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import select
from websockets.exceptions import InvalidStatus
from websockets.typing import Origin

from app.core import embedded
from app.domain.alerts import Tier
from app.models.alerts import Alert
from app.models.rooms import EntryKind
from app.settings import Settings
from tests.clients.chat import ChatClient, RefusedError
from tests.clients.checkers import Acknowledged, Display, Logged, Membership, check_rooms
from tests.factories import Person
from tests.processes import ApiProcess, api_processes
from tests.realtime.staging import (
    Stage,
    ask,
    close_of,
    device,
    hear,
    raw,
    refusal,
    ticket_of,
)
from tests.routers.signing_in import audited

# Talking


async def test_people_on_two_processes_see_the_same_log(
    apis: list[ApiProcess], stage: Stage
) -> None:
    heron, wren = await stage.member("Blue Heron"), await stage.member("Small Wren")
    async with device(apis[0], heron) as a, device(apis[1], wren) as b:
        await a.follow(stage.room_id)
        await b.follow(stage.room_id)
        acks = await asyncio.gather(
            *(client.say(stage.room_id, f"{n}") for n in range(5) for client in (a, b))
        )
        last = max(ack["seq"] for ack in acks)
        seen_by_a = await a.until_shown(stage.room_id, last)
        seen_by_b = await b.until_shown(stage.room_id, last)

    assert [entry["entry_id"] for entry in seen_by_a] == [entry["entry_id"] for entry in seen_by_b]
    assert {entry["author"]["alias"] for entry in seen_by_b} == {"Blue Heron", "Small Wren"}
    for entry in (*seen_by_a, *seen_by_b):
        assert str(heron.participant_id) not in json.dumps(entry)
        assert str(wren.account_id) not in json.dumps(entry)


async def test_ws_09_a_device_resumes_on_another_process_without_a_gap(
    apis: list[ApiProcess], stage: Stage
) -> None:
    heron, wren = await stage.member(), await stage.member()
    async with AsyncExitStack() as stack:
        speaker = await stack.enter_async_context(device(apis[0], heron))
        await speaker.follow(stage.room_id)
        async with device(apis[0], wren) as first:
            await first.follow(stage.room_id)
            ack = await speaker.say(stage.room_id, "heard")
            shown = await first.until_shown(stage.room_id, ack["seq"])
        missed = [await stage.say(heron, f"missed {n}") for n in range(12)]
        second = await stack.enter_async_context(device(apis[1], wren))
        view = await second.follow(stage.room_id, after_seq=shown[-1]["seq"])
        live = await speaker.say(stage.room_id, "live")
        await second.until_shown(stage.room_id, live["seq"])

    assert [entry["seq"] for entry in view.shown] == [
        *(ack["seq"] for ack in missed),
        live["seq"],
    ]


async def test_ws_09_a_connection_lost_in_a_tunnel_misses_nothing(
    apis: list[ApiProcess], stage: Stage
) -> None:
    heron, wren = await stage.member(), await stage.member()
    async with device(apis[0], heron) as speaker, device(apis[1], wren) as listener:
        await speaker.follow(stage.room_id)
        await listener.follow(stage.room_id)
        acks = []
        for n in range(15):
            if n in {4, 9}:
                await listener.drop()
            if n in {6, 8}:
                await speaker.drop()
            speaks = speaker.say(stage.room_id, f"{n}") if n in {6, 8} else stage.say(heron, f"{n}")
            acks.append(await speaks)
        await listener.until_shown(stage.room_id, acks[-1]["seq"])
        await speaker.until_shown(stage.room_id, acks[-1]["seq"])
        violations = await checked(stage, acks, {heron: speaker, wren: listener})

    assert violations == []


async def test_ws_10_who_is_too_far_behind_reloads_by_rest_and_has_the_whole_log(
    apis: list[ApiProcess], stage: Stage
) -> None:
    heron, wren = await stage.member(), await stage.member()
    began = len(await stage.log())
    await stage.lengthen(5_001)

    async def history(room_id: str, after_seq: int, head_seq: int) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        while (reached := found[-1]["seq"] if found else after_seq) < head_seq:
            answer = await wren.get(
                f"/v1/rooms/{room_id}/entries", params={"after_seq": reached, "limit": 100}
            )
            found += answer.json()["items"]
        return found

    async with raw(apis[0], wren) as socket:
        for after_seq, outcome in ((began, "reset"), (began + 1, "replayed")):
            await ask(socket, "subscribe", ref="1", room_id=stage.room_id, after_seq=after_seq)
            assert (await hear(socket, "subscribed"))["outcome"] == outcome
    async with device(apis[1], wren, history=history) as client:
        view = await client.follow(stage.room_id, after_seq=began)
        live = await stage.say(heron, "live")
        await client.until_shown(stage.room_id, live["seq"])

    shown = [(each["seq"], each["entry_id"]) for each in view.shown]
    assert shown == [(row.seq, str(row.id)) for row in await stage.log() if row.seq > began]


async def checked(
    stage: Stage, acks: Sequence[dict[str, Any]], devices: dict[Person, ChatClient]
) -> list[str]:
    """What of I1 to I4 does not hold."""
    room = stage.room_id
    members = {person: await stage.member_id(person) for person in devices}
    return check_rooms(
        [Logged(room, row.seq, str(row.id)) for row in await stage.log()],
        [Acknowledged(room, ack["seq"], ack["message_id"]) for ack in acks],
        [
            Display(
                room,
                members[person],
                client.rooms[room].began_after,
                tuple((each["seq"], each["entry_id"]) for each in client.rooms[room].shown),
            )
            for person, client in devices.items()
        ],
        [
            Membership(room, str(row.author_id), row.seq)
            for row in await stage.log()
            if row.kind is EntryKind.MEMBERSHIP
        ],
    )


async def test_ws_07_a_repeated_client_message_id_posts_once(
    apis: list[ApiProcess], stage: Stage
) -> None:
    heron = await stage.member()
    send = {
        "room_id": stage.room_id,
        "client_message_id": uuid4(),
        "kind": "message",
        "body": "once",
    }
    acks = []
    for api in apis:
        async with raw(api, heron) as socket:
            for ref in ("a", "b"):
                await ask(socket, "send", ref=ref, **send)
                acks.append(await hear(socket, "ack"))

    assert [ack["duplicate"] for ack in acks] == [False, True, True, True]
    assert len({(ack["seq"], ack["message_id"], ack["sent_at"]) for ack in acks}) == 1
    assert [row.kind for row in await stage.log()].count(EntryKind.MESSAGE) == 1


async def test_who_writes_of_danger_is_shown_help_and_nobody_else_is(
    apis: list[ApiProcess], stage: Stage
) -> None:
    heron, wren = await stage.member("Blue Heron"), await stage.member("Small Wren")
    async with raw(apis[0], heron) as author, raw(apis[1], wren) as other:
        for socket in (author, other):
            await ask(socket, "subscribe", ref="1", room_id=stage.room_id)
            await hear(socket, "caught_up")
        send = {"room_id": stage.room_id, "kind": "message", "client_message_id": uuid4()}
        await ask(author, "send", ref="2", body="I want to die", **send)
        ack, entry = await hear(author, "ack"), await hear(other, "entry")
        edit = {"room_id": stage.room_id, "target_seq": ack["seq"]}
        await ask(author, "edit", ref="3", body="I am going to kill myself tonight", **edit)
        edited = await hear(author, "ack")
        await ask(author, "edit", ref="4", body="I am sorry, I am with my sister now", **edit)
        calm = await hear(author, "ack")

    assert ack["crisis_resources"][0]["contacts"]
    assert edited["crisis_resources"] == ack["crisis_resources"]
    assert "crisis_resources" not in calm
    assert "crisis_resources" not in entry
    async with stage.make.transaction() as db:
        (alert,) = await db.scalars(select(Alert))
    assert (alert.participant_id, alert.tier, alert.opening) == (
        heron.participant_id,
        Tier.ACUTE,
        2,
    )


async def test_messages_are_edited_retracted_and_marked_read(
    apis: list[ApiProcess], stage: Stage
) -> None:
    heron, wren = await stage.member(), await stage.member()
    room_id = stage.room_id
    async with device(apis[0], heron) as a, device(apis[1], wren) as b:
        await a.follow(room_id)
        await b.follow(room_id)
        said = await a.say(room_id, "teh")
        edited = await a.request("edit", room_id=room_id, target_seq=said["seq"], body="the")
        with pytest.raises(RefusedError, match="not_yours"):
            await b.request("retract", room_id=room_id, target_seq=said["seq"])
        gone = await a.request("retract", room_id=room_id, target_seq=said["seq"])
        with pytest.raises(RefusedError, match="retracted"):
            await a.request("edit", room_id=room_id, target_seq=said["seq"], body="again")
        await b.request("mark_read", room_id=room_id, seq=gone["seq"])
        seen = await b.until_shown(room_id, gone["seq"])
        reloaded = await b.follow(room_id, after_seq=said["seq"] - 1)

    assert [(each["kind"], each["body"]) for each in seen] == [
        ("message", "teh"),
        ("edit", "the"),
        ("retraction", None),
    ]
    assert seen[1]["target_seq"] == seen[2]["target_seq"] == said["seq"]
    assert [each["body"] for each in reloaded.shown] == [None, None, None]
    assert edited["seq"] == said["seq"] + 1
    assert (await wren.get(f"/v1/rooms/{room_id}")).json()["read_seq"] == gone["seq"]


async def test_who_may_only_read_and_write_takes_their_own_message_back(
    apis: list[ApiProcess], stage: Stage
) -> None:
    """What an application asks for on behalf of a participant names nothing of moderating."""
    heron = await stage.member(scope="patient/Communication.cr")
    async with device(apis[0], heron) as a:
        await a.follow(stage.room_id)
        said = await a.say(stage.room_id, "too soon")
        gone = await a.request("retract", room_id=stage.room_id, target_seq=said["seq"])

    assert gone["seq"] == said["seq"] + 1


async def test_who_leads_takes_a_message_back(apis: list[ApiProcess], stage: Stage) -> None:
    heron = await stage.member()
    async with device(apis[0], heron) as a, device(apis[1], stage.leader) as leader:
        await a.follow(stage.room_id)
        said = await a.say(stage.room_id, "unkind")
        gone = await leader.request("retract", room_id=stage.room_id, target_seq=said["seq"])
        seen = await a.until_shown(stage.room_id, gone["seq"])
    assert seen[-1]["kind"] == "retraction"


async def test_hands_typing_and_presence_are_shown(apis: list[ApiProcess], stage: Stage) -> None:
    heron, wren = await stage.member("Blue Heron"), await stage.member("Small Wren")
    async with raw(apis[0], heron) as a:
        await ask(a, "subscribe", ref="1", room_id=stage.room_id)
        await hear(a, "caught_up")
        async with raw(apis[1], wren) as b:
            await ask(b, "subscribe", ref="1", room_id=stage.room_id)
            there = await hear(b, "presence")
            came = await hear(a, "presence")
            await ask(b, "typing", room_id=stage.room_id)
            typing = await hear(a, "presence")
            await ask(b, "raise_hand", ref="2", room_id=stage.room_id, on=True)
            hand = await hear(a, "entry")
        went = await hear(a, "presence")

    assert (there["member"]["alias"], there["state"]) == ("Blue Heron", "present")
    assert [each["state"] for each in (came, typing, went)] == ["present", "typing", "absent"]
    assert {each["member"]["alias"] for each in (came, typing, went)} == {"Small Wren"}
    assert (hand["kind"], hand["body"]) == ("hand", "raised")


async def test_long_polling_answers_with_the_next_entry_of_another_process(
    apis: list[ApiProcess], stage: Stage
) -> None:
    heron, wren = await stage.member(), await stage.member()
    path = f"/v1/rooms/{stage.room_id}/entries"
    head = (await wren.get(f"/v1/rooms/{stage.room_id}")).json()["head_seq"]
    async with apis[0].client(wren.token) as waiting, apis[1].client(heron.token) as speaking:
        waited = asyncio.create_task(
            waiting.get(path, params={"after_seq": head, "wait": 25}, timeout=30)
        )
        body = {"client_message_id": str(uuid4()), "body": "at last"}
        posted = (await speaking.post(path, json=body)).json()
        answer = (await waited).json()

    assert [entry["seq"] for entry in answer["items"]] == [posted["seq"]]


# Reading


@pytest.mark.parametrize(
    "text",
    [
        "",
        "nonsense",
        "[]",
        '{"type":"dance"}',
        '{"type":"ping","n":NaN}',
        '{"type":"ping","type":"ping"}',
        '{"type":"ping","n":"\\ud800"}',
        "[" * 60_000,
    ],
)
async def test_ws_04_a_bad_frame_is_answered_and_the_socket_lives(
    apis: list[ApiProcess], stage: Stage, text: str
) -> None:
    async with raw(apis[0], await stage.member()) as socket:
        await socket.send(text)
        assert (await hear(socket, "error"))["code"] == "bad_frame"
        await ask(socket, "ping", n=7)
        assert (await hear(socket, "pong"))["n"] == 7


async def test_ws_04_five_bad_frames_close_with_policy(
    apis: list[ApiProcess], stage: Stage
) -> None:
    async with raw(apis[0], await stage.member()) as socket:
        for _ in range(5):
            await socket.send("nonsense")
        assert await close_of(socket) == (1008, "policy")


async def test_ws_04_binary_and_oversized_frames_close(
    apis: list[ApiProcess], stage: Stage
) -> None:
    heron = await stage.member()
    async with raw(apis[0], heron) as socket:
        await socket.send(b"\x00\x01")
        assert await close_of(socket) == (1003, "binary")
    async with raw(apis[0], heron) as socket:
        await socket.send("x" * 65_537)
        assert (await close_of(socket))[0] == 1009


async def test_ws_06_a_burst_is_answered_with_rate_limited(
    apis: list[ApiProcess], stage: Stage
) -> None:
    async with raw(apis[0], await stage.member()) as socket:
        for n in range(31):
            await ask(socket, "ping", n=n)
        assert (await hear(socket, "error"))["code"] == "rate_limited"


async def test_what_is_not_offered_yet_is_refused(apis: list[ApiProcess], stage: Stage) -> None:
    async with device(apis[0], await stage.member()) as client:
        await client.follow(stage.room_id)
        wanted: dict[str, dict[str, object]] = {
            "react": {"reaction": "👍", "on": True},
            "pin": {"on": True},
            "vote": {"option": 0},
        }
        for kind, members in wanted.items():
            with pytest.raises(RefusedError, match="unavailable"):
                await client.request(kind, room_id=stage.room_id, target_seq=1, **members)


async def test_who_is_not_in_a_room_neither_follows_nor_speaks(
    apis: list[ApiProcess], stage: Stage
) -> None:
    stranger = await stage.make.participant()
    async with device(apis[0], stranger) as client:
        with pytest.raises(RefusedError, match="not_found"):
            await client.follow(stage.room_id)
        with pytest.raises(RefusedError, match="not_found"):
            await client.say(stage.room_id, "hello?")


# Handshakes


async def test_ws_01_a_ticket_opens_one_connection_and_is_never_repeated(
    apis: list[ApiProcess], stage: Stage
) -> None:
    heron = await stage.member()
    ticket = f"stepwell.ticket.{await ticket_of(heron)}"
    async with raw(apis[0], heron, "stepwell.v1", ticket) as socket:
        assert socket.subprotocol == "stepwell.v1"
        assert socket.response is not None
        assert ticket not in str(socket.response.headers)
        for api in apis:
            assert await refusal(api, heron, "stepwell.v1", ticket) == 401


async def test_ws_01_a_ticket_belongs_to_its_origin(apis: list[ApiProcess], stage: Stage) -> None:
    heron = await stage.member()
    assert await refusal(apis[0], heron, origin=Origin("http://localhost:3000")) == 403
    assert await refusal(apis[0], heron, origin=None) == 403
    foreign = await ticket_of(heron, "https://evil.example")
    offered = ("stepwell.v1", f"stepwell.ticket.{foreign}")
    assert await refusal(apis[0], heron, *offered, origin=Origin("https://evil.example")) == 403
    nobody = await ticket_of(heron, None)
    assert await refusal(apis[0], heron, "stepwell.v1", f"stepwell.ticket.{nobody}") == 403


async def test_ws_02_twenty_malformed_handshakes_are_refused_before_they_are_accepted(
    apis: list[ApiProcess], stage: Stage
) -> None:
    heron, url = await stage.member(), apis[0].socket_url
    good = f"stepwell.ticket.{await ticket_of(heron)}"
    v1, none = "stepwell.v1", "stepwell.ticket." + "A" * 43
    attempts: list[tuple[int, tuple[str, ...], dict[str, Any]]] = [
        (400, (v1, good), {"url": f"{url}?token=secret"}),
        (400, (v1, good), {"url": f"{url}?ticket={good}"}),
        (400, (v1, good), {"url": f"{url}?"[:-1] + "?a=b&c=d"}),
        (400, (good,), {}),
        (400, ("stepwell.v2", good), {}),
        (400, ("graphql-ws",), {}),
        (401, (v1,), {}),
        (401, (v1, none), {}),
        (401, (v1, none[:-1]), {}),
        (401, (v1, none + "A"), {}),
        (401, (v1, "stepwell.ticket."), {}),
        (401, (v1, "ticket"), {}),
        (401, (v1, good, good), {}),
        (401, (v1, good, none), {}),
        (401, (v1, good, "graphql-ws"), {}),
        (401, (v1, v1, good), {}),
        (401, (v1, good.upper()), {}),
        (403, (v1, good), {"origin": Origin("null")}),
        (403, (v1, good), {"url": url.replace("realtime", "elsewhere")}),
        (400, (v1, good), {"additional_headers": {"Host": "evil.example"}}),
    ]
    assert len(attempts) == 20
    answers = [await refusal(apis[0], heron, *offered, **more) for _, offered, more in attempts]
    assert answers == [status for status, _, _ in attempts]


async def test_ws_02_a_refusal_is_a_problem(apis: list[ApiProcess], stage: Stage) -> None:
    with pytest.raises(InvalidStatus) as refused:
        async with raw(apis[0], await stage.member(), "stepwell.v1"):
            pass
    response = refused.value.response
    assert response.headers["content-type"] == "application/problem+json"
    assert json.loads(response.body or b"")["code"] == "unauthenticated"


async def test_ws_03_the_sixth_connection_of_a_person_closes_the_first(
    apis: list[ApiProcess], stage: Stage
) -> None:
    heron = await stage.member()
    async with AsyncExitStack() as stack:
        sockets = [await stack.enter_async_context(raw(apis[0], heron)) for _ in range(6)]
        assert await close_of(sockets[0]) == (4408, "replaced")
        for socket in sockets[1:]:
            await ask(socket, "ping", n=1)
            await hear(socket, "pong")


async def test_ws_03_a_full_process_says_so(
    server: embedded.EmbeddedServer, settings: Settings, stage: Stage
) -> None:
    heron = await stage.member()
    async with api_processes(server, settings, max_sockets="2") as (api,):
        async with AsyncExitStack() as stack:
            for _ in range(2):
                await stack.enter_async_context(raw(api, heron))
            assert await refusal(api, heron) == 503
        async with raw(api, heron) as socket:
            await ask(socket, "ping", n=1)
            await hear(socket, "pong")


async def test_ws_15_a_fresh_ticket_of_the_same_sign_in_goes_on(
    apis: list[ApiProcess], stage: Stage
) -> None:
    heron, wren = await stage.member(), await stage.member()
    async with raw(apis[0], heron) as socket:
        await ask(socket, "reauthenticate", ref="1", ticket=await ticket_of(heron))
        assert (await hear(socket, "ack"))["ref"] == "1"
        await ask(socket, "reauthenticate", ref="2", ticket=await ticket_of(wren))
        assert (await hear(socket, "nack"))["code"] == "foreign_origin"
        await ask(socket, "reauthenticate", ref="3", ticket="A" * 43)
        assert (await hear(socket, "nack"))["code"] == "unauthenticated"


# Traces


async def test_what_is_followed_said_and_refused_on_a_socket_leaves_a_trace(
    server: embedded.EmbeddedServer, apis: list[ApiProcess], stage: Stage
) -> None:
    heron, stranger = await stage.member(), await stage.make.participant()
    async with device(apis[0], heron) as a, device(apis[1], stage.leader) as leader:
        await leader.follow(stage.room_id)
        await a.say(stage.room_id, "hello")
    async with device(apis[0], stranger) as outside:
        with pytest.raises(RefusedError, match="not_found"):
            await outside.follow(stage.room_id)

    traces = await audited(server, stage.make.organization_id)
    assert {"room:read success", "room:write success", "room:subscribe refused"} <= set(traces)
    items = (await heron.get(f"/v1/participants/{heron.participant_id}/accesses")).json()["items"]
    looked = [each["resource"] for each in items if each["actor_name"] == "Robin Vale"]
    assert "room" in looked
