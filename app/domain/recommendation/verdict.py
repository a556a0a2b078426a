"""Read the suggestion table (clinical reference, section 2.7)."""

from dataclasses import dataclass
from enum import StrEnum, unique

from app.domain.criteria import Criterion
from app.domain.recommendation.axes import Axes, IntakeInputs, judge
from app.domain.recommendation.policy import (
    AdmissionPolicy,
    Commitment,
    Severity,
    VirtualAbility,
)


@unique
class Verdict(StrEnum):
    """What the policy suggests; never what is decided."""

    ADMIT = "admit"
    HIGHER_LEVEL = "higher_level"
    OUTPATIENT = "outpatient"
    MOTIVATIONAL_PATHWAY = "motivational_pathway"
    IN_PERSON_OR_SUPPORT = "in_person_or_support"
    DEFER_MORE_INFO = "defer_more_info"


@dataclass(frozen=True, slots=True)
class Recommendation:
    """A suggestion with every reason, and the policy version that made it."""

    verdict: Verdict
    axes: Axes
    criteria: tuple[Criterion, ...]
    policy_key: str
    policy_version: str


def recommend(policy: AdmissionPolicy, inputs: IntakeInputs) -> Recommendation:
    """Suggest what the policy says, criterion by criterion.

    Taking any input away never turns another suggestion into `admit`, and an
    open acute alert suggests a higher level whatever else is known.
    """
    axes, criteria = judge(policy, inputs)
    return Recommendation(
        verdict=suggest(axes),
        axes=axes,
        criteria=criteria,
        policy_key=policy.key,
        policy_version=policy.version,
    )


def suggest(axes: Axes) -> Verdict:
    """Read the suggestion table (clinical reference, section 2.7), first line that fits."""
    if axes.severity is Severity.ABOVE_IOP:
        return Verdict.HIGHER_LEVEL
    if axes.severity is Severity.BELOW_IOP:
        return Verdict.OUTPATIENT
    if (
        axes.severity is Severity.UNDETERMINED
        or axes.commitment is Commitment.UNDETERMINED
        or axes.virtual_ability is VirtualAbility.UNDETERMINED
    ):
        return Verdict.DEFER_MORE_INFO
    if axes.commitment is Commitment.NOT_NOW:
        return Verdict.MOTIVATIONAL_PATHWAY
    if axes.virtual_ability is VirtualAbility.UNABLE:
        return Verdict.IN_PERSON_OR_SUPPORT
    return Verdict.ADMIT
