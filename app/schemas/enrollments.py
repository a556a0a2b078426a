"""Enrollments as they cross the wire: one episode of a participant in a program."""

from datetime import date
from typing import Final
from uuid import UUID

from pydantic import ConfigDict

from app.domain.roles import DischargeReason, LevelOfCare
from app.schemas.base import Page, ReadSchema, Schema
from app.schemas.types import Instant

_ID: Final = "019a7f3e-4c1b-7d52-9e64-2b8f0c6a1d{:02x}"


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
