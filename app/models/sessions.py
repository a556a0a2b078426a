"""Series and sessions of care, who is booked, and the minutes proven to have been attended."""

from datetime import datetime
from enum import StrEnum, unique
from uuid import UUID

from sqlalchemy import CheckConstraint, DateTime, Index, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, mapped_column

from app.domain.roles import Modality, SessionKind
from app.models.base import Base, Code, OrganizationText, Tenant, Versioned, belongs_to, word


class Series(Versioned, Tenant, Base):
    """A recurrence in local wall time: "Tuesdays at 17:00 in Denver" stays that in winter."""

    __tablename__ = "series"
    __table_args__ = (
        belongs_to("care_group", "group_id"),
        Index("series_group_idx", "organization_id", "group_id"),
        CheckConstraint("duration_minutes between 5 and 720", name="duration_minutes"),
    )

    group_id: Mapped[UUID]
    title: Mapped[OrganizationText]
    kind: Mapped[SessionKind] = word("kind", SessionKind)
    modality: Mapped[Modality] = word("modality", Modality)
    local_start: Mapped[datetime] = mapped_column(DateTime(timezone=False))
    time_zone: Mapped[Code]
    duration_minutes: Mapped[int]
    rule: Mapped[Code | None]
    excluded: Mapped[list[datetime]] = mapped_column(ARRAY(DateTime(timezone=False)))
    added: Mapped[list[datetime]] = mapped_column(ARRAY(DateTime(timezone=False)))
    expanded_until: Mapped[datetime]
    ended_at: Mapped[datetime | None]


@unique
class SessionState(StrEnum):
    """Where one occurrence of care stands."""

    SCHEDULED = "scheduled"
    IN_PROGRESS = "in_progress"
    ENDED = "ended"
    CANCELED = "canceled"


class Session(Versioned, Tenant, Base):
    """One occurrence of care with a start and an end."""

    __tablename__ = "session"
    __table_args__ = (
        belongs_to("series"),
        belongs_to("care_group", "group_id"),
        Index(
            "session_occurrence_idx",
            "organization_id",
            "series_id",
            "local_start",
            unique=True,
            postgresql_where=text("series_id is not null"),
        ),
        Index("session_time_idx", "organization_id", "starts_at", "id"),
        Index("session_group_idx", "organization_id", "group_id", "starts_at"),
        CheckConstraint("ends_at > starts_at", name="ends_after_it_starts"),
        CheckConstraint("ends_at - starts_at <= interval '12 hours'", name="length"),
    )

    series_id: Mapped[UUID | None]
    group_id: Mapped[UUID | None]
    title: Mapped[OrganizationText]
    kind: Mapped[SessionKind] = word("kind", SessionKind)
    modality: Mapped[Modality] = word("modality", Modality)
    state: Mapped[SessionState] = word("state", SessionState, default=SessionState.SCHEDULED)
    local_start: Mapped[datetime] = mapped_column(DateTime(timezone=False))
    time_zone: Mapped[Code]
    starts_at: Mapped[datetime]
    ends_at: Mapped[datetime]


@unique
class PlaceState(StrEnum):
    """Whether a place in a session is held, and what has ended it otherwise.

    Who gave theirs back has nothing more to do with the session; who lost it with the session
    hears that it was canceled.
    """

    BOOKED = "booked"
    GIVEN_BACK = "given_back"
    SESSION_CANCELED = "session_canceled"


class SessionStaff(Tenant, Base):
    """That a staff member leads a session; an exclusion constraint refuses a second at the time."""

    __tablename__ = "session_staff"
    __table_args__ = (
        belongs_to("session"),
        belongs_to("staff_member"),
        Index(
            "session_staff_member_idx",
            "organization_id",
            "session_id",
            "staff_member_id",
            unique=True,
        ),
        Index("session_staff_time_idx", "organization_id", "staff_member_id", "starts_at"),
        CheckConstraint("ends_at > starts_at", name="ends_after_it_starts"),
    )

    session_id: Mapped[UUID]
    staff_member_id: Mapped[UUID]
    starts_at: Mapped[datetime]
    ends_at: Mapped[datetime]
    state: Mapped[PlaceState] = word("state", PlaceState, default=PlaceState.BOOKED)


class Booking(Versioned, Tenant, Base):
    """A participant's place in one session; an exclusion constraint refuses two at one time."""

    __tablename__ = "booking"
    __table_args__ = (
        belongs_to("session"),
        belongs_to("participant"),
        Index(
            "booking_session_idx",
            "organization_id",
            "session_id",
            "participant_id",
            unique=True,
            postgresql_where=text("state = 'booked'"),
        ),
        Index("booking_participant_idx", "organization_id", "participant_id", "starts_at"),
        CheckConstraint("ends_at > starts_at", name="ends_after_it_starts"),
    )

    session_id: Mapped[UUID]
    participant_id: Mapped[UUID]
    starts_at: Mapped[datetime]
    ends_at: Mapped[datetime]
    state: Mapped[PlaceState] = word("state", PlaceState, default=PlaceState.BOOKED)


@unique
class EvidenceSource(StrEnum):
    """What proves a stretch of presence."""

    ROOM_PRESENCE = "room_presence"
    VIDEO = "video"
    STAFF_STATEMENT = "staff_statement"


class Attendance(Tenant, Base):
    """A stretch of presence, as evidence. Appended; only its open end is ever closed, once."""

    __tablename__ = "attendance"
    __table_args__ = (
        belongs_to("session"),
        belongs_to("participant"),
        Index("attendance_session_idx", "organization_id", "session_id", "participant_id"),
        Index(
            "attendance_open_idx",
            "organization_id",
            "connection_id",
            "session_id",
            unique=True,
            postgresql_where=text("left_at is null and connection_id is not null"),
        ),
        CheckConstraint("left_at is null or left_at >= joined_at", name="times"),
    )

    session_id: Mapped[UUID]
    participant_id: Mapped[UUID]
    source: Mapped[EvidenceSource] = word("source", EvidenceSource)
    connection_id: Mapped[UUID | None]
    stated_by: Mapped[UUID | None]
    joined_at: Mapped[datetime]
    left_at: Mapped[datetime | None]
    recorded_at: Mapped[datetime]
