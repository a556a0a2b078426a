"""Webhooks: where an organization's events are sent, and every attempt to send them."""

from datetime import datetime
from enum import StrEnum, unique
from typing import Final
from uuid import UUID

from sqlalchemy import CheckConstraint, Index, Text, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, mapped_column

from app.models.base import Base, Code, Secret, Tenant, Versioned, belongs_to, word


@unique
class EndpointState(StrEnum):
    """Only an active endpoint receives events; a pending one has not proven that it listens."""

    PENDING = "pending"
    ACTIVE = "active"
    DISABLED = "disabled"


class WebhookEndpoint(Versioned, Tenant, Base):
    """A receiver of events, with its signing secrets."""

    __tablename__ = "webhook_endpoint"
    __table_args__ = (CheckConstraint("cardinality(event_types) > 0", name="event_types"),)

    url: Mapped[Code]
    event_types: Mapped[list[str]] = mapped_column(ARRAY(Text), info={"class": "code"})
    state: Mapped[EndpointState] = word("state", EndpointState, default=EndpointState.PENDING)
    disabled_because: Mapped[Code | None]
    secret: Mapped[Secret]
    previous_secret: Mapped[Secret | None]
    previous_secret_until: Mapped[datetime | None]
    failures_in_a_row: Mapped[int] = mapped_column(default=0)
    paused_until: Mapped[datetime | None]
    last_success_at: Mapped[datetime | None]
    created_by: Mapped[UUID]


@unique
class DeliveryState(StrEnum):
    """Where one event on its way to one receiver stands."""

    WAITING = "waiting"
    DELIVERED = "delivered"
    DEAD = "dead"
    CANCELED = "canceled"


WITHHELD: Final = "withheld"
"""Why a delivery was canceled that the law does not let out (WH-15)."""


class WebhookDelivery(Tenant, Base):
    """One event for one receiver, until it is delivered or given up, visibly."""

    __tablename__ = "webhook_delivery"
    __table_args__ = (
        belongs_to("webhook_endpoint", "endpoint_id"),
        belongs_to("event"),
        Index(
            "webhook_delivery_event_idx",
            "organization_id",
            "endpoint_id",
            "event_id",
            unique=True,
        ),
        Index(
            "webhook_delivery_due_idx",
            "organization_id",
            "endpoint_id",
            "next_attempt_at",
            postgresql_where=text("state = 'waiting'"),
        ),
        Index(
            "webhook_delivery_finished_idx",
            "organization_id",
            "created_at",
            postgresql_where=text("state <> 'waiting'"),
        ),
    )

    endpoint_id: Mapped[UUID]
    event_id: Mapped[UUID]
    state: Mapped[DeliveryState] = word("state", DeliveryState, default=DeliveryState.WAITING)
    attempts: Mapped[int] = mapped_column(default=0)
    next_attempt_at: Mapped[datetime]
    leased_until: Mapped[datetime | None]
    last_status: Mapped[int | None]
    last_failure: Mapped[Code | None]
    delivered_at: Mapped[datetime | None]
    created_at: Mapped[datetime]


class WebhookAttempt(Tenant, Base):
    """One attempt at a delivery, with what came back: a status and a duration, no body."""

    __tablename__ = "webhook_attempt"
    __table_args__ = (
        belongs_to("webhook_delivery", "delivery_id"),
        Index(
            "webhook_attempt_number_idx", "organization_id", "delivery_id", "number", unique=True
        ),
    )

    delivery_id: Mapped[UUID]
    number: Mapped[int]
    status: Mapped[int | None]
    failure: Mapped[Code | None]
    duration_ms: Mapped[int]
    at: Mapped[datetime]
