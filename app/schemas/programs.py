"""Programs and tracks as they cross the wire."""

from datetime import date
from typing import Annotated
from uuid import UUID

from pydantic import MISSING, Field

from app.domain.roles import AgeBand, LevelOfCare
from app.schemas.base import Page, ReadSchema, Schema
from app.schemas.types import Date, Flag, Instant, Name, Slug, ZoneName

HoursPerWeek = Annotated[
    int, Field(strict=True, ge=1, le=60, description="Clinical hours that a week should hold.")
]


class ProgramCreate(Schema):
    """What an organization begins to offer."""

    slug: Slug
    name: Name
    level_of_care: LevelOfCare = LevelOfCare.INTENSIVE_OUTPATIENT
    hours_per_week: HoursPerWeek = 9
    is_part2: Annotated[
        Flag, Field(description="Whether 42 CFR Part 2 covers the records that it makes.")
    ] = False
    time_zone: ZoneName
    opens_on: Date


class ProgramUpdate(Schema):
    """A change; what is absent stays as it is."""

    name: Name | MISSING = MISSING
    hours_per_week: HoursPerWeek | MISSING = MISSING
    closes_on: Date | MISSING | None = MISSING


class ProgramRead(ReadSchema):
    """A program that people are referred to."""

    id: UUID
    version: int
    slug: str
    name: str
    level_of_care: LevelOfCare
    hours_per_week: int
    is_part2: bool
    time_zone: str
    admission_policy: str
    opens_on: date
    closes_on: date | None
    created_at: Instant
    updated_at: Instant


class ProgramPage(Page[ProgramRead]):
    """A page of programs."""


class TrackCreate(Schema):
    """A variant of a program."""

    slug: Slug
    name: Name
    age_band: AgeBand = AgeBand.ADULT


class TrackRead(ReadSchema):
    """A program's variant."""

    id: UUID
    version: int
    program_id: UUID
    slug: str
    name: str
    age_band: AgeBand


class TrackPage(Page[TrackRead]):
    """The tracks of a program."""
