import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from typing_extensions import override

from app.domain.roles import RoomRole
from app.realtime.frames import (
    Author,
    Outcome,
    Pong,
    Presence,
    Reauthenticate,
    Request,
    Subscribe,
    parse,
)
from app.realtime.limits import FrameLimits
from app.realtime.protocol import (
    MAX_QUEUED_BYTES,
    MAX_QUEUED_FRAMES,
    REPLAY_BYTES,
    CloseCode,
    Connection,
)
from app.realtime.streams import (
    MAX_REPLAY,
    PAGE,
    Fetch,
    LogEntry,
    Outgoing,
    RoomStream,
    start_of,
)
from tests.realtime.making import (
    AT,
    MEMBER,
    OTHER,
    ROOM,
    entry,
    log,
    seen,
    send_text,
    text_of,
    written,
)

ELSEWHERE = UUID(int=2)


@pytest.fixture
def connection() -> Connection:
    return Connection(now=0.0)


def ask(
    connection: Connection, *, room_id: UUID = ROOM, after_seq: int | None = None, now: float = 0.0
) -> Subscribe:
    members = {} if after_seq is None else {"after_seq": after_seq}
    frame = connection.receive(text_of("subscribe", ref="r", room_id=room_id, **members), now)
    assert isinstance(frame, Subscribe)
    return frame


def follow(
    connection: Connection,
    *,
    room_id: UUID = ROOM,
    after_seq: int | None = None,
    head_seq: int = 0,
    first_seq: int = 1,
) -> None:
    """Let a subscription stand, and write what it says at once."""
    connection.subscribed(
        ask(connection, room_id=room_id, after_seq=after_seq),
        member_id=MEMBER,
        role=RoomRole.PARTICIPANT,
        head_seq=head_seq,
        first_seq=first_seq,
    )


# Subscribing and replaying (WS-09, WS-10)


@pytest.mark.parametrize(
    ("after_seq", "head_seq", "first_seq", "outcome", "starts_after"),
    [
        (None, 0, 1, Outcome.CURRENT, 0),
        (None, 9, 1, Outcome.CURRENT, 9),
        (9, 9, 1, Outcome.CURRENT, 9),
        (8, 9, 1, Outcome.REPLAYED, 8),
        (0, 9, 1, Outcome.REPLAYED, 0),
        (0, MAX_REPLAY, 1, Outcome.REPLAYED, 0),
        (0, MAX_REPLAY + 1, 1, Outcome.RESET, MAX_REPLAY + 1),
        (10, 9, 1, Outcome.RESET, 9),
        (4, 9, 5, Outcome.REPLAYED, 4),
        (3, 9, 5, Outcome.RESET, 9),
    ],
)
def test_ws_10_what_cannot_be_replayed_is_said_to_be_reset(
    after_seq: int | None, head_seq: int, first_seq: int, outcome: Outcome, starts_after: int
) -> None:
    assert start_of(after_seq, head_seq=head_seq, first_seq=first_seq) == (outcome, starts_after)


def test_ws_09_missed_entries_come_first_then_caught_up_then_live(connection: Connection) -> None:
    follow(connection, after_seq=2, head_seq=4)
    assert written(connection) == [
        {
            "type": "subscribed",
            "ref": "r",
            "room_id": str(ROOM),
            "role": "participant",
            "head_seq": 4,
            "outcome": "replayed",
        }
    ]

    fetch = connection.next_fetch()
    assert fetch is not None
    assert (fetch.room_id, fetch.after_seq, fetch.limit) == (ROOM, 2, PAGE)
    connection.page(fetch, log(3, 4, 5))
    connection.offer(*log(6))

    assert seen(connection) == ["entry 3", "entry 4", "caught_up 4", "entry 5", "entry 6"]
    assert connection.next_fetch() is None


