"""Judge the three axes: which criteria are met, and which answer they add up to."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Generic, TypeVar

from app.domain.criteria import Axis, Criterion, Outcome
from app.domain.instruments import GateKind, Number
from app.domain.readiness import GateResult
from app.domain.recommendation.policy import (
    AdmissionPolicy,
    Commitment,
    Severity,
    SeverityRule,
    VirtualAbility,
)


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
    hold clinicians' statements by code, and `gate_evidence` and
    `attestation_evidence` the records of those that were not judged by the
    checklist or by a clinician's word.
    """

    scores: Sequence[ScoreInput] = ()
    gates: Sequence[GateResult] = ()
    has_acute_alert: bool | None = None
    functional_ratings: Mapping[str, int | None] = field(default_factory=dict)
    attestations: Mapping[str, bool | None] = field(default_factory=dict)
    alert_evidence: tuple[str, ...] = ()
    readiness_evidence: tuple[str, ...] = ()
    rating_evidence: tuple[str, ...] = ()
    gate_evidence: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    attestation_evidence: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Axes:
    """The three answers."""

    severity: Severity
    commitment: Commitment
    virtual_ability: VirtualAbility


def judge(policy: AdmissionPolicy, inputs: IntakeInputs) -> tuple[Axes, tuple[Criterion, ...]]:
    """Answer the three axes, with every criterion that the answers rest on."""
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
    return axes, tuple(each.criterion for each in judged)


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
        source=rule.acute_source,
        is_exclusion=True,
        refers_to=rule.acute_refers_to,
    )
    yield _Judged(acute, Severity.ABOVE_IOP)
    reached, evidence = _symptoms(rule, inputs.scores)
    symptoms = Criterion(
        code="symptom_severity",
        axis=Axis.SEVERITY,
        outcome=Outcome.of(reached),
        reason=rule.reason,
        evidence=evidence,
        source=rule.source,
    )
    yield _Judged(symptoms, Severity.BELOW_IOP)
    functional = Criterion(
        code="functional_impairment",
        axis=Axis.SEVERITY,
        outcome=Outcome.of(_is_impaired(rule, inputs)),
        reason=rule.functional_reason,
        evidence=inputs.rating_evidence,
        source=rule.functional_source,
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
            source=rule.source,
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
            evidence=inputs.gate_evidence.get(rule.code, inputs.readiness_evidence),
            source=rule.source,
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
            evidence=inputs.attestation_evidence.get(rule.code, inputs.rating_evidence),
            source=rule.source,
            is_exclusion=not rule.expects,
            refers_to=rule.refers_to,
        )
        yield _Judged(criterion, rule.otherwise)
