"""Safety alerts: how urgent, whose clock, and how one is brought to an end.

An alert is a duty of people: the software opens it, keeps its clock and never
decides its risk or closes it by itself. Tiers, clocks and states follow the
clinical reference, section 5.2; the figures are data in
`app/rules/alerts-default.json`, to be adopted by a clinical director.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from enum import StrEnum, unique
from functools import cache
from typing import Annotated, ClassVar, Final
from zoneinfo import ZoneInfo

from pydantic import Field

from app.domain.policies import STRICT, Dated, shipped_policy
from app.domain.roles import RiskLevel
from app.domain.transitions import Machine

Span = Annotated[timedelta, Field(gt=timedelta())]


@unique
class Tier(StrEnum):
    """How soon a human must act."""

    ACUTE = "acute"
    URGENT = "urgent"
    WATCH = "watch"


@unique
class AlertState(StrEnum):
    """Where an alert stands."""

    OPEN = "open"
    ACKNOWLEDGED = "acknowledged"
    ASSESSING = "assessing"
    DISPOSITIONED = "dispositioned"
    CLOSED = "closed"
    FALSE_POSITIVE = "false_positive"
    DUPLICATE = "duplicate"


@unique
class AlertAction(StrEnum):
    """What a person does with an alert; `reopen` is also what a new hit does."""

    ACKNOWLEDGE = "acknowledge"
    ASSESS = "assess"
    DISPOSITION = "disposition"
    CLOSE = "close"
    DISMISS = "dismiss"
    MERGE = "merge"
    REOPEN = "reopen"


# Dismissing needs someone who has looked, so it starts from an acknowledged alert. A new hit
# opens again what somebody has in hand: what they have seen is not what was said since.
ALERT_MACHINE: Final[Machine[AlertState, AlertAction]] = Machine(
    {
        (AlertState.OPEN, AlertAction.ACKNOWLEDGE): AlertState.ACKNOWLEDGED,
        (AlertState.OPEN, AlertAction.MERGE): AlertState.DUPLICATE,
        (AlertState.ACKNOWLEDGED, AlertAction.ASSESS): AlertState.ASSESSING,
        (AlertState.ACKNOWLEDGED, AlertAction.DISMISS): AlertState.FALSE_POSITIVE,
        (AlertState.ACKNOWLEDGED, AlertAction.MERGE): AlertState.DUPLICATE,
        (AlertState.ASSESSING, AlertAction.DISPOSITION): AlertState.DISPOSITIONED,
        (AlertState.ASSESSING, AlertAction.DISMISS): AlertState.FALSE_POSITIVE,
        (AlertState.ACKNOWLEDGED, AlertAction.REOPEN): AlertState.OPEN,
        (AlertState.ASSESSING, AlertAction.REOPEN): AlertState.OPEN,
        (AlertState.DISPOSITIONED, AlertAction.CLOSE): AlertState.CLOSED,
        (AlertState.DISPOSITIONED, AlertAction.REOPEN): AlertState.OPEN,
        (AlertState.CLOSED, AlertAction.REOPEN): AlertState.OPEN,
        (AlertState.FALSE_POSITIVE, AlertAction.REOPEN): AlertState.OPEN,
    }
)

CLOCK_RUNS: Final = frozenset({AlertState.OPEN, AlertState.ACKNOWLEDGED, AlertState.ASSESSING})
"""The states in which somebody still owes the participant an answer."""


def starts_clock_anew(state: AlertState, tier: Tier, hit: Tier) -> bool:
    """Say whether a new hit on a running alert starts its clock again.

    It does when it is more urgent than the alert, and when it is as urgent and somebody has the
    alert in hand: they answer what was said before (clinical reference, section 5.2, "reopen on
    any new hit"). A hit on what nobody has seen yet leaves the earlier clock running.
    """
    urgency = [Tier.WATCH, Tier.URGENT, Tier.ACUTE].index
    if state is AlertState.OPEN:
        return urgency(hit) > urgency(tier)
    return urgency(hit) >= urgency(tier)


@unique
class Responder(StrEnum):
    """Whom an escalation reaches; the organization says who that is today."""

    PRIMARY_CLINICIAN = "primary_clinician"
    SESSION_FACILITATOR = "session_facilitator"
    ON_CALL = "on_call"
    SUPERVISOR = "supervisor"
    MEDICAL_DIRECTOR = "medical_director"
    ALL_ON_CALL = "all_on_call"


@unique
class Hours(StrEnum):
    """Whether a clock runs at all hours or waits for the next staffed one."""

    ALWAYS = "always"
    STAFFED = "staffed"


@dataclass(frozen=True, slots=True)
class EscalationRule:
    """Who is told when nobody has acknowledged for so long."""

    __pydantic_config__: ClassVar = STRICT
    after: Span
    to: Responder


@dataclass(frozen=True, slots=True)
class TierClock:
    """The clock of one tier. Without `contact_within`, contact is due before the local day ends."""

    __pydantic_config__: ClassVar = STRICT
    hours: Hours
    notify: tuple[Responder, ...]
    acknowledge_within: Span
    contact_within: Span | None
    escalate: tuple[EscalationRule, ...]
    follow_up_within: Span | None


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertPolicy(Dated):
    """The clocks of every tier."""

    tiers: Mapping[Tier, TierClock]


@dataclass(frozen=True, slots=True)
class Escalation:
    """An instant at which somebody further is told, unless acknowledged before."""

    at: datetime
    to: Responder


@dataclass(frozen=True, slots=True)
class Due:
    """The instants that an alert's clock names."""

    acknowledge_by: datetime
    contact_by: datetime
    escalations: tuple[Escalation, ...]


@cache
def default_alert_policy() -> AlertPolicy:
    """Give the clocks that ship."""
    return shipped_policy(AlertPolicy, "alerts-default")


def due(
    policy: AlertPolicy,
    tier: Tier,
    opened_at: datetime,
    *,
    zone: ZoneInfo,
    staffed_from: datetime | None = None,
) -> Due:
    """Name the instants by which people must act on an alert.

    `staffed_from` is when the next staffed hour begins, None when it is staffed
    now; only clocks that wait for staffed hours look at it. An acute clock
    never waits. Where contact is due the same day, the day is the
    participant's (`zone`), and it never falls due before the acknowledgment.
    """
    clock = policy.tiers[tier]
    starts_at = opened_at
    if clock.hours is Hours.STAFFED and staffed_from is not None:
        starts_at = max(opened_at, staffed_from)
    acknowledge_by = starts_at + clock.acknowledge_within
    if clock.contact_within is None:
        contact_by = max(_end_of_day(starts_at, zone), acknowledge_by)
    else:
        contact_by = starts_at + clock.contact_within
    escalations = tuple(Escalation(starts_at + rule.after, rule.to) for rule in clock.escalate)
    return Due(acknowledge_by, contact_by, escalations)


def _end_of_day(instant: datetime, zone: ZoneInfo) -> datetime:
    tomorrow = instant.astimezone(zone).date() + timedelta(days=1)
    return datetime.combine(tomorrow, time(), zone).astimezone(instant.tzinfo)


@unique
class DispositionDecision(StrEnum):
    """What a clinician decides after assessing."""

    CONTINUE = "continue"
    INCREASE_CONTACT = "increase_contact"
    STEP_UP = "step_up"
    EMERGENCY_EVALUATION = "emergency_evaluation"
    WELFARE_CHECK = "welfare_check"
    HOSPITALIZATION = "hospitalization"


@dataclass(frozen=True, slots=True)
class Disposition:
    """What must be written down before an alert counts as answered.

    `None` is "not recorded"; a recorded "no" is an answer.
    """

    assessment: str | None
    risk: RiskLevel | None
    rationale: str | None
    protective_factors: str | None
    is_means_safety_discussed: bool | None
    is_safety_plan_reviewed: bool | None
    decision: DispositionDecision | None
    told: str | None
    next_check_due_at: datetime | None


def disposition_gaps(disposition: Disposition) -> tuple[str, ...]:
    """Name the parts that are missing; an unknown risk level is a missing one."""
    parts = (
        ("assessment", disposition.assessment),
        ("risk", None if disposition.risk is RiskLevel.UNKNOWN else disposition.risk),
        ("rationale", disposition.rationale),
        ("protective_factors", disposition.protective_factors),
        ("is_means_safety_discussed", disposition.is_means_safety_discussed),
        ("is_safety_plan_reviewed", disposition.is_safety_plan_reviewed),
        ("decision", disposition.decision),
        ("told", disposition.told),
        ("next_check_due_at", disposition.next_check_due_at),
    )
    return tuple(name for name, value in parts if value is None or value == "")


def may_close(risk: RiskLevel, *, is_supervisor_signed: bool) -> bool:
    """Say whether a dispositioned alert may be closed: high and imminent risk take two people."""
    return is_supervisor_signed or not (risk.needs_supervisor or risk is RiskLevel.UNKNOWN)
