"""Assessments: one administration of an instrument to a participant, its answers and scores."""

from datetime import datetime
from decimal import Decimal
from enum import StrEnum, unique
from typing import Any
from uuid import UUID

from sqlalchemy import CheckConstraint, Index, Numeric
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from app.models.base import Base, Code, Sealed, Tenant, Versioned, belongs_to, word


@unique
class AssessmentState(StrEnum):
    """Where an assessment stands; a submitted one never changes."""

    ASSIGNED = "assigned"
    IN_PROGRESS = "in_progress"
    SUBMITTED = "submitted"
    EXPIRED = "expired"


class Assessment(Versioned, Tenant, Base):
    """One instrument, given to one participant, in the version it had on that day."""

    __tablename__ = "assessment"
    __table_args__ = (
        belongs_to("participant"),
        Index("assessment_participant_idx", "organization_id", "participant_id", "id"),
        CheckConstraint("(state = 'submitted') = (submitted_at is not null)", name="submitted"),
    )

    participant_id: Mapped[UUID]
    instrument_key: Mapped[Code]
    instrument_version: Mapped[Code]
    is_validated: Mapped[bool]
    state: Mapped[AssessmentState] = word("state", AssessmentState)
    assigned_by: Mapped[UUID]
    due_at: Mapped[datetime | None]
    expires_at: Mapped[datetime | None]
    submitted_at: Mapped[datetime | None]
    submitted_by: Mapped[UUID | None]


class Answer(Base, Tenant):
    """What was answered to one item, by whom. The value is sealed."""

    __tablename__ = "answer"
    __table_args__ = (
        belongs_to("assessment"),
        Index("answer_item_idx", "organization_id", "assessment_id", "item_id", unique=True),
    )

    assessment_id: Mapped[UUID]
    item_id: Mapped[Code]
    value: Mapped[Sealed]
    answered_by: Mapped[UUID]
    answered_at: Mapped[datetime]


class Score(Tenant, Base):
    """A computed result, queryable, kept with the version of the instrument that made it."""

    __tablename__ = "score"
    __table_args__ = (
        belongs_to("assessment"),
        belongs_to("participant"),
        Index("score_assessment_idx", "organization_id", "assessment_id", "code", unique=True),
        Index(
            "score_trend_idx",
            "organization_id",
            "participant_id",
            "instrument_key",
            "code",
            "scored_at",
        ),
    )

    assessment_id: Mapped[UUID]
    participant_id: Mapped[UUID]
    instrument_key: Mapped[Code]
    instrument_version: Mapped[Code]
    code: Mapped[Code]
    value: Mapped[Decimal | None] = mapped_column(Numeric(12, 4))
    band: Mapped[Code | None]
    is_prorated: Mapped[bool]
    missing: Mapped[int]
    change: Mapped[dict[str, Any] | None] = mapped_column(JSONB, info={"class": "code"})
    scored_at: Mapped[datetime]
