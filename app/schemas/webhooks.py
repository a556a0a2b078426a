"""Webhook endpoints and deliveries as they cross the wire."""

from typing import Annotated
from uuid import UUID

from annotated_types import Len
from pydantic import MISSING, ConfigDict, Field, StringConstraints

from app.models.webhooks import DeliveryState, EndpointState
from app.schemas.base import Page, ReadSchema, Schema
from app.schemas.types import Instant

_URL = "https://receiver.example.org/stepwell"

# Which URLs are acceptable is decided where the setting for development is known.
EndpointUrl = Annotated[
    str,
    StringConstraints(min_length=1, max_length=2048),
    Field(description="An https URL, on port 443 or 8443, of a host with a name."),
]
EventType = Annotated[
    str,
    StringConstraints(
        max_length=100, pattern=r"^(?:\*|[a-z]+(?:_[a-z]+)*\.(?:\*|[a-z]+(?:_[a-z]+)*))$"
    ),
    Field(description="A type such as `plan.signed`, all of a subject (`plan.*`), or `*`."),
]
EventTypes = Annotated[frozenset[EventType], Len(1, 50)]


class WebhookCreate(Schema):
    """Where events are sent, and which."""

    url: EndpointUrl
    event_types: EventTypes

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"url": _URL, "event_types": ["plan.signed", "session.*"]}]}
    )


class WebhookUpdate(Schema):
    """A change; what is absent stays. A new URL must prove itself before anything is sent there."""

    url: EndpointUrl | MISSING = MISSING
    event_types: EventTypes | MISSING = MISSING

    model_config = ConfigDict(json_schema_extra={"examples": [{"event_types": ["*"]}]})


class WebhookRead(ReadSchema):
    """A receiver of events, and how it is doing."""

    id: UUID
    version: int
    url: str
    event_types: list[str]
    state: Annotated[
        EndpointState,
        Field(description="Only an active endpoint receives events; a pending one is asked first."),
    ]
    disabled_because: str | None
    failures_in_a_row: int
    paused_until: Instant | None
    last_success_at: Instant | None
    previous_secret_until: Annotated[
        Instant | None, Field(description="Until when the secret before this one signs as well.")
    ]
    created_at: Instant
    updated_at: Instant


class WebhookSecretRead(WebhookRead):
    """The same, with its secret, which is shown this once."""

    secret: Annotated[str, Field(description="`whsec_` and base64, as Standard Webhooks has it.")]


class WebhookPage(Page[WebhookRead]):
    """A page of endpoints."""


class WebhookAttemptRead(ReadSchema):
    """One attempt at a delivery."""

    number: int
    status: int | None
    failure: str | None
    duration_ms: int
    at: Instant


class WebhookDeliveryRead(ReadSchema):
    """One event on its way to one endpoint."""

    id: UUID
    event_id: UUID
    event_type: str
    state: DeliveryState
    attempts: list[WebhookAttemptRead]
    next_attempt_at: Annotated[Instant | None, Field(description="Null when none will be made.")]
    last_failure: str | None
    delivered_at: Instant | None
    created_at: Instant


class WebhookDeliveryPage(Page[WebhookDeliveryRead]):
    """A page of deliveries."""
