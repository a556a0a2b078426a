"""Webhook endpoints and deliveries as they cross the wire."""

from typing import Annotated, Final
from uuid import UUID

from annotated_types import Len
from pydantic import MISSING, AfterValidator, ConfigDict, Field, StringConstraints
from pydantic.config import JsonDict
from pydantic_core import PydanticCustomError

from app.core.problems.validation import explain
from app.models.webhooks import DeliveryState, EndpointState
from app.schemas.base import Page, ReadSchema, Schema
from app.schemas.types import Instant
from app.webhooks.families import is_known

explain(
    {"unknown_event_type": "No event is of this type: the webhooks in /openapi.json list them."}
)

_ID: Final = "019a8f3e-5c1b-7d20-9b43-5a6f1c2d3e{:02x}"
_URL: Final = "https://receiver.example.org/stepwell"
_WEBHOOK: Final[JsonDict] = {
    "id": _ID.format(1),
    "version": 2,
    "url": _URL,
    "event_types": ["plan.signed", "session.*"],
    "state": "active",
    "disabled_because": None,
    "failures_in_a_row": 0,
    "paused_until": None,
    "last_success_at": "2026-03-02T17:00:05Z",
    "previous_secret_until": None,
    "created_at": "2026-03-02T17:00:00Z",
    "updated_at": "2026-03-02T17:00:05Z",
}
_DELIVERY: Final[JsonDict] = {
    "id": _ID.format(2),
    "event_id": _ID.format(3),
    "event_type": "plan.signed",
    "state": "waiting",
    "attempts": [
        {
            "number": 1,
            "status": 503,
            "failure": None,
            "duration_ms": 84,
            "at": "2026-03-02T18:00:00Z",
        }
    ],
    "next_attempt_at": "2026-03-02T18:00:05Z",
    "last_failure": None,
    "delivered_at": None,
    "created_at": "2026-03-02T18:00:00Z",
}

# Which URLs are acceptable is decided where the setting for development is known.
EndpointUrl = Annotated[
    str,
    StringConstraints(min_length=1, max_length=2048),
    Field(description="An https URL, on port 443 or 8443, of a host with a name."),
]


def _known(pattern: str) -> str:
    if not is_known(pattern):
        raise PydanticCustomError("unknown_event_type", "no event is of this type")
    return pattern


EventType = Annotated[
    str,
    StringConstraints(
        max_length=100, pattern=r"^(?:\*|[a-z]+(?:_[a-z]+)*\.(?:\*|[a-z]+(?:_[a-z]+)*))$"
    ),
    AfterValidator(_known),
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

    model_config = ConfigDict(json_schema_extra={"examples": [_WEBHOOK]})

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

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {**_WEBHOOK, "secret": "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="}
            ]
        }
    )

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

    model_config = ConfigDict(json_schema_extra={"examples": [_DELIVERY]})

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


class WebhookReplayCreate(Schema):
    """A time in which a receiver lost what it was sent: by the birth of the deliveries."""

    since: Annotated[Instant, Field(description="What was put on its way then or later.")]
    until: Annotated[
        Instant | None, Field(description="Leave out what was put on its way then or later.")
    ] = None

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"since": "2026-03-02T17:00:00Z", "until": "2026-03-02T19:30:00Z"}]
        }
    )


class WebhookReplayRead(ReadSchema):
    """How much of it is under way again."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"replayed": 12, "has_more": False}]})

    replayed: Annotated[int, Field(description="How many deliveries are sent again.")]
    has_more: Annotated[
        bool, Field(description="Whether the range holds more: ask again for the rest.")
    ]
