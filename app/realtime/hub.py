"""One hub for each process: who is connected here, what rooms they follow, and what they are told.

A hint says that a room's log has grown; the hub reads what is new once, encodes it once, and
offers it to every line that follows the room and is still a member of it at that moment. A hint
that access has ended acts at once. What hints may have missed is asked from the database: heads
every two seconds, access every fifteen (WS-11, WS-14).
"""

import asyncio
import random
from collections.abc import AsyncIterator, Collection, Coroutine, Iterable, Iterator
from contextlib import aclosing, asynccontextmanager, contextmanager, suppress
from functools import partial
from itertools import chain
from typing import Any, Final, cast
from uuid import UUID

from starlette.requests import HTTPConnection

from app.core import clock, logging, metrics
from app.core.database import Lane
from app.core.problems import ServiceBusy
from app.jobs.supervision import Loop, Supervisor
from app.jobs.workplace import in_turn
from app.readiness import Link
from app.realtime import happenings
from app.realtime.bus import Bus, Channel
from app.realtime.frames import Presence
from app.realtime.lines import Feed, Line, Places, grouped
from app.realtime.protocol import CloseCode
from app.realtime.streams import PAGE, LogEntry, Outgoing
from app.runtime import Runtime
from app.security.principal import Principal
from app.services.rooms import lanes, presence, reading, standing

LINES_OF_ACCOUNT: Final = 5
POLL_SECONDS: Final = 2.0
SWEEP_SECONDS: Final = 15.0
RECONNECT_MOST_MS: Final = 5_000
DRAIN_SECONDS: Final = 10.0
READS_AT_ONCE: Final = 3
"""Of the pool's connections; the rest are for requests and for what members send."""

REMOVED: Final = "removed"
_log = logging.get_logger(__name__)


