"""What a program asks by the calendar, as it crosses the wire."""

from datetime import date
from typing import Annotated, Final
from uuid import UUID

from pydantic import ConfigDict, Field
from pydantic.config import JsonDict

from app.domain.measurement import Occasion
from app.schemas.base import ReadSchema, Schema
from app.schemas.types import Flag, Slug

_WEEKLY: Final[JsonDict] = {
    "occasion": "weekly",
    "instruments": ["phq-9", "gad-7"],
    "open_days": 4,
    "opens_days_before": 1,
    "is_part2": None,
}


class MeasurementWrite(Schema):
    """One set of instruments and its occasion."""

    occasion: Occasion
    instruments: Annotated[list[Slug], Field(min_length=1, max_length=20)]
    open_days: Annotated[
        int, Field(strict=True, ge=1, le=30, description="How long a form stays open.")
    ]
    opens_days_before: Annotated[
        int, Field(strict=True, ge=0, le=7, description="How long before its day it opens.")
    ] = 0
    is_part2: Annotated[
        Flag | None, Field(description="Only in programs that 42 CFR Part 2 covers, or does not.")
    ] = None


class MeasurementsWrite(Schema):
    """Everything that a program asks by the calendar; an empty list asks nothing."""

    measurements: Annotated[list[MeasurementWrite], Field(max_length=40)]

    model_config = ConfigDict(json_schema_extra={"examples": [{"measurements": [_WEEKLY]}]})


class MeasurementRead(ReadSchema):
    """One set of instruments and its occasion."""

    occasion: Occasion
    instruments: list[str]
    open_days: int
    opens_days_before: int
    is_part2: bool | None


class MeasurementsRead(ReadSchema):
    """What a program asks by the calendar. Version 1 is the schedule that ships."""

    program_id: UUID
    version: int
    effective_from: date
    source: str
    measurements: list[MeasurementRead]

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "program_id": "019a7f3e-4c1b-7d52-9e64-2b8f0c6a1d00",
                    "version": 2,
                    "effective_from": "2026-03-01",
                    "source": "The program's own schedule.",
                    "measurements": [_WEEKLY],
                }
            ]
        }
    )
