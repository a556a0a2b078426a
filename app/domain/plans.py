"""The treatment plan: its states, what it must say before it is signed, and by whom.

A signature refers to the digest of what was signed. Once active, a plan never
changes; it is superseded by the next version (clinical reference, section 3.1).
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from datetime import date, timedelta
from decimal import Decimal
from enum import StrEnum, unique
from functools import cache
from typing import Final, TypeAlias
from uuid import UUID

from app.domain.policies import Dated, shipped_policy
from app.domain.roles import AgeBand, LevelOfCare
from app.domain.transitions import Machine

JsonValue: TypeAlias = "bool | int | str | Sequence[JsonValue] | Mapping[str, JsonValue] | None"


@unique
class PlanState(StrEnum):
    """Where a version of a plan stands."""

    DRAFT = "draft"
    PROPOSED = "proposed"
    ACTIVE = "active"
    SUPERSEDED = "superseded"
    REVOKED = "revoked"
    COMPLETED = "completed"


@unique
class PlanAction(StrEnum):
    """What people do with a plan. `withdraw` takes a proposal back for changes."""

    PROPOSE = "propose"
    WITHDRAW = "withdraw"
    ACTIVATE = "activate"
    SUPERSEDE = "supersede"
    REVOKE = "revoke"
    COMPLETE = "complete"


PLAN_MACHINE: Final[Machine[PlanState, PlanAction]] = Machine(
    {
        (PlanState.DRAFT, PlanAction.PROPOSE): PlanState.PROPOSED,
        (PlanState.DRAFT, PlanAction.REVOKE): PlanState.REVOKED,
        (PlanState.PROPOSED, PlanAction.WITHDRAW): PlanState.DRAFT,
        (PlanState.PROPOSED, PlanAction.ACTIVATE): PlanState.ACTIVE,
        (PlanState.PROPOSED, PlanAction.REVOKE): PlanState.REVOKED,
        (PlanState.ACTIVE, PlanAction.SUPERSEDE): PlanState.SUPERSEDED,
        (PlanState.ACTIVE, PlanAction.REVOKE): PlanState.REVOKED,
        (PlanState.ACTIVE, PlanAction.COMPLETE): PlanState.COMPLETED,
    }
)

EDITABLE: Final = frozenset({PlanState.DRAFT})
"""The states in which the content may change: not once someone may have signed it."""


@unique
class Per(StrEnum):
    """The period of a frequency."""

    DAY = "day"
    WEEK = "week"
    MONTH = "month"


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """A diagnosis as a code and a name; criteria texts are not ours to store."""

    icd10cm: str
    name: str


@dataclass(frozen=True, slots=True)
class PlanProblem:
    """Something that stands in the way."""

    id: UUID
    statement: str


@dataclass(frozen=True, slots=True)
class Measure:
    """What tells whether an objective is reached: a score, a diary or a behavior, and a target."""

    kind: str
    name: str
    op: str
    target: Decimal


@dataclass(frozen=True, slots=True)
class Objective:
    """A step toward a goal that can be measured by a date."""

    id: UUID
    text: str
    measure: Measure | None
    target_on: date | None


@dataclass(frozen=True, slots=True)
class Intervention:
    """What is done, how much of it, how often, for how long and by whom."""

    id: UUID
    modality: str
    description: str
    minutes: int | None
    count: int | None
    per: Per | None
    weeks: int | None
    responsible_id: UUID | None


@dataclass(frozen=True, slots=True)
class Goal:
    """What the participant wants to be different, in their words."""

    id: UUID
    problem_id: UUID | None
    statement: str
    objectives: tuple[Objective, ...]
    interventions: tuple[Intervention, ...]


@dataclass(frozen=True, slots=True)
class PlanContent:
    """What the rules read of all that a signature covers."""

    level_of_care: LevelOfCare
    hours_per_week: Decimal
    diagnoses: tuple[Diagnosis, ...]
    problems: tuple[PlanProblem, ...]
    goals: tuple[Goal, ...]
    safety_plan: str | None
    discharge_criteria: str
    review_on: date | None


@dataclass(frozen=True, slots=True)
class PlanContext:
    """What surrounds a plan and changes what it must say; what is unknown is given as True."""

    age_band: AgeBand
    has_recent_safety_alert: bool
    needs_physician: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanPolicy(Dated):
    """The figures of a valid plan."""

    min_hours_adult: Mapping[LevelOfCare, Decimal]
    min_hours_adolescent: Mapping[LevelOfCare, Decimal]
    target_after_review: timedelta
    safety_window: timedelta
    """How long a safety alert asks for a safety plan."""

    def min_hours(self, level: LevelOfCare, age_band: AgeBand) -> Decimal | None:
        """Give the least planned hours a week of a level, or None where there is no figure."""
        adult = age_band is AgeBand.ADULT
        return (self.min_hours_adult if adult else self.min_hours_adolescent).get(level)


@dataclass(frozen=True, slots=True)
class Gap:
    """Something that a plan must say before it is signed; `place` is a JSON pointer."""

    code: str
    place: str


_MAJORITY: Final = 18


def age_band_on(born_on: date | None, day: date) -> AgeBand:
    """Say whether somebody is of age on a day of theirs.

    An unknown age counts as adult, for whom a plan must promise more hours.
    """
    if born_on is None:
        return AgeBand.ADULT
    had_birthday = (day.month, day.day) >= (born_on.month, born_on.day)
    years = day.year - born_on.year - (0 if had_birthday else 1)
    return AgeBand.ADULT if years >= _MAJORITY else AgeBand.ADOLESCENT


@cache
def default_plan_policy() -> PlanPolicy:
    """Give the plan figures that ship."""
    return shipped_policy(PlanPolicy, "plans-default")


def gaps(policy: PlanPolicy, content: PlanContent, context: PlanContext) -> list[Gap]:
    """Name everything that a plan lacks, in the order of the document."""
    return [
        *_frame(policy, content, context),
        *(
            gap
            for number, goal in enumerate(content.goals)
            for gap in _goal(policy, content, goal, f"/goals/{number}")
        ),
    ]


@unique
class Signer(StrEnum):
    """In what capacity a plan is signed."""

    PARTICIPANT = "participant"
    LICENSED_CLINICIAN = "licensed_clinician"
    PHYSICIAN = "physician"


@dataclass(frozen=True, slots=True)
class Signature:
    """Who signed what. It counts only for the content whose digest it names."""

    signer: Signer
    content_digest: bytes


def required_signers(context: PlanContext) -> frozenset[Signer]:
    """Say who must sign: participant and licensed clinician; for some payers a physician too."""
    signers = {Signer.PARTICIPANT, Signer.LICENSED_CLINICIAN}
    return frozenset(signers | ({Signer.PHYSICIAN} if context.needs_physician else set()))


def missing_signers(
    context: PlanContext,
    signatures: Iterable[Signature],
    digest: bytes,
    *,
    participant_declined_because: str | None = None,
) -> frozenset[Signer]:
    """Say whose signature a plan still waits for.

    A participant may decline; then the written reason stands in their place
    (3.1: "participant signature or reason for none"). A signature under other
    content is none.
    """
    signed = {each.signer for each in signatures if each.content_digest == digest}
    if (participant_declined_because or "").strip():
        signed.add(Signer.PARTICIPANT)
    return required_signers(context) - signed


def content_digest(content: PlanContent | Mapping[str, JsonValue]) -> bytes:
    """Give the SHA-256 of a plan's canonical JSON, to which signatures refer.

    Canonical means: UTF-8, keys sorted by code point, no spaces, dates in ISO
    8601, ids and decimal numbers as text (9.0 and 9 are one number). Raises
    TypeError for what has no such form, a float among them.
    """
    text = json.dumps(
        _canonical(content),
        ensure_ascii=False,
        allow_nan=False,
        sort_keys=True,
        separators=(",", ":"),
    )
    return hashlib.sha256(text.encode("utf-8")).digest()


def _canonical(value: object) -> JsonValue:  # noqa: PLR0911 - one return for each kind of value
    match value:
        case None | bool() | int():
            return value
        case str():
            return str(value)
        case UUID():
            return str(value)
        case date():
            return value.isoformat()
        case Decimal() if value.is_finite():
            return format(value.normalize(), "f")
        case Mapping():
            return {_key(name): _canonical(part) for name, part in value.items()}
        case list() | tuple():
            return [_canonical(part) for part in value]
        case _ if is_dataclass(value) and not isinstance(value, type):
            return {each.name: _canonical(getattr(value, each.name)) for each in fields(value)}
        case _:
            raise TypeError(f"{type(value).__name__} has no canonical form")


def _key(name: object) -> str:
    if not isinstance(name, str):
        raise TypeError("a key is text")
    return name


def _frame(policy: PlanPolicy, content: PlanContent, context: PlanContext) -> Iterator[Gap]:
    if not content.diagnoses:
        yield Gap("diagnosis_missing", "/diagnoses")
    yield from _problems(content)
    if not content.goals:
        yield Gap("goal_missing", "/goals")
    least = policy.min_hours(content.level_of_care, context.age_band)
    if least is not None and content.hours_per_week < least:
        yield Gap("too_few_hours", "/hours_per_week")
    if not content.discharge_criteria.strip():
        yield Gap("discharge_criteria_missing", "/discharge_criteria")
    if content.review_on is None:
        yield Gap("review_date_missing", "/review_on")
    if context.has_recent_safety_alert and not (content.safety_plan or "").strip():
        yield Gap("safety_plan_missing", "/safety_plan")


def _problems(content: PlanContent) -> Iterator[Gap]:
    """At least one problem, for the goals to answer (clinical reference, 3.1)."""
    if not content.problems:
        yield Gap("problem_missing", "/problems")
    for number, problem in enumerate(content.problems):
        if not problem.statement.strip():
            yield Gap("problem_statement_missing", f"/problems/{number}/statement")


def _goal(policy: PlanPolicy, content: PlanContent, goal: Goal, place: str) -> Iterator[Gap]:
    if goal.problem_id not in {problem.id for problem in content.problems}:
        yield Gap("problem_unknown", f"{place}/problem_id")
    if not goal.statement.strip():
        yield Gap("goal_statement_missing", f"{place}/statement")
    if not goal.objectives:
        yield Gap("objective_missing", f"{place}/objectives")
    if not goal.interventions:
        yield Gap("intervention_missing", f"{place}/interventions")
    for number, objective in enumerate(goal.objectives):
        yield from _objective(policy, content, objective, f"{place}/objectives/{number}")
    for number, intervention in enumerate(goal.interventions):
        yield from _intervention(intervention, f"{place}/interventions/{number}")


def _objective(
    policy: PlanPolicy, content: PlanContent, objective: Objective, place: str
) -> Iterator[Gap]:
    if not objective.text.strip():
        yield Gap("objective_text_missing", f"{place}/text")
    if objective.measure is None:
        yield Gap("measure_missing", f"{place}/measure")
    if objective.target_on is None:
        yield Gap("target_date_missing", f"{place}/target_on")
    elif (
        content.review_on is not None
        and objective.target_on > content.review_on + policy.target_after_review
    ):
        yield Gap("target_date_too_late", f"{place}/target_on")


def _intervention(intervention: Intervention, place: str) -> Iterator[Gap]:
    """Type, amount, frequency, duration and a responsible person (42 CFR 424.24(d))."""
    if not intervention.modality.strip():
        yield Gap("modality_missing", f"{place}/modality")
    if not intervention.minutes:
        yield Gap("amount_missing", f"{place}/minutes")
    if not intervention.count or intervention.per is None:
        yield Gap("frequency_missing", f"{place}/count")
    if not intervention.weeks:
        yield Gap("duration_missing", f"{place}/weeks")
    if intervention.responsible_id is None:
        yield Gap("responsible_missing", f"{place}/responsible_id")