def test_ws_09_an_entry_that_comes_before_the_answer_is_not_lost(connection: Connection) -> None:
    request = ask(connection)
    connection.offer(*log(8))
    assert seen(connection) == []

    connection.subscribed(request, member_id=MEMBER, role=RoomRole.HOST, head_seq=7, first_seq=1)
    assert seen(connection) == ["subscribed", "caught_up 7"]
    fetch = connection.next_fetch()
    assert fetch is not None
    connection.page(fetch, log(8))
    assert seen(connection) == ["entry 8"]


def test_ws_09_a_gap_is_filled_from_the_log_and_nothing_is_sent_twice(
    connection: Connection,
) -> None:
    follow(connection)
    for live in log(1, 1, 3, 4, 3):
        connection.offer(live)
    assert seen(connection) == ["subscribed", "caught_up 0", "entry 1"]

    fetch = connection.next_fetch()
    assert fetch is not None
    assert fetch.after_seq == 1
    connection.page(fetch, log(2, 3, 4))
    connection.offer(*log(4))
    assert seen(connection) == ["entry 2", "entry 3", "entry 4"]


def test_ws_11_a_hint_alone_is_enough_to_read_the_log(connection: Connection) -> None:
    follow(connection)
    seen(connection)
    connection.notice(ROOM, 1)
    fetch = connection.next_fetch()
    assert fetch is not None
    connection.page(fetch, log(1))
    assert seen(connection) == ["entry 1"]


def test_ws_11_a_hint_before_the_answer_counts_too(connection: Connection) -> None:
    request = ask(connection)
    connection.notice(ROOM, 8)
    connection.subscribed(request, member_id=MEMBER, role=RoomRole.HOST, head_seq=7, first_seq=1)
    seen(connection)
    assert connection.next_fetch() is not None


def test_a_head_that_the_log_does_not_hold_is_asked_for_once(connection: Connection) -> None:
    follow(connection)
    seen(connection)
    connection.notice(ROOM, 5)
    fetch = connection.next_fetch()
    assert fetch is not None
    connection.page(fetch, [])
    assert connection.next_fetch() is None

    connection.notice(ROOM, 6)
    assert connection.next_fetch() is not None


def test_a_hint_that_comes_while_the_log_is_read_is_kept(connection: Connection) -> None:
    follow(connection)
    seen(connection)
    connection.notice(ROOM, 1)
    fetch = connection.next_fetch()
    assert fetch is not None
    connection.notice(ROOM, 2)
    connection.page(fetch, [])
    assert connection.next_fetch() is not None


def test_one_page_is_read_at_a_time_and_rooms_take_turns(connection: Connection) -> None:
    for room_id in (ROOM, ELSEWHERE):
        follow(connection, room_id=room_id, after_seq=0, head_seq=4)
    seen(connection)

    first = connection.next_fetch()
    assert first is not None
    assert connection.next_fetch() is None
    connection.page(first, log(1, 2, room_id=first.room_id))
    assert connection.next_fetch() is None, "frames are still waiting"
    seen(connection)
    second = connection.next_fetch()
    assert second is not None
    assert {first.room_id, second.room_id} == {ROOM, ELSEWHERE}


def test_a_replay_fills_half_of_the_queue_and_asks_for_the_rest_again(
    connection: Connection,
) -> None:
    follow(connection, after_seq=0, head_seq=PAGE)
    seen(connection)
    entries = log(*range(1, PAGE + 1), body="🌱" * 4_000)
    sizes, shown = [], []
    while (fetch := connection.next_fetch()) is not None:
        connection.page(fetch, entries[fetch.after_seq :])
        page = list(iter(connection.pop, None))
        sizes.append(sum(outgoing.size for outgoing in page))
        shown += [json.loads(outgoing.text)["seq"] for outgoing in page]
    assert connection.closing is None
    assert len(sizes) > 1
    assert max(sizes) < REPLAY_BYTES + entries[0].for_room.size
    assert shown == [*range(1, PAGE + 1), PAGE], "every entry, and caught_up"


