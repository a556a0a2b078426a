"""The reference client and the protocol together, over real sockets that break (I1 to I4).

The server here is the least that carries a `Connection`: a log in memory, no database, and
hints that are lost, doubled and early. What the client shows is checked as after any other run.
"""

import asyncio
import json
import random
from dataclasses import dataclass, field
from itertools import count
from typing import Any
from uuid import UUID, uuid5

import pytest
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

from app.domain.roles import RoomRole
from app.realtime.frames import Ack, ClientFrame, Reauthenticate, Request, Send, Subscribe
from app.realtime.protocol import Connection
from app.realtime.streams import LogEntry
from tests.clients.chat import ChatClient
from tests.clients.checkers import Acknowledged, Display, Logged, Membership, check_rooms
from tests.realtime.making import AT, ROOM, assert_fits, entry

MESSAGES = 25
PATIENCE = 30


@dataclass(eq=False)
class Line:
    """One socket of the server, with its connection and what wakes its writer."""

    socket: ServerConnection
    connection: Connection
    member_id: UUID
    woken: asyncio.Event = field(default_factory=asyncio.Event)


class Server:
    """One room, and faults drawn from a seed."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)  # noqa: S311  # faults, not secrets
        self.log: list[LogEntry] = []
        self.posted: dict[UUID, int] = {}
        self.lines: set[Line] = set()
        self.seconds = count()  # every frame a second after the one before: limits do not bite
        self.faults = 0

    async def handle(self, socket: ServerConnection) -> None:
        request = socket.request
        assert request is not None
        ticket = request.headers["Sec-WebSocket-Protocol"].rpartition(".")[2]
        line = Line(socket, Connection(0.0), UUID(ticket))
        self.lines.add(line)
        writing = asyncio.create_task(self.write(line))
        try:
            async for raw in socket:
                frame = line.connection.receive(raw, next(self.seconds))
                if frame is not None:
                    self.answer(line, frame)
                line.woken.set()
        except ConnectionClosed:
            return
        finally:
            self.lines.discard(line)
            writing.cancel()
            await asyncio.gather(writing, return_exceptions=True)

    def answer(self, line: Line, frame: ClientFrame) -> None:
        match frame:
            case Subscribe():
                line.connection.subscribed(
                    frame,
                    member_id=line.member_id,
                    role=RoomRole.PARTICIPANT,
                    head_seq=len(self.log),
                    first_seq=1,
                )
            case Send():
                self.post(line, frame)
            case Request() | Reauthenticate():
                line.connection.refuse(frame, "not_found")
            case _:
                pass

    def post(self, line: Line, frame: Send) -> None:
        known = self.posted.get(frame.client_message_id)
        seq = known or len(self.log) + 1
        if known is None:
            said = entry(
                seq,
                author_id=line.member_id,
                body=frame.body,
                client_message_id=frame.client_message_id,
            )
            self.log.append(LogEntry.of(said))
            self.posted[frame.client_message_id] = seq
            self.tell_everyone(seq)
        if self.chance.random() < 0.15:
            self.faults += 1
            line.socket.transport.abort()  # committed, and the answer is lost
            return
        line.connection.queue(
            Ack(
                ref=frame.ref,
                room_id=ROOM,
                seq=seq,
                message_id=UUID(int=seq),
                sent_at=AT,
                duplicate=known is not None,
            )
        )

    def tell_everyone(self, seq: int) -> None:
        for line in self.lines:
            match self.chance.randrange(4):
                case 0:
                    self.faults += 1  # the hint is lost
                case 1:
                    line.connection.notice(ROOM, seq)
                case 2:
                    line.connection.offer(self.log[seq - 1])
                    line.connection.offer(self.log[self.chance.randrange(seq)])
                case _:
                    line.connection.offer(self.log[seq - 1])
            line.woken.set()

    def compare_heads(self) -> None:
        """The safety poll of WS-11."""
        for line in self.lines:
            line.connection.notice(ROOM, len(self.log))
            line.woken.set()

    async def write(self, line: Line) -> None:
        while line.connection.closing is None:
            await line.woken.wait()
            line.woken.clear()
            while (outgoing := line.connection.pop()) is not None:
                assert_fits(json.loads(outgoing.text))
                await line.socket.send(outgoing.text)
                fetch = line.connection.next_fetch()
                if fetch is not None:
                    line.connection.page(fetch, self.read(fetch.after_seq))
            fetch = line.connection.next_fetch()
            if fetch is not None:
                line.connection.page(fetch, self.read(fetch.after_seq))
                line.woken.set()

    def read(self, after_seq: int) -> list[LogEntry]:
        """A short page, so that many are needed."""
        return self.log[after_seq : after_seq + 7]


async def talk(client: ChatClient, chance: random.Random) -> None:
    for number in range(MESSAGES):
        await client.say(str(ROOM), f"message {number}")
        if chance.random() < 0.1:
            await client.drop()


def facts(server: Server, clients: dict[str, ChatClient]) -> list[str]:
    """Check the run."""
    log = [
        Logged(str(ROOM), one.seq, json.loads(one.for_room.text)["entry_id"]) for one in server.log
    ]
    acknowledged = [
        Acknowledged(ack["room_id"], ack["seq"], ack["message_id"])
        for client in clients.values()
        for ack in client.acks
    ]
    displays = [
        Display(
            str(ROOM),
            member_id,
            client.rooms[str(ROOM)].began_after,
            tuple((shown["seq"], shown["entry_id"]) for shown in client.rooms[str(ROOM)].shown),
        )
        for member_id, client in clients.items()
    ]
    memberships = [Membership(str(ROOM), member_id, 1) for member_id in clients]
    assert len(acknowledged) == MESSAGES * len(clients)
    return check_rooms(log, acknowledged, displays, memberships)


@pytest.mark.parametrize("seed", range(5))
async def test_i1_to_i4_hold_over_sockets_that_break(seed: int) -> None:
    server = Server(seed)
    chance = random.Random(seed)  # noqa: S311  # faults, not secrets
    listening = await serve(
        server.handle, "127.0.0.1", 0, subprotocols=[Subprotocol("stepwell.v1")], compression=None
    )
    async with asyncio.timeout(PATIENCE), listening:
        port = next(iter(listening.sockets)).getsockname()[1]
        clients = {
            str(uuid5(ROOM, name)): connect_as(f"ws://127.0.0.1:{port}/", uuid5(ROOM, name))
            for name in ("host", "guest", "peer")
        }
        async with asyncio.TaskGroup() as starting:
            for client in clients.values():
                await client.__aenter__()
                starting.create_task(client.follow(str(ROOM), after_seq=0))
        async with asyncio.TaskGroup() as talking:
            for client in clients.values():
                talking.create_task(talk(client, chance))
        await come_to_rest(server, clients)
        violations = facts(server, clients)
        for client in clients.values():
            await client.__aexit__(None, None, None)

    assert violations == []
    assert len(server.log) == MESSAGES * len(clients)
    assert server.faults > 0, "a run without faults proves nothing"


def connect_as(url: str, member_id: UUID) -> ChatClient:
    async def ticket() -> str:
        return str(member_id)

    async def at_once(_seconds: float) -> None:
        return None

    return ChatClient(url, ticket, pause=at_once)


async def come_to_rest(server: Server, clients: dict[str, Any]) -> None:
    """Compare heads until every screen has reached the log's."""
    head = len(server.log)
    reached = [
        asyncio.create_task(client.until_shown(str(ROOM), head)) for client in clients.values()
    ]
    waiting: set[asyncio.Task[Any]] = set(reached)
    while waiting:
        server.compare_heads()
        _, waiting = await asyncio.wait(waiting, timeout=0.05)
    await asyncio.gather(*reached)
