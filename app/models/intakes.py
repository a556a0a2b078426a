"""From referral to enrollment: what was asked, suggested and decided."""

from datetime import date, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import CheckConstraint, Index, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from app.domain.intake import DecisionValue, IntakeState
from app.domain.recommendation import Verdict
from app.domain.roles import DischargeReason, LevelOfCare, ReferralSource
from app.models.base import Base, Code, Sealed, Tenant, Versioned, belongs_to, word


class Referral(Tenant, Base):
    """That someone was sent to a program, by whom and why."""

    __tablename__ = "referral"
    __table_args__ = (
        belongs_to("participant"),
        belongs_to("program"),
        Index("referral_participant_idx", "organization_id", "participant_id"),
    )

    participant_id: Mapped[UUID]
    program_id: Mapped[UUID]
    source: Mapped[ReferralSource] = word("source", ReferralSource)
    reason: Mapped[Sealed | None]
    referred_by: Mapped[UUID]
    created_at: Mapped[datetime]


class Intake(Versioned, Tenant, Base):
    """The admission process of one referral, open until a human decides."""

    __tablename__ = "intake"
    __table_args__ = (
        belongs_to("referral"),
        belongs_to("participant"),
        belongs_to("program"),
        Index("intake_referral_idx", "organization_id", "referral_id", unique=True),
        Index("intake_participant_idx", "organization_id", "participant_id"),
    )

    referral_id: Mapped[UUID]
    participant_id: Mapped[UUID]
    program_id: Mapped[UUID]
    state: Mapped[IntakeState] = word("state", IntakeState)


class Recommendation(Tenant, Base):
    """What the policy suggested, with every reason. Never changed: a new one is a new row."""

    __tablename__ = "recommendation"
    __table_args__ = (
        belongs_to("intake"),
        Index("recommendation_intake_idx", "organization_id", "intake_id", "made_at"),
    )

    intake_id: Mapped[UUID]
    policy: Mapped[Code]
    policy_version: Mapped[Code]
    verdict: Mapped[Verdict] = word("verdict", Verdict)
    made_by: Mapped[UUID]
    axes: Mapped[dict[str, Any]] = mapped_column(JSONB, info={"class": "code"})
    criteria: Mapped[list[dict[str, Any]]] = mapped_column(JSONB, info={"class": "code"})
    made_at: Mapped[datetime]


class Decision(Tenant, Base):
    """What a licensed human decided, and why. Never changed.

    One answers each recommendation: after a deferral, a new recommendation gets its own.
    """

    __tablename__ = "decision"
    __table_args__ = (
        belongs_to("intake"),
        belongs_to("recommendation"),
        belongs_to("staff_member", "decided_by"),
        Index("decision_intake_idx", "organization_id", "intake_id", "decided_at"),
        Index("decision_recommendation_idx", "organization_id", "recommendation_id", unique=True),
    )

    intake_id: Mapped[UUID]
    recommendation_id: Mapped[UUID]
    outcome: Mapped[DecisionValue] = word("outcome", DecisionValue)
    agrees_with_recommendation: Mapped[bool | None]
    rationale: Mapped[Sealed]
    override_reason: Mapped[Sealed | None]
    decided_by: Mapped[UUID]
    decided_at: Mapped[datetime]


class Enrollment(Versioned, Tenant, Base):
    """One episode of a participant in a program. At most one is open for a program."""

    __tablename__ = "enrollment"
    __table_args__ = (
        belongs_to("participant"),
        belongs_to("program"),
        belongs_to("decision"),
        Index(
            "enrollment_open_idx",
            "organization_id",
            "participant_id",
            "program_id",
            unique=True,
            postgresql_where=text("ended_on is null"),
        ),
        CheckConstraint("ended_on is null or ended_on >= started_on", name="dates"),
        CheckConstraint("(ended_on is null) = (discharge_reason is null)", name="discharge"),
    )

    participant_id: Mapped[UUID]
    program_id: Mapped[UUID]
    decision_id: Mapped[UUID]
    level_of_care: Mapped[LevelOfCare] = word("level_of_care", LevelOfCare)
    started_on: Mapped[date]
    ended_on: Mapped[date | None]
    discharge_reason: Mapped[DischargeReason | None] = word("discharge_reason", DischargeReason)