def test_only_the_author_sees_the_client_message_id(connection: Connection) -> None:
    follow(connection)
    written(connection)
    mine, theirs = uuid4(), uuid4()
    connection.offer(LogEntry.of(entry(1, author_id=MEMBER, client_message_id=mine)))
    connection.offer(LogEntry.of(entry(2, author_id=OTHER, client_message_id=theirs)))
    first, second = written(connection)
    assert first["client_message_id"] == str(mine)
    assert "client_message_id" not in second


def test_subscribing_again_starts_anew(connection: Connection) -> None:
    follow(connection, head_seq=3)
    connection.offer(*log(4))
    follow(connection, after_seq=2, head_seq=4)
    assert seen(connection) == ["subscribed", "subscribed"]
    fetch = connection.next_fetch()
    assert fetch is not None
    connection.page(fetch, log(3, 4))
    assert seen(connection) == ["entry 3", "entry 4", "caught_up 4"]


def test_a_page_for_an_earlier_subscription_is_left_alone(connection: Connection) -> None:
    follow(connection, after_seq=0, head_seq=2)
    seen(connection)
    stale = connection.next_fetch()
    assert stale is not None
    follow(connection, after_seq=2, head_seq=2)
    seen(connection)
    connection.page(stale, log(1, 2))
    assert seen(connection) == []


def test_an_answer_to_a_superseded_request_is_a_nack(connection: Connection) -> None:
    first = ask(connection)
    ask(connection)
    connection.subscribed(first, member_id=MEMBER, role=RoomRole.HOST, head_seq=0, first_seq=1)
    assert [frame["code"] for frame in written(connection)] == ["superseded"]
    assert not connection.follows(ROOM)


def test_a_refused_subscription_hears_nothing(connection: Connection) -> None:
    connection.refuse(ask(connection), "not_found")
    connection.offer(*log(1))
    connection.notice(ROOM, 1)
    assert written(connection) == [{"type": "nack", "ref": "r", "code": "not_found"}]
    assert connection.next_fetch() is None


def test_a_refused_message_leaves_the_subscription(connection: Connection) -> None:
    follow(connection)
    seen(connection)
    frame = connection.receive(send_text(), 1.0)
    assert isinstance(frame, Request)
    connection.refuse(frame, "room_closed", retry_after=3)
    assert written(connection) == [
        {"type": "nack", "ref": "s", "code": "room_closed", "retry_after": 3}
    ]
    assert connection.follows(ROOM)


# Leaving


def leave(connection: Connection, now: float = 1.0) -> None:
    connection.receive(text_of("unsubscribe", ref="u", room_id=ROOM), now)


def be_removed(connection: Connection) -> None:
    connection.remove(ROOM, "removed")


@pytest.mark.parametrize("end", [leave, be_removed])
def test_ws_14_nothing_of_a_room_follows_its_end(
    connection: Connection, end: Callable[[Connection], None]
) -> None:
    follow(connection, after_seq=0, head_seq=5)
    seen(connection)
    fetch = connection.next_fetch()
    assert fetch is not None
    connection.offer(*log(1))
    author = Author(member_id=OTHER, alias="Heron", role=RoomRole.PARTICIPANT)
    presence = Outgoing.of(Presence(room_id=ROOM, member=author, state="typing"))
    connection.pass_on(presence)

    end(connection)
    connection.page(fetch, log(1, 2, 3))
    connection.offer(*log(6))
    connection.notice(ROOM, 7)
    connection.pass_on(presence)

    assert seen(connection) == ["unsubscribed"]
    assert connection.next_fetch() is None


def test_ws_14_another_room_stays_when_one_is_left(connection: Connection) -> None:
    for room_id in (ROOM, ELSEWHERE):
        follow(connection, room_id=room_id)
    connection.remove(ROOM, "removed")
    connection.offer(*log(1, room_id=ELSEWHERE))
    frames = written(connection)
    assert frames[-2] == {"type": "unsubscribed", "room_id": str(ROOM), "code": "removed"}
    assert frames[-1]["room_id"] == str(ELSEWHERE)


