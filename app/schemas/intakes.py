"""Intakes as they cross the wire: what the policy suggests and why, and what a human decides."""

from datetime import date
from typing import Annotated, Final, Literal
from uuid import UUID

from pydantic import ConfigDict, Field
from pydantic.config import JsonDict

from app.domain.criteria import Axis, Outcome
from app.domain.intake import DecisionValue, IntakeAction, IntakeState
from app.domain.recommendation import Commitment, Severity, Verdict, VirtualAbility
from app.domain.roles import AuthorizationKind, LevelOfCare
from app.schemas.base import Page, ReadSchema, Schema
from app.schemas.enrollments import AUTHORIZED, AuthorizationCreate
from app.schemas.intake_facts import Attestation, FunctionalRating
from app.schemas.types import Code, Date, Instant, LongText

_ID: Final = "019a7f3e-4c1b-7d52-9e64-2b8f0c6a1d{:02x}"
_INTAKE: Final[JsonDict] = {
    "id": _ID.format(1),
    "version": 3,
    "participant_id": _ID.format(2),
    "program_id": _ID.format(3),
    "referral_id": _ID.format(4),
    "state": "decided",
    "created_at": "2026-02-24T18:00:00Z",
    "updated_at": "2026-02-27T18:10:00Z",
}
_RECOMMENDATION: Final[JsonDict] = {
    "id": _ID.format(5),
    "policy": "admission-default",
    "policy_version": "1.0.0",
    "verdict": "admit",
    "suggested_level": "intensive_outpatient",
    "axes": {"severity": "iop_range", "commitment": "ready", "virtual_ability": "able"},
    "criteria": [
        {
            "code": "commitment_ruler",
            "axis": "commitment",
            "outcome": "met",
            "reason": "Readiness to attend is 7 or more.",
            "is_required": True,
            "is_overridable": True,
            "evidence": [_ID.format(6)],
            "source": "Clinical reference, section 1.14 and 2.7, commitment.",
            "is_exclusion": False,
            "refers_to": None,
        }
    ],
    "made_by": _ID.format(7),
    "made_at": "2026-02-27T18:00:00Z",
}
_PRESENT: Final[JsonDict] = {
    "intake_id": _ID.format(1),
    "policy": "admission-default",
    "policy_version": "1.0.0",
    "effective_from": "2026-01-01",
    "verdict": "admit",
    "suggested_level": "intensive_outpatient",
    "axes": _RECOMMENDATION["axes"],
    "criteria": _RECOMMENDATION["criteria"],
    "missing": [],
    "exclusions": [],
    "state": "US-CO",
    "available_clinicians": [
        {"staff_member_id": _ID.format(9), "kind": "full_license", "ends_on": None}
    ],
    "judged_at": "2026-02-27T18:00:00Z",
}
_DECISION: Final[JsonDict] = {
    "id": _ID.format(8),
    "recommendation_id": _ID.format(5),
    "outcome": "admit_iop",
    "agrees_with_recommendation": True,
    "rationale": "Moderate depression, wants to begin, safe at home.",
    "override_reason": None,
    "overrides": [],
    "decided_by": _ID.format(9),
    "decided_at": "2026-02-27T18:10:00Z",
}
_DECIDED: Final[JsonDict] = {
    **_INTAKE,
    "recommendation": _RECOMMENDATION,
    "decision": _DECISION,
    "enrollment_id": _ID.format(10),
}


class RecommendationCreate(Schema):
    """What a clinician adds to the forms. What is not said stays unknown, and admits nobody."""

    attestations: list[Attestation] = Field(default_factory=list, max_length=100)
    functional_ratings: list[FunctionalRating] = Field(default_factory=list, max_length=20)

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "attestations": [
                        {"code": "diagnosis_present", "holds": True},
                        {"code": "violence_risk", "holds": False},
                    ],
                    "functional_ratings": [{"domain": "work_or_school", "rating": 3}],
                }
            ]
        }
    )


class Override(Schema):
    """Why somebody is admitted although a criterion is not known to be met."""

    criterion: Code
    reason: LongText


class DecisionCreate(Schema):
    """What a licensed clinician decides about a recommendation, and why."""

    recommendation_id: UUID
    outcome: DecisionValue
    rationale: LongText
    override_reason: Annotated[
        LongText | None, Field(description="Needed where the decision departs from the suggestion.")
    ] = None
    overrides: list[Override] = Field(
        default_factory=list,
        max_length=100,
        description="Of an admission against the suggestion: each criterion that is required and"
        " not known to be met, with its reason.",
    )
    authorization: Annotated[
        AuthorizationCreate | None,
        Field(description="Of an admission: what a payer has authorized beside it."),
    ] = None
    starts_on: Annotated[
        Date | None,
        Field(description="Of an admission: the first day of care; today when it is absent."),
    ] = None

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "recommendation_id": "019a7f3e-4c1b-7d52-9e64-2b8f0c6a1d35",
                    "outcome": "admit_iop",
                    "rationale": "Moderate depression, wants to begin, safe at home.",
                    "override_reason": None,
                    "overrides": [],
                    "authorization": AUTHORIZED,
                    "starts_on": "2026-03-02",
                }
            ]
        }
    )


