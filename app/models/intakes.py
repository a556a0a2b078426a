"""From referral to enrollment: what was asked, suggested and decided."""

from datetime import date, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import CheckConstraint, Index, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from app.domain.intake import AuthorizedUnit, DecisionValue, IntakeAction, IntakeState
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
    facts: Mapped[Sealed | None]


class IntakeTransition(Tenant, Base):
    """One move of an intake: who made it, when and why. Never changed; the first has no origin."""

    __tablename__ = "intake_transition"
    __table_args__ = (
        belongs_to("intake"),
        Index("intake_transition_intake_idx", "organization_id", "intake_id", "id"),
        CheckConstraint("(from_state is null) = (action is null)", name="first"),
    )

    intake_id: Mapped[UUID]
    action: Mapped[IntakeAction | None] = word("action", IntakeAction)
    from_state: Mapped[IntakeState | None] = word("from_state", IntakeState)
    to_state: Mapped[IntakeState] = word("to_state", IntakeState)
    actor_id: Mapped[UUID]
    reason: Mapped[Sealed]
    at: Mapped[datetime]


class AdmissionPolicyVersion(Tenant, Base):
    """A program's own admission policy, whole, from a day on. Never changed: a new one follows."""

    __tablename__ = "admission_policy"
    __table_args__ = (
        belongs_to("program"),
        Index(
            "admission_policy_version_idx",
            "organization_id",
            "program_id",
            "policy_version",
            unique=True,
        ),
    )

    program_id: Mapped[UUID]
    policy_version: Mapped[Code]
    effective_from: Mapped[date]
    effective_to: Mapped[date | None]
    document: Mapped[dict[str, Any]] = mapped_column(JSONB, info={"class": "organization-text"})
    loaded_by: Mapped[UUID]
    loaded_at: Mapped[datetime]


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
    suggested_level: Mapped[LevelOfCare | None] = word("suggested_level", LevelOfCare)
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
    overrides: Mapped[Sealed | None]
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


class LevelAuthorization(Tenant, Base):
    """What a payer has authorized beside the clinical level of care. A later one is a new row."""

    __tablename__ = "level_authorization"
    __table_args__ = (
        belongs_to("enrollment"),
        Index("level_authorization_enrollment_idx", "organization_id", "enrollment_id", "id"),
        CheckConstraint("units > 0", name="units_positive"),
        CheckConstraint("ends_on >= starts_on", name="dates"),
        CheckConstraint("next_review_on between starts_on and ends_on", name="review"),
    )

    enrollment_id: Mapped[UUID]
    level_of_care: Mapped[LevelOfCare] = word("level_of_care", LevelOfCare)
    payer: Mapped[Sealed]
    number: Mapped[Sealed]
    units: Mapped[int]
    unit: Mapped[AuthorizedUnit] = word("unit", AuthorizedUnit)
    starts_on: Mapped[date]
    ends_on: Mapped[date]
    next_review_on: Mapped[date]
    recorded_by: Mapped[UUID]
    recorded_at: Mapped[datetime]
