"""The first journey, walked as `make journey` walks it: a process of its own, from the outside."""

import asyncio
import os
import re
import signal
import sys
from asyncio.subprocess import PIPE, STDOUT, Process
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Final

import pytest

from tests.journey.databases import Database
from tests.journey.journey import Calendar, instant
from tests.journey.story import Story, Surprise
from tests.journey.walk import walk

ROOT: Final = Path(__file__).resolve().parents[1]
SERVER: Final = "STEPWELL_TEST_DATABASE_URL"
OTHER_DATABASES: Final = [
    {"STEPWELL_TEST_MAJOR": "16"},
    *([{SERVER: os.environ[SERVER]}] if SERVER in os.environ else []),
]
BROKEN_OFF: Final = 130
PATIENCE_SECONDS: Final = 240


@asynccontextmanager
async def journey(chosen: Mapping[str, str], *way: str) -> AsyncIterator[Process]:
    """`python -m tests.journey` over a chosen database."""
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("STEPWELL_")}
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "tests.journey", *way),
        cwd=ROOT,
        env={**inherited, **chosen},
        stdout=PIPE,
        stderr=STDOUT,
        start_new_session=True,
    )
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            yield process
    finally:
        with suppress(ProcessLookupError):
            process.terminate()
        await process.wait()


async def read_on(process: Process, until: str | None = None) -> str:
    """What it says, up to a line that begins so, or to its end."""
    assert process.stdout is not None
    told = ""
    async for line in process.stdout:
        told += line.decode()
        if until is not None and line.decode().startswith(until):
            break
    return told


async def test_the_first_journey_is_walked() -> None:
    async with journey({}) as process:
        told = await read_on(process)
        assert await process.wait() == 0, told
    assert "The journey is walked" in told.splitlines()[-1]


async def test_four_ways_through_an_intake_are_walked_and_explained() -> None:
    async with journey({}, "admission") as process:
        told = await read_on(process)
        assert await process.wait() == 0, told
    assert "The journey is walked" in told.splitlines()[-1]
    tables = [line for line in told.splitlines() if line.startswith("      Suggested: ")]
    assert [line.split()[1] for line in tables] == [
        "admit",
        "higher_level",
        "outpatient",
        "defer_more_info",
    ]


@pytest.mark.long
@pytest.mark.parametrize("chosen", OTHER_DATABASES, ids=lambda chosen: next(iter(chosen)))
async def test_the_first_journey_is_walked_over_other_databases(chosen: dict[str, str]) -> None:
    async with journey(chosen) as process:
        told = await read_on(process)
        assert await process.wait() == 0, told


@pytest.mark.parametrize(
    "number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.long)]
)
async def test_a_journey_that_is_broken_off_leaves_no_process(number: signal.Signals) -> None:
    async with journey({}) as process:
        told = await read_on(process, until="A program opens")
        process.send_signal(number)
        told += await read_on(process)
        assert await process.wait() == BROKEN_OFF, told
    started = [int(pid) for pid in re.findall(r": process (\d+)$", told, re.MULTILINE)]
    assert len(started) == 3, told
    for pid in started:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


async def test_what_differs_is_said_and_ends_the_journey_with_1(
    capsys: pytest.CaptureFixture[str],
) -> None:
    nowhere = "postgresql+asyncpg://nobody@127.0.0.1:1/nothing"
    roles = ("stepwell_migrate", "stepwell_api", "stepwell_worker")

    status = await walk(Database("no database", dict.fromkeys(roles, nowhere)))

    assert status == 1
    assert "The journey ends here: stepwell migrate failed" in capsys.readouterr().out


def test_an_expectation_that_does_not_hold_is_a_surprise() -> None:
    story = Story()
    with pytest.raises(Surprise, match="the door is open"):
        story.expect(holds=False, sentence="the door is open")


@pytest.mark.parametrize(
    ("now", "change_on"),
    [
        ("2026-11-24T08:00:00Z", "2027-03-14"),
        ("2027-02-20T08:00:00Z", "2027-03-14"),
        ("2027-02-24T08:00:00Z", "2027-11-07"),
        ("2027-03-14T08:00:00Z", "2027-11-07"),
    ],
)
def test_the_journey_lies_around_the_next_change_of_clocks(now: str, change_on: str) -> None:
    calendar = Calendar.after(instant(now))

    assert calendar.change_on.isoformat() == change_on
    assert calendar.begins_at > instant(now)
    assert calendar.first_evening.strftime("%A %H:%M") == "Tuesday 17:00"
