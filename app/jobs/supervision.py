"""Loops that go on: begun again when they fail, given up when they keep failing (REL-06).

A loop repeats one step. Whatever ends a step other than its own return, an exception or a
cancellation from elsewhere, is counted, logged and followed by a pause that doubles. When a
critical loop fails five times within a minute the process ends, so that whoever started it
notices and begins a fresh one. A step that did the rest of its work, and failed in some of it, is
logged and goes on: what one organization's rows do to it is no reason to stop for all the others.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from app.core import clock, logging
from app.core.metrics import JOB_DONE_AT, JOB_SECONDS, JOBS

_log = logging.get_logger(__name__)

FAILURES: Final = 5
WITHIN_SECONDS: Final = 60.0
FIRST_PAUSE_SECONDS: Final = 0.5
LONGEST_PAUSE_SECONDS: Final = 30.0
DRAIN_SECONDS: Final = 10.0


class GivenUp(Exception):
    """A critical loop failed too often; the process should end."""

    def __init__(self, job: str) -> None:
        super().__init__(job)
        self.job = job


class SomeFailed(ExceptionGroup[Exception]):
    """Some of a step's work failed, and the rest was done."""


class Killed(Exception):
    """A step was cancelled by somebody other than its supervisor."""


@dataclass(eq=False, slots=True)
class Loop:
    """One step, repeated.

    The step answers whether more is waiting; if not, the next one begins after `every` seconds,
    or at once when `wake` is set.
    """

    name: str
    step: Callable[[], Awaitable[bool]]
    every: float
    is_critical: bool = True
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    done_at: float = field(default_factory=clock.monotonic)
    """When it last finished a step, or was made; by the monotonic clock."""

    @property
    def overdue(self) -> float:
        """For how many seconds longer than its rest no step has finished."""
        return max(0.0, clock.monotonic() - self.done_at - self.every)

    async def rest(self, seconds: float) -> None:
        """Wait for the time to pass or for the alarm."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.wake.wait()
        self.wake.clear()


class Supervisor:
    """Runs loops until it is told to stop; then lets each finish the step it is at."""

    def __init__(
        self,
        loops: Sequence[Loop],
        *,
        monotonic: Callable[[], float] = clock.monotonic,
        first_pause_seconds: float = FIRST_PAUSE_SECONDS,
        drain_seconds: float = DRAIN_SECONDS,
    ) -> None:
        self.loops = loops
        self._monotonic = monotonic
        self._first_pause_seconds = first_pause_seconds
        self._drain_seconds = drain_seconds
        self.stopping = asyncio.Event()

    def stop(self) -> None:
        """Begin no further step."""
        self.stopping.set()
        for loop in self.loops:
            loop.wake.set()

    async def run(self) -> None:
        """Go on until stopped. Raises GivenUp, after the other loops have ended."""
        keepers = [asyncio.create_task(self._keep(loop), name=loop.name) for loop in self.loops]
        stopped = asyncio.create_task(self.stopping.wait())
        try:
            await asyncio.wait([stopped, *keepers], return_when=asyncio.FIRST_COMPLETED)
            self.stop()
            await asyncio.wait(keepers, timeout=self._drain_seconds)
        finally:
            for task in (stopped, *keepers):
                task.cancel()
            results = await asyncio.gather(stopped, *keepers, return_exceptions=True)
        for result in results:
            if isinstance(result, Exception):
                raise result

    async def _keep(self, loop: Loop) -> None:
        failures: deque[float] = deque(maxlen=FAILURES)
        pause = self._first_pause_seconds
        while not self.stopping.is_set():
            try:
                with JOB_SECONDS.labels(loop.name).time():
                    has_more = await _uninterrupted(loop)
            except SomeFailed as error:
                _tell_failure(loop, error)
                has_more = False
            except Exception as error:
                _tell_failure(loop, error)
                failures.append(self._monotonic())
                if loop.is_critical and self._are_too_many(failures):
                    raise GivenUp(loop.name) from error
                await self._pause(pause)
                pause = min(pause * 2, LONGEST_PAUSE_SECONDS)
                continue
            else:
                JOBS.labels(loop.name, "done").inc()
                JOB_DONE_AT.labels(loop.name).set(clock.wall().timestamp())
            loop.done_at = clock.monotonic()
            pause = self._first_pause_seconds
            if not has_more and not self.stopping.is_set():
                await loop.rest(loop.every)

    async def _pause(self, seconds: float) -> None:
        """Wait after a failure, whatever there is to do; only the end cuts it short."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.stopping.wait()

    def _are_too_many(self, failures: deque[float]) -> bool:
        return len(failures) == FAILURES and self._monotonic() - failures[0] <= WITHIN_SECONDS


def _tell_failure(loop: Loop, error: Exception) -> None:
    JOBS.labels(loop.name, "failed").inc()
    for cause in _causes(error):
        _log.error("job_failed", job=loop.name, **logging.describe(cause))


def _causes(error: Exception) -> Iterator[Exception]:
    """What failed, each by itself: a group says nothing of where its members arose."""
    if isinstance(error, ExceptionGroup):
        for each in error.exceptions:
            yield from _causes(each)
    else:
        yield error


async def _uninterrupted(loop: Loop) -> bool:
    """Run one step in a task of its own, so that killing it is told from ending the supervisor."""
    step = asyncio.ensure_future(loop.step())
    try:
        await asyncio.wait([step])
    except asyncio.CancelledError:
        step.cancel()
        await asyncio.gather(step, return_exceptions=True)
        raise
    if step.cancelled():
        raise Killed
    return step.result()
