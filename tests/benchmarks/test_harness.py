"""The harness's own arithmetic: a wrong ratio would be believed."""

import json
import math
from collections.abc import Awaitable, Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.harness import (
    Contestant,
    Goal,
    Sample,
    compare,
    medians,
    percentile,
    ratio,
    spreads,
    take_turns,
)
from benchmarks.load import UnexpectedAnswer, parse_head, request_bytes
from benchmarks.processors import (
    TICKS_PER_SECOND,
    Layout,
    ProcessTimes,
    lay_out,
    parse_busy,
    parse_stat,
    tree_seconds,
)
from benchmarks.report import Machine, document, number, table
from benchmarks.sockets import client_frame, server_frames, upgrade_request

STAT = (
    "4242 (a (very) odd name) S 17 4242 4242 0 -1 4194304 101 0 0 0 "
    "{user} {system} {reaped_user} {reaped_system} 20 0 1 0 199944 3133440 410"
)


def stat(*, user: int = 0, system: int = 0, reaped_user: int = 0, reaped_system: int = 0) -> str:
    return STAT.format(
        user=user, system=system, reaped_user=reaped_user, reaped_system=reaped_system
    )


def test_a_process_name_with_spaces_and_parentheses_shifts_no_field() -> None:
    line = stat(
        user=TICKS_PER_SECOND, system=TICKS_PER_SECOND * 2, reaped_system=TICKS_PER_SECOND * 4
    )

    assert parse_stat(line, "") == ProcessTimes(pid=4242, parent=17, own=3.0, reaped=4.0)


def test_nanoseconds_are_believed_where_ticks_round_down() -> None:
    assert parse_stat(stat(), "7500000 12 3\n").own == pytest.approx(0.0075)


def test_ticks_are_believed_where_other_threads_did_the_work() -> None:
    assert parse_stat(stat(user=TICKS_PER_SECOND * 5), "7500000 12 3\n").own == 5.0


def test_a_tree_holds_all_descendants_and_nobody_else() -> None:
    processes = [
        ProcessTimes(pid=30, parent=20, own=1.0, reaped=0.0),
        ProcessTimes(pid=10, parent=1, own=10.0, reaped=5.0),
        ProcessTimes(pid=20, parent=10, own=100.0, reaped=0.0),
        ProcessTimes(pid=99, parent=1, own=1000.0, reaped=1000.0),
    ]

    assert tree_seconds(processes, 10) == 116.0
    assert tree_seconds(processes, 20) == 101.0
    assert tree_seconds(processes, 404) == 0.0


def test_time_idle_and_time_waiting_for_a_disk_are_not_busy() -> None:
    assert parse_busy("cpu  1 2 4 1000 2000 8 16 32 64 128\n") == 1 + 2 + 4 + 8 + 16 + 32


@pytest.mark.parametrize(
    ("available", "layout"),
    [
        ([3], Layout(server=3, database=3, client=3)),
        ([1, 0], Layout(server=0, database=1, client=1)),
        ([0, 2, 4, 6], Layout(server=0, database=2, client=6)),
    ],
)
def test_the_server_shares_its_processor_only_when_there_is_one(
    available: list[int], layout: Layout
) -> None:
    assert lay_out(available) == layout


def test_a_head_is_read_whatever_the_case_and_order_of_its_fields() -> None:
    head = b"HTTP/1.1 201 Created\r\ncontent-type: a/b\r\nCONTENT-Length:  37\r\nx: y\r\n\r\n"

    assert parse_head(head) == (201, 37)


def test_an_answer_without_a_body_has_no_length() -> None:
    assert parse_head(b"HTTP/1.1 204 No Content\r\nx: y\r\n\r\n") == (204, 0)


