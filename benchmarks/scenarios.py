"""What is measured, against which floor, and with which goal.

A scenario sets up those who take part, each with a database of its own, and lets them take turns.
While one is measured the others are paused, so that their timers do not count against it.
"""

import os
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from itertools import count
from typing import Final

from benchmarks.database import Postgres
from benchmarks.forms import add_form, score_form
from benchmarks.harness import Contestant, Goal, Result, Sample, compare, percentile
from benchmarks.load import Exchange, drive
from benchmarks.processors import Layout, Meter, Usage, resident_mebibytes
from benchmarks.servers import Server, free_port, serving
from benchmarks.sockets import Talk, Venue, empty, fill, talk_as_fast_as_possible, talk_steadily
from benchmarks.subject import Operation, Site, Subject

SMALL, LARGE = 1_000, 1_000_000


@dataclass(frozen=True)
class Effort:
    """How much is done: per turn, except `rows` and `growth_rows`, which are tables' sizes."""

    rounds: int = 3
    requests: int = 2_000
    rows: int = 20_000
    growth_rows: int = LARGE
    rooms: int = 100
    seats: int = 12
    messages: int = 50
    steady_messages_per_second: float = 100.0


@dataclass
class Bench:
    """The machine as a scenario sees it."""

    postgres: Postgres
    layout: Layout
    effort: Effort
    _databases: Callable[[], int] = count().__next__

    async def site(self, subject: Subject, *, rows: int) -> Site:
        """A database for a subject, with its records in it, at rest."""
        database = f"bench_{self._databases()}"
        await self.postgres.create(database)
        site = Site(self.postgres.server, database, free_port(), rows)
        await subject.provision(site)
        await self.postgres.settle(database)
        return site

    @asynccontextmanager
    async def serving(self, subject: Subject, site: Site) -> AsyncIterator[Server]:
        """The subject, ready to be asked."""
        async with serving(
            subject.command(site),
            port=site.port,
            processor=self.layout.server,
            ready_path=subject.ready_path,
        ) as server:
            yield server

    def meter(self, server: Server) -> Meter:
        """Begin to count for a server and the database."""
        return Meter(server=server.pid, database=self.postgres.pid)


# Requests -----------------------------------------------------------------------------------

_REQUEST_COLUMNS: Final = (
    *("per s", "p50 ms", "p99 ms", "server ms", "database ms", "total ms", "client ms", "others"),
)
_REQUEST_RATIOS: Final = ("total ms", "server ms")


async def _requests(
    operation: Operation, bench: Bench, subjects: Sequence[Subject], goal: Goal
) -> list[Result]:
    async with AsyncExitStack() as stack:
        contestants = []
        for subject in subjects:
            site = await bench.site(subject, rows=bench.effort.rows)
            turns = await _request_turns(stack, bench, subject, site)
            goals = () if subject.is_floor else (goal,)
            contestants.append(Contestant(subject.name, turns(operation), goals))
        return [await _compare_requests(operation, bench, contestants)]


async def _growth(bench: Bench, subjects: Sequence[Subject]) -> list[Result]:
    """Each subject is its own floor: the same page of a small table and of a large one."""
    results = []
    for subject in subjects:
        async with AsyncExitStack() as stack:
            sizes = (SMALL, bench.effort.growth_rows)
            sites = [await bench.site(subject, rows=rows) for rows in sizes]
            turns = [await _request_turns(stack, bench, subject, site) for site in sites]
            large_goals = () if subject.is_floor else _GROWTH_GOALS
            for operation in (Operation.LIST, Operation.PAGE):
                contestants = [
                    Contestant(f"{subject.name}, {rows:,} rows", turn(operation), goals)
                    for rows, turn, goals in zip(sizes, turns, ((), large_goals), strict=True)
                ]
                name = f"growth of {subject.name}, {operation}"
                results.append(await _compare_requests(name, bench, contestants))
    return results


async def _request_turns(
    stack: AsyncExitStack, bench: Bench, subject: Subject, site: Site
) -> Callable[[Operation], Callable[[], Awaitable[Sample]]]:
    """Start a subject for the rest of the scenario; turns at any of its operations follow."""
    server = await stack.enter_async_context(bench.serving(subject, site))
    exchanges = await subject.exchanges(site)
    server.pause()
    numbers = count(step=bench.effort.requests * 2)
    return lambda operation: partial(
        _request_turn, bench, server, exchanges[operation], numbers.__next__
    )


