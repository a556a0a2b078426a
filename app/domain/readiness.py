"""Whether someone can be treated online: the gates of the readiness checklist.

A hard gate blocks admission until it is resolved, a soft one asks for support
(clinical reference, section 2.6). An unanswered question leaves its gate
unknown; a gate that does not concern the person (an adult on the premises, for
an adult) is met.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Final

from app.domain.criteria import Outcome
from app.domain.instruments import Facts, Gate, GateKind, Instrument, holds
from app.domain.roles import LevelOfCare
from app.domain.scoring import Answers

STEP_DOWN_WITHIN: Final = timedelta(days=14)


@dataclass(frozen=True, slots=True)
class GateResult:
    """One gate and what is known about it."""

    code: str
    kind: GateKind
    outcome: Outcome


def gates(instrument: Instrument, answers: Answers) -> tuple[GateResult, ...]:
    """Judge every gate of a checklist, in the order of its items."""
    return tuple(
        GateResult(item.gate.code, item.gate.kind, _outcome(item.id, item.gate, answers))
        for item in instrument.items
        if item.gate is not None
    )


def _outcome(item_id: str, gate: Gate, answers: Answers) -> Outcome:
    passes = holds(gate.passes_when, Facts(answers))
    if passes is False and answers.get(item_id) is None:
        # `{answered}` is false of a blank, but a blank is something to ask, not a failure.
        return Outcome.UNKNOWN
    return Outcome.of(passes)


@dataclass(frozen=True, slots=True)
class PriorCare:
    """Care that somebody had before, and the day on which it ended, if it did and that is known."""

    level: LevelOfCare
    ended_on: date | None


def has_stepped_down(
    prior: Iterable[PriorCare] | None, program: LevelOfCare, today: date
) -> bool | None:
    """Say whether somebody comes from more intensive care, at most two weeks ago (2.5).

    None while nobody has asked, or while the end of such care is not known.
    """
    if prior is None:
        return None
    ends = [care.ended_on for care in prior if care.level.rank > program.rank]
    if any(end is not None and timedelta(0) <= today - end <= STEP_DOWN_WITHIN for end in ends):
        return True
    return None if None in ends else False