def test_removal_from_a_room_that_is_not_followed_says_nothing(connection: Connection) -> None:
    connection.remove(ROOM, "removed")
    assert seen(connection) == []


def test_ws_14_a_revoked_device_gets_not_even_what_was_waiting(connection: Connection) -> None:
    follow(connection)
    connection.offer(*log(1))
    connection.close(CloseCode.AUTHENTICATION, discard=True)
    connection.offer(*log(2))
    connection.queue(Pong(n=1))
    assert connection.pop() is None
    assert connection.receive('{"type":"ping"}', 1.0) is None
    assert connection.next_fetch() is None
    assert connection.closing is CloseCode.AUTHENTICATION


def test_presence_is_for_those_who_follow_the_room(connection: Connection) -> None:
    author = Author(member_id=OTHER, alias="Heron", role=RoomRole.PARTICIPANT)
    presence = Outgoing.of(Presence(room_id=ROOM, member=author, state="present"))
    connection.pass_on(presence)
    assert seen(connection) == []
    follow(connection)
    connection.pass_on(presence)
    assert seen(connection) == ["subscribed", "caught_up 0", "presence"]


# What a client may say (WS-04, WS-06)


def test_a_ping_is_answered_and_leaves_nothing_to_do(connection: Connection) -> None:
    assert connection.receive('{"type":"ping","n":7}', 0.0) is None
    assert written(connection) == [{"type": "pong", "n": 7}]


def test_typing_in_a_room_that_is_not_followed_goes_nowhere(connection: Connection) -> None:
    assert connection.receive(text_of("typing", room_id=ROOM), 0.0) is None
    assert written(connection)[0]["code"] == "not_found"
    follow(connection)
    assert connection.receive(text_of("typing", room_id=ROOM), 1.0) is not None


def test_ws_04_a_binary_frame_closes_with_1003(connection: Connection) -> None:
    assert connection.receive(b'{"type":"ping"}', 0.0) is None
    assert connection.closing is CloseCode.BINARY


@pytest.mark.parametrize("raw", ["x" * 65_537, "é" * 32_769])
def test_ws_04_a_frame_over_64_kib_closes_with_1009(connection: Connection, raw: str) -> None:
    connection.receive(raw, 0.0)
    assert connection.closing is CloseCode.TOO_BIG


def test_ws_04_the_fifth_bad_frame_in_a_minute_closes_with_1008(connection: Connection) -> None:
    for second in (0.0, 10.0, 20.0, 30.0):
        connection.receive("nonsense", second)
    connection.receive("nonsense", 60.0)
    assert connection.closing is None, "the first was a minute ago"
    connection.receive("nonsense", 61.0)
    assert connection.closing is CloseCode.POLICY
    assert [frame["code"] for frame in written(connection)] == ["bad_frame"] * 6


def test_ws_06_thirty_frames_at_once_pass_and_the_next_waits(connection: Connection) -> None:
    for _ in range(30):
        connection.receive('{"type":"ping"}', 0.0)
    frame = connection.receive(text_of("mark_read", ref="m", room_id=ROOM, seq=1), 0.0)
    assert frame is None
    assert written(connection)[30:] == [
        {"type": "nack", "ref": "m", "code": "rate_limited", "retry_after": 1}
    ]
    assert connection.receive(text_of("mark_read", ref="m", room_id=ROOM, seq=1), 0.1) is not None


def test_ws_06_five_messages_a_second_in_one_room(connection: Connection) -> None:
    passed = [connection.receive(send_text(), 0.0) is not None for _ in range(6)]
    assert passed == [True] * 5 + [False]
    assert connection.receive(send_text(room_id=ELSEWHERE), 0.0) is not None
    assert connection.receive(send_text(), 0.2) is not None


def test_ws_06_typing_is_heard_once_a_second(connection: Connection) -> None:
    follow(connection)
    typing = text_of("typing", room_id=ROOM)
    heard = [connection.receive(typing, at) is not None for at in (0.0, 0.5, 1.0)]
    assert heard == [True, False, True]


