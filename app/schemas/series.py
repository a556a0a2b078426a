"""Series of sessions as they cross the wire: local wall time, a zone and a rule."""

import re
from datetime import datetime
from typing import Annotated, Final
from uuid import UUID

from pydantic import BeforeValidator, ConfigDict, Field, StringConstraints, WithJsonSchema
from pydantic.config import JsonDict
from pydantic_core import PydanticCustomError

from app.core.problems.validation import explain
from app.domain.roles import Modality, SessionKind
from app.schemas.base import ReadSchema, Schema
from app.schemas.types import Instant, Name, ZoneName

_REFUSALS: Final = {
    "local_time_format": "A local date and time without a zone is needed, such as "
    "2026-03-03T17:00.",
}
explain(_REFUSALS)

_LOCAL: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}(?::[0-9]{2})?")
_ID: Final = "018f3d5e-7c1a-7b5e-9a63-2f0c8f5f1d{:02x}"
_TUESDAYS: Final[JsonDict] = {
    "group_id": _ID.format(4),
    "title": "Tuesday Skills",
    "kind": "skill_building",
    "modality": "video",
    "local_start": "2026-03-03T17:00",
    "time_zone": "America/Denver",
    "duration_minutes": 90,
    "rule": "FREQ=WEEKLY;BYDAY=TU;COUNT=12",
    "excluded": ["2026-03-17T17:00"],
    "added": [],
}


def _local_time(value: object) -> datetime:
    if isinstance(value, str) and _LOCAL.fullmatch(value):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            value = None
    if not isinstance(value, datetime) or value.tzinfo is not None:
        raise PydanticCustomError("local_time_format", _REFUSALS["local_time_format"])
    return value


LocalTime = Annotated[
    datetime,
    BeforeValidator(_local_time, json_schema_input_type=datetime),
    Field(description="Date and time on the wall, without a zone.", examples=["2026-03-03T17:00"]),
    WithJsonSchema(
        {
            "type": "string",
            "pattern": r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}(:[0-9]{2})?$",
        }
    ),
]
LocalTimes = Annotated[list[LocalTime], Field(max_length=100)]
DurationMinutes = Annotated[int, Field(strict=True, ge=5, le=720)]


class SeriesCreate(Schema):
    """Sessions that repeat at one time on the wall, or a single one."""

    model_config = ConfigDict(json_schema_extra={"examples": [{**_TUESDAYS}]})

    group_id: UUID
    title: Name
    kind: SessionKind
    modality: Modality
    local_start: LocalTime
    time_zone: ZoneName
    duration_minutes: DurationMinutes
    rule: Annotated[
        Annotated[str, StringConstraints(min_length=1, max_length=500)] | None,
        Field(
            description="An RRULE of RFC 5545 with COUNT or UNTIL; absent for a single session.",
        ),
    ] = None
    excluded: LocalTimes = Field(
        default_factory=list, description="Starts that the rule names and that do not take place."
    )
    added: LocalTimes = Field(
        default_factory=list, description="Starts that the rule does not name and that take place."
    )


class SeriesRead(ReadSchema):
    """A series, and how far its sessions have been scheduled."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    **_TUESDAYS,
                    "id": _ID.format(8),
                    "version": 1,
                    "expanded_until": "2026-06-01T17:00:00Z",
                    "ended_at": None,
                    "created_at": "2026-03-01T17:00:00Z",
                    "updated_at": "2026-03-01T17:00:00Z",
                }
            ]
        }
    )

    id: UUID
    version: int
    group_id: UUID
    title: str
    kind: SessionKind
    modality: Modality
    local_start: LocalTime
    time_zone: str
    duration_minutes: int
    rule: str | None
    excluded: list[LocalTime]
    added: list[LocalTime]
    expanded_until: Annotated[
        Instant, Field(description="Sessions that start before it are scheduled.")
    ]
    ended_at: Instant | None
    created_at: Instant
    updated_at: Instant
