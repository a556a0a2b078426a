"""An intake: its states, and what a human's decision must carry.

The recommendation and the decision are stored side by side, so that agreement
can be audited. A decision needs a rationale and a licensed clinician; some
criteria no clinician may override (clinical reference, section 2.5).
"""

from collections.abc import Collection
from dataclasses import dataclass
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
    """Where an intake stands, from the referral to its end."""

    REFERRED = "referred"
    SCREENING = "screening"
    ASSESSMENT = "assessment"
    ELIGIBILITY = "eligibility"
    CONSENTS = "consents"
    AWAITING_DECISION = "awaiting_decision"
    WAITLISTED = "waitlisted"
    DECIDED = "decided"
    DECLINED = "declined"
    WITHDRAWN = "withdrawn"


@unique
class IntakeAction(StrEnum):
    """What people do with an intake.

    `present` puts a recommendation before a clinician, at any stage: an acute answer does not
    wait for the consents. `defer` and `decide` are that clinician's answers.
    """

    SCREEN = "screen"
    ASSESS = "assess"
    CHECK_ELIGIBILITY = "check_eligibility"
    ASK_CONSENTS = "ask_consents"
    REASSESS = "reassess"
    PRESENT = "present"
    DEFER = "defer"
    DECIDE = "decide"
    WAITLIST = "waitlist"
    DECLINE = "decline"
    WITHDRAW = "withdraw"


_STAGES: Final = (
    IntakeState.REFERRED,
    IntakeState.SCREENING,
    IntakeState.ASSESSMENT,
    IntakeState.ELIGIBILITY,
    IntakeState.CONSENTS,
)
_WAITING: Final = (IntakeState.AWAITING_DECISION, IntakeState.WAITLISTED)

INTAKE_MACHINE: Final[Machine[IntakeState, IntakeAction]] = Machine(
    {
        (IntakeState.REFERRED, IntakeAction.SCREEN): IntakeState.SCREENING,
        (IntakeState.SCREENING, IntakeAction.ASSESS): IntakeState.ASSESSMENT,
        (IntakeState.ASSESSMENT, IntakeAction.CHECK_ELIGIBILITY): IntakeState.ELIGIBILITY,
        (IntakeState.ELIGIBILITY, IntakeAction.ASK_CONSENTS): IntakeState.CONSENTS,
        (IntakeState.ELIGIBILITY, IntakeAction.REASSESS): IntakeState.ASSESSMENT,
        (IntakeState.CONSENTS, IntakeAction.REASSESS): IntakeState.ASSESSMENT,
        (IntakeState.WAITLISTED, IntakeAction.REASSESS): IntakeState.ASSESSMENT,
        (IntakeState.AWAITING_DECISION, IntakeAction.DEFER): IntakeState.ASSESSMENT,
        (IntakeState.AWAITING_DECISION, IntakeAction.DECIDE): IntakeState.DECIDED,
        # Somebody who fits waits for a place once it is known that they do.
        (IntakeState.ELIGIBILITY, IntakeAction.WAITLIST): IntakeState.WAITLISTED,
        (IntakeState.CONSENTS, IntakeAction.WAITLIST): IntakeState.WAITLISTED,
        (IntakeState.AWAITING_DECISION, IntakeAction.WAITLIST): IntakeState.WAITLISTED,
        **{
            (state, IntakeAction.PRESENT): IntakeState.AWAITING_DECISION
            for state in (*_STAGES, *_WAITING)
        },
        **{(state, IntakeAction.DECLINE): IntakeState.DECLINED for state in (*_STAGES, *_WAITING)},
        **{
            (state, IntakeAction.WITHDRAW): IntakeState.WITHDRAWN for state in (*_STAGES, *_WAITING)
        },
    }
)

UNDER_WAY: Final = frozenset(state for state in IntakeState if INTAKE_MACHINE.actions(state))
"""The states in which somebody still waits to hear whether they are admitted."""

BY_RECORD: Final = frozenset({IntakeAction.PRESENT, IntakeAction.DEFER, IntakeAction.DECIDE})
"""The moves that a stored recommendation or decision makes, never a bare request."""

NEEDS_LICENSE: Final = frozenset({IntakeAction.DECLINE})
"""A refusal of care is a licensed clinician's, as an admission is (0.1, rule 1)."""


def possible_moves(state: IntakeState) -> dict[IntakeAction, IntakeState]:
    """Give every move that is legal from a state, and the state that it leads to."""
    return {
        action: target
        for (origin, action), target in INTAKE_MACHINE.moves.items()
        if origin is state
    }


@unique
class AuthorizedUnit(StrEnum):
    """What a payer counts in an authorization."""

    HOURS = "hours"
    DAYS = "days"
    SESSIONS = "sessions"


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
        match self:
            case DecisionValue.DEFER_MORE_INFO:
                return IntakeAction.DEFER
            case DecisionValue.DECLINE_BY_PERSON:
                return IntakeAction.DECLINE
            case _:
                return IntakeAction.DECIDE


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


@dataclass(frozen=True, slots=True)
class Grounds:
    """What is said for a decision; `overridden` are the criteria that a reason stands in for."""

    rationale: str
    override_reason: str | None = None
    overridden: Collection[str] = ()


def decision_gaps(
    recommendation: Recommendation,
    decision: DecisionValue,
    grounds: Grounds,
    *,
    is_licensed_clinician: bool,
) -> tuple[str, ...]:
    """Name what stands between a decision and its signature.

    `not_a_licensed_clinician`, `rationale_missing`, `override_reason_missing`
    (the decision departs from the suggestion), and for an admission
    `not_overridable:<criterion>` for each criterion that is not known to be
    met and that no reason can override, and `override_missing:<criterion>` for
    each other one that must be overridden and is not among those `overridden`
    with a reason.
    """
    gaps: list[str] = []
    if not is_licensed_clinician:
        gaps.append("not_a_licensed_clinician")
    if not grounds.rationale.strip():
        gaps.append("rationale_missing")
    departs = agrees(recommendation.verdict, decision) is False
    if departs and not (grounds.override_reason or "").strip():
        gaps.append("override_reason_missing")
    if decision is DecisionValue.ADMIT_IOP:
        gaps += [
            f"not_overridable:{criterion.code}"
            for criterion in recommendation.criteria
            if not criterion.is_overridable and criterion.outcome is not Outcome.MET
        ]
        gaps += [
            f"override_missing:{code}"
            for code in to_override(recommendation)
            if code not in grounds.overridden
        ]
    return tuple(gaps)


def to_override(recommendation: Recommendation) -> tuple[str, ...]:
    """Name the criteria that an admission against the suggestion overrides, one by one.

    Required, not known to be met, and such that a reason can stand in for them. An admission
    that follows the suggestion overrides nothing: what is lacking then asks for a plan.
    """
    if recommendation.verdict is Verdict.ADMIT:
        return ()
    return tuple(
        criterion.code
        for criterion in recommendation.criteria
        if criterion.is_required
        and criterion.is_overridable
        and criterion.outcome is not Outcome.MET
    )
