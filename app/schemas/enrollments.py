"""Enrollments as they cross the wire: one episode of a participant in a program."""

from datetime import date
from typing import Annotated, Final
from uuid import UUID

from pydantic import ConfigDict, Field
from pydantic.config import JsonDict

from app.domain.intake import AuthorizedUnit
from app.domain.roles import DischargeReason, LevelOfCare
from app.schemas.base import Page, ReadSchema, Schema
from app.schemas.types import Date, Instant, Name

_ID: Final = "019a7f3e-4c1b-7d52-9e64-2b8f0c6a1d{:02x}"


AUTHORIZED: Final[JsonDict] = {
    "level_of_care": "intensive_outpatient",
    "payer": "Front Range Health Plan",
    "number": "A-204417",
    "units": 24,
    "unit": "sessions",
    "starts_on": "2026-03-02",
    "ends_on": "2026-05-29",
    "next_review_on": "2026-03-16",
}


class AuthorizationCreate(Schema):
    """What a payer has authorized: so many units of a level of care, from a day to a day."""

    level_of_care: LevelOfCare
    payer: Name
    number: Name
    units: Annotated[int, Field(strict=True, ge=1, le=10_000)]
    unit: AuthorizedUnit
    starts_on: Date
    ends_on: Date
    next_review_on: Annotated[Date, Field(description="When the payer wants to hear again.")]

    model_config = ConfigDict(json_schema_extra={"examples": [AUTHORIZED]})


class AuthorizationRead(ReadSchema):
    """What a payer has authorized. The clinical level of care stands in the enrollment."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "id": _ID.format(5),
                    "enrollment_id": _ID.format(1),
                    **AUTHORIZED,
                    "recorded_by": _ID.format(6),
                    "recorded_at": "2026-02-27T18:10:00Z",
                }
            ]
        }
    )

    id: UUID
    enrollment_id: UUID
    level_of_care: LevelOfCare
    payer: str
    number: str
    units: int
    unit: AuthorizedUnit
    starts_on: date
    ends_on: date
    next_review_on: date
    recorded_by: UUID
    recorded_at: Instant


class AuthorizationPage(Page[AuthorizationRead]):
    """What payers have authorized for an enrollment."""


class DischargeCreate(Schema):
    """Why an enrollment ends."""

    reason: DischargeReason

    model_config = ConfigDict(json_schema_extra={"examples": [{"reason": "completed"}]})


class EnrollmentRead(ReadSchema):
    """One episode of care. Its days are those of the participant's zone."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "id": _ID.format(1),
                    "version": 1,
                    "participant_id": _ID.format(2),
                    "program_id": _ID.format(3),
                    "decision_id": _ID.format(4),
                    "level_of_care": "intensive_outpatient",
                    "started_on": "2026-03-02",
                    "ended_on": None,
                    "discharge_reason": None,
                    "created_at": "2026-02-27T18:10:00Z",
                    "updated_at": "2026-02-27T18:10:00Z",
                }
            ]
        }
    )

    id: UUID
    version: int
    participant_id: UUID
    program_id: UUID
    decision_id: UUID
    level_of_care: LevelOfCare
    started_on: date
    ended_on: date | None
    discharge_reason: DischargeReason | None
    created_at: Instant
    updated_at: Instant


class EnrollmentPage(Page[EnrollmentRead]):
    """A page of enrollments."""
