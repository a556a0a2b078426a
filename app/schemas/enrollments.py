"""Enrollments as they cross the wire: one episode of a participant in a program."""

from datetime import date
from uuid import UUID

from pydantic import ConfigDict

from app.domain.roles import DischargeReason, LevelOfCare
from app.schemas.base import Page, ReadSchema, Schema
from app.schemas.types import Instant


class DischargeCreate(Schema):
    """Why an enrollment ends."""

    reason: DischargeReason

    model_config = ConfigDict(json_schema_extra={"examples": [{"reason": "completed"}]})


class EnrollmentRead(ReadSchema):
    """One episode of care. Its days are those of the participant's zone."""

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
