"""One's own account, its sign-ins, and invitations."""

from typing import Annotated
from uuid import UUID

from pydantic import ConfigDict, Field

from app.domain.roles import AccountKind, StaffRole
from app.models.organizations import Environment
from app.schemas.base import Page, ReadSchema, Schema
from app.schemas.oauth import Password, PresentedSecret
from app.schemas.types import Instant

_ID = "019a8f3e-5c1b-7d20-9b43-5a6f1c2d3e4f"


class OrganizationBrief(ReadSchema):
    """The organization that an account belongs to."""

    id: UUID
    slug: str
    name: str
    environment: Environment


class MeRead(ReadSchema):
    """Who is signed in, as what, and what the application may do for them."""

    account_id: UUID
    kind: AccountKind
    roles: list[StaffRole]
    participant_id: UUID | None
    staff_member_id: UUID | None
    sign_in_id: UUID
    scope: str
    organization: OrganizationBrief
    time: Annotated[
        Instant, Field(description="The organization's clock; a development one may stand apart.")
    ]


class SignInRead(ReadSchema):
    """A device that is signed in."""

    id: UUID
    client_id: str
    client_name: str
    acr: Annotated[str, Field(description="`iop:1` one factor, `iop:2` two.")]
    amr: list[str]
    authenticated_at: Instant
    last_seen_at: Instant
    expires_at: Instant
    is_current: bool


class SignInPage(Page[SignInRead]):
    """The devices that are signed in now; at most ten."""


class PasswordChange(Schema):
    """A new password, and the present one as proof."""

    current_password: Password
    new_password: Annotated[
        Password,
        Field(description="15 to 128 characters; no rule of composition, no common password."),
    ]

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "current_password": "seven quiet herons at dusk",
                    "new_password": "a lantern for the long way home",
                }
            ]
        }
    )


class InvitationRead(ReadSchema):
    """That somebody may choose a password. The link leaves by mail only."""

    id: UUID
    account_id: UUID
    expires_at: Instant
    token: Annotated[
        str | None,
        Field(
            description="The secret of the link: only in development organizations, so that an"
            " app can be built without mail; null everywhere else."
        ),
    ]

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "id": _ID,
                    "account_id": _ID,
                    "expires_at": "2026-03-08T17:00:00Z",
                    "token": "pB5K0vN2cJq9eXl4TtRr8y1dU6wZsHfGmYbQa3oLkVI",
                }
            ]
        }
    )


class InvitationAccept(Schema):
    """The secret of an invitation's link, and the password that is chosen."""

    token: PresentedSecret
    password: Annotated[
        Password,
        Field(description="15 to 128 characters; no rule of composition, no common password."),
    ]

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "token": "pB5K0vN2cJq9eXl4TtRr8y1dU6wZsHfGmYbQa3oLkVI",
                    "password": "a lantern for the long way home",
                }
            ]
        }
    )
