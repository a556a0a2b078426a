"""Programs and tracks as they cross the wire."""

import json
from datetime import date
from importlib import resources
from typing import Annotated, Any, Final, Literal
from uuid import UUID

from pydantic import MISSING, ConfigDict, Field, JsonValue
from pydantic.config import JsonDict

from app.domain.roles import AgeBand, LevelOfCare
from app.schemas.base import Page, ReadSchema, Schema
from app.schemas.types import Date, Flag, Instant, Name, Slug, ZoneName

HoursPerWeek = Annotated[
    int, Field(strict=True, ge=1, le=60, description="Clinical hours that a week should hold.")
]

_ID = "019a7f3e-4c1b-7d52-9e64-2b8f0c6a1d00"
_OFFERED: JsonDict = {
    "slug": "adult-evening",
    "name": "Adult Evening",
    "level_of_care": "intensive_outpatient",
    "hours_per_week": 9,
    "is_part2": False,
    "time_zone": "America/Denver",
    "opens_on": "2026-03-01",
}
_VARIANT: JsonDict = {"slug": "adult-evening-a", "name": "Adult Evening A", "age_band": "adult"}


class ProgramCreate(Schema):
    """What an organization begins to offer."""

    slug: Slug
    name: Name
    level_of_care: LevelOfCare = LevelOfCare.INTENSIVE_OUTPATIENT
    hours_per_week: HoursPerWeek = 9
    is_part2: Annotated[
        Flag, Field(description="Whether 42 CFR Part 2 covers the records that it makes.")
    ] = False
    admission_policy: Annotated[
        Literal["admission-default", "admission-substance-use"],
        Field(description="The shipped policy by which it admits while it has none of its own."),
    ] = "admission-default"
    time_zone: ZoneName
    opens_on: Date

    model_config = ConfigDict(json_schema_extra={"examples": [_OFFERED]})


class ProgramUpdate(Schema):
    """A change; what is absent stays as it is."""

    name: Name | MISSING = MISSING
    hours_per_week: HoursPerWeek | MISSING = MISSING
    closes_on: Date | MISSING | None = MISSING

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"name": "Adult Evening", "closes_on": "2027-02-28"}]}
    )


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

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "id": _ID,
                    "version": 1,
                    **_OFFERED,
                    "admission_policy": "admission-default",
                    "closes_on": None,
                    "created_at": "2026-02-20T17:00:00Z",
                    "updated_at": "2026-02-20T17:00:00Z",
                }
            ]
        }
    )


class ProgramPage(Page[ProgramRead]):
    """A page of programs."""


class TrackCreate(Schema):
    """A variant of a program."""

    slug: Slug
    name: Name
    age_band: AgeBand = AgeBand.ADULT

    model_config = ConfigDict(json_schema_extra={"examples": [_VARIANT]})


class TrackRead(ReadSchema):
    """A program's variant."""

    id: UUID
    version: int
    program_id: UUID
    slug: str
    name: str
    age_band: AgeBand

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "id": "019a7f3e-4c1b-7d52-9e64-2b8f0c6a1d10",
                    "version": 1,
                    "program_id": _ID,
                    **_VARIANT,
                }
            ]
        }
    )


class TrackPage(Page[TrackRead]):
    """The tracks of a program."""


def _short_policy() -> JsonDict:
    """A policy that lacks nothing, with one criterion of each kind."""
    file = resources.files("app") / "rules" / "admission-substance-use.json"
    policy: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    policy |= {"key": "recovery", "effective_to": "2099-12-31"}
    policy["severity"]["any_of"] = policy["severity"]["any_of"][:1]
    for kind in ("rulers", "attestations", "gates"):
        policy[kind] = policy[kind][:1]
    return policy


_POLICY: Final = _short_policy()


class AdmissionPolicyCreate(Schema):
    """An admission policy, whole: criteria with their reasons and sources, as dated data."""

    document: Annotated[dict[str, JsonValue], Field(max_length=32)]

    model_config = ConfigDict(json_schema_extra={"examples": [{"document": _POLICY}]})


class AdmissionPolicyRead(ReadSchema):
    """A program's own admission policy, and from when to when it holds."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "id": "019a7f3e-4c1b-7d52-9e64-2b8f0c6a1d20",
                    "program_id": _ID,
                    "policy_version": "1.0.0",
                    "effective_from": "2026-01-01",
                    "effective_to": None,
                    "document": _POLICY,
                    "loaded_by": "019a7f3e-4c1b-7d52-9e64-2b8f0c6a1d21",
                    "loaded_at": "2026-02-20T17:00:00Z",
                }
            ]
        }
    )

    id: UUID
    program_id: UUID
    policy_version: str
    effective_from: date
    effective_to: date | None
    document: dict[str, Any]
    loaded_by: UUID
    loaded_at: Instant


class AdmissionPolicyPage(Page[AdmissionPolicyRead]):
    """A program's own admission policies."""