def test_ws_06_naming_many_rooms_is_not_remembered() -> None:
    limits = FrameLimits(0.0)
    for second in range(100):
        frame = parse(send_text(room_id=uuid4()))
        assert limits.wait(frame, float(second)) == 0
    assert len(limits._sends) == 1  # noqa: SLF001  # what it costs is not seen from outside


def flood(connection: Connection, start: float, seconds: int) -> None:
    for tenth in range(seconds * 10):
        for _ in range(2):
            connection.receive('{"type":"ping"}', start + tenth / 10)
        seen(connection)


def test_ws_06_a_flood_of_thirty_seconds_closes_with_1008(connection: Connection) -> None:
    flood(connection, 0.0, 30)
    assert connection.closing is None
    flood(connection, 30.0, 4)
    assert connection.closing is CloseCode.POLICY


def test_ws_06_a_flood_that_pauses_starts_anew(connection: Connection) -> None:
    flood(connection, 0.0, 30)
    flood(connection, 40.0, 28)
    assert connection.closing is None


# What a client is owed (WS-13, WS-15, WS-18)


def test_ws_13_a_reader_257_frames_behind_is_closed_with_4409(connection: Connection) -> None:
    for n in range(MAX_QUEUED_FRAMES):
        connection.queue(Pong(n=n))
    assert connection.closing is None
    connection.queue(Pong(n=0))
    assert connection.closing is CloseCode.SLOW_CONSUMER
    assert connection.pop() is None