class TransitionCreate(Schema):
    """A move to another stage, and why.

    A recommendation and a decision make moves of their own, and none by hand stands in for them.
    """

    action: Literal[
        IntakeAction.SCREEN,
        IntakeAction.ASSESS,
        IntakeAction.CHECK_ELIGIBILITY,
        IntakeAction.ASK_CONSENTS,
        IntakeAction.REASSESS,
        IntakeAction.WAITLIST,
        IntakeAction.DECLINE,
        IntakeAction.WITHDRAW,
    ]
    reason: LongText

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"action": "screen", "reason": "Called back on the day of the referral."}]
        }
    )


class TransitionRead(ReadSchema):
    """One move of an intake. The first has no action and no origin: the referral began it."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "id": _ID.format(11),
                    "action": "screen",
                    "from_state": "referred",
                    "to_state": "screening",
                    "actor_id": _ID.format(7),
                    "reason": "Called back on the day of the referral.",
                    "at": "2026-02-24T18:20:00Z",
                }
            ]
        }
    )

    id: UUID
    action: IntakeAction | None
    from_state: IntakeState | None
    to_state: IntakeState
    actor_id: UUID
    reason: str
    at: Instant


class TransitionPage(Page[TransitionRead]):
    """The moves of an intake."""


class AxesRead(ReadSchema):
    """The three questions of an intake, answered."""

    severity: Severity
    commitment: Commitment
    virtual_ability: VirtualAbility


class CriterionRead(ReadSchema):
    """One reason. `evidence` names the records that it was judged by."""

    code: str
    axis: Axis
    outcome: Outcome
    reason: str
    is_required: bool
    is_overridable: bool
    evidence: list[str]
    source: str
    is_exclusion: bool
    refers_to: LevelOfCare | None


class RecommendationRead(ReadSchema):
    """What the policy suggests, in the version that suggested it. Never what is decided."""

    model_config = ConfigDict(json_schema_extra={"examples": [_RECOMMENDATION]})

    id: UUID
    policy: str
    policy_version: str
    verdict: Verdict
    suggested_level: Annotated[
        LevelOfCare | None, Field(description="Null while too little is known.")
    ]
    axes: AxesRead
    criteria: list[CriterionRead]
    made_by: UUID
    made_at: Instant


class AvailableClinicianRead(ReadSchema):
    """A licensed clinician who may treat somebody in the participant's state today."""

    staff_member_id: UUID
    kind: AuthorizationKind
    ends_on: date | None


class PresentRecommendationRead(ReadSchema):
    """What the policy says about what is known at this moment. Nothing of it is stored."""

    model_config = ConfigDict(json_schema_extra={"examples": [_PRESENT]})

    intake_id: UUID
    policy: str
    policy_version: str
    effective_from: date
    verdict: Verdict
    suggested_level: Annotated[
        LevelOfCare | None, Field(description="Null while too little is known.")
    ]
    axes: AxesRead
    criteria: list[CriterionRead]
    missing: Annotated[
        list[CriterionRead], Field(description="What is required and not known yet.")
    ]
    exclusions: Annotated[
        list[CriterionRead],
        Field(description="What is known to speak against care here, overridable or not."),
    ]
    state: Annotated[
        str | None, Field(description="Where the participant is, as far as it is known.")
    ]
    available_clinicians: list[AvailableClinicianRead]
    judged_at: Instant


class OverrideRead(ReadSchema):
    """A criterion that was overridden, and why."""

    criterion: str
    reason: str


class DecisionRead(ReadSchema):
    """What a licensed human decided."""

    model_config = ConfigDict(json_schema_extra={"examples": [_DECISION]})

    id: UUID
    recommendation_id: UUID
    outcome: DecisionValue
    agrees_with_recommendation: Annotated[
        bool | None, Field(description="Null when the person themselves declined.")
    ]
    rationale: str
    override_reason: str | None
    overrides: list[OverrideRead]
    decided_by: UUID
    decided_at: Instant


class IntakeSummary(ReadSchema):
    """As much of an intake as a list needs."""

    model_config = ConfigDict(json_schema_extra={"examples": [_INTAKE]})

    id: UUID
    version: int
    participant_id: UUID
    program_id: UUID
    referral_id: UUID
    state: IntakeState
    created_at: Instant
    updated_at: Instant


class IntakePage(Page[IntakeSummary]):
    """A page of intakes."""


class IntakeRead(IntakeSummary):
    """The admission process of one referral, with what was last suggested and last decided."""

    model_config = ConfigDict(json_schema_extra={"examples": [_DECIDED]})

    recommendation: RecommendationRead | None
    decision: DecisionRead | None
    enrollment_id: UUID | None
