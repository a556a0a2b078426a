"""Sessions of care as they cross the wire."""

from typing import Annotated, Final
from uuid import UUID

from pydantic import ConfigDict, Field

from app.domain.roles import Modality, SessionKind
from app.models.sessions import SessionState
from app.schemas.base import Page, ReadSchema
from app.schemas.series import LocalTime
from app.schemas.types import Instant

_ID: Final = "018f3d5e-7c1a-7b5e-9a63-2f0c8f5f1d{:02x}"


class SessionRead(ReadSchema):
    """One occurrence of care. Nothing in it says who else is booked, or how many."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "id": _ID.format(9),
                    "version": 1,
                    "series_id": _ID.format(8),
                    "group_id": _ID.format(4),
                    "title": "Tuesday Skills",
                    "kind": "skill_building",
                    "modality": "video",
                    "state": "scheduled",
                    "local_start": "2026-03-03T17:00:00",
                    "time_zone": "America/Denver",
                    "starts_at": "2026-03-04T00:00:00Z",
                    "ends_at": "2026-03-04T01:30:00Z",
                }
            ]
        }
    )

    id: UUID
    version: int
    series_id: UUID | None
    group_id: UUID | None
    title: str
    kind: SessionKind
    modality: Modality
    state: SessionState
    local_start: LocalTime
    time_zone: str
    starts_at: Instant
    ends_at: Instant


class SessionPage(Page[SessionRead]):
    """A page of sessions, in the order in which they start."""


class SessionDoor(ReadSchema):
    """The room of a session that the caller has just entered."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "room_id": _ID.format(5),
                    "opens_at": "2026-03-03T23:50:00Z",
                    "closes_at": "2026-03-04T01:30:00Z",
                }
            ]
        }
    )

    room_id: UUID
    opens_at: Instant
    closes_at: Annotated[Instant, Field(description="Nothing can be said in it afterwards.")]