async def _request_turn(
    bench: Bench, server: Server, exchange: Exchange, next_number: Callable[[], int]
) -> Sample:
    requests, first = bench.effort.requests, next_number()
    server.resume()
    try:
        # The first requests fill caches and connections, and are not counted.
        await drive(server.port, exchange, first=first + requests, count=max(100, requests // 10))
        meter = bench.meter(server)
        seconds = await drive(server.port, exchange, first=first, count=requests)
        usage = meter.read()
    finally:
        server.pause()
    return {
        "per s": requests / usage.elapsed,
        **_latency(seconds),
        **_cost(usage, units=requests),
    }


def _latency(seconds: Sequence[float]) -> Sample:
    return {
        "p50 ms": 1000 * percentile(seconds, 0.5),
        "p99 ms": 1000 * percentile(seconds, 0.99),
    }


def _cost(usage: Usage, *, units: int) -> Sample:
    """Processor time per unit; `total` is what the operator pays: server and database."""
    return {
        "server ms": 1000 * usage.server / units,
        "database ms": 1000 * usage.database / units,
        "total ms": 1000 * (usage.server + usage.database) / units,
        "client ms": 1000 * usage.client / units,
        "others": usage.others,
    }


async def _compare_requests(
    scenario: str, bench: Bench, contestants: Sequence[Contestant]
) -> Result:
    return await compare(
        scenario,
        contestants,
        rounds=bench.effort.rounds,
        columns=_REQUEST_COLUMNS,
        ratios_of=_REQUEST_RATIOS,
    )


# Forms ---------------------------------------------------------------------------------------

_HANDS: Final = 4
"""How many submit at once: people fill in forms, and do not end them all in one instant."""


async def _submit(bench: Bench, subjects: Sequence[Subject]) -> list[Result]:
    """Submitting a PHQ-9; of the floors, one record and its audit row, or one answer."""
    async with AsyncExitStack() as stack:
        contestants = []
        for subject in subjects:
            site = await bench.site(subject, rows=SMALL)
            server = await stack.enter_async_context(bench.serving(subject, site))
            server.pause()
            turn = partial(_submit_turn, bench, subject, site, server)
            contestants.append(Contestant(subject.name, turn))
        return [await _compare_requests("submit", bench, contestants)]


async def _submit_turn(bench: Bench, subject: Subject, site: Site, server: Server) -> Sample:
    requests = bench.effort.requests
    warm_up = max(100, requests // 10)
    server.resume()
    try:
        # A form is submitted once, so that every turn needs fresh ones.
        exchange = await subject.forms(site, count=requests + warm_up)
        return await _submitted(bench, server, exchange, requests, warm_up)
    finally:
        server.pause()


async def _submitted(
    bench: Bench, server: Server, exchange: Exchange, requests: int, warm_up: int
) -> Sample:
    await drive(server.port, exchange, first=requests, count=warm_up, connections=_HANDS)
    meter = bench.meter(server)
    seconds = await drive(server.port, exchange, first=0, count=requests, connections=_HANDS)
    usage = meter.read()
    return {
        "per s": requests / usage.elapsed,
        **_latency(seconds),
        **_cost(usage, units=requests),
    }


async def _score(bench: Bench, _: Sequence[Subject]) -> list[Result]:
    """Scoring a PHQ-9 by itself, in this process, against an addition."""

    async def turn(work: Callable[[], float]) -> Sample:
        meter = Meter(server=os.getpid(), database=bench.postgres.pid)
        return {"microseconds": work(), "others": meter.read().others}

    return [
        await compare(
            "score",
            [
                Contestant("an addition and a band", partial(turn, add_form)),
                Contestant("Stepwell's score", partial(turn, score_form)),
            ],
            rounds=bench.effort.rounds,
            columns=("microseconds", "others"),
            ratios_of=("microseconds",),
        )
    ]


# Start ---------------------------------------------------------------------------------------


async def _start(bench: Bench, subjects: Sequence[Subject]) -> list[Result]:
    contestants = []
    for subject in subjects:
        site = await bench.site(subject, rows=SMALL)
        within = subject.ready_within
        goals = () if within is None else (Goal("seconds", within, is_ratio=False),)
        contestants.append(
            Contestant(subject.name, partial(_start_turn, bench, subject, site), goals)
        )
    return [
        await compare(
            "start",
            contestants,
            rounds=bench.effort.rounds,
            columns=("seconds", "server s", "database s", "MiB", "others"),
            ratios_of=("seconds", "server s"),
        )
    ]


async def _start_turn(bench: Bench, subject: Subject, site: Site) -> Sample:
    server = Server(subject.command(site), port=site.port, processor=bench.layout.server)
    try:
        meter = bench.meter(server)
        seconds = await server.ready(subject.ready_path)
        usage = meter.read()
        memory = resident_mebibytes(server.pid)
    finally:
        server.stop()
    return {
        "seconds": seconds,
        "server s": usage.server,
        "database s": usage.database,
        "MiB": memory,
        "others": usage.others,
    }


# Rooms ---------------------------------------------------------------------------------------

_PER_PROCESSOR_SECOND: Final = "deliveries per CPU-s"
_STEADY_COST: Final = "steady CPU s per 1000"


async def _fanout(bench: Bench, subjects: Sequence[Subject]) -> list[Result]:
    async with AsyncExitStack() as stack:
        contestants = []
        for subject in subjects:
            site = await bench.site(subject, rows=SMALL)
            server = await stack.enter_async_context(bench.serving(subject, site))
            # Before the first members: memory that they leave behind is kept for the next.
            empty_memory = resident_mebibytes(server.pid)
            server.pause()
            turn = partial(_fanout_turn, bench, subject, site, server, empty_memory)
            goals = () if subject.is_floor else _FANOUT_GOALS
            contestants.append(Contestant(subject.name, turn, goals))
        return [
            await compare(
                "fanout",
                contestants,
                rounds=bench.effort.rounds,
                columns=(
                    *(_PER_PROCESSOR_SECOND, "deliveries per s", "server ms", "database ms"),
                    *(_STEADY_COST, "p50 ms", "p99 ms", "KiB/member", "others"),
                ),
                ratios_of=(_PER_PROCESSOR_SECOND, _STEADY_COST),
            )
        ]


async def _fanout_turn(
    bench: Bench, subject: Subject, site: Site, server: Server, empty_memory: float
) -> Sample:
    effort = bench.effort
    server.resume()
    try:
        venue = await subject.venue(site, rooms=effort.rooms, seats=effort.seats)
        return await _talk(bench, server, venue, empty_memory)
    finally:
        server.pause()


async def _talk(bench: Bench, server: Server, venue: Venue, empty_memory: float) -> Sample:
    effort = bench.effort
    rooms = await fill(server.port, venue)
    try:
        members = effort.rooms * effort.seats
        memory = (resident_mebibytes(server.pid) - empty_memory) * 1024 / members
        await talk_as_fast_as_possible(rooms, messages=2)  # To warm up.
        meter = bench.meter(server)
        peak = await talk_as_fast_as_possible(rooms, messages=effort.messages)
        peak_usage = meter.read()
        meter = bench.meter(server)
        steady = await talk_steadily(
            rooms, messages=2, per_second=effort.steady_messages_per_second
        )
        steady_usage = meter.read()
    finally:
        empty(rooms)
    return _talk_sample(effort, peak, peak_usage, steady, steady_usage) | {"KiB/member": memory}


def _talk_sample(
    effort: Effort, peak: Talk, peak_usage: Usage, steady: Talk, steady_usage: Usage
) -> dict[str, float]:
    peak_seconds = peak_usage.server + peak_usage.database
    steady_seconds = steady_usage.server + steady_usage.database
    return {
        **_cost(peak_usage, units=effort.rooms * effort.messages),
        **_latency(steady.delays),
        _PER_PROCESSOR_SECOND: len(peak.delays) / peak_seconds,
        "deliveries per s": len(peak.delays) / peak.elapsed,
        _STEADY_COST: 1000 * steady_seconds / len(steady.delays),
    }


# All of them ---------------------------------------------------------------------------------

_GROWTH_GOALS: Final = (Goal("total ms", 1.2), Goal("database ms", 1.3))
_FANOUT_GOALS: Final = (Goal(_PER_PROCESSOR_SECOND, 0.5, is_at_least=True),)

Scenario = Callable[[Bench, Sequence[Subject]], Awaitable[list[Result]]]


def _request_scenario(operation: Operation, limit: float) -> Scenario:
    async def run(bench: Bench, subjects: Sequence[Subject]) -> list[Result]:
        return await _requests(operation, bench, subjects, Goal("total ms", limit))

    return run


SCENARIOS: Final[Mapping[str, Scenario]] = {
    "read": _request_scenario(Operation.READ, 1.7),
    "list": _request_scenario(Operation.LIST, 1.7),
    "create": _request_scenario(Operation.CREATE, 1.7),
    "growth": _growth,
    "start": _start,
    "fanout": _fanout,
    "submit": _submit,
    "score": _score,
}
