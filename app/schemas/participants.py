"""Participants as they cross the wire."""

from datetime import date
from typing import Annotated
from uuid import UUID

from pydantic import MISSING, ConfigDict, Field
from pydantic.config import JsonDict

from app.domain.roles import CareTeamRole, ReferralSource, Sensitivity
from app.schemas.base import Page, ReadSchema, Schema
from app.schemas.types import Date, Email, Instant, LongText, Name, Phone, StateCode, ZoneName

_REFERRED: JsonDict = {
    "given_name": "Jordan",
    "family_name": "Reed",
    "alias": "Blue Heron",
    "born_on": "1994-03-09",
    "email": "jordan@example.org",
    "time_zone": "America/Denver",
    "home_state": "US-CO",
}


class ParticipantRead(ReadSchema):
    """A person in treatment, for those who care for them and for themselves."""

    id: UUID
    version: int
    given_name: str
    family_name: str
    preferred_name: str | None
    pronouns: str | None
    alias: Annotated[str, Field(description="The only name that other participants ever see.")]
    born_on: date | None
    email: str | None
    phone: str | None
    time_zone: str
    home_state: str | None
    has_account: bool
    sensitivity: list[Sensitivity]
    created_at: Instant
    updated_at: Instant


class ParticipantSummary(ReadSchema):
    """As much of a participant as a list needs."""

    id: UUID
    version: int
    given_name: str
    family_name: str
    preferred_name: str | None
    time_zone: str


class ParticipantPage(Page[ParticipantSummary]):
    """A page of participants."""


class ParticipantCreate(Schema):
    """Who is referred."""

    given_name: Name
    family_name: Name
    preferred_name: Name | None = None
    pronouns: Name | None = None
    alias: Annotated[
        Name | None,
        Field(description="Shown to others in shared rooms; a neutral one is made when absent."),
    ] = None
    born_on: Date | None = None
    email: Email | None = None
    phone: Phone | None = None
    time_zone: ZoneName
    home_state: StateCode | None = None


class ParticipantUpdate(Schema):
    """A change: what is absent stays as it is, null empties it."""

    preferred_name: Name | MISSING | None = MISSING
    pronouns: Name | MISSING | None = MISSING
    alias: Name | MISSING = MISSING
    phone: Phone | MISSING | None = MISSING
    time_zone: ZoneName | MISSING = MISSING
    home_state: StateCode | MISSING | None = MISSING

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"preferred_name": "Jo", "pronouns": "they/them", "time_zone": "America/Denver"}
            ]
        }
    )


class ReferralCreate(Schema):
    """That somebody is sent to a program, by whom and why."""

    program_id: UUID
    source: ReferralSource
    reason: LongText | None = None
    participant: ParticipantCreate

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "program_id": "019a7f3e-4c1b-7d52-9e64-2b8f0c6a1d00",
                    "source": "outpatient_provider",
                    "reason": "Weekly sessions are no longer enough.",
                    "participant": _REFERRED,
                }
            ]
        }
    )


class ReferralAgainCreate(Schema):
    """That somebody who has a record is sent to a program, by whom and why."""

    program_id: UUID
    source: Annotated[
        ReferralSource, Field(description="Always `self` when a participant refers themselves.")
    ] = ReferralSource.SELF
    reason: LongText | None = None

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "program_id": "019a7f3e-4c1b-7d52-9e64-2b8f0c6a1d00",
                    "source": "php_step_down",
                    "reason": "Back from partial hospitalization.",
                }
            ]
        }
    )


class ReferralRead(ReadSchema):
    """A referral, with the participant and the intake that it began."""

    id: UUID
    participant_id: UUID
    program_id: UUID
    intake_id: UUID
    source: ReferralSource
    created_at: Instant


class CareTeamMemberCreate(Schema):
    """Who joins the care team, and as what."""

    staff_member_id: UUID
    role: CareTeamRole


class CareTeamMemberRead(ReadSchema):
    """That a staff member is related to the participant, and since when."""

    id: UUID
    staff_member_id: UUID
    name: str
    role: CareTeamRole
    started_at: Instant
    ended_at: Instant | None


class CareTeamPage(Page[CareTeamMemberRead]):
    """The care team."""
