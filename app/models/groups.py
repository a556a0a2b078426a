"""Groups: standing sets of participants and facilitators, with dates."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import CheckConstraint, Index, text
from sqlalchemy.orm import Mapped, mapped_column

from app.domain.roles import SessionKind
from app.models.base import Base, OrganizationText, Tenant, Versioned, belongs_to, word


class Group(Versioned, Tenant, Base):
    """A group of at most `capacity` participants."""

    __tablename__ = "care_group"
    __table_args__ = (
        belongs_to("program"),
        Index("care_group_program_idx", "organization_id", "program_id", "id"),
        CheckConstraint("capacity between 1 and 50", name="capacity"),
    )

    program_id: Mapped[UUID]
    track_id: Mapped[UUID | None]
    name: Mapped[OrganizationText]
    kind: Mapped[SessionKind] = word("kind", SessionKind)
    capacity: Mapped[int]
    closed_at: Mapped[datetime | None]


class GroupMember(Tenant, Base):
    """That a participant belongs to a group, from when to when."""

    __tablename__ = "group_member"
    __table_args__ = (
        belongs_to("care_group", "group_id"),
        belongs_to("participant"),
        Index(
            "group_member_current_idx",
            "organization_id",
            "group_id",
            "participant_id",
            unique=True,
            postgresql_where=text("ended_at is null"),
        ),
        Index("group_member_participant_idx", "organization_id", "participant_id"),
        CheckConstraint("ended_at is null or ended_at >= started_at", name="times"),
    )

    group_id: Mapped[UUID]
    participant_id: Mapped[UUID]
    started_at: Mapped[datetime]
    ended_at: Mapped[datetime | None]


class GroupFacilitator(Tenant, Base):
    """That a staff member leads a group, from when to when."""

    __tablename__ = "group_facilitator"
    __table_args__ = (
        belongs_to("care_group", "group_id"),
        belongs_to("staff_member"),
        Index(
            "group_facilitator_current_idx",
            "organization_id",
            "group_id",
            "staff_member_id",
            unique=True,
            postgresql_where=text("ended_at is null"),
        ),
        Index("group_facilitator_staff_idx", "organization_id", "staff_member_id"),
        CheckConstraint("ended_at is null or ended_at >= started_at", name="times"),
    )

    group_id: Mapped[UUID]
    staff_member_id: Mapped[UUID]
    is_lead: Mapped[bool] = mapped_column(default=False)
    started_at: Mapped[datetime]
    ended_at: Mapped[datetime | None]
