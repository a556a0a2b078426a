"""The admission policy as dated data (clinical reference, sections 2.5 to 2.7)."""

from dataclasses import dataclass
from enum import StrEnum, unique
from functools import cache
from typing import ClassVar

from app.domain.criteria import Axis
from app.domain.instruments import GateKind, Number
from app.domain.instruments.expressions import Operator
from app.domain.policies import STRICT, Dated, shipped_policy


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


@cache
def default_admission_policy() -> AdmissionPolicy:
    """Give the admission policy that ships."""
    return shipped_policy(AdmissionPolicy, "admission-default")
