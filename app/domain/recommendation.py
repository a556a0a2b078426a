"""What the admission policy suggests, on three axes and with every reason.

Severity, commitment and virtual ability are each judged by criteria; the table
of the clinical reference, section 2.7, turns the three into a suggestion. An
acute alert always wins. Anything unknown that the policy requires leads to
`defer_more_info`, so that no silence ever admits anyone. It is decision
support: a licensed human decides (`intake`), and both are kept.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum, unique
from functools import cache
from typing import ClassVar, Final, Generic, TypeVar

from app.domain.criteria import Axis, Criterion, Outcome
from app.domain.instruments import GateKind, Number
from app.domain.instruments.expressions import Operator
from app.domain.policies import STRICT, Dated, shipped_policy
from app.domain.readiness import GateResult


@unique
class Severity(StrEnum):
    """How much care the condition asks for."""

    BELOW_IOP = "below_iop"
    IOP_RANGE = "iop_range"
    ABOVE_IOP = "above_iop"
    UNDETERMINED = "undetermined"


@unique
class Commitment(StrEnum):
    """How ready the person is to attend."""

    READY = "ready"
    READY_WITH_PLAN = "ready_with_plan"
    NOT_NOW = "not_now"
    UNDETERMINED = "undetermined"


@unique
class VirtualAbility(StrEnum):
    """Whether care can reach the person online."""

    ABLE = "able"
    ABLE_WITH_SUPPORT = "able_with_support"
    UNABLE = "unable"
    UNDETERMINED = "undetermined"


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
class ScoreCriterion:
    """A published threshold that shows need for this level of care.

    A required instrument must have been given before anyone is called below
    the range; an optional one counts when it was.
    """

    __pydantic_config__: ClassVar = STRICT
    instrument: str
    score: str
    op: Operator
    value: Number
    is_required: bool


@dataclass(frozen=True, slots=True)
class SeverityRule:
    """When the condition is in the range of the program."""

    __pydantic_config__: ClassVar = STRICT
    any_of: tuple[ScoreCriterion, ...]
    reason: str
    functional_domains: tuple[str, ...]
    functional_alternatives: tuple[str, ...]
    impaired_from: int
    functional_reason: str
    acute_reason: str


@dataclass(frozen=True, slots=True)
class RulerRule:
    """From which figure on a readiness ruler asks for no engagement plan."""

    __pydantic_config__: ClassVar = STRICT
    score: str
    ready_from: int
    is_required: bool
    reason: str


@dataclass(frozen=True, slots=True)
class AttestationRule:
    """A statement that a clinician makes, and what the opposite means for its axis.

    `expects` is the answer that admits: true for a requirement, false for an
    exclusion.
    """

    __pydantic_config__: ClassVar = STRICT
    code: str
    axis: Axis
    expects: bool
    otherwise: Severity | Commitment | VirtualAbility
    is_overridable: bool
    reason: str


@dataclass(frozen=True, slots=True)
class GateRule:
    """A gate of the readiness checklist that admission looks at.

    The policy names its gates, so that an absent checklist is unknown and not
    a checklist without failures.
    """

    __pydantic_config__: ClassVar = STRICT
    code: str
    kind: GateKind
    is_overridable: bool
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AdmissionPolicy(Dated):
    """The criteria of admission as dated data."""

    severity: SeverityRule
    rulers: tuple[RulerRule, ...]
    attestations: tuple[AttestationRule, ...]
    gates: tuple[GateRule, ...]


@dataclass(frozen=True, slots=True)
class ScoreInput:
    """A score as the intake knows it; `evidence` is the id of its record."""

    instrument: str
    score: str
    value: Number | None
    evidence: str


@dataclass(frozen=True, slots=True)
class IntakeInputs:
    """Everything a recommendation rests on. What is absent or None is unknown.

    `has_acute_alert` is None while nobody has asked about safety.
    `functional_ratings` are a clinician's, 0 to 4 by domain; `attestations`
    hold clinicians' statements by code.
    """

    scores: Sequence[ScoreInput] = ()
    gates: Sequence[GateResult] = ()
    has_acute_alert: bool | None = None
    functional_ratings: Mapping[str, int | None] = field(default_factory=dict)
    attestations: Mapping[str, bool | None] = field(default_factory=dict)
    alert_evidence: tuple[str, ...] = ()
    readiness_evidence: tuple[str, ...] = ()
    rating_evidence: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Axes:
    """The three answers."""

    severity: Severity
    commitment: Commitment
    virtual_ability: VirtualAbility


@dataclass(frozen=True, slots=True)
class Recommendation:
    """A suggestion with every reason, and the policy version that made it."""

    verdict: Verdict
    axes: Axes
    criteria: tuple[Criterion, ...]
    policy_key: str
    policy_version: str


@cache
def default_admission_policy() -> AdmissionPolicy:
    """Give the admission policy that ships."""
    return shipped_policy(AdmissionPolicy, "admission-default")


def recommend(policy: AdmissionPolicy, inputs: IntakeInputs) -> Recommendation:
    """Suggest what the policy says, criterion by criterion.

    Taking any input away never turns another suggestion into `admit`, and an
    open acute alert suggests a higher level whatever else is known.
    """
    judged = [
        *_severity(policy, inputs),
        *_commitment(policy, inputs),
        *_virtual_ability(policy, inputs),
    ]
    axes = Axes(
        _settle(judged, Axis.SEVERITY, _SEVERITY),
        _settle(judged, Axis.COMMITMENT, _COMMITMENT),
        _settle(judged, Axis.VIRTUAL_ABILITY, _VIRTUAL_ABILITY),
    )
    return Recommendation(
        verdict=suggest(axes),
        axes=axes,
        criteria=tuple(each.criterion for each in judged),
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


Value = TypeVar("Value", Severity, Commitment, VirtualAbility)


@dataclass(frozen=True)
class _Ladder(Generic[Value]):
    """The answers of an axis: all criteria met, one that bends it, one that breaks it."""

    best: Value
    bent: Value
    broken: Value
    undetermined: Value


_SEVERITY: Final = _Ladder(
    Severity.IOP_RANGE, Severity.BELOW_IOP, Severity.ABOVE_IOP, Severity.UNDETERMINED
)
_COMMITMENT: Final = _Ladder(
    Commitment.READY, Commitment.READY_WITH_PLAN, Commitment.NOT_NOW, Commitment.UNDETERMINED
)
_VIRTUAL_ABILITY: Final = _Ladder(
    VirtualAbility.ABLE,
    VirtualAbility.ABLE_WITH_SUPPORT,
    VirtualAbility.UNABLE,
    VirtualAbility.UNDETERMINED,
)


@dataclass(frozen=True, slots=True)
class _Judged:
    """A criterion, and the answer that its axis takes when it is not met."""

    criterion: Criterion
    otherwise: Severity | Commitment | VirtualAbility


def _settle(judged: Iterable[_Judged], axis: Axis, ladder: _Ladder[Value]) -> Value:
    """Answer one axis. What breaks it is known to break it; next, unknown leaves it open."""
    own = [each for each in judged if each.criterion.axis is axis]
    failed = {each.otherwise for each in own if each.criterion.outcome is Outcome.NOT_MET}
    unknown = [each for each in own if each.criterion.outcome is Outcome.UNKNOWN]
    if ladder.broken in failed:
        return ladder.broken
    if any(each.criterion.is_required for each in unknown):
        return ladder.undetermined
    # What is optional and unknown asks for support, as if it were lacking.
    return ladder.bent if ladder.bent in failed or unknown else ladder.best


def _severity(policy: AdmissionPolicy, inputs: IntakeInputs) -> Iterator[_Judged]:
    rule = policy.severity
    no_alert = None if inputs.has_acute_alert is None else not inputs.has_acute_alert
    acute = Criterion(
        code="no_acute_alert",
        axis=Axis.SEVERITY,
        outcome=Outcome.of(no_alert),
        reason=rule.acute_reason,
        is_overridable=False,
        evidence=inputs.alert_evidence,
    )
    yield _Judged(acute, Severity.ABOVE_IOP)
    reached, evidence = _symptoms(rule, inputs.scores)
    symptoms = Criterion(
        code="symptom_severity",
        axis=Axis.SEVERITY,
        outcome=Outcome.of(reached),
        reason=rule.reason,
        evidence=evidence,
    )
    yield _Judged(symptoms, Severity.BELOW_IOP)
    functional = Criterion(
        code="functional_impairment",
        axis=Axis.SEVERITY,
        outcome=Outcome.of(_is_impaired(rule, inputs)),
        reason=rule.functional_reason,
        evidence=inputs.rating_evidence,
    )
    yield _Judged(functional, Severity.BELOW_IOP)
    yield from _attested(policy, inputs, Axis.SEVERITY)


def _symptoms(
    rule: SeverityRule, scores: Sequence[ScoreInput]
) -> tuple[bool | None, tuple[str, ...]]:
    """Say whether a threshold is reached, and by which records that was judged."""
    known: dict[bool, list[str]] = {True: [], False: []}
    is_complete = True
    for threshold in rule.any_of:
        found = [
            (each.value, each.evidence)
            for each in scores
            if (each.instrument, each.score) == (threshold.instrument, threshold.score)
        ]
        values = [(value, evidence) for value, evidence in found if value is not None]
        is_complete &= bool(values) or not threshold.is_required
        for value, evidence in values:
            known[threshold.op.compare(value, threshold.value)].append(evidence)
    if known[True]:
        return True, tuple(known[True])
    return (False if is_complete else None), tuple(known[False])


def _is_impaired(rule: SeverityRule, inputs: IntakeInputs) -> bool | None:
    """Say whether work, home, social life or self-care suffers, or care at a lower level failed."""
    ratings = [inputs.functional_ratings.get(domain) for domain in rule.functional_domains]
    alternatives = [inputs.attestations.get(code) for code in rule.functional_alternatives]
    if any(rating is not None and rating >= rule.impaired_from for rating in ratings):
        return True
    if True in alternatives:
        return True
    return None if None in ratings or None in alternatives else False


def _commitment(policy: AdmissionPolicy, inputs: IntakeInputs) -> Iterator[_Judged]:
    for rule in policy.rulers:
        found = [
            each
            for each in inputs.scores
            if (each.instrument, each.score) == ("rulers", rule.score)
        ]
        values = [each.value for each in found if each.value is not None]
        criterion = Criterion(
            code=rule.score,
            axis=Axis.COMMITMENT,
            outcome=Outcome.of(min(values) >= rule.ready_from if values else None),
            reason=rule.reason,
            is_required=rule.is_required,
            evidence=tuple(each.evidence for each in found),
        )
        yield _Judged(criterion, Commitment.READY_WITH_PLAN)
    yield from _attested(policy, inputs, Axis.COMMITMENT)


def _virtual_ability(policy: AdmissionPolicy, inputs: IntakeInputs) -> Iterator[_Judged]:
    given = {gate.code: gate.outcome for gate in inputs.gates}
    for rule in policy.gates:
        is_hard = rule.kind is GateKind.HARD
        criterion = Criterion(
            code=rule.code,
            axis=Axis.VIRTUAL_ABILITY,
            outcome=given.get(rule.code, Outcome.UNKNOWN),
            reason=rule.reason,
            is_required=is_hard,
            is_overridable=rule.is_overridable,
            evidence=inputs.readiness_evidence,
        )
        otherwise = VirtualAbility.UNABLE if is_hard else VirtualAbility.ABLE_WITH_SUPPORT
        yield _Judged(criterion, otherwise)
    yield from _attested(policy, inputs, Axis.VIRTUAL_ABILITY)


def _attested(policy: AdmissionPolicy, inputs: IntakeInputs, axis: Axis) -> Iterator[_Judged]:
    for rule in policy.attestations:
        if rule.axis is not axis:
            continue
        said = inputs.attestations.get(rule.code)
        criterion = Criterion(
            code=rule.code,
            axis=axis,
            outcome=Outcome.of(None if said is None else said is rule.expects),
            reason=rule.reason,
            is_overridable=rule.is_overridable,
            evidence=inputs.rating_evidence,
        )
        yield _Judged(criterion, rule.otherwise)
