"""The reference client against a scripted server: what it does when the network does its worst."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from websockets.asyncio.server import ServerConnection, serve
from websockets.typing import Subprotocol

from tests.clients.chat import BrokenPromiseError, ChatClient, ClosedError, RefusedError

ROOM = "00000000-0000-7000-8000-000000000001"
PATIENCE = 10  # seconds after which a test has failed; nothing here waits for time to pass


class Peer:
    """The server's end of one connection, driven by the test."""

    def __init__(self, socket: ServerConnection) -> None:
        self.socket = socket

    async def hear(self, kind: str) -> dict[str, Any]:
        """Take the next frame, which must be of this kind."""
        frame: dict[str, Any] = json.loads(await self.socket.recv())
        assert frame["type"] == kind
        return frame

    async def tell(self, kind: str, /, **members: object) -> None:
        await self.socket.send(json.dumps({"type": kind, **members}))

    async def entries(self, *seqs: int) -> None:
        for seq in seqs:
            await self.tell("entry", **entry(seq))

    async def let_in(self, head_seq: int, outcome: str) -> dict[str, Any]:
        """Answer a subscription."""
        asked = await self.hear("subscribe")
        await self.tell(
            "subscribed", ref=asked["ref"], room_id=ROOM, head_seq=head_seq, outcome=outcome
        )
        return asked

    async def catch_up(self, seq: int) -> None:
        await self.tell("caught_up", room_id=ROOM, seq=seq)


def entry(seq: int) -> dict[str, Any]:
    return {"room_id": ROOM, "seq": seq, "entry_id": f"entry-{seq}", "kind": "message"}


class Stage:
    """A client, and a server that does as the test says."""

    def __init__(self) -> None:
        self.peers: asyncio.Queue[Peer] = asyncio.Queue()
        self.pauses: list[float] = []
        self.tickets = 0
        self.url = ""

    async def ticket(self) -> str:
        self.tickets += 1
        return f"ticket{self.tickets}"

    async def pause(self, seconds: float) -> None:
        self.pauses.append(seconds)

    def client(self, **options: Any) -> ChatClient:  # noqa: ANN401  # passed on as they are
        return ChatClient(self.url, self.ticket, pause=self.pause, **options)


@asynccontextmanager
async def stage() -> AsyncIterator[Stage]:
    built = Stage()

    async def handle(socket: ServerConnection) -> None:
        built.peers.put_nowait(Peer(socket))
        await socket.wait_closed()

    server = await serve(
        handle, "127.0.0.1", 0, subprotocols=[Subprotocol("stepwell.v1")], compression=None
    )
    async with asyncio.timeout(PATIENCE), server:
        port = next(iter(server.sockets)).getsockname()[1]
        built.url = f"ws://127.0.0.1:{port}/v1/realtime"
        yield built


def seqs(shown: list[dict[str, Any]]) -> list[int]:
    return [frame["seq"] for frame in shown]


async def test_a_ticket_is_offered_as_a_subprotocol() -> None:
    async with stage() as here, here.client():
        peer = await here.peers.get()
        request = peer.socket.request
        assert request is not None
        assert request.headers["Sec-WebSocket-Protocol"] == "stepwell.v1, stepwell.ticket.ticket1"
        assert request.path == "/v1/realtime"


async def test_what_was_missed_is_shown_before_what_happens() -> None:
    async with stage() as here, here.client() as client:
        peer = await here.peers.get()
        following = asyncio.create_task(client.follow(ROOM, after_seq=2))
        asked = await peer.let_in(4, "replayed")
        assert asked["after_seq"] == 2
        await peer.entries(3, 4)
        await peer.catch_up(4)
        view = await following
        await peer.entries(5)
        await client.until_shown(ROOM, 5)
    assert (view.began_after, seqs(view.shown)) == (2, [3, 4, 5])


async def test_what_is_repeated_is_shown_once() -> None:
    async with stage() as here, here.client() as client:
        peer = await here.peers.get()
        following = asyncio.create_task(client.follow(ROOM))
        await peer.let_in(7, "current")
        await peer.catch_up(7)
        view = await following
        await peer.entries(8, 7, 8, 9)
        assert seqs(await client.until_shown(ROOM, 9)) == [8, 9]
    assert view.began_after == 7


async def test_a_gap_is_asked_for_once_and_filled() -> None:
    async with stage() as here, here.client() as client:
        peer = await here.peers.get()
        following = asyncio.create_task(client.follow(ROOM))
        await peer.let_in(0, "current")
        await peer.catch_up(0)
        await following
        await peer.entries(1, 3, 4)
        asked = await peer.let_in(4, "replayed")
        assert asked["after_seq"] == 1
        await peer.entries(2, 3, 4)
        assert seqs(await client.until_shown(ROOM, 4)) == [1, 2, 3, 4]


async def test_a_lost_connection_is_resumed_from_the_last_entry() -> None:
    async with stage() as here, here.client() as client:
        peer = await here.peers.get()
        following = asyncio.create_task(client.follow(ROOM))
        await peer.let_in(0, "current")
        await peer.catch_up(0)
        await following
        await peer.entries(1)
        await client.until_shown(ROOM, 1)
        await client.drop()

        peer = await here.peers.get()
        asked = await peer.let_in(2, "replayed")
        assert asked["after_seq"] == 1
        await peer.entries(2)
        assert seqs(await client.until_shown(ROOM, 2)) == [1, 2]
    assert here.tickets == 2
    assert client.close_codes == [1006]


