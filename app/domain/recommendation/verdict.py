"""Read the suggestion table (clinical reference, section 2.7)."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum, unique
from typing import assert_never

from app.domain.criteria import Criterion, Outcome
from app.domain.recommendation.axes import Axes, IntakeInputs, judge
from app.domain.recommendation.policy import (
    AdmissionPolicy,
    Commitment,
    Severity,
    VirtualAbility,
)
from app.domain.roles import LevelOfCare


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
    suggested_level: LevelOfCare | None = None

    @property
    def missing(self) -> tuple[Criterion, ...]:
        """What the suggestion rests on and nobody knows yet."""
        return tuple(
            each for each in self.criteria if each.is_required and each.outcome is Outcome.UNKNOWN
        )

    @property
    def exclusions(self) -> tuple[Criterion, ...]:
        """What is known to speak against care here."""
        return tuple(
            each for each in self.criteria if each.is_exclusion and each.outcome is Outcome.NOT_MET
        )


def recommend(policy: AdmissionPolicy, inputs: IntakeInputs) -> Recommendation:
    """Suggest what the policy says, criterion by criterion.

    Taking any input away never turns another suggestion into `admit`, and an
    open acute alert suggests a higher level whatever else is known.
    """
    axes, criteria = judge(policy, inputs)
    verdict = suggest(axes)
    return Recommendation(
        verdict=verdict,
        axes=axes,
        criteria=criteria,
        policy_key=policy.key,
        policy_version=policy.version,
        suggested_level=suggested_level(policy, verdict, criteria),
    )


def suggested_level(
    policy: AdmissionPolicy, verdict: Verdict, criteria: Iterable[Criterion]
) -> LevelOfCare | None:
    """Name the level of care that a suggestion means; None while too little is known.

    Above the program, it is the highest level that a criterion that is not met
    points to, and the next one up where none points anywhere (2.1, 2.2: the
    highest minimum wins). Not now and not online do not change what somebody
    needs: the level is the program's own.
    """
    match verdict:
        case Verdict.DEFER_MORE_INFO:
            return None
        case Verdict.OUTPATIENT:
            return LevelOfCare.OUTPATIENT
        case Verdict.HIGHER_LEVEL:
            pointed = [
                each.refers_to
                for each in criteria
                if each.outcome is Outcome.NOT_MET and each.refers_to is not None
            ]
            return max([_next_up(policy.level_of_care), *pointed], key=lambda level: level.rank)
        case Verdict.ADMIT | Verdict.MOTIVATIONAL_PATHWAY | Verdict.IN_PERSON_OR_SUPPORT:
            return policy.level_of_care
        case _ as never:
            assert_never(never)


def _next_up(level: LevelOfCare) -> LevelOfCare:
    ladder = list(LevelOfCare)
    return ladder[min(level.rank + 1, len(ladder) - 1)]


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
