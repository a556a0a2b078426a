"""A participant's scores over time, ready to plot."""

from datetime import date
from typing import Annotated, Final
from uuid import UUID

from pydantic import ConfigDict, Field
from pydantic.config import JsonDict

from app.domain.instruments import Direction
from app.domain.scoring import ChangeClass
from app.schemas.assessments import ChangeRead, ResultState
from app.schemas.base import ReadSchema
from app.schemas.instruments import Number
from app.schemas.types import Instant

_ID: Final = "019a7f3e-4c1b-7d52-9e64-2b8f0c6a1d{:02x}"
_POINT: Final[JsonDict] = {
    "assessment_id": _ID.format(1),
    "revision": 1,
    "taken_at": "2026-03-02T16:20:00Z",
    "taken_on": "2026-03-02",
    "instrument_version": "1.0.0",
    "value": 14,
    "band": "moderate",
    "is_prorated": False,
    "change": None,
    "change_from_previous": None,
    "change_class": None,
}
_TREND: Final[JsonDict] = {
    "participant_id": _ID.format(2),
    "instrument_key": "gad-7",
    "title": "Generalized Anxiety Disorder 7-item scale",
    "label": None,
    "time_zone": "America/Denver",
    "result": "shown",
    "is_cut": False,
    "series": [
        {
            "code": "total",
            "label": "Total",
            "minimum": 0,
            "maximum": 21,
            "direction": "higher_worse",
            "bands": [
                {"code": "minimal", "label": "Minimal", "minimum": 0, "maximum": 4},
                {"code": "mild", "label": "Mild", "minimum": 5, "maximum": 9},
                {"code": "moderate", "label": "Moderate", "minimum": 10, "maximum": 14},
                {"code": "severe", "label": "Severe", "minimum": 15, "maximum": 21},
            ],
            "reliable_points": 4,
            "points": [_POINT],
        }
    ],
}


class TrendBand(ReadSchema):
    """A named stretch of a score; for somebody of whom nothing else is known."""

    code: str
    label: str
    minimum: Number
    maximum: Number


class TrendPoint(ReadSchema):
    """One administration. Without a value, too many items were blank: a gap, never a zero."""

    assessment_id: UUID
    revision: int
    taken_at: Instant
    taken_on: Annotated[date, Field(description="The day in the participant's zone.")]
    instrument_version: str
    value: Number | None
    band: str | None
    is_prorated: bool
    change: Annotated[ChangeRead | None, Field(description="Since the first administration.")]
    change_from_previous: ChangeRead | None
    change_class: Annotated[
        ChangeClass | None, Field(description="Since the first administration, by published rules.")
    ]


class TrendSeries(ReadSchema):
    """One score of the instrument, from the oldest administration to the newest."""

    code: str
    label: str
    minimum: Number
    maximum: Number
    direction: Direction
    bands: list[TrendBand]
    reliable_points: Annotated[
        Number | None, Field(description="How many points are no mere chance.")
    ]
    points: list[TrendPoint]


class TrendRead(ReadSchema):
    """A participant's scores on one instrument; what was corrected is left out."""

    participant_id: UUID
    instrument_key: str
    title: str
    label: Annotated[str | None, Field(description="To be shown with every score of it.")]
    time_zone: str
    result: ResultState
    is_cut: Annotated[bool, Field(description="Whether there are older ones that are not here.")]
    series: Annotated[list[TrendSeries], Field(description="Empty unless the result is `shown`.")]

    model_config = ConfigDict(json_schema_extra={"examples": [_TREND]})
