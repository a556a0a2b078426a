"""Whether someone can be treated online: the gates of the readiness checklist.

A hard gate blocks admission until it is resolved, a soft one asks for support
(clinical reference, section 2.6). An unanswered question leaves its gate
unknown; a gate that does not concern the person (an adult on the premises, for
an adult) is met.
"""

from dataclasses import dataclass

from app.domain.criteria import Outcome
from app.domain.instruments import Facts, Gate, GateKind, Instrument, holds
from app.domain.scoring import Answers


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
