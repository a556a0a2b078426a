"""One socket: it carries frames, and decides nothing.

`protocol.Connection` knows what the device is owed; the services decide in the database, in a
short transaction for each frame that begins by checking the sign-in again. One task reads and
handles frame after frame, one writes; nobody else touches the socket.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Final

from starlette.websockets import WebSocket, WebSocketDisconnect

from app.core import clock, logging, metrics
from app.core.database import Lane
from app.core.problems import (
    Forbidden,
    InsufficientScope,
    NotFound,
    OutcomeUnknown,
    Problem,
    ServiceBusy,
    Unauthenticated,
)
from app.core.problems.handlers import problem_of
from app.models.audit import AuditAction, AuditOutcome
from app.realtime.frames import (
    Ack,
    ClientFrame,
    Edit,
    Error,
    MarkRead,
    Presence,
    RaiseHand,
    Reauthenticate,
    Request,
    Retract,
    Send,
    Subscribe,
    Typing,
    Unsubscribe,
)
from app.realtime.hub import REMOVED, Hub
from app.realtime.lines import Line
from app.realtime.protocol import CloseCode, Connection
from app.realtime.streams import Fetch, LogEntry, Outgoing, start_of
from app.realtime.transactions import opened
from app.runtime import Runtime
from app.schemas.rooms import RoomRead
from app.security import audit
from app.security.guards import Opening, allow
from app.security.permissions import Permission
from app.security.principal import Principal
from app.services.rooms import posting, presence, reading, tickets

SUBPROTOCOL: Final = "stepwell.v1"
CLOSED_BY_SERVER: Final = 1006
WRITE_SECONDS: Final = 10.0
RETRY_SECONDS: Final = 1.0
SEND_PAUSES: Final = (0.0, 0.05, 0.2, 1.0)
"""Seconds between attempts to post a message while the database cannot be reached."""

_log = logging.get_logger(__name__)


class Socket:
    """A device's connection, from `accept` until it is closed."""

    def __init__(  # noqa: PLR0913, PLR0917 (what a handshake has found out)
        self,
        websocket: WebSocket,
        hub: Hub,
        runtime: Runtime,
        opening: Opening,
        principal: Principal,
        origin: str | None,
        *,
        monotonic: Callable[[], float] = clock.monotonic,
    ) -> None:
        self._websocket, self._hub, self._runtime = websocket, hub, runtime
        self._opening, self._origin, self._monotonic = opening, origin, monotonic
        self._connection = Connection(monotonic())
        self._line = Line(principal, self._connection)

    async def serve(self, position: int) -> None:
        """Accept, then carry frames until either side closes; events are told from `position`."""
        await self._websocket.accept(subprotocol=SUBPROTOCOL)
        self._hub.join(self._line, position)
        tasks = [asyncio.create_task(self._read()), asyncio.create_task(self._write())]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            results = await asyncio.gather(*tasks, return_exceptions=True)
            self._hub.leave(self._line)
        for result in results:
            if isinstance(result, Exception):
                raise result

    # Reading

    async def _read(self) -> None:
        while True:
            message = await self._websocket.receive()
            if message["type"] == "websocket.disconnect":
                return
            raw = message.get("text")
            frame = self._connection.receive(
                message["bytes"] if raw is None else raw, self._monotonic()
            )
            if frame is not None:
                await self._handle(frame)
            self._line.rouse()

    async def _handle(self, frame: ClientFrame) -> None:
        """Do what a frame asks, and answer it; a failure is an answer, too."""
        try:
            await self._do(frame)
        except Exception as error:  # noqa: BLE001 (nothing may end the socket without a code)
            await self._refuse(frame, problem_of(error))

    async def _do(self, frame: ClientFrame) -> None:
        match frame:
            case Subscribe():
                await self._subscribe(frame)
            case Unsubscribe():
                self._hub.unfollow(self._line, frame.room_id)
            case Send():
                await self._send(frame)
            case Edit() | Retract() | RaiseHand():
                self._acknowledge(frame, await self._post(frame))
            case MarkRead():
                async with self._transaction(Permission.ROOM_READ) as (lane, principal):
                    await posting.mark_read(lane, principal, frame.room_id, frame.seq)
                self._connection.queue(Ack(ref=frame.ref, room_id=frame.room_id))
            case Typing():
                async with self._transaction(Permission.ROOM_WRITE) as (lane, principal):
                    room = await reading.get_room(lane, principal, frame.room_id)
                    await presence.tell(lane, room.id, room.member_id, "typing")
            case Reauthenticate():
                await self._reauthenticate(frame)
            case Request():
                self._connection.refuse(frame, "unavailable")
            case _:
                pass  # answered by the protocol itself

    async def _subscribe(self, frame: Subscribe) -> None:
        """Follow a room: hear of it first, then ask how far it reaches, then say so (WS-09)."""
        self._hub.unfollow(self._line, frame.room_id)
        self._hub.expect(self._line, frame.room_id)
        try:
            async with self._transaction(Permission.ROOM_READ) as (lane, principal):
                room = await reading.get_room(lane, principal, frame.room_id)
                await reading.record_following(lane, room.id)
                arrival = await presence.arrive(lane, principal, room)
        except BaseException:
            self._hub.unfollow(self._line, frame.room_id)
            raise
        self._line.presences[room.id] = arrival.presence_id
        outcome, _ = start_of(frame.after_seq, head_seq=room.head_seq, first_seq=room.first_seq)
        metrics.RESUMES.labels(outcome.value).inc()
        self._answer_subscription(frame, room)
        for member in arrival.present:
            if member.member_id != room.member_id:
                shown = Presence(room_id=room.id, member=member, state="present")
                self._connection.pass_on(Outgoing.of(shown))

    def _answer_subscription(self, frame: Subscribe, room: RoomRead) -> None:
        self._connection.subscribed(
            frame,
            member_id=room.member_id,
            role=room.role,
            head_seq=room.head_seq,
            first_seq=room.first_seq,
        )
        if self._connection.follows(room.id):
            self._hub.follow(self._line, room.id, room.member_id, room.head_seq)
        else:
            self._hub.unfollow(self._line, room.id)  # it was ended while it was answered

    async def _send(self, frame: Send) -> None:
        if frame.kind != "message":
            self._connection.refuse(frame, "unavailable")
            return
        self._acknowledge(frame, await self._post_surely(frame))

    async def _post_surely(self, frame: Send) -> posting.Posted:
        """Post a message whose repetition the log recognizes (WS-08).

        A connection that dies leaves it unknown whether anything was posted, and a pool of dead
        ones fails several times over: asked again, the log answers.
        """
        for pause in SEND_PAUSES:
            try:
                return await self._post(frame)
            except Exception as error:
                if not isinstance(problem_of(error), ServiceBusy | OutcomeUnknown):
                    raise
            await asyncio.sleep(pause)
        return await self._post(frame)

    async def _post(self, frame: Send | Edit | Retract | RaiseHand) -> posting.Posted:
        async with self._transaction(Permission.ROOM_WRITE) as (lane, principal):
            match frame:
                case Send():
                    return await posting.say(
                        lane,
                        principal,
                        frame.room_id,
                        client_message_id=frame.client_message_id,
                        body=frame.body,
                        reply_to=frame.reply_to,
                    )
                case Edit():
                    return await posting.edit(
                        lane,
                        principal,
                        frame.room_id,
                        target_seq=frame.target_seq,
                        body=frame.body,
                    )
                case Retract():
                    return await posting.retract(
                        lane,
                        principal,
                        frame.room_id,
                        target_seq=frame.target_seq,
                        moderates=_moderates(principal),
                    )
                case RaiseHand():
                    return await posting.raise_hand(lane, principal, frame.room_id, on=frame.on)

    def _acknowledge(
        self, frame: Send | Edit | Retract | RaiseHand, posted: posting.Posted
    ) -> None:
        self._connection.queue(
            Ack(
                ref=frame.ref,
                room_id=frame.room_id,
                seq=posted.seq,
                message_id=posted.entry_id,
                sent_at=posted.at,
                duplicate=posted.duplicate,
                crisis_resources=list(posted.crisis_resources) or None,
            )
        )

    async def _reauthenticate(self, frame: Reauthenticate) -> None:
        """Go on with a fresh ticket of the same sign-in, from the same origin (WS-15)."""
        admission = await tickets.use_ticket(self._runtime, frame.ticket)
        claims = admission.claims
        if claims.sign_in_id != self._opening.claims.sign_in_id or admission.origin != self._origin:
            raise tickets.ForeignOrigin
        opening = Opening(claims, self._opening.request_id, self._opening.source)
        async with opened(opening, self._runtime) as lane:
            self._line.principal = allow(lane.info["principal"], Permission.REALTIME_CONNECT)
        self._opening = opening
        self._connection.reauthenticated(frame, self._monotonic())

    async def _refuse(self, frame: ClientFrame, problem: Problem) -> None:
        """Say that it was not done, and leave a trace of what was not allowed (AUD-09)."""
        if isinstance(problem, Unauthenticated) and not isinstance(frame, Reauthenticate):
            self._line.close(CloseCode.AUTHENTICATION, discard=True)
            return
        retry_after = problem.headers.get("Retry-After")
        if isinstance(frame, Request | Reauthenticate):
            self._connection.refuse(
                frame,
                problem.code(),
                retry_after=None if retry_after is None else int(retry_after),
            )
        else:
            self._connection.queue(Error(code=problem.code(), detail=problem.title))
        if isinstance(problem, Forbidden | NotFound):
            await self._record_refusal(frame)

    async def _record_refusal(self, frame: ClientFrame) -> None:
        try:
            async with opened(self._opening, self._runtime) as lane:
                await audit.record(
                    lane,
                    AuditAction.EXECUTE,
                    f"room:{frame.type}",
                    "room",
                    outcome=AuditOutcome.REFUSED,
                )
        except Unauthenticated:
            self._line.close(CloseCode.AUTHENTICATION, discard=True)

    # Writing

    async def _write(self) -> None:
        with suppress(WebSocketDisconnect):  # the reader sees the same end
            while True:
                await self._write_what_waits()
                if self._connection.closing is not None:
                    await self._close(self._connection.closing)
                    return
                if fetch := self._connection.next_fetch():
                    await self._fetch(fetch)
                    continue
                await self._rest()

    async def _write_what_waits(self) -> None:
        self._line.roused.clear()
        while (outgoing := self._connection.pop()) is not None:
            try:
                async with asyncio.timeout(WRITE_SECONDS):
                    await self._say(outgoing.text)
            except TimeoutError:
                self._connection.close(CloseCode.SLOW_CONSUMER, discard=True)

    async def _say(self, text: str) -> None:
        """Send a frame. Raises WebSocketDisconnect when the server has closed the socket itself.

        It says so with a RuntimeError when it closes because of a frame too long or a ping that
        nobody answered, and the reader has not heard of it yet.
        """
        try:
            await self._websocket.send_text(text)
        except RuntimeError:
            raise WebSocketDisconnect(CLOSED_BY_SERVER) from None

    async def _close(self, code: CloseCode) -> None:
        # Whoever does not read may not take the goodbye either, and the server may have said it.
        with suppress(TimeoutError, RuntimeError):
            async with asyncio.timeout(WRITE_SECONDS):
                await self._websocket.close(code, code.reason)

    async def _rest(self) -> None:
        """Wait until there is something to write, or until time asks for something."""
        with suppress(TimeoutError):
            async with asyncio.timeout(max(self._connection.wakes_at - self._monotonic(), 0)):
                await self._line.roused.wait()
        self._connection.tick(self._monotonic(), clock.wall())

    async def _fetch(self, fetch: Fetch) -> None:
        """Read what the device has missed; what fails is tried again, unless access has ended."""
        try:
            stretch = await self._read_stretch(fetch)
        except Unauthenticated:
            self._connection.close(CloseCode.AUTHENTICATION, discard=True)
        except (NotFound, Forbidden):
            self._connection.remove(fetch.room_id, REMOVED)
            self._hub.unfollow(self._line, fetch.room_id)
        else:
            self._connection.page(fetch, [LogEntry.of(entry) for entry in stretch.entries])

    async def _read_stretch(self, fetch: Fetch) -> reading.Stretch:
        while True:
            try:
                async with self._transaction(Permission.ROOM_READ) as (lane, principal):
                    await reading.get_room(lane, principal, fetch.room_id)
                    stretch = await reading.read_log(
                        lane, fetch.room_id, after_seq=fetch.after_seq, limit=fetch.limit
                    )
                    await reading.record_read(lane, fetch.room_id, stretch.participant_ids)
                    return stretch
            except Exception as error:
                if not isinstance(problem_of(error), ServiceBusy | OutcomeUnknown):
                    raise
            await asyncio.sleep(RETRY_SECONDS)

    @asynccontextmanager
    async def _transaction(self, permission: Permission) -> AsyncIterator[tuple[Lane, Principal]]:
        """A transaction of the device's person, as they may act at this moment."""
        async with opened(self._opening, self._runtime) as lane:
            yield lane, allow(lane.info["principal"], permission)


def _moderates(principal: Principal) -> bool:
    try:
        allow(principal, Permission.ROOM_MODERATE)
    except (Forbidden, InsufficientScope):
        return False
    return True
