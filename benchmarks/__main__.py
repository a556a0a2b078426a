"""`python -m benchmarks [SCENARIO…]`: measure, print tables of ratios, keep them as JSON."""

import argparse
import asyncio
import json
import os
import resource
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

import uvloop

from benchmarks.contestants import SUBJECTS
from benchmarks.database import Postgres, postgres
from benchmarks.driver import connect
from benchmarks.harness import Result
from benchmarks.processors import lay_out
from benchmarks.report import describe_machine, document, table
from benchmarks.scenarios import SCENARIOS, Bench, Effort
from benchmarks.subject import Subject


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Read the command line."""
    usual = Effort()
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("scenarios", nargs="*", help=f"any of {', '.join(SCENARIOS)}; or all")
    parser.add_argument(
        "--only",
        action="append",
        metavar="NAME",
        choices=[subject.name for subject in SUBJECTS],
        help="take part: " + "; ".join(subject.name for subject in SUBJECTS),
    )
    parser.add_argument("--rounds", type=int, default=usual.rounds, help="turns of each; 3 or more")
    parser.add_argument("--requests", type=int, default=usual.requests, help="requests a turn")
    parser.add_argument("--rows", type=int, default=usual.rows, help="records in a table")
    parser.add_argument("--growth-rows", type=int, default=usual.growth_rows)
    parser.add_argument("--rooms", type=int, default=usual.rooms, help="rooms of the fan-out")
    parser.add_argument("--messages", type=int, default=usual.messages, help="a room at peak")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results here too")
    parser.add_argument("--enforce", action="store_true", help="fail when a goal is missed")
    options = parser.parse_args(arguments)
    unknown = [name for name in options.scenarios if name not in SCENARIOS]
    if unknown:
        parser.error(f"no such scenario: {', '.join(unknown)}")
    if options.rounds < 3:
        parser.error("a median needs three rounds at least")
    return options


async def main(options: argparse.Namespace) -> list[Result]:
    """Run the chosen scenarios one after another, printing each as it ends."""
    _end_on_sigterm()
    layout = lay_out(sorted(os.sched_getaffinity(0)))
    os.sched_setaffinity(0, {layout.client})
    effort = Effort(
        rounds=options.rounds,
        requests=options.requests,
        rows=options.rows,
        growth_rows=options.growth_rows,
        rooms=options.rooms,
        messages=options.messages,
    )
    results: list[Result] = []
    with postgres(processor=layout.database) as server:
        machine = describe_machine(layout, postgresql=await _version(server))
        for name in options.scenarios or SCENARIOS:
            chosen = _taking_part(name, options.only)
            if not chosen:
                sys.stderr.write(f"{name}: nobody takes part.\n")
                continue
            for result in await SCENARIOS[name](Bench(server, layout, effort), chosen):
                sys.stdout.write(table(result) + "\n")
                sys.stdout.flush()
                results.append(result)
    if options.json is not None:
        options.json.write_text(json.dumps(document(results, machine), indent=2) + "\n")
    return results


def _taking_part(scenario: str, only: Sequence[str] | None) -> list[Subject]:
    return [
        subject
        for subject in SUBJECTS
        if scenario in subject.scenarios and (only is None or subject.name in only)
    ]


async def _version(server: Postgres) -> str:
    db = await connect(server.url("postgres"))
    try:
        return str(await db.fetchval("show server_version"))
    finally:
        await db.close()


def _end_on_sigterm() -> None:
    """Be cancelled like Ctrl-C does it, so that everything that was started is stopped."""
    task = asyncio.current_task()
    if task is not None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)


def _allow_many_sockets() -> None:
    """Each member of a room is a socket here and one in the server, which inherits the limit."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def run(arguments: Sequence[str]) -> int:
    """Run, and say by the exit code whether a goal that is enforced was missed."""
    options = parse(arguments)
    _allow_many_sockets()
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            results = runner.run(main(options))
    except (KeyboardInterrupt, asyncio.CancelledError):
        sys.stderr.write("Interrupted; all that was started is stopped.\n")
        return 130
    missed = [
        verdict
        for result in results
        for outcome in result.outcomes
        for verdict in outcome.verdicts
        if not verdict.is_met
    ]
    return 1 if options.enforce and missed else 0


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
