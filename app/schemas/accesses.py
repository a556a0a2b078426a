"""Who looked at a record and who changed it, as they cross the wire."""

from typing import Annotated, Final
from uuid import UUID

from pydantic import ConfigDict, Field

from app.models.audit import AuditAction, AuditOutcome
from app.schemas.base import Page, ReadSchema
from app.schemas.types import Instant

_ID: Final = "018f3d5e-7c1a-7b5e-9a63-2f0c8f5f1d{:02x}"


class AccessRead(ReadSchema):
    """One access to a participant's record, or one change of it."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "id": _ID.format(10),
                    "at": "2026-03-02T17:05:00Z",
                    "actor_id": _ID.format(11),
                    "actor_name": "Robin Vale",
                    "actor_role": "clinician",
                    "is_own": False,
                    "action": "R",
                    "subtype": "plan:read",
                    "resource": "plan",
                    "outcome": "success",
                }
            ]
        }
    )

    id: UUID
    at: Annotated[Instant, Field(description="By the real clock, whatever the organization's is.")]
    actor_id: Annotated[UUID | None, Field(description="An account; null for the service itself.")]
    actor_name: Annotated[str | None, Field(description="Of staff; null for everybody else.")]
    actor_role: str | None
    is_own: Annotated[bool, Field(description="Whether it was the participant themselves.")]
    action: Annotated[AuditAction, Field(description="C, R, U, D or E, as FHIR AuditEvent has it.")]
    subtype: Annotated[str, Field(description="What was done, such as `plan:read`.")]
    resource: str
    outcome: AuditOutcome


class AccessPage(Page[AccessRead]):
    """A page of accesses, the latest first."""
