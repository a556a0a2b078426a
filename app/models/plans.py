"""Individual treatment plans. A version is immutable once it is signed."""

from datetime import date, datetime
from enum import StrEnum, unique
from uuid import UUID

from sqlalchemy import CheckConstraint, Index, text
from sqlalchemy.orm import Mapped

from app.domain.plans import PlanState
from app.models.base import Base, Digest, Sealed, Tenant, Versioned, belongs_to, word


@unique
class SignerRole(StrEnum):
    """As what somebody signs a plan."""

    PARTICIPANT = "participant"
    CLINICIAN = "clinician"


class Plan(Versioned, Tenant, Base):
    """One version of a participant's plan. Its content is one sealed document.

    `content_digest` is what signatures refer to; a trigger refuses any change of content,
    digest or number once a signature exists.
    """

    __tablename__ = "plan"
    __table_args__ = (
        belongs_to("participant"),
        belongs_to("enrollment"),
        belongs_to("plan", "supersedes_id"),
        Index("plan_number_idx", "organization_id", "enrollment_id", "number", unique=True),
        Index("plan_participant_idx", "organization_id", "participant_id", "id"),
        Index(
            "plan_active_idx",
            "organization_id",
            "enrollment_id",
            unique=True,
            postgresql_where=text("state = 'active'"),
        ),
        Index(
            "plan_under_way_idx",
            "organization_id",
            "enrollment_id",
            unique=True,
            postgresql_where=text("state in ('draft', 'proposed')"),
        ),
        CheckConstraint("number >= 1", name="number"),
    )

    participant_id: Mapped[UUID]
    enrollment_id: Mapped[UUID]
    number: Mapped[int]
    supersedes_id: Mapped[UUID | None]
    state: Mapped[PlanState] = word("state", PlanState)
    content: Mapped[Sealed]
    content_digest: Mapped[Digest]
    drafted_by: Mapped[UUID]
    review_on: Mapped[date | None]
    activated_at: Mapped[datetime | None]


class PlanSignature(Tenant, Base):
    """That somebody agreed to exactly this content. Insert-only."""

    __tablename__ = "plan_signature"
    __table_args__ = (
        belongs_to("plan"),
        Index("plan_signature_role_idx", "organization_id", "plan_id", "role", unique=True),
    )

    plan_id: Mapped[UUID]
    role: Mapped[SignerRole] = word("role", SignerRole)
    signed_by: Mapped[UUID]
    content_digest: Mapped[Digest]
    signed_at: Mapped[datetime]
