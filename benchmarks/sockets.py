"""The room load: many members on sockets of their own, every message to everybody in its room.

The client speaks just enough WebSocket (RFC 6455) to be cheaper than any server it measures.
"""

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Final, cast

from typing_extensions import override

from benchmarks.load import parse_head

_HOST: Final = "127.0.0.1"
_CONNECTING_AT_ONCE: Final = 32
_PATIENCE: Final = 60.0
_TEXT, _CLOSE, _PING, _PONG = 0x1, 0x8, 0x9, 0xA


class RoomFailed(Exception):
    """A member was refused, closed, or did not get exactly what was sent to its room."""


@dataclass(frozen=True, slots=True)
class Seat:
    """One member's way in: the request that opens the socket, what it says first, and from where.

    A server that lets one address have only so many sockets sees members from several homes.
    """

    request: bytes
    opening: tuple[bytes, ...] = ()
    address: str = _HOST


@dataclass(frozen=True)
class Venue:
    """Rooms full of members, and how they talk.

    `message` makes what is sent to a room as its message `n`, by its members in turn, and
    `delivers` tells a delivered message from other frames. With a `welcome`, a member is in its
    room once it has received a frame that contains it.
    """

    rooms: Sequence[Sequence[Seat]]
    message: Callable[[int, int], bytes]
    delivers: Callable[[bytes], bool]
    welcome: bytes | None = None


def upgrade_request(path: str, *, subprotocols: Sequence[str] = ()) -> bytes:
    """The request that opens a socket without compression."""
    lines = [
        f"GET {path} HTTP/1.1",
        f"Host: {_HOST}",
        "Upgrade: websocket",
        "Connection: Upgrade",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: c3RlcHdlbGwtYmVuY2htYQ==",
    ]
    if subprotocols:
        lines.append(f"Sec-WebSocket-Protocol: {', '.join(subprotocols)}")
    return "\r\n".join([*lines, "", ""]).encode()


def client_frame(payload: bytes, *, opcode: int = _TEXT) -> bytes:
    """A final frame from a client, masked with zeros: the payload stays as it is (5.3)."""
    length = len(payload)
    if length < 126:
        head = bytes((0x80 | opcode, 0x80 | length))
    elif length < 2**16:
        head = bytes((0x80 | opcode, 0x80 | 126)) + length.to_bytes(2, "big")
    else:
        raise ValueError("The harness sends no frame of 64 KiB or more.")
    return head + b"\0\0\0\0" + payload


def server_frames(buffer: bytearray) -> Iterator[tuple[int, bytes]]:
    """Take the complete frames off the front of a buffer: opcode and payload (5.2)."""
    start, end = 0, len(buffer)
    while end - start >= 2:
        head, length = 2, buffer[start + 1]
        if length >= 126:
            head += 2 if length == 126 else 8
            if end - start < head:
                break
            length = int.from_bytes(buffer[start + 2 : start + head], "big")
        if end - start < head + length:
            break
        yield buffer[start] & 0x0F, bytes(buffer[start + head : start + head + length])
        start += head + length
    del buffer[:start]


@dataclass
class Talk:
    """What happened in a turn: seconds from start to end, and of each delivery after its send."""

    elapsed: float = 0.0
    delays: list[float] = field(default_factory=list)


class Room:
    """One room's members, its messages under way, and what each member has received."""

    def __init__(self, number: int, venue: Venue) -> None:
        self.finished: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.finished.set_result(None)
        self.members = [Member(self, seat, venue) for seat in venue.rooms[number]]
        self._number, self._message = number, venue.message
        self._sent_at: list[float] = []
        self._last = 0
        self._undelivered = 0
        self._is_closed_loop = False
        self._delays: list[float] = []

    def talk(self, messages: int, talk: Talk, *, is_closed_loop: bool) -> asyncio.Future[None]:
        """Begin a turn of `messages`. A closed loop sends each when the last has reached all."""
        self.finished = asyncio.get_running_loop().create_future()
        self._last = len(self._sent_at) + messages
        self._undelivered = messages * len(self.members)
        self._is_closed_loop = is_closed_loop
        self._delays = talk.delays
        return self.finished

    def send(self) -> None:
        """The next member sends the next message: nobody talks alone, or faster than people may."""
        number = len(self._sent_at)
        self._sent_at.append(time.perf_counter())
        speaker = self.members[number % len(self.members)]
        speaker.send(self._message(self._number, number))

    def delivered(self, nth: int) -> None:
        """A member has received the `nth` message; members receive them in order."""
        if nth >= len(self._sent_at):
            self.fail("A member received more than was sent.")
            return
        self._delays.append(time.perf_counter() - self._sent_at[nth])
        self._undelivered -= 1
        if self._undelivered == 0 and not self.finished.done():
            self.finished.set_result(None)
        elif self._is_closed_loop and self._undelivered % len(self.members) == 0:
            self.send()

    def fail(self, reason: str) -> None:
        """End the turn; whoever waits for it gets RoomFailed."""
        if not self.finished.done():
            self.finished.set_exception(RoomFailed(reason))