def test_ws_13_a_reader_a_mebibyte_behind_is_closed_with_4409(connection: Connection) -> None:
    half = Outgoing("x", MAX_QUEUED_BYTES // 2)
    connection.queue(half)
    connection.queue(half)
    assert connection.closing is None
    connection.queue(Outgoing("x", 1))
    assert connection.closing is CloseCode.SLOW_CONSUMER


def test_ws_13_what_was_written_is_owed_no_longer(connection: Connection) -> None:
    for n in range(4 * MAX_QUEUED_FRAMES):
        connection.queue(Pong(n=n))
        connection.queue(Outgoing("x", 60_000))
        seen_one, seen_two = connection.pop(), connection.pop()
        assert seen_one is not None
        assert seen_two is not None
    assert connection.closing is None


def test_ws_15_a_warning_comes_a_minute_before_the_end(connection: Connection) -> None:
    connection.tick(839.9, AT)
    assert seen(connection) == []
    assert connection.wakes_at == 840.0
    connection.tick(850.0, AT)
    connection.tick(860.0, AT)
    assert written(connection) == [
        {"type": "reauthentication_required", "by": "2026-03-01T17:00:50Z"}
    ]
    assert connection.wakes_at == 900.0
    connection.tick(900.0, AT)
    assert connection.closing is CloseCode.AUTHENTICATION


def test_ws_15_a_fresh_ticket_carries_on(connection: Connection) -> None:
    connection.tick(850.0, AT)
    frame = connection.receive(text_of("reauthenticate", ref="t", ticket="abc"), 851.0)
    assert isinstance(frame, Reauthenticate)
    connection.reauthenticated(frame, 852.0)
    connection.tick(900.0, AT + timedelta(seconds=50))
    assert connection.closing is None
    assert connection.wakes_at == 852.0 + 840.0
    assert written(connection)[-1]["ref"] == "t"


def test_ws_15_a_refused_ticket_changes_nothing(connection: Connection) -> None:
    frame = connection.receive(text_of("reauthenticate", ref="t", ticket="abc"), 1.0)
    assert isinstance(frame, Reauthenticate)
    connection.refuse(frame, "unauthenticated")
    assert connection.wakes_at == 840.0
    assert written(connection)[0]["type"] == "nack"


def test_ws_18_a_drained_connection_is_told_when_to_come_back(connection: Connection) -> None:
    follow(connection)
    connection.drain(1_250)
    assert written(connection)[-1] == {"type": "drain", "reconnect_in_ms": 1_250}
    assert connection.closing is CloseCode.RESTART


def test_ws_17_the_close_codes_are_those_of_the_list() -> None:
    assert {int(code) for code in CloseCode} == {
        *(1000, 1003, 1008, 1009, 1012),
        *(4401, 4403, 4408, 4409, 4429),
    }
    assert CloseCode.SLOW_CONSUMER.reason == "slow_consumer"


# Every interleaving


class Client:
    """What a device shows of one room, by the rules of the protocol table."""

    def __init__(self) -> None:
        self.shown: list[int] = []
        self.is_subscribed = False
        self.expects: int | None = None

    @property
    def after_seq(self) -> int | None:
        return self.shown[-1] if self.shown else None

    def read(self, frame: dict[str, Any], whole_log: list[LogEntry]) -> None:
        """Take a frame of the room; anything out of turn fails here."""
        match frame["type"]:
            case "subscribed":
                self.is_subscribed = True
                if frame["outcome"] == "reset":
                    self.shown = list(range(1, frame["head_seq"] + 1))
                if frame["outcome"] != "replayed":
                    self.expects = frame["head_seq"] + 1
                else:
                    self.expects = (self.after_seq or 0) + 1
            case "entry":
                assert self.is_subscribed
                assert frame["seq"] == self.expects
                assert (
                    frame["entry_id"]
                    == json.loads(whole_log[frame["seq"] - 1].for_room.text)["entry_id"]
                )
                self.shown.append(frame["seq"])
                self.expects = frame["seq"] + 1
            case "caught_up":
                assert self.is_subscribed
                assert self.expects == frame["seq"] + 1
            case "unsubscribed":
                self.is_subscribed = False
            case other:
                raise AssertionError(f"{other} does not belong to a room")


rooms = st.sampled_from([ROOM, ELSEWHERE])


class Interleavings(RuleBasedStateMachine):
    """Lost, doubled and reordered hints, late reads, leaving and coming back, in any order.

    The model is the log itself: whatever happens, what a device has shown of a room is an
    interval of it, in order (I3), and at rest it reaches the head (I1).
    """

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.log: dict[UUID, list[LogEntry]] = {ROOM: [], ELSEWHERE: []}
        self.clients = {ROOM: Client(), ELSEWHERE: Client()}
        self.hints: list[LogEntry] = []
        self.connect()

    def connect(self) -> None:
        self.connection = Connection(self.now)
        self.requests: list[Subscribe] = []
        self.fetches: list[tuple[Fetch, list[LogEntry]]] = []
        for client in self.clients.values():
            client.is_subscribed = False
        for room_id in self.log:
            self.subscribe(room_id)
            self.answer()

    @rule(
        room_id=rooms,
        count=st.sampled_from([1, 1, 1, 2, 5, 70, 260]),
        heard=st.sampled_from(["now", "later", "never"]),
    )
    def post(self, room_id: UUID, count: int, heard: str) -> None:
        start = len(self.log[room_id]) + 1
        posted = log(*range(start, start + count), room_id=room_id)
        self.log[room_id] += posted
        if heard == "now":
            for hint in posted:
                self.connection.offer(hint)
        elif heard == "later":
            self.hints += posted

    @precondition(lambda self: self.hints)
    @rule(data=st.data(), alone=st.booleans(), again=st.booleans())
    def hear(self, data: st.DataObject, *, alone: bool, again: bool) -> None:
        place = data.draw(st.integers(0, len(self.hints) - 1))
        hint = self.hints[place] if again else self.hints.pop(place)
        if alone:
            self.connection.notice(hint.room_id, hint.seq)
        else:
            self.connection.offer(hint)

    @rule(room_id=rooms)
    def subscribe(self, room_id: UUID) -> None:
        self.write(None)
        self.now += 1
        after_seq = self.clients[room_id].after_seq
        if self.connection.closing is None:
            self.requests.append(
                ask(self.connection, room_id=room_id, after_seq=after_seq, now=self.now)
            )

    @precondition(lambda self: self.requests)
    @rule()
    def answer(self) -> None:
        request = self.requests.pop(0)
        # Frames are handled one after another, so what was written in between has been read.
        self.write(None)
        self.connection.subscribed(
            request,
            member_id=MEMBER,
            role=RoomRole.PARTICIPANT,
            head_seq=len(self.log[request.room_id]),
            first_seq=1,
        )

    @rule(room_id=rooms, how=st.sampled_from(["unsubscribe", "remove", "disconnect"]))
    def leave(self, room_id: UUID, how: str) -> None:
        self.now += 1
        if how == "unsubscribe":
            leave(self.connection, self.now)
        elif how == "remove":
            self.connection.remove(room_id, "removed")
        else:
            self.connect()

    @rule()
    def begin_read(self) -> None:
        fetch = self.connection.next_fetch()
        if fetch is not None:
            page = self.log[fetch.room_id][fetch.after_seq : fetch.after_seq + fetch.limit]
            self.fetches.append((fetch, page))

    @precondition(lambda self: self.fetches)
    @rule(data=st.data())
    def end_read(self, data: st.DataObject) -> None:
        place = data.draw(st.integers(0, len(self.fetches) - 1))
        self.connection.page(*self.fetches.pop(place))

    @rule(count=st.none() | st.integers(1, 5))
    def write(self, count: int | None) -> None:
        while count is None or count > 0:
            outgoing = self.connection.pop()
            if outgoing is None:
                break
            frame = json.loads(outgoing.text)
            if "room_id" in frame:
                room_id = UUID(frame["room_id"])
                self.clients[room_id].read(frame, self.log[room_id])
            count = None if count is None else count - 1

    @invariant()
    def the_queue_is_bounded(self) -> None:
        if self.connection.closing is not None:
            assert self.connection.closing is CloseCode.SLOW_CONSUMER
            assert self.connection.pop() is None
            self.connect()

    @invariant()
    def i3_what_is_shown_is_an_interval_of_the_log(self) -> None:
        for client in self.clients.values():
            if client.shown:
                first = client.shown[0]
                assert client.shown == list(range(first, first + len(client.shown)))

    @override
    def teardown(self) -> None:
        """Come to rest: read what is asked for, compare heads once more."""
        while self.requests:
            self.answer()
        for room_id, entries in self.log.items():
            self.connection.notice(room_id, len(entries))
        while self.fetches:
            self.connection.page(*self.fetches.pop())
        self.write(None)
        for _ in range(2 * sum(map(len, self.log.values()))):
            self.begin_read()
            if not self.fetches:
                break
            self.connection.page(*self.fetches.pop())
            self.write(None)
        for room_id, client in self.clients.items():
            if client.is_subscribed and client.expects is not None:
                assert client.expects == len(self.log[room_id]) + 1
            assert client.is_subscribed == self.connection.follows(room_id)


TestInterleavings = Interleavings.TestCase
TestInterleavings.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


@given(st.lists(st.integers(1, 12), max_size=40), st.integers(0, 12))
def test_i3_a_stream_alone_serves_long_polling(hints: list[int], after_seq: int) -> None:
    """REST long polling has no connection: a stream, hints, and pages that are read in full."""
    whole = log(*range(1, 13))
    stream = RoomStream(ROOM, MEMBER, after_seq=after_seq, head_seq=after_seq)
    shown = [out for seq in hints if (out := stream.offer(whole[seq - 1])) is not None]
    if stream.is_behind:
        fetch = stream.fetch()
        shown += stream.page(fetch, whole[fetch.after_seq :][: fetch.limit])

    seqs = [json.loads(outgoing.text)["seq"] for outgoing in shown]
    assert seqs == list(range(after_seq + 1, after_seq + 1 + len(seqs)))
    if hints and max(hints) > after_seq:
        assert seqs[-1] >= max(hints)
    assert not stream.is_behind
