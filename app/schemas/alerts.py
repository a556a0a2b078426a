"""Alerts as they cross the wire: how urgent, by when, and what people have done about it."""

from typing import Annotated, Final
from uuid import UUID

from pydantic import ConfigDict, Field
from pydantic.config import JsonDict, JsonValue

from app.domain.alerts import AlertState, DispositionDecision, Tier
from app.domain.roles import RiskLevel
from app.models.alerts import AlertSource
from app.schemas.base import Page, ReadSchema, Schema
from app.schemas.types import Flag, Instant, LongText

_ID: Final = "019a7f3e-4c1b-7d52-9e64-2b8f0c6a1d{:02x}"
_DISPOSITION: Final[JsonDict] = {
    "assessment": "Structured interview by phone, 20 minutes.",
    "risk": "low",
    "rationale": "Passive thoughts without plan, means or intent.",
    "protective_factors": "Lives with a sister; wants to finish the program.",
    "is_means_safety_discussed": True,
    "is_safety_plan_reviewed": True,
    "decision": "increase_contact",
    "told": "The supervisor, as part of treatment.",
    "next_check_due_at": "2026-03-03T17:00:00Z",
}
_ALERT: Final[JsonDict] = {
    "id": _ID.format(1),
    "version": 2,
    "participant_id": _ID.format(2),
    "tier": "urgent",
    "code": "si_endorsed",
    "state": "acknowledged",
    "source": "assessment",
    "source_id": _ID.format(3),
    "policy_version": "1.0.0",
    "opened_at": "2026-03-02T17:00:00Z",
    "acknowledge_by": "2026-03-02T18:00:00Z",
    "contact_by": "2026-03-03T07:00:00Z",
    "acknowledged_at": "2026-03-02T17:04:00Z",
    "acknowledged_by": _ID.format(4),
}
_STEPS: Final[list[JsonValue]] = [
    {
        "id": _ID.format(5),
        "kind": "opened",
        "actor_id": _ID.format(6),
        "note": None,
        "disposition": None,
        "detector_version": None,
        "at": "2026-03-02T17:00:00Z",
    },
    {
        "id": _ID.format(7),
        "kind": "acknowledged",
        "actor_id": _ID.format(4),
        "note": "Calling now, from the evening line.",
        "disposition": None,
        "detector_version": None,
        "at": "2026-03-02T17:04:00Z",
    },
]


class AlertNote(Schema):
    """What the person who takes a step wants to leave for the next one."""

    note: LongText | None = None

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"note": "Calling now, from the evening line."}]}
    )


class DispositionCreate(Schema):
    """What must be written down before an alert counts as answered.

    The risk is a clinician's formulation; `unknown` is no answer here.
    """

    model_config = ConfigDict(json_schema_extra={"examples": [_DISPOSITION]})

    assessment: Annotated[LongText, Field(description="The tool that was used, or a narrative.")]
    risk: RiskLevel
    rationale: LongText
    protective_factors: LongText
    is_means_safety_discussed: Flag
    is_safety_plan_reviewed: Flag
    decision: DispositionDecision
    told: Annotated[LongText, Field(description="Who was told, and on what legal basis.")]
    next_check_due_at: Instant


class DispositionRead(ReadSchema):
    """How a clinician answered an alert."""

    model_config = ConfigDict(json_schema_extra={"examples": [_DISPOSITION]})

    assessment: str
    risk: RiskLevel
    rationale: str
    protective_factors: str
    is_means_safety_discussed: bool
    is_safety_plan_reviewed: bool
    decision: DispositionDecision
    told: str
    next_check_due_at: Instant


class AlertStepRead(ReadSchema):
    """One thing that happened to an alert: a step that somebody took, or an escalation."""

    id: UUID
    kind: str
    actor_id: Annotated[UUID | None, Field(description="Null when the clock did it.")]
    note: Annotated[
        str | None,
        Field(description="What somebody left; with `raised_again`, the text that raised it."),
    ]
    disposition: DispositionRead | None
    detector_version: Annotated[
        str | None,
        Field(description="The phrases that were looked for, when a text raised the alert."),
    ]
    at: Instant


class AlertSummary(ReadSchema):
    """A safety concern with its clock."""

    model_config = ConfigDict(json_schema_extra={"examples": [_ALERT]})

    id: UUID
    version: int
    participant_id: UUID
    tier: Tier
    code: str
    state: AlertState
    source: AlertSource
    source_id: Annotated[
        UUID | None,
        Field(description="The assessment, or the author's membership of the room."),
    ]
    policy_version: str
    opened_at: Instant
    acknowledge_by: Instant
    contact_by: Instant
    acknowledged_at: Instant | None
    acknowledged_by: UUID | None


class AlertPage(Page[AlertSummary]):
    """A page of alerts."""


class AlertRead(AlertSummary):
    """An alert with everything that happened to it, in order."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{**_ALERT, "excerpt": None, "steps": _STEPS}]}
    )

    excerpt: Annotated[
        str | None,
        Field(description="What was written around the phrase that raised it first."),
    ]
    steps: list[AlertStepRead]