class Hub:
    """The sockets of this process and the rooms they follow."""

    def __init__(self, runtime: Runtime, bus: Bus, *, most_lines: int) -> None:
        self._runtime, self._bus = runtime, bus
        self._places = Places(most_lines)
        self._lines: set[Line] = set()
        self._by_account: dict[UUID, list[Line]] = {}
        self._feeds: dict[UUID, Feed] = {}
        self._events = happenings.Readers(runtime)
        self._reads = asyncio.Semaphore(READS_AT_ONCE)
        self._tasks: set[asyncio.Task[None]] = set()
        self._poll = Loop("realtime_poll", self.compare_heads, POLL_SECONDS, is_critical=False)
        self._sweep = Loop("realtime_sweep", self.sweep, SWEEP_SECONDS, is_critical=False)
        self._is_empty = asyncio.Event()
        self._is_empty.set()
        self.is_draining = False
        self.bus_link = Link()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Listen, compare and sweep for as long as the process serves."""
        listening = Loop("realtime_bus", self._listen, 0.0, is_critical=False)
        supervisor = Supervisor([listening, self._poll, self._sweep])
        running = asyncio.create_task(supervisor.run(), name="realtime")
        metrics.SOCKETS.set_function(lambda: len(self._lines))
        try:
            yield
        finally:
            running.cancel()
            for task in (running, *self._tasks):
                task.cancel()
            await asyncio.gather(running, *self._tasks, return_exceptions=True)

    async def _listen(self) -> bool:
        try:
            await self._bus.listen(self)
        finally:
            self.bus_link.is_down()
        return True  # it was listening and no longer is: begin again without a pause

    # Coming and going

    @contextmanager
    def handshake(self, address: str) -> Iterator[None]:
        """Hold a place while a handshake is judged, and for as long as its socket is open.

        Raises ServiceBusy when the process is full or leaving, TooManyRequests when the address
        has fifty sockets (WS-03).
        """
        if self.is_draining:
            raise ServiceBusy(headers={"Retry-After": "5"})
        with self._places.taken(address):
            yield

    def join(self, line: Line, position: int) -> None:
        """Take a socket in; the sixth of an account closes its first (WS-03)."""
        own = self._by_account.setdefault(line.principal.account_id, [])
        own.append(line)
        self._lines.add(line)
        self._is_empty.clear()
        self._events.begin(line.principal.organization_id, position)
        open_lines = [each for each in own if each.connection.closing is None]
        for surplus in open_lines[:-LINES_OF_ACCOUNT]:
            surplus.close(CloseCode.REPLACED)
        if self.is_draining:
            self._send_away(line)  # it came through the door while it closed

    def leave(self, line: Line) -> None:
        """Let a socket go: nothing is told to it any more, and its presences end."""
        self._lines.discard(line)
        own = self._by_account[line.principal.account_id]
        own.remove(line)
        if not own:
            del self._by_account[line.principal.account_id]
        for room_id in [room_id for room_id, feed in self._feeds.items() if line in feed.lines]:
            self.unfollow(line, room_id)
        if not self._lines:
            self._is_empty.set()

    # Following rooms

    def expect(self, line: Line, room_id: UUID) -> None:
        """Hear of a room from now on, before it is known whether the line may follow it.

        So nothing is lost between asking the database and answering the client (WS-09).
        """
        self._feed(line.principal.organization_id, room_id).lines.add(line)

    def follow(self, line: Line, room_id: UUID, member_id: UUID, head_seq: int) -> None:
        """Tell a line what is said in a room from `head_seq` on."""
        feed = self._feeds.get(room_id)
        if feed is None or line not in feed.lines:
            return  # it was removed while its request was answered
        line.members[room_id] = member_id
        if feed.seq is None:
            feed.seq = head_seq
        self._stir(feed)

    async def until_said(
        self, principal: Principal, room_id: UUID, after_seq: int, seconds: float
    ) -> None:
        """Wait until a room's log has grown past `after_seq`, or for so long."""
        feed = self._feed(principal.organization_id, room_id)
        said = asyncio.Event()
        feed.waiters[said] = after_seq
        try:
            if not self.is_draining:
                with suppress(TimeoutError):
                    async with asyncio.timeout(seconds):
                        await said.wait()
        finally:
            del feed.waiters[said]
            self._drop_unwanted(feed)

    def _feed(self, organization_id: UUID, room_id: UUID) -> Feed:
        feed = self._feeds.get(room_id)
        if feed is None:
            feed = self._feeds[room_id] = Feed(organization_id, room_id)
        return feed

    def unfollow(self, line: Line, room_id: UUID) -> None:
        """Tell a line nothing of a room any more; its presence there ends."""
        line.members.pop(room_id, None)
        presence_id = line.presences.pop(room_id, None)
        if presence_id is not None:
            self._spawn(self._end_presence(line.principal.organization_id, presence_id))
        feed = self._feeds.get(room_id)
        if feed is not None:
            feed.lines.discard(line)
            self._drop_unwanted(feed)

    def _drop_unwanted(self, feed: Feed) -> None:
        if not feed.is_wanted and self._feeds.get(feed.room_id) is feed:
            del self._feeds[feed.room_id]

    def _remove(self, line: Line, room_id: UUID) -> None:
        """End a subscription that may no longer be; nothing of the room leaves after this."""
        line.connection.remove(room_id, REMOVED)
        self.unfollow(line, room_id)
        line.rouse()

    def _remove_member(self, line: Line, room_id: UUID, member_id: UUID) -> None:
        """Do so for a membership that ended, unless a later one lets the line follow by now."""
        if line.members.get(room_id) == member_id:
            self._remove(line, room_id)

    # Hints

    def hear(self, channel: Channel, payload: str) -> None:
        """Take a hint from the bus."""
        try:
            self._take(channel, payload.split(":"))
        except ValueError:
            _log.warning("bus_payload_unreadable", kind=channel.value)

    def _take(self, channel: Channel, words: list[str]) -> None:
        match channel, words:
            case Channel.ROOMS, [_, room_id, seq]:
                self._notice(UUID(room_id), int(seq))
            case Channel.ACCESS, ["sign_in", sign_in_id]:
                self._end_sign_in(UUID(sign_in_id))
            case Channel.ACCESS, ["account", account_id]:
                self._close(self._by_account.get(UUID(account_id), ()))
            case Channel.ACCESS, ["room_member", room_id, account_id]:
                self._end_membership(UUID(room_id), UUID(account_id))
            case Channel.POSITIONS, [organization_id, position]:
                self._tell_events(UUID(organization_id), int(position))
            case Channel.PRESENCE, [_, room_id, member_id, state]:
                self._show_presence(UUID(room_id), UUID(member_id), state)
            case _:
                raise ValueError

    def listen_again(self) -> None:
        """Hints are heard from now on, and may have been lost: ask for all, access first."""
        self.bus_link.is_up()
        self._sweep.wake.set()
        self._poll.wake.set()

    def _notice(self, room_id: UUID, seq: int) -> None:
        feed = self._feeds.get(room_id)
        if feed is not None:
            feed.noticed = max(feed.noticed, seq)
            self._stir(feed)

    def _stir(self, feed: Feed) -> None:
        for said, after_seq in feed.waiters.items():
            if after_seq < feed.noticed:
                said.set()
        if feed.is_behind and not feed.is_reading:
            feed.is_reading = True
            self._spawn(self._read_on(feed))

    def _end_sign_in(self, sign_in_id: UUID) -> None:
        self._close(line for line in self._lines if line.principal.sign_in_id == sign_in_id)

    def _close(self, lines: Iterable[Line]) -> None:
        for line in list(lines):
            line.close(CloseCode.AUTHENTICATION, discard=True)

    def _end_membership(self, room_id: UUID, account_id: UUID) -> None:
        for line in list(self._by_account.get(account_id, ())):
            feed = self._feeds.get(room_id)
            if feed is not None and line in feed.lines:
                self._remove(line, room_id)

    # What is said

    async def _read_on(self, feed: Feed) -> None:
        """Read a room's log as far as it is known to reach, once for every line that follows.

        What fails is tried again by the next hint or comparison.
        """
        try:
            while feed.is_behind:
                await self._read_page(feed)
        finally:
            feed.is_reading = False

    async def _read_page(self, feed: Feed) -> None:
        after_seq, noticed = feed.seq or 0, feed.noticed
        # Whoever begins to follow while we read has just shown that they may.
        known = {line: line.members.get(feed.room_id) for line in feed.lines}
        async with self._lane(feed.organization_id) as lane:
            stretch = await reading.read_log(lane, feed.room_id, after_seq=after_seq, limit=PAGE)
            # Asked after the entries: whoever is still a member may see them all.
            members = await standing.members_of(lane, feed.room_id)
        entries = [LogEntry.of(entry) for entry in stretch.entries]
        if entries:
            feed.seq = entries[-1].seq
        elif feed.noticed == noticed:
            feed.noticed = after_seq  # the log does not bear the hint out
        for line in list(feed.lines):
            member_id = known.get(line)
            if member_id is not None and member_id not in members:
                self._remove_member(line, feed.room_id, member_id)
                continue
            for entry in entries:
                line.connection.offer(entry)
            line.rouse()

    # Events and presence

    def _tell_events(self, organization_id: UUID, position: int) -> None:
        if self._events.notice(organization_id, position):
            self._spawn(self._read_events(organization_id))

    async def _read_events(self, organization_id: UUID) -> None:
        present = partial(self._present, organization_id)
        reading_on = self._events.read(organization_id, present, self._reads)
        async with aclosing(reading_on) as told:
            async for principal, frames in told:
                for line in list(self._by_account.get(principal.account_id, ())):
                    if line.principal.scope != principal.scope:
                        continue
                    for frame in frames:
                        line.connection.queue(frame)
                    line.rouse()

    def _present(self, organization_id: UUID) -> Collection[Principal]:
        """Who is here, each application of a person by itself: its scope is judged alone."""
        principals = (line.principal for line in self._lines)
        return {
            (each.account_id, each.scope): each
            for each in principals
            if each.organization_id == organization_id
        }.values()

    def _show_presence(self, room_id: UUID, member_id: UUID, state: str) -> None:
        feed = self._feeds.get(room_id)
        if feed is not None and feed.lines:
            self._spawn(self._tell_presence(feed, member_id, cast("presence.State", state)))

    async def _tell_presence(self, feed: Feed, member_id: UUID, state: presence.State) -> None:
        author = feed.authors.get(member_id)
        if author is None:
            async with self._lane(feed.organization_id) as lane:
                author = await presence.member_of(lane, feed.room_id, member_id)
            if author is None:
                return
            feed.authors[member_id] = author
        frame = Outgoing.of(Presence(room_id=feed.room_id, member=author, state=state))
        for line in list(feed.lines):
            if line.members.get(feed.room_id) != member_id:
                line.connection.pass_on(frame)
                line.rouse()

    async def _end_presence(self, organization_id: UUID, presence_id: UUID) -> None:
        async with self._lane(organization_id) as lane:
            await lanes.keep_organization_time(lane)
            await presence.leave(lane, [presence_id], clock.now())

    # What may have been missed

    async def compare_heads(self) -> bool:
        """Ask how far the logs of all followed rooms reach, and the events (WS-11)."""
        rooms = [(feed.organization_id, feed.room_id) for feed in self._feeds.values()]
        organizations = {line.principal.organization_id for line in self._lines}
        if not rooms and not organizations:
            return False
        async with self._lane(None) as lane:
            heads = await standing.heads_of(lane, rooms)
            positions = await standing.positions_of(lane, organizations)
        for room_id, head_seq in heads.items():
            self._notice(room_id, head_seq)
        for organization_id, position in positions.items():
            self._tell_events(organization_id, position)
        return False

    async def sweep(self) -> bool:
        """Close what has lost its sign-in or its membership, whatever was not heard (WS-14)."""
        if not self._lines:
            return False
        # What is true of a line may change while the database is asked.
        asked = [(line, line.principal, dict(line.members)) for line in self._lines]
        sign_ins = {(who.organization_id, who.sign_in_id) for _, who, _ in asked}
        ours = {(who.organization_id, id_) for _, who, rooms in asked for id_ in rooms.values()}
        async with self._lane(None) as lane:
            signed_in = await standing.live_sign_ins(lane, sign_ins)
            members = await standing.standing_members(lane, ours)
        for line, principal, rooms in asked:
            signed = principal.sign_in_id, principal.sign_in_version
            if line.principal is principal and signed not in signed_in:
                line.close(CloseCode.AUTHENTICATION, discard=True)
            for room_id, member_id in rooms.items():
                if member_id not in members:
                    self._remove_member(line, room_id, member_id)
        await self._keep_presences()
        return False

    async def _keep_presences(self) -> None:
        """Say of everybody here that they still are, and end the presences of who is not."""
        lines = grouped((line.principal.organization_id, line) for line in self._lines)

        async def keep(organization_id: UUID) -> None:
            async with self._lane(organization_id) as lane:
                await lanes.keep_organization_time(lane)
                ours = (line.presences.values() for line in lines[organization_id])
                await presence.refresh(lane, set(chain.from_iterable(ours)))

        await in_turn(lines, keep)

    # The end

    async def drain(self) -> None:
        """Ask every client to come back, each at its own moment, and wait until they went."""
        self.is_draining = True
        for feed in self._feeds.values():
            for said in feed.waiters:
                said.set()
        for line in list(self._lines):
            self._send_away(line)
        with suppress(TimeoutError):
            async with asyncio.timeout(DRAIN_SECONDS):
                await self._is_empty.wait()
                await asyncio.gather(*self._tasks, return_exceptions=True)

    def _send_away(self, line: Line) -> None:
        line.connection.drain(random.randint(0, RECONNECT_MOST_MS))  # noqa: S311 (it spreads)
        line.rouse()

    # Reading

    @asynccontextmanager
    async def _lane(self, organization_id: UUID | None) -> AsyncIterator[Lane]:
        async with self._reads, lanes.entered(self._runtime, organization_id) as lane:
            yield lane

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Do something that nobody waits for, and say when it fails."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._finish)

    def _finish(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.warning("realtime_task_failed", error=error)


def hub_of(connection: HTTPConnection) -> Hub:
    """The hub of the process that serves a request."""
    hub: Hub = connection.app.state.hub
    return hub
