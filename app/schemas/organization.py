"""Organizations: as their people know them, and as an operator founds them."""

from typing import Annotated
from uuid import UUID

from pydantic import ConfigDict, Field

from app.models.organizations import Environment
from app.schemas.base import ReadSchema, Schema
from app.schemas.types import Email, Instant, Name, Slug


class OrganizationRead(ReadSchema):
    """An organization, as everybody in it may know it."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "id": "019a8f3e-5c1b-7d20-9b43-5a6f1c2d3e4f",
                    "slug": "cedar-bridge",
                    "name": "Cedar Bridge",
                    "environment": "development",
                    "region": "US",
                    "created_at": "2026-02-01T17:00:00Z",
                }
            ]
        }
    )

    id: UUID
    slug: str
    name: str
    environment: Environment
    region: str
    created_at: Instant


class OrganizationCreate(Schema):
    """A new tenant, and who is to administer it. Said at the command line, never over HTTP."""

    slug: Slug
    name: Name
    environment: Environment
    admin_email: Email
    admin_name: Name = "Administrator"


class OrganizationFounded(ReadSchema):
    """What the operator gives to the first administrator, by a way that only they can read."""

    id: UUID
    slug: str
    environment: Environment
    account_id: UUID
    invitation_token: Annotated[
        str, Field(repr=False, description="Chooses a password at `/v1/invitations/accept`, once.")
    ]
    expires_at: Instant
