"""Assessments: one administration of an instrument to a participant, its answers and scores.

What was submitted never changes. A correction is a new revision; the one that it corrects stays,
and knows no more of it than its id.
"""

from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum, unique
from typing import Any
from uuid import UUID

from sqlalchemy import CheckConstraint, Index, Numeric, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from app.domain.measurement import Occasion
from app.models.base import Base, Code, Sealed, Tenant, Versioned, belongs_to, word


@unique
class AssessmentState(StrEnum):
    """Where an assessment stands; a submitted one never changes."""

    ASSIGNED = "assigned"
    IN_PROGRESS = "in_progress"
    SUBMITTED = "submitted"
    EXPIRED = "expired"


@unique
class EntryMode(StrEnum):
    """How an answer came in: from the person, in an interview, or from their paper."""

    SELF = "self"
    INTERVIEW = "interview"
    PAPER = "paper"


class ProgramMeasurement(Tenant, Base):
    """What a program asks by the calendar, since a day. Never changed: a new one is a new row."""

    __tablename__ = "program_measurement"
    __table_args__ = (
        belongs_to("program"),
        Index(
            "program_measurement_number_idx", "organization_id", "program_id", "number", unique=True
        ),
    )

    program_id: Mapped[UUID]
    number: Mapped[int]
    effective_from: Mapped[date]
    measurements: Mapped[list[dict[str, Any]]] = mapped_column(JSONB, info={"class": "code"})
    made_by: Mapped[UUID]
    made_at: Mapped[datetime]


class Assessment(Versioned, Tenant, Base):
    """One instrument, given to one participant, in the version it had on that day.

    `is_for_staff` says that staff alone answer it. `taken_at` is when the person answered: a
    correction keeps that of what it corrects.
    """

    __tablename__ = "assessment"
    __table_args__ = (
        belongs_to("participant"),
        belongs_to("program"),
        belongs_to("assessment", "corrects_id"),
        belongs_to("assessment", "corrected_by_id"),
        Index("assessment_participant_idx", "organization_id", "participant_id", "id"),
        Index(
            "assessment_occasion_idx",
            "organization_id",
            "participant_id",
            "instrument_key",
            "occasion_on",
            unique=True,
            postgresql_where=text("occasion_on is not null and revision = 1"),
        ),
        Index(
            "assessment_correction_idx",
            "organization_id",
            "corrects_id",
            unique=True,
            postgresql_where=text("corrects_id is not null"),
        ),
        Index(
            "assessment_window_idx",
            "organization_id",
            "expires_at",
            postgresql_where=text("state in ('assigned', 'in_progress')"),
        ),
        CheckConstraint("(state = 'submitted') = (submitted_at is not null)", name="submitted"),
        CheckConstraint("(submitted_at is null) = (taken_at is null)", name="taken"),
        CheckConstraint("(occasion is null) = (occasion_on is null)", name="occasion_on"),
        CheckConstraint("(revision = 1) = (corrects_id is null)", name="revision"),
        CheckConstraint("(correction_reason is null) = (corrects_id is null)", name="correction"),
        CheckConstraint("corrected_by_id is null or state = 'submitted'", name="corrected"),
        CheckConstraint("opens_at < expires_at", name="window"),
    )

    participant_id: Mapped[UUID]
    instrument_key: Mapped[Code]
    instrument_version: Mapped[Code]
    is_validated: Mapped[bool]
    is_for_staff: Mapped[bool]
    state: Mapped[AssessmentState] = word("state", AssessmentState)
    assigned_by: Mapped[UUID | None]
    battery_id: Mapped[UUID | None]
    program_id: Mapped[UUID | None]
    occasion: Mapped[Occasion | None] = word("occasion", Occasion)
    occasion_on: Mapped[date | None]
    opens_at: Mapped[datetime | None]
    due_at: Mapped[datetime | None]
    expires_at: Mapped[datetime | None]
    submitted_at: Mapped[datetime | None]
    submitted_by: Mapped[UUID | None]
    taken_at: Mapped[datetime | None]
    flags: Mapped[list[dict[str, Any]] | None] = mapped_column(JSONB, info={"class": "code"})
    revision: Mapped[int] = mapped_column(default=1)
    corrects_id: Mapped[UUID | None]
    corrected_by_id: Mapped[UUID | None]
    correction_reason: Mapped[Sealed | None]


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
    entered_as: Mapped[EntryMode] = word("entered_as", EntryMode)
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
    change_from_previous: Mapped[dict[str, Any] | None] = mapped_column(
        JSONB, info={"class": "code"}
    )
    scored_at: Mapped[datetime]