class Member(asyncio.Protocol):
    """One socket."""

    def __init__(self, room: Room, seat: Seat, venue: Venue) -> None:
        self.seated: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.received = 0
        self._room, self._seat, self._venue = room, seat, venue
        self._buffer = bytearray()
        self._is_open = False
        self._is_leaving = False
        self._transport: asyncio.Transport | None = None

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports have the methods, but not the base class.
        self._transport = cast("asyncio.Transport", transport)
        self._transport.write(self._seat.request)

    @override
    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if not self._is_open:
            self._open()
        if self._is_open:
            for opcode, payload in server_frames(self._buffer):
                self._take(opcode, payload)

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        if not self._is_leaving:
            self._fail(f"A member lost its socket ({exc}).")

    def send(self, payload: bytes, *, opcode: int = _TEXT) -> None:
        if self._transport is None:
            raise RoomFailed("A member without a socket cannot speak.")
        self._transport.write(client_frame(payload, opcode=opcode))

    @property
    def address(self) -> str:
        """Where this member comes from."""
        return self._seat.address

    def leave(self) -> None:
        """Close without ceremony."""
        self._is_leaving = True
        if self._transport is not None:
            self._transport.abort()

    def _open(self) -> None:
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            return
        status, _ = parse_head(bytes(self._buffer[: end + 4]))
        if status != HTTPStatus.SWITCHING_PROTOCOLS:
            self._fail(f"A member was refused with {status}.")
            return
        del self._buffer[: end + 4]
        self._is_open = True
        for payload in self._seat.opening:
            self.send(payload)
        if self._venue.welcome is None:
            self.seated.set_result(None)

    def _take(self, opcode: int, payload: bytes) -> None:
        if opcode == _PING:
            self.send(payload, opcode=_PONG)
        elif opcode == _CLOSE:
            self._fail(f"A member was closed: {payload!r}")
        elif not self.seated.done():
            if self._venue.welcome is not None and self._venue.welcome in payload:
                self.seated.set_result(None)
        elif self._venue.delivers(payload):
            self.received += 1
            self._room.delivered(self.received - 1)

    def _fail(self, reason: str) -> None:
        if not self.seated.done():
            self.seated.set_exception(RoomFailed(reason))
        self._room.fail(reason)


async def fill(port: int, venue: Venue) -> list[Room]:
    """Connect every member; return once all are in their rooms."""
    rooms = [Room(number, venue) for number in range(len(venue.rooms))]
    gate = asyncio.Semaphore(_CONNECTING_AT_ONCE)
    async with asyncio.timeout(_PATIENCE), asyncio.TaskGroup() as group:
        for room in rooms:
            for member in room.members:
                group.create_task(_seat(port, member, gate))
    return rooms


async def _seat(port: int, member: Member, gate: asyncio.Semaphore) -> None:
    async with gate:
        await asyncio.get_running_loop().create_connection(
            lambda: member, _HOST, port, local_addr=(member.address, 0)
        )
        await member.seated


async def talk_as_fast_as_possible(rooms: Sequence[Room], *, messages: int) -> Talk:
    """Closed loop: in every room one message is under way, `messages` in all."""
    talk = Talk()
    ends = [room.talk(messages, talk, is_closed_loop=True) for room in rooms]
    started_at = time.perf_counter()
    for room in rooms:
        room.send()
    await _all(ends)
    talk.elapsed = time.perf_counter() - started_at
    _check(rooms)
    return talk


async def talk_steadily(rooms: Sequence[Room], *, messages: int, per_second: float) -> Talk:
    """Open loop: the rooms take turns, `per_second` messages over all, `messages` in each."""
    talk = Talk()
    ends = [room.talk(messages, talk, is_closed_loop=False) for room in rooms]
    started_at = time.perf_counter()
    for number in range(messages * len(rooms)):
        due_at = started_at + number / per_second
        await asyncio.sleep(max(0.0, due_at - time.perf_counter()))
        rooms[number % len(rooms)].send()
    await _all(ends)
    talk.elapsed = time.perf_counter() - started_at
    _check(rooms)
    return talk


async def _all(ends: Sequence[asyncio.Future[None]]) -> None:
    async with asyncio.timeout(_PATIENCE):
        await asyncio.gather(*ends)


def _check(rooms: Sequence[Room]) -> None:
    """A message lost at one member and doubled at another must not cancel out."""
    for room in rooms:
        counts = {member.received for member in room.members}
        if len(counts) > 1:
            raise RoomFailed(f"Members of one room received {sorted(counts)} messages.")


def empty(rooms: Sequence[Room]) -> None:
    """Everybody leaves."""
    for room in rooms:
        for member in room.members:
            member.leave()