async def test_a_message_without_an_answer_is_sent_again_as_the_same_message() -> None:
    async with stage() as here, here.client() as client:
        peer = await here.peers.get()
        saying = asyncio.create_task(client.say(ROOM, "hello"))
        first = await peer.hear("send")
        peer.socket.transport.abort()

        peer = await here.peers.get()
        again = await peer.hear("send")
        await peer.tell("ack", ref=again["ref"], room_id=ROOM, seq=1, duplicate=True)
        ack = await saying
    assert first == again
    assert ack["seq"] == 1
    assert client.acks == [ack]


async def test_a_refusal_is_raised_with_its_code() -> None:
    async with stage() as here, here.client() as client:
        peer = await here.peers.get()
        saying = asyncio.create_task(client.say(ROOM, "hello"))
        asked = await peer.hear("send")
        await peer.tell("nack", ref=asked["ref"], code="rate_limited", retry_after=2)
        with pytest.raises(RefusedError) as caught:
            await saying
    assert (caught.value.code, caught.value.retry_after) == ("rate_limited", 2)


async def test_a_refused_room_is_not_followed() -> None:
    async with stage() as here, here.client() as client:
        peer = await here.peers.get()
        following = asyncio.create_task(client.follow(ROOM))
        asked = await peer.hear("subscribe")
        await peer.tell("nack", ref=asked["ref"], code="not_found")
        with pytest.raises(RefusedError):
            await following
        assert client.rooms == {}


async def test_a_room_that_ends_says_why_and_is_not_resumed() -> None:
    async with stage() as here, here.client() as client:
        peer = await here.peers.get()
        following = asyncio.create_task(client.follow(ROOM))
        await peer.let_in(0, "current")
        await peer.catch_up(0)
        await following
        ending = asyncio.create_task(client.until_ended(ROOM))
        await asyncio.wait_for(client.tell("ping"), PATIENCE)
        await peer.hear("ping")
        await peer.tell("unsubscribed", room_id=ROOM, code="removed")
        assert await ending == "removed"
        assert client.rooms == {}


async def test_a_reset_is_completed_from_the_history() -> None:
    asked_for = []

    async def history(room_id: str, after_seq: int, until_seq: int) -> list[dict[str, Any]]:
        asked_for.append((room_id, after_seq, until_seq))
        return [entry(seq) for seq in range(after_seq + 1, until_seq + 1)]

    async with stage() as here, here.client(history=history) as client:
        peer = await here.peers.get()
        following = asyncio.create_task(client.follow(ROOM, after_seq=2))
        await peer.let_in(6, "reset")
        await peer.catch_up(6)
        view = await following
        await peer.entries(7)
        await client.until_shown(ROOM, 7)
    assert asked_for == [(ROOM, 2, 6)]
    assert (view.began_after, seqs(view.shown)) == (2, [3, 4, 5, 6, 7])


async def test_a_history_that_ends_too_early_is_a_broken_promise() -> None:
    async def history(_room_id: str, _after_seq: int, _until_seq: int) -> list[dict[str, Any]]:
        return [entry(3)]

    async with stage() as here:
        client = here.client(history=history)
        await client.__aenter__()
        peer = await here.peers.get()
        following = asyncio.create_task(client.follow(ROOM, after_seq=2))
        await peer.let_in(6, "reset")
        with pytest.raises(RefusedError):
            await following
        with pytest.raises(BrokenPromiseError):
            await client.__aexit__(None, None, None)


async def test_a_fresh_ticket_is_given_when_it_is_asked_for() -> None:
    async with stage() as here, here.client():
        peer = await here.peers.get()
        await peer.tell("reauthentication_required", by="2026-03-01T17:00:00Z")
        assert (await peer.hear("reauthenticate"))["ticket"] == "ticket2"


async def test_a_drained_client_comes_back_when_it_was_told_to() -> None:
    async with stage() as here, here.client():
        peer = await here.peers.get()
        await peer.tell("drain", reconnect_in_ms=4_000)
        await peer.socket.close(1012)
        await here.peers.get()
    assert here.pauses == [4.0]


@pytest.mark.parametrize("code", [1008, 4401, 4403, 4408])
async def test_a_client_that_is_not_wanted_back_stays_away(code: int) -> None:
    async with stage() as here, here.client() as client:
        peer = await here.peers.get()
        saying = asyncio.create_task(client.say(ROOM, "hello"))
        await peer.hear("send")
        await peer.socket.close(code)
        assert await client.until_closed() == code
        with pytest.raises(ClosedError):
            await saying
        with pytest.raises(ClosedError):
            await client.say(ROOM, "hello?")
    assert here.tickets == 1


async def test_a_slow_client_that_was_closed_comes_back() -> None:
    async with stage() as here, here.client() as client:
        peer = await here.peers.get()
        await peer.socket.close(4409)
        await here.peers.get()
    assert client.close_codes[0] == 4409
