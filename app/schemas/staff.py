"""Staff members as they cross the wire."""

from typing import Annotated
from uuid import UUID

from annotated_types import Len
from pydantic import MISSING, ConfigDict, Field

from app.domain.roles import AuthorizationKind, StaffRole
from app.models.accounts import AccountState
from app.schemas.accounts import InvitationRead
from app.schemas.base import Page, ReadSchema, Schema
from app.schemas.types import Date, Email, Flag, Instant, Name, StateCode

_ID = "019a8f3e-5c1b-7d20-9b43-5a6f1c2d3e4f"

Roles = Annotated[frozenset[StaffRole], Len(1, len(StaffRole))]


class StaffMemberCreate(Schema):
    """Who begins to work for the organization."""

    name: Name
    email: Annotated[
        Email, Field(description="The address of the account; an invitation goes there.")
    ]
    roles: Roles
    supervisor_id: UUID | None = None
    is_independently_licensed: Annotated[
        Flag, Field(description="Whether they may decide on admission and discharge alone.")
    ] = False

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "name": "Robin Vale",
                    "email": "robin.vale@example.org",
                    "roles": ["clinician"],
                    "supervisor_id": None,
                    "is_independently_licensed": True,
                }
            ]
        }
    )


class StaffMemberUpdate(Schema):
    """A change: what is absent stays as it is."""

    name: Name | MISSING = MISSING
    roles: Roles | MISSING = MISSING
    supervisor_id: UUID | MISSING | None = MISSING
    is_independently_licensed: Flag | MISSING = MISSING

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"roles": ["clinician", "supervisor"]}]}
    )


class StaffAuthorizationCreate(Schema):
    """By what right a staff member treats people who are in a state, and until when."""

    state: StateCode
    kind: AuthorizationKind
    starts_on: Date
    ends_on: Date | None = None

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "state": "US-CO",
                    "kind": "full_license",
                    "starts_on": "2025-07-01",
                    "ends_on": "2027-06-30",
                }
            ]
        }
    )


class StaffAuthorizationRead(ReadSchema):
    """The same, as it stands."""

    id: UUID
    state: str
    kind: AuthorizationKind
    starts_on: Date
    ends_on: Date | None


class StaffMemberSummary(ReadSchema):
    """As much of a staff member as a list needs."""

    id: UUID
    version: int
    name: str
    roles: list[StaffRole]
    is_independently_licensed: bool
    account_state: AccountState


class StaffMemberPage(Page[StaffMemberSummary]):
    """A page of staff members."""


class StaffMemberRead(StaffMemberSummary):
    """Someone who works for the organization, for their colleagues."""

    account_id: UUID
    email: str
    supervisor_id: UUID | None
    authorizations: list[StaffAuthorizationRead]
    created_at: Instant
    updated_at: Instant


class StaffMemberInvited(StaffMemberRead):
    """A new staff member, and the invitation by which they choose a password."""

    invitation: InvitationRead
