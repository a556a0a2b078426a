"""The reference client of live rooms, written from the protocol table alone (design, section 6).

It imports nothing of the server, so that it proves the table and can be copied into an app: one
socket for all rooms, a ticket for each connection, entries shown once and in sequence whatever
the network does, and messages that are sent again until they are answered.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self
from uuid import uuid4

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake
from websockets.typing import Origin, Subprotocol

Frame = dict[str, Any]
History = Callable[[str, int, int], Awaitable[list[Frame]]]

SUBPROTOCOL = "stepwell.v1"
GIVE_UP = {1008, 4401, 4403, 4408}
"""Close codes after which connecting again changes nothing: somebody has to do something first."""


class RefusedError(Exception):
    """A request was answered with `nack`."""

    def __init__(self, code: str, retry_after: int | None) -> None:
        super().__init__(code)
        self.code, self.retry_after = code, retry_after


class ClosedError(Exception):
    """The client has ended: it was closed, or the server does not want it back."""


class BrokenPromiseError(Exception):
    """The server did what the protocol table rules out."""


@dataclass(slots=True)
class RoomView:
    """What the device shows of one room: the entries after `began_after`, in sequence.

    `is_current` after `caught_up`, until the connection is lost. `ended_because` is the code of
    a refused or ended subscription; `subscribing` the `ref` of one that is not answered yet.
    """

    room_id: str
    last_seq: int | None = None
    began_after: int = 0
    shown: list[Frame] = field(default_factory=list)
    is_current: bool = False
    subscribing: str | None = None
    ended_because: str | None = None
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)

    def show(self, entry: Frame) -> bool:
        """Show an entry if it is the next one. False is a gap: something is missing before it."""
        if self.last_seq is None or entry["seq"] > self.last_seq + 1:
            return False
        if entry["seq"] == self.last_seq + 1:
            self.shown.append(entry)
            self.last_seq = entry["seq"]
        return True

    def begin(self, after_seq: int) -> None:
        """Start a new interval: what was shown before does not connect to what follows."""
        self.shown, self.began_after, self.last_seq = [], after_seq, after_seq


@dataclass(slots=True)
class Pending:
    """A request that has not been answered, and is sent again on the next connection."""

    frame: Frame
    answer: asyncio.Future[Frame]


class ChatClient:
    """One device. `async with` connects it; it stays connected until it is left.

    `tickets` fetches a fresh ticket for each connection; `history`, if given, loads the entries
    of a room after one sequence number up to another by REST, for when the server says `reset`.
    `pause` waits before the next attempt to connect.
    """

    def __init__(
        self,
        url: str,
        tickets: Callable[[], Awaitable[str]],
        *,
        history: History | None = None,
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
        origin: Origin | None = None,
    ) -> None:
        self.rooms: dict[str, RoomView] = {}
        self.events: list[Frame] = []
        self.presence: list[Frame] = []
        self.errors: list[Frame] = []
        self.acks: list[Frame] = []
        self.close_codes: list[int] = []
        self._url, self._tickets, self._origin = url, tickets, origin
        self._history, self._pause = history, pause
        self._socket: ClientConnection | None = None
        self._pending: dict[str, Pending] = {}
        self._refs = 0
        self._reconnect_in, self._failures = 0.0, 0
        self._running: asyncio.Task[None] | None = None

    @property
    def is_running(self) -> bool:
        """Whether the client is connected, or still tries to be."""
        return self._running is not None and not self._running.done()

    async def __aenter__(self) -> Self:
        self._running = asyncio.create_task(self._stay_connected())
        return self

    async def __aexit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        if self._running is not None:
            self._running.cancel()
            with suppress(asyncio.CancelledError):
                await self._running

    # What a person does

    async def follow(self, room_id: str, *, after_seq: int | None = None) -> RoomView:
        """Subscribe, and wait until everything missed is shown.

        Without `after_seq` the room is followed from now on. Raises RefusedError.
        """
        view = self.rooms.setdefault(room_id, RoomView(room_id))
        if after_seq is not None:
            view.begin(after_seq)
        view.is_current = False
        await self._subscribe(view)
        await self._wait(view, lambda: view.is_current)
        return view

    async def leave(self, room_id: str) -> None:
        """Stop following a room."""
        await self._request("unsubscribe", room_id=room_id)

    async def say(self, room_id: str, body: str, **members: object) -> Frame:
        """Send a message, again on each new connection until it is answered, and give the ack."""
        return await self._request(
            "send",
            room_id=room_id,
            client_message_id=str(uuid4()),
            kind=members.pop("kind", "message"),
            body=body,
            **members,
        )

    async def request(self, kind: str, /, **members: object) -> Frame:
        """Send any other frame that is answered: `edit`, `react`, `pin`, `vote`, `mark_read`…"""
        return await self._request(kind, **members)

    async def tell(self, kind: str, /, **members: object) -> None:
        """Send a frame without an answer of its own: `typing`, `ping`."""
        await self._send({"type": kind, **members})

    async def until_shown(self, room_id: str, seq: int) -> list[Frame]:
        """Wait until an entry is on the screen, and give everything that is."""
        view = self.rooms[room_id]
        await self._wait(view, lambda: (view.last_seq or 0) >= seq)
        return view.shown

    async def until_ended(self, room_id: str) -> str:
        """Wait until the server ends a subscription, and give the code that says why."""
        view = self.rooms[room_id]
        async with view.changed:
            await view.changed.wait_for(lambda: view.ended_because is not None)
        return view.ended_because or ""

    async def until_closed(self) -> int:
        """Wait until the client gives up, and give the close code that made it."""
        if self._running is not None:
            await asyncio.wait([self._running])
        return self.close_codes[-1]

    async def drop(self) -> None:
        """Lose the connection, as a train loses it in a tunnel."""
        if self._socket is not None:
            self._socket.transport.abort()
            await self._socket.wait_closed()

    # Staying connected

    async def _stay_connected(self) -> None:
        try:
            while await self._one_connection():
                await self._pause(max(self._reconnect_in, min(0.1 * 2**self._failures, 5.0)))
                self._reconnect_in = 0.0
        finally:
            for pending in self._pending.values():
                if not pending.answer.done():
                    pending.answer.set_exception(ClosedError())
            self._pending.clear()
            for view in list(self.rooms.values()):
                await self._end(view, "closed")

    async def _one_connection(self) -> bool:
        """Connect once and read until it ends. The answer is whether to connect again."""
        ticket = await self._tickets()
        try:
            async with connect(
                self._url,
                subprotocols=[Subprotocol(SUBPROTOCOL), Subprotocol(f"stepwell.ticket.{ticket}")],
                origin=self._origin,
                compression=None,
                proxy=None,
            ) as socket:
                await self._converse(socket)
                return socket.close_code not in GIVE_UP
        except (OSError, InvalidHandshake):
            self._failures += 1
            return True

    async def _converse(self, socket: ClientConnection) -> None:
        self._socket, self._failures = socket, 0
        try:
            await self._resume()
            # It ends without a goodbye, or in the middle of a frame of ours: the code says how.
            with suppress(ConnectionClosed):
                async for text in socket:
                    await self._read(json.loads(text))
        finally:
            self._socket = None
            for view in self.rooms.values():
                view.is_current = False
        self.close_codes.append(socket.close_code or 1006)

    async def _resume(self) -> None:
        """Follow every room from where the screen ends, then ask again what was not answered."""
        for view in list(self.rooms.values()):
            await self._subscribe(view)
        for pending in list(self._pending.values()):
            await self._send(pending.frame)

    async def _request(self, kind: str, /, **members: object) -> Frame:
        if not self.is_running:
            raise ClosedError
        ref = self._next_ref()
        frame = {"type": kind, "ref": ref, **members}
        answer: asyncio.Future[Frame] = asyncio.get_running_loop().create_future()
        self._pending[ref] = Pending(frame, answer)
        await self._send(frame)
        answered = await answer
        if answered["type"] == "nack":
            raise RefusedError(answered["code"], answered.get("retry_after"))
        return answered

    async def _subscribe(self, view: RoomView) -> None:
        view.subscribing = self._next_ref()
        frame: Frame = {"type": "subscribe", "ref": view.subscribing, "room_id": view.room_id}
        if view.last_seq is not None:
            frame["after_seq"] = view.last_seq
        await self._send(frame)

    async def _wait(self, view: RoomView, reached: Callable[[], bool]) -> None:
        async with view.changed:
            await view.changed.wait_for(lambda: reached() or view.ended_because is not None)
        if view.ended_because is not None:
            raise RefusedError(view.ended_because, None)

    def _next_ref(self) -> str:
        self._refs += 1
        return str(self._refs)

    async def _send(self, frame: Frame) -> None:
        if self._socket is None:
            return  # what waits for an answer is sent on the next connection
        try:
            await self._socket.send(json.dumps(frame))
        except ConnectionClosed:
            return  # likewise; the reader sees the same end

    # What arrives

    async def _read(self, frame: Frame) -> None:
        match frame["type"]:
            case "subscribed" | "entry" | "caught_up" | "unsubscribed":
                await self._read_of_room(frame)
            case "ack":
                self.acks.append(frame)
                self._answer(frame)
            case "nack":
                await self._on_nack(frame)
            case "event":
                self.events.append(frame)
            case "presence":
                self.presence.append(frame)
            case "error":
                self.errors.append(frame)
            case "reauthentication_required":
                ticket = await self._tickets()
                ref = self._next_ref()
                await self._send({"type": "reauthenticate", "ref": ref, "ticket": ticket})
            case "drain":
                self._reconnect_in = frame["reconnect_in_ms"] / 1000
            case _:
                pass  # a later server may say more than this client knows

    async def _read_of_room(self, frame: Frame) -> None:
        self._answer(frame)
        view = self.rooms.get(frame["room_id"])
        if view is None:
            return
        match frame["type"]:
            case "subscribed" if frame["ref"] == view.subscribing:
                view.subscribing = None
                await self._start(view, frame["outcome"], frame["head_seq"])
            case "entry":
                if not view.show(frame) and view.subscribing is None:
                    await self._subscribe(view)
            case "caught_up":
                view.is_current = view.subscribing is None
            case "unsubscribed":
                await self._end(view, frame.get("code", "asked"))
            case _:
                pass  # the answer to a subscription that a later one has replaced
        await self._notify(view)

    async def _start(self, view: RoomView, outcome: str, head: int) -> None:
        if outcome == "reset" and self._history is not None:
            await self._reload(view, head, self._history)
        elif outcome == "reset" or view.last_seq is None:
            view.begin(head)

    async def _reload(self, view: RoomView, head: int, history: History) -> None:
        """Show by REST what is not replayed. It may begin later than what was asked for: nobody
        sees what was said before they came."""
        if view.last_seq is None or view.last_seq > head:
            view.begin(0)
        for entry in await history(view.room_id, view.last_seq or 0, head):
            if not view.show(entry):
                view.begin(entry["seq"] - 1)
                view.show(entry)
        if view.last_seq != head:
            raise BrokenPromiseError(f"history ends at {view.last_seq}, the log at {head}")

    async def _on_nack(self, frame: Frame) -> None:
        self._answer(frame)
        for view in list(self.rooms.values()):
            if view.subscribing == frame["ref"]:
                await self._end(view, frame["code"])

    async def _end(self, view: RoomView, code: str) -> None:
        self.rooms.pop(view.room_id, None)
        view.is_current, view.ended_because = False, code
        await self._notify(view)

    async def _notify(self, view: RoomView) -> None:
        async with view.changed:
            view.changed.notify_all()

    def _answer(self, frame: Frame) -> None:
        pending = self._pending.pop(frame.get("ref", ""), None)
        if pending is not None and not pending.answer.done():
            pending.answer.set_result(frame)
