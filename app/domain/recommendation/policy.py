"""The admission policy as dated data (clinical reference, sections 2.5 to 2.7)."""

from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum, unique
from functools import cache
from typing import ClassVar, Final

from app.domain.criteria import Axis
from app.domain.instruments import GateKind, Instrument, Number
from app.domain.instruments.expressions import Operator
from app.domain.policies import STRICT, Dated, InvalidPolicy, load_policy, shipped_policy
from app.domain.roles import LevelOfCare


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
    source: str
    functional_domains: tuple[str, ...]
    functional_alternatives: tuple[str, ...]
    impaired_from: int
    functional_reason: str
    functional_source: str
    acute_reason: str
    acute_source: str
    acute_refers_to: LevelOfCare


@dataclass(frozen=True, slots=True)
class RulerRule:
    """From which figure on a readiness ruler asks for no engagement plan."""

    __pydantic_config__: ClassVar = STRICT
    score: str
    ready_from: int
    is_required: bool
    reason: str
    source: str


@dataclass(frozen=True, slots=True)
class AttestationRule:
    """A statement that a clinician makes, and what the opposite means for its axis.

    `expects` is the answer that admits: true for a requirement, false for an
    exclusion. `refers_to` is the level of care that the opposite points to.
    """

    __pydantic_config__: ClassVar = STRICT
    code: str
    axis: Axis
    expects: bool
    otherwise: Severity | Commitment | VirtualAbility
    is_overridable: bool
    reason: str
    source: str
    refers_to: LevelOfCare | None = None


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
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AdmissionPolicy(Dated):
    """The criteria of admission as dated data.

    `level_of_care` is what an admission means. `safety` names the instruments
    whose safety items show that somebody was asked about safety.
    """

    level_of_care: LevelOfCare
    safety: tuple[str, ...]
    severity: SeverityRule
    rulers: tuple[RulerRule, ...]
    attestations: tuple[AttestationRule, ...]
    gates: tuple[GateRule, ...]


RESERVED: Final = frozenset({"no_acute_alert", "symptom_severity", "functional_impairment"})
"""The criteria that every policy has, whatever it adds."""

READINESS: Final = "readiness"
RULERS: Final = "rulers"
SHIPPED: Final = ("admission-default", "admission-substance-use")
"""The policies that ship: of an adult mental health program, and of one for substance use."""


@cache
def shipped_admission_policies() -> Mapping[str, AdmissionPolicy]:
    """Give the admission policies that ship, by key."""
    return {key: shipped_policy(AdmissionPolicy, key) for key in SHIPPED}


def default_admission_policy() -> AdmissionPolicy:
    """Give the admission policy of a program that chooses no other."""
    return shipped_admission_policies()[SHIPPED[0]]


def instruments_of(policy: AdmissionPolicy) -> frozenset[str]:
    """Name every instrument that the policy judges by."""
    return frozenset(
        {*(each.instrument for each in policy.severity.any_of), *policy.safety, READINESS, RULERS}
    )


def load_admission_policy(
    raw: Mapping[str, object], known: Mapping[str, Instrument], offered: LevelOfCare
) -> AdmissionPolicy:
    """Read an admission policy whole, or refuse it with the place of its first mistake.

    `known` are the instruments that may be used, by key, and `offered` is what
    the program offers. Raises InvalidPolicy:
    a policy that judges by what nobody can answer would never admit anyone, and
    a misspelled exclusion would exclude nobody.
    """
    policy = load_policy(AdmissionPolicy, raw)
    if policy.level_of_care is not offered:
        raise InvalidPolicy("level_of_care", "not_the_programs")
    for place, reason in _faults(policy, known):
        raise InvalidPolicy(place, reason)
    return policy


def _faults(policy: AdmissionPolicy, known: Mapping[str, Instrument]) -> Iterator[tuple[str, str]]:
    for number, threshold in enumerate(policy.severity.any_of):
        place = f"severity.any_of.{number}"
        instrument = known.get(threshold.instrument)
        if instrument is None:
            yield f"{place}.instrument", "unknown_instrument"
        elif threshold.score not in {score.id for score in instrument.scores}:
            yield f"{place}.score", "unknown_score"
    for number, key in enumerate(policy.safety):
        if key not in known:
            yield f"safety.{number}", "unknown_instrument"
        elif not any(item.safety for item in known[key].items):
            yield f"safety.{number}", "no_safety_item"
    rulers = {score.id for score in known[RULERS].scores}
    yield from _unknown("rulers", "score", policy.rulers, rulers)
    gates = {item.gate.code for item in known[READINESS].items if item.gate is not None}
    yield from _unknown("gates", "code", policy.gates, gates)
    yield from _repeated(policy)
    if not policy.severity.any_of:
        yield "severity.any_of", "empty"
    if not policy.safety:
        yield "safety", "empty"


def _unknown(
    field: str, name: str, rules: Sequence[RulerRule | GateRule], known: Container[str]
) -> Iterator[tuple[str, str]]:
    for number, rule in enumerate(rules):
        if getattr(rule, name) not in known:
            yield f"{field}.{number}.{name}", f"unknown_{name}"


def _repeated(policy: AdmissionPolicy) -> Iterator[tuple[str, str]]:
    seen = set(RESERVED)
    for field, codes in (
        ("rulers", [rule.score for rule in policy.rulers]),
        ("attestations", [rule.code for rule in policy.attestations]),
        ("gates", [rule.code for rule in policy.gates]),
    ):
        for number, code in enumerate(codes):
            if code in seen:
                yield f"{field}.{number}", "repeated"
            seen.add(code)
