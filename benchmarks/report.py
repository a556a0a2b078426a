"""Results for people, as a table, and for programs, as JSON."""

import math
import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any, Final

from benchmarks.harness import Outcome, Result, Sample
from benchmarks.processors import Layout

_PACKAGES: Final = ("fastapi", "starlette", "uvicorn", "sqlalchemy", "asyncpg", "websockets")
_QUIET: Final = 0.3


@dataclass(frozen=True)
class Machine:
    """What a published figure has to be accompanied by."""

    processors: int
    layout: Layout
    python: str
    postgresql: str
    packages: dict[str, str]


def describe_machine(layout: Layout, *, postgresql: str) -> Machine:
    """The machine and the versions of this run."""
    packages = {name: version(name) for name in _PACKAGES}
    return Machine(os.cpu_count() or 1, layout, platform.python_version(), postgresql, packages)


def table(result: Result) -> str:
    """A Markdown table of medians, one contestant a row, with ratios, then the goals."""
    heads = [
        "contestant",
        *result.columns,
        *(f"x {figure}" for figure in result.ratios_of),
        "spread",
    ]
    rows = [_cells(outcome, result) for outcome in result.outcomes]
    lines = [f"### {result.scenario} (medians of {result.rounds})", "", _line(heads)]
    lines += [_line(["---"] * len(heads)), *map(_line, rows)]
    lines += ["", *_verdicts(result)]
    busiest = max(outcome.medians["others"] for outcome in result.outcomes)
    if busiest > _QUIET:
        lines += [f"The machine was noisy: others kept {busiest:.1f} processors busy.", ""]
    return "\n".join(lines)


def _cells(outcome: Outcome, result: Result) -> list[str]:
    return [
        outcome.name,
        *(number(outcome.medians[column]) for column in result.columns),
        *(number(outcome.ratios[figure]) for figure in result.ratios_of),
        f"{outcome.spreads[result.ratios_of[0]]:.0%}",
    ]


def _verdicts(result: Result) -> list[str]:
    lines = [
        f"- {'met' if verdict.is_met else 'MISSED'}: {outcome.name}: {verdict.goal}, "
        f"measured {number(verdict.value)}"
        for outcome in result.outcomes
        for verdict in outcome.verdicts
    ]
    return [*lines, ""] if lines else []


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def number(value: float) -> str:
    """Three significant digits, and thousands apart."""
    if math.isnan(value):
        return "-"
    if value == 0:
        return "0"
    digits = max(0, 2 - math.floor(math.log10(abs(value))))
    return f"{value:,.{digits}f}"


def document(results: Sequence[Result], machine: Machine) -> dict[str, Any]:
    """Everything, as plain values: what is not a number is null."""
    return {
        "machine": {
            "processors": machine.processors,
            "server_processor": machine.layout.server,
            "database_processor": machine.layout.database,
            "client_processor": machine.layout.client,
            "python": machine.python,
            "postgresql": machine.postgresql,
            "packages": machine.packages,
        },
        "scenarios": [
            {
                "name": result.scenario,
                "rounds": result.rounds,
                "contestants": [_plain(outcome) for outcome in result.outcomes],
            }
            for result in results
        ],
    }


def _plain(outcome: Outcome) -> dict[str, Any]:
    return {
        "name": outcome.name,
        "medians": _finite(outcome.medians),
        "spreads": _finite(outcome.spreads),
        "ratios": _finite(outcome.ratios),
        "goals": [
            {
                "goal": str(verdict.goal),
                "measured": None if math.isnan(verdict.value) else verdict.value,
                "is_met": verdict.is_met,
            }
            for verdict in outcome.verdicts
        ],
    }


def _finite(sample: Sample) -> dict[str, float | None]:
    return {name: None if math.isnan(value) else value for name, value in sample.items()}