def test_a_chunked_answer_is_refused_rather_than_misread() -> None:
    with pytest.raises(UnexpectedAnswer):
        parse_head(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")


def test_a_request_states_the_length_of_its_body_in_bytes() -> None:
    request = request_bytes("POST", "/records", headers={"X": "y"}, body='{"a":"ä"}'.encode())
    head, _, body = request.partition(b"\r\n\r\n")

    assert head.startswith(b"POST /records HTTP/1.1\r\nHost: ")
    assert b"\r\nX: y" in head
    assert f"Content-Length: {len(body)}".encode() in head


def test_a_request_that_opens_a_socket_offers_its_subprotocols() -> None:
    request = upgrade_request("/v1/realtime", subprotocols=["one", "two"])

    assert b"\r\nSec-WebSocket-Protocol: one, two\r\n" in request
    assert request.endswith(b"\r\n\r\n")


def as_server(payload: bytes) -> bytes:
    """The frame as a server sends it: unmasked, in the shortest of the three lengths."""
    length = len(payload)
    if length < 126:
        return bytes((0x81, length)) + payload
    if length < 2**16:
        return bytes((0x81, 126)) + length.to_bytes(2, "big") + payload
    return bytes((0x81, 127)) + length.to_bytes(8, "big") + payload


@given(
    st.lists(st.sampled_from([0, 1, 125, 126, 127, 255, 256, 65_535, 65_536]), max_size=5),
    st.integers(min_value=1, max_value=70_000),
)
def test_frames_come_out_whole_however_they_arrive(sizes: list[int], step: int) -> None:
    payloads = [bytes([65 + place]) * size for place, size in enumerate(sizes)]
    stream = b"".join(map(as_server, payloads))
    buffer = bytearray()
    received = []

    for start in range(0, len(stream), step):
        buffer += stream[start : start + step]
        received += [payload for _, payload in server_frames(buffer)]

    assert received == payloads
    assert not buffer


@pytest.mark.parametrize("size", [0, 125, 126, 65_535])
def test_a_client_frame_is_masked_and_says_its_length(size: int) -> None:
    frame = client_frame(b"x" * size)

    assert frame[0] == 0x81
    assert frame[1] & 0x80
    assert frame.endswith(b"\0\0\0\0" + b"x" * size)
    stated = frame[1] & 0x7F
    assert size == (stated if stated < 126 else int.from_bytes(frame[2:4], "big"))


def test_each_figure_has_a_median_and_a_spread_of_its_own() -> None:
    samples = [{"a": 1.0, "b": 30.0}, {"a": 2.0, "b": 10.0}, {"a": 4.0, "b": 20.0}]

    assert medians(samples) == {"a": 2.0, "b": 20.0}
    assert spreads(samples) == {"a": 1.5, "b": 1.0}


def test_there_is_no_ratio_to_nothing() -> None:
    assert ratio(3.0, 2.0) == 1.5
    assert math.isnan(ratio(3.0, 0.0))


@given(st.lists(st.floats(0, 1e6), min_size=1), st.floats(0.01, 1))
def test_a_percentile_is_a_value_that_so_many_do_not_exceed(
    values: list[float], share: float
) -> None:
    value = percentile(values, share)

    assert value in values
    assert sum(other <= value for other in values) >= share * len(values)
    assert sum(other < value for other in values) < share * len(values)


def scripted(*figures: float) -> Callable[[], Awaitable[Sample]]:
    """A turn that costs what the script says, one figure a round."""
    script = iter(figures)

    async def turn() -> Sample:
        return {"cost": next(script), "others": 0.0}

    return turn


async def test_every_other_round_goes_backwards() -> None:
    order: list[str] = []

    def noting(name: str) -> Callable[[], Awaitable[Sample]]:
        async def turn() -> Sample:
            order.append(name)
            return {}

        return turn

    contestants = [Contestant("floor", noting("floor")), Contestant("subject", noting("subject"))]
    await take_turns(contestants, rounds=3)

    assert order == ["floor", "subject", "subject", "floor", "floor", "subject"]


async def test_a_ratio_is_one_of_medians_and_a_goal_is_judged_by_it() -> None:
    goals = (Goal("cost", 1.7), Goal("cost", 40.0, is_ratio=False))
    contestants = [
        Contestant("floor", scripted(10.0, 90.0, 20.0)),
        Contestant("subject", scripted(30.0, 1.0, 36.0), goals),
    ]

    result = await compare("a", contestants, rounds=3, columns=("cost",), ratios_of=("cost",))
    subject = result.outcomes[1]

    assert subject.ratios == {"cost": 1.5}
    assert [(verdict.value, verdict.is_met) for verdict in subject.verdicts] == [
        (1.5, True),
        (30.0, True),
    ]


def test_a_goal_can_be_a_least_and_no_number_meets_none() -> None:
    at_least, at_most = Goal("rate", 0.5, is_at_least=True), Goal("cost", 1.7)

    assert at_least.is_met(0.5)
    assert not at_least.is_met(0.49)
    assert not at_least.is_met(math.nan)
    assert not at_most.is_met(math.nan)


async def test_a_missed_goal_is_said_in_the_table_and_in_json() -> None:
    contestants = [
        Contestant("floor", scripted(1.0, 1.0, 1.0)),
        Contestant("subject", scripted(2.0, 2.0, 2.0), (Goal("cost", 1.7),)),
    ]
    result = await compare("a", contestants, rounds=3, columns=("cost",), ratios_of=("cost",))
    machine = Machine(2, Layout(0, 1, 1), "3.11", "18.4", {"fastapi": "0"})

    assert "- MISSED: subject: cost at most 1.7 x floor, measured 2.00" in table(result)
    plain = json.loads(json.dumps(document([result], machine), allow_nan=False))
    subject = plain["scenarios"][0]["contestants"][1]
    assert subject["ratios"] == {"cost": 2.0}
    assert subject["goals"] == [
        {"goal": "cost at most 1.7 x floor", "measured": 2.0, "is_met": False}
    ]


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0"), (0.01234, "0.0123"), (1.0, "1.00"), (98_765.4, "98,765"), (math.nan, "-")],
)
def test_figures_have_three_significant_digits(value: float, text: str) -> None:
    assert number(value) == text
