"""Treatment plans as they cross the wire.

The content is one document, which a signature covers whole: problems, the goals that answer them,
and for each goal its measurable objectives and its interventions (clinical reference, 3.1). A
draft may lack anything; what a plan must say is asked when it is proposed.
"""

from datetime import date
from decimal import Decimal
from typing import Annotated, Final
from uuid import UUID

from pydantic import ConfigDict, Field, StringConstraints
from pydantic.config import JsonDict

from app.core.ids import new_id
from app.domain.plans import Per, PlanState
from app.domain.roles import LevelOfCare
from app.models.plans import SignerRole
from app.schemas.base import Page, ReadSchema, Schema
from app.schemas.types import Code, Date, Instant, ShortText, number, text

_UUID: Final = "018f3d5e-7c1a-7b5e-9a63-2f0c8f5f1d{:02x}"
_DIGEST: Final = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"

PlanText = Annotated[str, text(4_000, min_length=0, multiline=True)]
Digest = Annotated[
    str,
    StringConstraints(pattern=r"^[0-9a-f]{64}$"),
    Field(description="SHA-256 of the content's canonical JSON, in hexadecimal."),
]
Minutes = Annotated[int, Field(strict=True, ge=1, le=720)]
Times = Annotated[int, Field(strict=True, ge=1, le=50)]
Weeks = Annotated[int, Field(strict=True, ge=1, le=104)]


PartId = Annotated[UUID, Field(description="Keep it when the part is edited; made when absent.")]


class Diagnosis(Schema):
    """A diagnosis as a code and a name."""

    icd10cm: Annotated[str, StringConstraints(pattern=r"^[A-Z][0-9][0-9A-Z](?:\.[0-9A-Z]{1,4})?$")]
    name: ShortText


class PlanProblem(Schema):
    """Something that stands in the way."""

    id: PartId = Field(default_factory=new_id)
    statement: PlanText = ""


class Measure(Schema):
    """What tells whether an objective is reached."""

    kind: Annotated[Code, Field(description="`instrument`, `diary` or `behavior`.")]
    name: ShortText
    op: Annotated[str, StringConstraints(pattern=r"^(?:<|<=|=|>=|>)$")]
    target: Annotated[Decimal, number(8, 2)]


class Objective(Schema):
    """A step toward a goal that can be measured by a date."""

    id: PartId = Field(default_factory=new_id)
    text: PlanText = ""
    measure: Measure | None = None
    target_on: Date | None = None


class PlanIntervention(Schema):
    """What is done, how much of it, how often, for how long and by whom."""

    id: PartId = Field(default_factory=new_id)
    modality: Annotated[str, text(120, min_length=0)] = ""
    description: PlanText = ""
    minutes: Minutes | None = None
    count: Annotated[Times | None, Field(description="How often in each `per`.")] = None
    per: Per | None = None
    weeks: Weeks | None = None
    responsible_id: Annotated[
        UUID | None, Field(description="The staff member who answers for it.")
    ] = None


class Goal(Schema):
    """What the participant wants to be different, in their words."""

    id: PartId = Field(default_factory=new_id)
    problem_id: Annotated[UUID | None, Field(description="The problem that it answers.")] = None
    statement: PlanText = ""
    objectives: list[Objective] = Field(default_factory=list, max_length=20)
    interventions: list[PlanIntervention] = Field(default_factory=list, max_length=20)


