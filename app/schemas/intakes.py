"""Intakes as they cross the wire: what the policy suggests and why, and what a human decides."""

from typing import Annotated
from uuid import UUID

from pydantic import ConfigDict, Field

from app.domain.criteria import Axis, Outcome
from app.domain.intake import DecisionValue, IntakeState
from app.domain.recommendation import Commitment, Severity, Verdict, VirtualAbility
from app.schemas.base import Page, ReadSchema, Schema
from app.schemas.types import Code, Date, Flag, Instant, LongText


class Attestation(Schema):
    """A statement of the policy, and whether a clinician says that it holds."""

    code: Code
    holds: Flag


class FunctionalRating(Schema):
    """How impaired somebody is in one domain of life: 0 not at all, 4 extremely."""

    domain: Code
    rating: Annotated[int, Field(strict=True, ge=0, le=4)]


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


class DecisionCreate(Schema):
    """What a licensed clinician decides about a recommendation, and why."""

    recommendation_id: UUID
    outcome: DecisionValue
    rationale: LongText
    override_reason: Annotated[
        LongText | None, Field(description="Needed where the decision departs from the suggestion.")
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
                    "starts_on": "2026-03-02",
                }
            ]
        }
    )


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


class RecommendationRead(ReadSchema):
    """What the policy suggests, in the version that suggested it. Never what is decided."""

    id: UUID
    policy: str
    policy_version: str
    verdict: Verdict
    axes: AxesRead
    criteria: list[CriterionRead]
    made_by: UUID
    made_at: Instant


class DecisionRead(ReadSchema):
    """What a licensed human decided."""

    id: UUID
    recommendation_id: UUID
    outcome: DecisionValue
    agrees_with_recommendation: Annotated[
        bool | None, Field(description="Null when the person themselves declined.")
    ]
    rationale: str
    override_reason: str | None
    decided_by: UUID
    decided_at: Instant


class IntakeSummary(ReadSchema):
    """As much of an intake as a list needs."""

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

    recommendation: RecommendationRead | None
    decision: DecisionRead | None
    enrollment_id: UUID | None
