"""Participants, and the staff members who are related to each of them."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKeyConstraint, Index, Text, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, mapped_column

from app.domain.roles import CareTeamRole, Sensitivity
from app.models.base import (
    Base,
    BlindIndex,
    Code,
    Sealed,
    Tenant,
    Versioned,
    belongs_to,
    word,
)

_SENSITIVITIES = ", ".join(f"'{label.value}'" for label in Sensitivity)


class Participant(Versioned, Tenant, Base):
    """A person in treatment. Everything that says who they are is sealed."""

    __tablename__ = "participant"
    __table_args__ = (
        ForeignKeyConstraint(["organization_id"], ["organization.organization_id"]),
        belongs_to("account"),
        Index(
            "participant_account_idx",
            "organization_id",
            "account_id",
            unique=True,
            postgresql_where=text("account_id is not null"),
        ),
        Index("participant_email_idx", "organization_id", "email_index"),
        Index("participant_phone_idx", "organization_id", "phone_index"),
        CheckConstraint(f"sensitivity <@ array[{_SENSITIVITIES}]", name="sensitivity_known"),
    )

    account_id: Mapped[UUID | None]
    given_name: Mapped[Sealed]
    family_name: Mapped[Sealed]
    preferred_name: Mapped[Sealed | None]
    pronouns: Mapped[Sealed | None]
    alias: Mapped[Sealed]
    born_on: Mapped[Sealed | None]
    email: Mapped[Sealed | None]
    phone: Mapped[Sealed | None]
    email_index: Mapped[BlindIndex | None]
    phone_index: Mapped[BlindIndex | None]
    time_zone: Mapped[Code]
    home_state: Mapped[Code | None]
    sensitivity: Mapped[list[str]] = mapped_column(ARRAY(Text), info={"class": "code"})


class CareTeamMember(Tenant, Base):
    """That a staff member is related to a participant, as what, from when to when.

    The relationship is what opens a record, so it is dated and never deleted.
    """

    __tablename__ = "care_team_member"
    __table_args__ = (
        belongs_to("participant"),
        belongs_to("staff_member"),
        Index(
            "care_team_member_current_idx",
            "organization_id",
            "staff_member_id",
            "participant_id",
            "role",
            unique=True,
            postgresql_where=text("ended_at is null"),
        ),
        Index("care_team_member_participant_idx", "organization_id", "participant_id"),
        Index("care_team_member_staff_idx", "organization_id", "staff_member_id", "participant_id"),
        CheckConstraint("ended_at is null or ended_at >= started_at", name="times"),
    )

    participant_id: Mapped[UUID]
    staff_member_id: Mapped[UUID]
    role: Mapped[CareTeamRole] = word("role", CareTeamRole)
    started_at: Mapped[datetime]
    ended_at: Mapped[datetime | None]
