"""A journey from its first step to its last, over a service of its own."""

import asyncio
import signal
import tempfile
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from tests.journey import admission, admissions, afterwards, evening, opening, planning, schedule
from tests.journey.databases import Database
from tests.journey.journey import Calendar, Journey
from tests.journey.processes import Child, running
from tests.journey.receiver import listening
from tests.journey.story import Story, Surprise, say


async def walk(database: Database, way: str = "first") -> int:
    """Walk one of the `WAYS`, and give the exit status: 0, or 1 when anything was not as expected.

    Whatever was started is stopped before this returns, and when it is cancelled by a signal.
    """
    story, children = Story(), list[Child]()
    try:
        async with AsyncExitStack() as stack:
            stack.enter_context(_stopped_when_terminated())
            journey = await _set_out(story, database, children, stack)
            await WAYS[way](journey)
    except Surprise as surprise:
        _complain(str(surprise), children)
        return 1
    except Exception as error:
        _complain(f"{type(error).__name__}: {error}", children)
        raise
    story.end()
    return 0


async def _set_out(
    story: Story, database: Database, children: list[Child], stack: AsyncExitStack
) -> Journey:
    data_dir = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="stepwell-journey-")))
    say(f"Two API processes and a worker start over {database.name}.")
    service = await stack.enter_async_context(running(database, data_dir, children))
    for child in children:
        say(f"  {child.name}: process {child.process.pid}")
    receiver = await stack.enter_async_context(listening())
    return Journey(story, service, receiver, stack, Calendar.after(datetime.now(tz=UTC)))


async def _all_of_it(journey: Journey) -> None:
    await opening.found(journey)
    await opening.hire(journey)
    await opening.open_program(journey)
    await opening.listen(journey)
    await admission.admit_jordan(journey)
    await admission.admit_casey(journey)
    await planning.agree(journey)
    await schedule.schedule(journey)
    await evening.attend(journey)
    await afterwards.discharge(journey)
    await afterwards.receive(journey)
    await afterwards.account_for(journey)
    await afterwards.see_nothing(journey)
    await afterwards.keep_quiet(journey)


WAYS: Final[Mapping[str, Callable[[Journey], Awaitable[None]]]] = {
    "first": _all_of_it,
    "admission": admissions.decide_about_four,
}
"""The journeys by name: from a referral to a discharge, and four ways through an intake."""


def _complain(sentence: str, children: Sequence[Child]) -> None:
    for child in children:
        say(f"\nThe end of what {child.name} has said:")
        for line in child.last_words():
            say(f"  {line}")
    say(f"\nThe journey ends here: {sentence}")


@contextmanager
def _stopped_when_terminated() -> Iterator[None]:
    """Let SIGTERM do what Ctrl-C does: everything that was started is stopped."""
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    if task is not None:
        loop.add_signal_handler(signal.SIGTERM, task.cancel)
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGTERM)
