"""Turns, rounds and ratios: the arithmetic of a comparison, and how its turns are taken.

Contestants take turns in one run on one machine, so that what disturbs one disturbs all. A ratio
is one of medians of processor time; it is a statement about this run only.
"""

import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from typing_extensions import override

Sample = Mapping[str, float]
"""The figures of one turn, by name; the unit is part of the name."""

Turn = Callable[[], Awaitable[Sample]]


@dataclass(frozen=True)
class Goal:
    """A limit on one figure: a multiple of the floor's, or absolute."""

    figure: str
    limit: float
    is_ratio: bool = True
    is_at_least: bool = False

    def is_met(self, value: float) -> bool:
        """Whether a figure, or its ratio, keeps to the limit."""
        return value >= self.limit if self.is_at_least else value <= self.limit

    @override
    def __str__(self) -> str:
        bound = "at least" if self.is_at_least else "at most"
        return f"{self.figure} {bound} {self.limit:g}{' x floor' if self.is_ratio else ''}"


@dataclass(frozen=True)
class Contestant:
    """One that takes turns; a floor has no goals."""

    name: str
    turn: Turn
    goals: tuple[Goal, ...] = ()


@dataclass(frozen=True)
class Verdict:
    """A goal, and what was measured for it."""

    goal: Goal
    value: float

    @property
    def is_met(self) -> bool:
        return self.goal.is_met(self.value)


@dataclass(frozen=True)
class Outcome:
    """What one contestant did in all rounds, and how it compares with the floor."""

    name: str
    medians: Sample
    spreads: Sample
    ratios: Sample
    verdicts: tuple[Verdict, ...]


@dataclass(frozen=True)
class Result:
    """A finished scenario. The floor's outcome comes first."""

    scenario: str
    rounds: int
    columns: tuple[str, ...]
    ratios_of: tuple[str, ...]
    outcomes: tuple[Outcome, ...]


async def take_turns(contestants: Sequence[Contestant], *, rounds: int) -> list[list[Sample]]:
    """Every contestant in every round; every other round backwards, so that drift cancels out."""
    samples: list[list[Sample]] = [[] for _ in contestants]
    for number in range(rounds):
        order = range(len(contestants))
        for place in reversed(order) if number % 2 else order:
            samples[place].append(await contestants[place].turn())
    return samples


async def compare(
    scenario: str,
    contestants: Sequence[Contestant],
    *,
    rounds: int,
    columns: tuple[str, ...],
    ratios_of: tuple[str, ...],
) -> Result:
    """Let contestants take turns; the first of them is the floor of all ratios."""
    taken = await take_turns(contestants, rounds=rounds)
    floor = medians(taken[0])
    outcomes = tuple(
        _outcome(contestant, samples, floor, ratios_of)
        for contestant, samples in zip(contestants, taken, strict=True)
    )
    return Result(scenario, rounds, columns, ratios_of, outcomes)


def _outcome(
    contestant: Contestant, samples: Sequence[Sample], floor: Sample, ratios_of: Sequence[str]
) -> Outcome:
    middle = medians(samples)
    verdicts = tuple(
        Verdict(goal, ratio(middle[goal.figure], floor[goal.figure]))
        if goal.is_ratio
        else Verdict(goal, middle[goal.figure])
        for goal in contestant.goals
    )
    ratios = {figure: ratio(middle[figure], floor[figure]) for figure in ratios_of}
    return Outcome(contestant.name, middle, spreads(samples), ratios, verdicts)


def medians(samples: Sequence[Sample]) -> dict[str, float]:
    """The median of every figure by itself."""
    return {figure: median(sample[figure] for sample in samples) for figure in samples[0]}


def spreads(samples: Sequence[Sample]) -> dict[str, float]:
    """From smallest to largest, as a share of the median."""
    return {
        figure: ratio(
            max(sample[figure] for sample in samples) - min(sample[figure] for sample in samples),
            middle,
        )
        for figure, middle in medians(samples).items()
    }


def ratio(value: float, floor: float) -> float:
    """How many times the floor; not a number where the floor is nothing."""
    return value / floor if floor else math.nan


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that is not exceeded by `share` of all (nearest rank)."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]
