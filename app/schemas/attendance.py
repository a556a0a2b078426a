"""Attendance as it crosses the wire: minutes that are proven, and what proves them."""

from typing import Annotated, Final
from uuid import UUID

from pydantic import ConfigDict, Field

from app.domain.attendance import AttendanceStatus
from app.models.sessions import EvidenceSource
from app.schemas.base import ReadSchema, Schema
from app.schemas.types import Instant

_ID: Final = "018f3d5e-7c1a-7b5e-9a63-2f0c8f5f1d{:02x}"


class AttendanceLine(ReadSchema):
    """What the evidence says of one participant in one session."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "participant_id": _ID.format(2),
                    "minutes": 84,
                    "unexplained_minutes": 0,
                    "first_seen_at": "2026-03-04T00:01:00Z",
                    "last_seen_at": "2026-03-04T01:25:00Z",
                    "status": "attended",
                    "is_late": False,
                    "has_left_early": False,
                    "needs_confirmation": False,
                }
            ]
        }
    )

    participant_id: UUID
    minutes: Annotated[int, Field(description="Whole minutes that are proven.")]
    unexplained_minutes: Annotated[
        int, Field(description="Minutes for which only a join without a leave speaks.")
    ]
    first_seen_at: Instant | None
    last_seen_at: Instant | None
    status: Annotated[
        AttendanceStatus,
        Field(description="`scheduled` or `in_progress` until the session has ended."),
    ]
    is_late: bool
    has_left_early: bool
    needs_confirmation: Annotated[
        bool, Field(description="The unexplained minutes would change the status.")
    ]


class AttendanceRead(ReadSchema):
    """The attendance of one session: everybody's for staff, their own line for a participant."""

    session_id: UUID
    lines: list[AttendanceLine]


class PresenceStatement(Schema):
    """A staff member states that a participant was present."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "participant_id": _ID.format(2),
                    "joined_at": "2026-03-04T00:00:00Z",
                    "left_at": "2026-03-04T01:30:00Z",
                }
            ]
        }
    )

    participant_id: UUID
    joined_at: Instant
    left_at: Instant


class EvidenceRead(ReadSchema):
    """A stretch of presence, and what proves it."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "id": _ID.format(10),
                    "session_id": _ID.format(9),
                    "participant_id": _ID.format(2),
                    "source": "staff_statement",
                    "joined_at": "2026-03-04T00:00:00Z",
                    "left_at": "2026-03-04T01:30:00Z",
                    "recorded_at": "2026-03-04T02:00:00Z",
                }
            ]
        }
    )

    id: UUID
    session_id: UUID
    participant_id: UUID
    source: EvidenceSource
    joined_at: Instant
    left_at: Instant | None
    recorded_at: Instant