_CONTENT: Final[JsonDict] = {
    "level_of_care": "intensive_outpatient",
    "hours_per_week": "9",
    "diagnoses": [{"icd10cm": "F33.1", "name": "Major depressive disorder, recurrent, moderate"}],
    "strengths": "Asks for help early.",
    "preferences": "Evenings.",
    "problems": [{"id": _UUID.format(1), "statement": "Low mood since spring."}],
    "goals": [
        {
            "id": _UUID.format(2),
            "problem_id": _UUID.format(1),
            "statement": "I want to enjoy cooking again.",
            "objectives": [
                {
                    "id": _UUID.format(3),
                    "text": "PHQ-9 below 10.",
                    "measure": {
                        "kind": "instrument",
                        "name": "PHQ-9",
                        "op": "<",
                        "target": "10",
                    },
                    "target_on": "2026-04-01",
                }
            ],
            "interventions": [
                {
                    "id": _UUID.format(4),
                    "modality": "group therapy",
                    "description": "Skills group",
                    "minutes": 90,
                    "count": 3,
                    "per": "week",
                    "weeks": 8,
                    "responsible_id": _UUID.format(5),
                }
            ],
        }
    ],
    "safety_plan": None,
    "discharge_criteria": "PHQ-9 below 10 on two visits.",
    "review_on": "2026-03-15",
}


class PlanContent(Schema):
    """Everything that a signature covers."""

    model_config = ConfigDict(json_schema_extra={"examples": [_CONTENT]})

    level_of_care: LevelOfCare
    hours_per_week: Annotated[Decimal, number(4, 1), Field(ge=0, le=168)]
    diagnoses: list[Diagnosis] = Field(default_factory=list, max_length=20)
    strengths: PlanText = ""
    preferences: Annotated[PlanText, Field(description="In the participant's own words.")] = ""
    problems: list[PlanProblem] = Field(default_factory=list, max_length=20)
    goals: list[Goal] = Field(default_factory=list, max_length=20)
    safety_plan: Annotated[
        PlanText | None,
        Field(description="How the participant stays safe; needed after a safety alert."),
    ] = None
    discharge_criteria: PlanText = ""
    review_on: Date | None = None


class PlanCreate(Schema):
    """A first draft for an enrollment."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"enrollment_id": _UUID.format(6), "content": _CONTENT}]}
    )

    enrollment_id: UUID
    content: PlanContent


class PlanUpdate(Schema):
    """The draft's new content, as a whole."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"content": _CONTENT}]})

    content: PlanContent


class PlanSign(Schema):
    """Agreement to exactly the content that was read."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"content_digest": _DIGEST}]})

    content_digest: Annotated[
        Digest, Field(description="As read with the plan: nobody signs what they did not see.")
    ]


_SIGNATURE: Final[JsonDict] = {
    "role": "participant",
    "signed_by": _UUID.format(7),
    "signed_at": "2026-03-01T17:00:00Z",
}
_SUMMARY: Final[JsonDict] = {
    "id": _UUID.format(8),
    "version": 2,
    "participant_id": _UUID.format(9),
    "enrollment_id": _UUID.format(6),
    "number": 1,
    "supersedes_id": None,
    "state": "proposed",
    "review_on": "2026-03-15",
    "activated_at": None,
    "created_at": "2026-03-01T16:00:00Z",
    "updated_at": "2026-03-01T17:00:00Z",
}


class SignatureRead(ReadSchema):
    """That somebody agreed to the content, as what and when."""

    model_config = ConfigDict(json_schema_extra={"examples": [_SIGNATURE]})

    role: SignerRole
    signed_by: Annotated[UUID, Field(description="The account that signed.")]
    signed_at: Instant


class PlanSummary(ReadSchema):
    """As much of a plan as a list needs."""

    model_config = ConfigDict(json_schema_extra={"examples": [_SUMMARY]})

    id: UUID
    version: int
    participant_id: UUID
    enrollment_id: UUID
    number: Annotated[int, Field(description="Which version of the enrollment's plan it is.")]
    supersedes_id: UUID | None
    state: PlanState
    review_on: date | None
    activated_at: Instant | None
    created_at: Instant
    updated_at: Instant


class PlanPage(Page[PlanSummary]):
    """A page of plans."""


class PlanRead(PlanSummary):
    """One version of a plan, with what it says and who has signed it."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    **_SUMMARY,
                    "content": _CONTENT,
                    "content_digest": _DIGEST,
                    "signatures": [_SIGNATURE],
                }
            ]
        }
    )

    content: PlanContent
    content_digest: Digest
    signatures: list[SignatureRead]
