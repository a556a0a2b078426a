"""The realtime protocol as a state machine: frames and entries in, frames out.

Nothing here opens a socket, reads a database or looks at a clock. A socket hands in what it
receives (`Connection.receive`), the hub what has happened (`offer`, `notice`, `pass_on`), a
timer the time (`tick`), and whoever writes takes what is to be sent (`pop`) and what is to be
read from the log (`next_fetch`, answered by `page`).

What it keeps true: a client gets every entry of a room from where it began, in sequence, none
missing, none twice (WS-09); and nothing of a room after it has left it. Everything live is a
hint only: an entry that is lost, late or doubled on its way is made good from the log.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import IntEnum, unique
from typing import Final
from uuid import UUID

from app.domain.roles import RoomRole
from app.realtime.frames import (
    MAX_FRAME_BYTES,
    Ack,
    BadFrame,
    CaughtUp,
    ClientFrame,
    Drain,
    Error,
    Nack,
    Ping,
    Pong,
    Reauthenticate,
    ReauthenticationRequired,
    Request,
    ServerFrame,
    Subscribe,
    Subscribed,
    Typing,
    Unsubscribe,
    Unsubscribed,
    octets,
    parse,
)
from app.realtime.limits import FrameLimits
from app.realtime.streams import Fetch, LogEntry, Outgoing, RoomStream, start_of

MAX_QUEUED_FRAMES: Final = 256
MAX_QUEUED_BYTES: Final = 1_048_576
"""What may wait for a slow reader before its connection is closed (WS-13)."""

REPLAY_BYTES: Final = MAX_QUEUED_BYTES // 2
"""What a replay may fill of the queue; the other half stays free for what happens meanwhile."""

REAUTHENTICATE_SECONDS: Final = 15 * 60
REAUTHENTICATE_WARNING_SECONDS: Final = 60
"""How long a ticket carries a connection, and how long before its end we say so (WS-15)."""


@unique
class CloseCode(IntEnum):
    """Why a socket is closed (WS-17). The reason sent with it is the name in lower case."""

    NORMAL = 1000
    BINARY = 1003
    POLICY = 1008
    TOO_BIG = 1009
    RESTART = 1012
    AUTHENTICATION = 4401
    AUTHORIZATION = 4403
    REPLACED = 4408
    SLOW_CONSUMER = 4409
    RATE = 4429

    @property
    def reason(self) -> str:
        """The word that a client may show or log."""
        return self.name.lower()


class Outbox:
    """Frames that wait for the writer, counted in frames and octets."""

    __slots__ = ("_frames", "size")

    def __init__(self) -> None:
        self._frames: deque[Outgoing] = deque()
        self.size = 0

    def __len__(self) -> int:
        return len(self._frames)

    @property
    def is_over(self) -> bool:
        """Whether more waits than a connection may owe."""
        return len(self._frames) > MAX_QUEUED_FRAMES or self.size > MAX_QUEUED_BYTES

    def append(self, outgoing: Outgoing) -> None:
        self._frames.append(outgoing)
        self.size += outgoing.size

    def pop(self) -> Outgoing | None:
        if not self._frames:
            return None
        outgoing = self._frames.popleft()
        self.size -= outgoing.size
        return outgoing

    def drop(self, room_id: UUID) -> None:
        """Take back what only a subscriber of the room may see."""
        self._frames = deque(frame for frame in self._frames if frame.room_id != room_id)
        self.size = sum(frame.size for frame in self._frames)

    def clear(self) -> None:
        self._frames.clear()
        self.size = 0


@dataclass(slots=True)
class _Subscription:
    """A room that a connection follows, or has asked to follow.

    Until the request is answered there is no stream, and live entries only move `noticed_seq`:
    so none is lost between asking and answering, and none is shown to someone who may not see it.
    """

    request: Subscribe
    noticed_seq: int = 0
    stream: RoomStream | None = None
    announced_seq: int | None = None
    """The head that `subscribed` named, until `caught_up` has been said."""


class Connection:
    """Everything that one device's connection knows and owes.

    Frames are handled one after another; the caller answers each frame that `receive` returns
    by `subscribed`, `reauthenticated`, `refuse` or `queue`. Once `closing` is set nothing more
    is accepted: the writer sends what `pop` still gives, then closes with that code.
    """

    def __init__(self, now: float) -> None:
        self.closing: CloseCode | None = None
        self._limits = FrameLimits(now)
        self._outbox = Outbox()
        self._rooms: dict[UUID, _Subscription] = {}
        self._fetch: Fetch | None = None
        self._authenticated_until = now + REAUTHENTICATE_SECONDS
        self._has_warned = False

    # What the client says

    def receive(self, raw: str | bytes, now: float) -> ClientFrame | None:
        """Take one frame as it came; octets are a binary frame, which we do not speak.

        Returns the frame if something is left to do for it: to check, to write, to tell the hub.
        A returned `subscribe` is registered already, so its answer may read the log after it.
        """
        if self.closing is not None:
            return None
        if isinstance(raw, bytes):
            self.close(CloseCode.BINARY)
            return None
        if len(octets(raw)) > MAX_FRAME_BYTES:
            self.close(CloseCode.TOO_BIG)
            return None
        try:
            frame = parse(raw)
        except BadFrame as bad:
            self._answer_bad(bad, now)
            return None
        wait = self._limits.wait(frame, now)
        if wait:
            self._answer_excess(frame, wait)
            return None
        return self._accept(frame)

    def _answer_bad(self, bad: BadFrame, now: float) -> None:
        self.queue(Error(ref=bad.ref, code=bad.code, detail=bad.detail))
        if self._limits.is_one_bad_frame_too_many(now):
            self.close(CloseCode.POLICY)

    def _answer_excess(self, frame: ClientFrame, wait: int) -> None:
        if isinstance(frame, Request | Reauthenticate):
            self.queue(Nack(ref=frame.ref, code="rate_limited", retry_after=wait))
        else:
            self.queue(Error(code="rate_limited", detail=f"Wait {wait} s."))
        if self._limits.is_flooded:
            self.close(CloseCode.POLICY)

    def _accept(self, frame: ClientFrame) -> ClientFrame | None:
        match frame:
            case Ping():
                self.queue(Pong(n=frame.n))
                return None
            case Typing() if not self.follows(frame.room_id):
                self.queue(Error(code="not_found", detail="Subscribe to the room first."))
                return None
            case Subscribe():
                self._forget(frame.room_id)
                self._rooms[frame.room_id] = _Subscription(frame)
            case Unsubscribe():
                self._forget(frame.room_id)
                self.queue(Unsubscribed(ref=frame.ref, room_id=frame.room_id))
            case _:
                pass
        return frame

    # What the caller answers

    def subscribed(
        self,
        request: Subscribe,
        *,
        member_id: UUID,
        role: RoomRole,
        head_seq: int,
        first_seq: int,
    ) -> None:
        """Let a subscription stand, whose member may see entries from `first_seq` on."""
        subscription = self._rooms.get(request.room_id)
        if subscription is None or subscription.request is not request:
            self.queue(Nack(ref=request.ref, code="superseded"))
            return
        outcome, after_seq = start_of(request.after_seq, head_seq=head_seq, first_seq=first_seq)
        self.queue(
            Subscribed(
                ref=request.ref,
                room_id=request.room_id,
                role=role,
                head_seq=head_seq,
                outcome=outcome,
            )
        )
        subscription.stream = RoomStream(
            request.room_id,
            member_id,
            after_seq=after_seq,
            head_seq=max(head_seq, subscription.noticed_seq),
        )
        subscription.announced_seq = head_seq
        self._say_caught_up(subscription, subscription.stream)

    def reauthenticated(self, request: Reauthenticate, now: float) -> None:
        """Go on for another quarter of an hour: the ticket was good."""
        self._authenticated_until = now + REAUTHENTICATE_SECONDS
        self._has_warned = False
        self.queue(Ack(ref=request.ref))

    def refuse(
        self, request: Request | Reauthenticate, code: str, *, retry_after: int | None = None
    ) -> None:
        """Say that a request was not done. A subscription that is refused does not stay."""
        if isinstance(request, Subscribe):
            subscription = self._rooms.get(request.room_id)
            if subscription is not None and subscription.request is request:
                self._forget(request.room_id)
        self.queue(Nack(ref=request.ref, code=code, retry_after=retry_after))

    def queue(self, frame: ServerFrame | Outgoing) -> None:
        """Send a frame when its turn comes; a reader too slow for its turn is closed (WS-13)."""
        if self.closing is not None:
            return
        self._outbox.append(frame if isinstance(frame, Outgoing) else Outgoing.of(frame))
        if self._outbox.is_over:
            self.close(CloseCode.SLOW_CONSUMER, discard=True)

    # What happens in rooms

    def follows(self, room_id: UUID) -> bool:
        """Whether a subscription to the room stands."""
        subscription = self._rooms.get(room_id)
        return subscription is not None and subscription.stream is not None

    def offer(self, entry: LogEntry) -> None:
        """Hear of a live entry; it is sent if it is the next one."""
        subscription = self._rooms.get(entry.room_id)
        if subscription is None:
            return
        if subscription.stream is None:
            subscription.noticed_seq = max(subscription.noticed_seq, entry.seq)
            return
        outgoing = subscription.stream.offer(entry)
        if outgoing is not None:
            self._send_entry(outgoing, subscription, subscription.stream)

    def notice(self, room_id: UUID, seq: int) -> None:
        """Hear how far a room's log reaches, without seeing the entry."""
        subscription = self._rooms.get(room_id)
        if subscription is None:
            return
        if subscription.stream is None:
            subscription.noticed_seq = max(subscription.noticed_seq, seq)
        else:
            subscription.stream.notice(seq)

    def pass_on(self, presence: Outgoing) -> None:
        """Send what only those who follow the room may see, if this connection does."""
        if presence.room_id is not None and self.follows(presence.room_id):
            self.queue(presence)

    def remove(self, room_id: UUID, code: str) -> None:
        """End a subscription that may no longer be: nothing of the room leaves after this."""
        if room_id in self._rooms:
            self._forget(room_id)
            self.queue(Unsubscribed(room_id=room_id, code=code))

    # What the writer does

    def pop(self) -> Outgoing | None:
        """Take the next frame to write, if there is one."""
        return self._outbox.pop()

    def next_fetch(self) -> Fetch | None:
        """Take the next page to read, one at a time; None while frames wait or nothing is missing.

        Rooms take turns. A read that fails is tried again by the caller: the fetch stays open
        until `page` answers it.
        """
        if self._fetch is not None or self._outbox or self.closing is not None:
            return None
        for room_id, subscription in self._rooms.items():
            if subscription.stream is not None and subscription.stream.is_behind:
                self._rooms[room_id] = self._rooms.pop(room_id)
                self._fetch = subscription.stream.fetch()
                return self._fetch
        return None

    def page(self, fetch: Fetch, entries: Sequence[LogEntry]) -> None:
        """Take the entries of a page, in sequence. One that is no longer wanted is left alone."""
        if fetch is not self._fetch:
            return
        self._fetch = None
        subscription = self._rooms[fetch.room_id]
        if subscription.stream is None:
            return
        for outgoing in subscription.stream.page(fetch, entries):
            self._send_entry(outgoing, subscription, subscription.stream)
            if self._outbox.size >= REPLAY_BYTES:
                break

    def tick(self, now: float, at: datetime) -> None:
        """Let time pass: `now` is monotonic, `at` the same moment as the client reads it."""
        left = self._authenticated_until - now
        if left <= 0:
            self.close(CloseCode.AUTHENTICATION, discard=True)
        elif left <= REAUTHENTICATE_WARNING_SECONDS and not self._has_warned:
            self._has_warned = True
            self.queue(ReauthenticationRequired(by=at + timedelta(seconds=left)))

    @property
    def wakes_at(self) -> float:
        """When `tick` has something to do next."""
        if self._has_warned:
            return self._authenticated_until
        return self._authenticated_until - REAUTHENTICATE_WARNING_SECONDS

    def drain(self, reconnect_in_ms: int) -> None:
        """Ask the client to come back, and close for the restart (WS-18)."""
        self.queue(Drain(reconnect_in_ms=reconnect_in_ms))
        self.close(CloseCode.RESTART)

    def close(self, code: CloseCode, *, discard: bool = False) -> None:
        """Close once what waits has been written, or with `discard` without writing it.

        Discard where nothing may reach the device any more. The first reason stands, but what
        was still to be written can be discarded later.
        """
        if self.closing is None:
            self.closing = code
        self._rooms.clear()
        self._fetch = None
        if discard:
            self._outbox.clear()

    def _send_entry(
        self, outgoing: Outgoing, subscription: _Subscription, stream: RoomStream
    ) -> None:
        self.queue(outgoing)
        self._say_caught_up(subscription, stream)

    def _say_caught_up(self, subscription: _Subscription, stream: RoomStream) -> None:
        if subscription.announced_seq == stream.sent_seq:
            subscription.announced_seq = None
            self.queue(CaughtUp(room_id=stream.room_id, seq=stream.sent_seq))

    def _forget(self, room_id: UUID) -> None:
        self._rooms.pop(room_id, None)
        self._outbox.drop(room_id)
        if self._fetch is not None and self._fetch.room_id == room_id:
            self._fetch = None
