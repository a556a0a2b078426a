"""An intake: its states, and what a human's decision must carry.

The recommendation and the decision are stored side by side, so that agreement
can be audited. A decision needs a rationale and a licensed clinician; some
criteria no clinician may override (clinical reference, section 2.5).
"""

from datetime import timedelta
from enum import StrEnum, unique
from typing import Final

from app.domain.criteria import Outcome
from app.domain.recommendation import Recommendation, Verdict
from app.domain.transitions import Machine

DECISION_WITHIN: Final = timedelta(days=3)
"""How long a person may wait for a decision once everything asked for is in (2.5)."""


@unique
class IntakeState(StrEnum):
    """Where an intake stands."""

    OPEN = "open"
    ASSESSING = "assessing"
    AWAITING_DECISION = "awaiting_decision"
    DECIDED = "decided"
    WITHDRAWN = "withdrawn"


@unique
class IntakeAction(StrEnum):
    """What people do with an intake. `defer` is the decision to ask for more."""

    BEGIN = "begin"
    SUBMIT = "submit"
    DEFER = "defer"
    DECIDE = "decide"
    WITHDRAW = "withdraw"


INTAKE_MACHINE: Final[Machine[IntakeState, IntakeAction]] = Machine(
    {
        (IntakeState.OPEN, IntakeAction.BEGIN): IntakeState.ASSESSING,
        (IntakeState.OPEN, IntakeAction.WITHDRAW): IntakeState.WITHDRAWN,
        (IntakeState.ASSESSING, IntakeAction.SUBMIT): IntakeState.AWAITING_DECISION,
        (IntakeState.ASSESSING, IntakeAction.WITHDRAW): IntakeState.WITHDRAWN,
        (IntakeState.AWAITING_DECISION, IntakeAction.DEFER): IntakeState.ASSESSING,
        (IntakeState.AWAITING_DECISION, IntakeAction.DECIDE): IntakeState.DECIDED,
        (IntakeState.AWAITING_DECISION, IntakeAction.WITHDRAW): IntakeState.WITHDRAWN,
    }
)


UNDER_WAY: Final = frozenset(state for state in IntakeState if INTAKE_MACHINE.actions(state))
"""The states in which somebody still waits to hear whether they are admitted."""


@unique
class DecisionValue(StrEnum):
    """What a licensed clinician decides, or the person declines."""

    ADMIT_IOP = "admit_iop"
    REFER_PHP = "refer_php"
    REFER_RESIDENTIAL = "refer_residential"
    REFER_INPATIENT = "refer_inpatient"
    EMERGENCY = "emergency"
    REFER_OUTPATIENT = "refer_outpatient"
    DEFER_MORE_INFO = "defer_more_info"
    DECLINE_BY_PERSON = "decline_by_person"

    @property
    def action(self) -> IntakeAction:
        """What the decision does to the intake."""
        return IntakeAction.DEFER if self is DecisionValue.DEFER_MORE_INFO else IntakeAction.DECIDE


_AGREEING: Final = {
    Verdict.ADMIT: frozenset({DecisionValue.ADMIT_IOP}),
    Verdict.HIGHER_LEVEL: frozenset(
        {
            DecisionValue.REFER_PHP,
            DecisionValue.REFER_RESIDENTIAL,
            DecisionValue.REFER_INPATIENT,
            DecisionValue.EMERGENCY,
        }
    ),
    Verdict.OUTPATIENT: frozenset({DecisionValue.REFER_OUTPATIENT}),
    Verdict.MOTIVATIONAL_PATHWAY: frozenset({DecisionValue.DEFER_MORE_INFO}),
    Verdict.IN_PERSON_OR_SUPPORT: frozenset({DecisionValue.DEFER_MORE_INFO}),
    Verdict.DEFER_MORE_INFO: frozenset({DecisionValue.DEFER_MORE_INFO}),
}


def agrees(verdict: Verdict, decision: DecisionValue) -> bool | None:
    """Say whether a decision follows the suggestion; a person's own refusal is neither."""
    if decision is DecisionValue.DECLINE_BY_PERSON:
        return None
    return decision in _AGREEING[verdict]


def decision_gaps(
    recommendation: Recommendation,
    decision: DecisionValue,
    *,
    is_licensed_clinician: bool,
    rationale: str,
    override_reason: str | None,
) -> tuple[str, ...]:
    """Name what stands between a decision and its signature.

    `not_a_licensed_clinician`, `rationale_missing`, `override_reason_missing`
    (the decision departs from the suggestion), and for an admission
    `not_overridable:<criterion>` for each criterion that is not known to be
    met and that no reason can override.
    """
    gaps: list[str] = []
    if not is_licensed_clinician:
        gaps.append("not_a_licensed_clinician")
    if not rationale.strip():
        gaps.append("rationale_missing")
    departs = agrees(recommendation.verdict, decision) is False
    if departs and not (override_reason or "").strip():
        gaps.append("override_reason_missing")
    if decision is DecisionValue.ADMIT_IOP:
        gaps += [
            f"not_overridable:{criterion.code}"
            for criterion in recommendation.criteria
            if not criterion.is_overridable and criterion.outcome is not Outcome.MET
        ]
    return tuple(gaps)
