"""What pauses the tracer of coverage gives it back, whoever else pauses it meanwhile."""

import asyncio
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from tests.tracer import repeated, traced_once, untraced


class Tracer:
    """Writes down which of the two functions below are called."""

    def __init__(self) -> None:
        self.called: list[str] = []

    def __call__(self, frame: FrameType, event: str, _argument: object) -> None:
        if event == "call" and frame.f_code in {one.__code__, another.__code__}:
            self.called.append(frame.f_code.co_name)


@contextmanager
def tracing() -> Iterator[list[str]]:
    before, tracer = sys.gettrace(), Tracer()
    sys.settrace(tracer)
    try:
        yield tracer.called
    finally:
        sys.settrace(before)


def one() -> None:
    """Something that is called."""


def another() -> None:
    """Something else."""


def test_nothing_is_traced_within_and_everything_afterwards() -> None:
    with tracing() as called:
        with untraced():
            with untraced():
                one()
            one()
        another()
    assert called == ["another"]


def test_a_failure_within_gives_the_tracer_back() -> None:
    with tracing() as called:
        try:
            with untraced():
                raise LookupError  # noqa: TRY301 (a failure in the block itself)
        except LookupError:
            another()
    assert called == ["another"]


def test_what_is_done_again_is_traced_once() -> None:
    with tracing() as called:
        for name in ("first", "second", "first"):
            with traced_once((__name__, name)):
                one()
    assert called == ["one", "one"]


async def test_pauses_of_tasks_that_overlap_end_with_the_last() -> None:
    meeting = asyncio.Barrier(2)

    @repeated
    async def prepare(*, is_first: bool) -> None:
        one()
        if not is_first:
            await meeting.wait()
            another()

    with tracing() as called:
        await prepare(is_first=True)
        await asyncio.gather(prepare(is_first=False), prepare(is_first=False))
        one()
    assert called == ["one", "one"]
