"""Alerts: safety concerns with a clock."""

from datetime import datetime
from enum import StrEnum, unique
from uuid import UUID

from sqlalchemy import CheckConstraint, Index, text
from sqlalchemy.orm import Mapped, mapped_column

from app.domain.alerts import AlertState, Tier
from app.models.base import Base, Code, Sealed, Tenant, Versioned, belongs_to, word


@unique
class AlertSource(StrEnum):
    """What raised the concern."""

    ASSESSMENT = "assessment"
    MESSAGE = "message"
    PERSON = "person"


class Alert(Versioned, Tenant, Base):
    """A concern that somebody must look at in time. Opened in the transaction that found it."""

    __tablename__ = "alert"
    __table_args__ = (
        belongs_to("participant"),
        Index("alert_participant_idx", "organization_id", "participant_id", "id"),
        Index(
            "alert_waiting_idx",
            "organization_id",
            "acknowledge_by",
            postgresql_where=text("state = 'open'"),
        ),
        Index(
            "alert_source_idx",
            "organization_id",
            "source_id",
            "code",
            unique=True,
            # While somebody owes an answer, a second hit is no second alert; later, it is.
            postgresql_where=text(
                "source_id is not null and state in ('open', 'acknowledged', 'assessing')"
            ),
        ),
        CheckConstraint(
            "(acknowledged_at is null) = (acknowledged_by is null)", name="acknowledged"
        ),
    )

    participant_id: Mapped[UUID]
    tier: Mapped[Tier] = word("tier", Tier)
    code: Mapped[Code]
    state: Mapped[AlertState] = word("state", AlertState)
    source: Mapped[AlertSource] = word("source", AlertSource)
    source_id: Mapped[UUID | None]
    excerpt: Mapped[Sealed | None]
    opening: Mapped[int] = mapped_column(default=1)
    """How many times its clock was started: with the first hit, and with a new one later."""
    policy_version: Mapped[Code]
    opened_at: Mapped[datetime]
    acknowledge_by: Mapped[datetime]
    contact_by: Mapped[datetime]
    acknowledged_at: Mapped[datetime | None]
    acknowledged_by: Mapped[UUID | None]


class AlertStep(Tenant, Base):
    """One thing that happened to an alert: a transition or an escalation. Insert-only."""

    __tablename__ = "alert_step"
    __table_args__ = (
        belongs_to("alert"),
        Index("alert_step_alert_idx", "organization_id", "alert_id", "at"),
        Index(
            "alert_step_escalation_idx",
            "organization_id",
            "alert_id",
            "opening",
            "kind",
            unique=True,
            postgresql_where=text("kind like 'escalated_%'"),
        ),
    )

    alert_id: Mapped[UUID]
    opening: Mapped[int]
    kind: Mapped[Code]
    actor_id: Mapped[UUID | None]
    note: Mapped[Sealed | None]
    detector_version: Mapped[Code | None]
    """Which phrases were looked for, where a text signal is what happened."""
    at: Mapped[datetime]
