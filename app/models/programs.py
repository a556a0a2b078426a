"""Programs and tracks: what an organization offers."""

from datetime import date
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKeyConstraint, Index
from sqlalchemy.orm import Mapped, mapped_column

from app.domain.roles import AgeBand, LevelOfCare
from app.models.base import Base, Code, OrganizationText, Tenant, Versioned, belongs_to, word


class Program(Versioned, Tenant, Base):
    """A program that people are referred to. A Part 2 program labels every record it makes."""

    __tablename__ = "program"
    __table_args__ = (
        ForeignKeyConstraint(["organization_id"], ["organization.organization_id"]),
        Index("program_slug_idx", "organization_id", "slug", unique=True),
        CheckConstraint("hours_per_week > 0 and hours_per_week <= 60", name="hours_per_week"),
        CheckConstraint("closes_on is null or closes_on >= opens_on", name="dates"),
    )

    slug: Mapped[Code]
    name: Mapped[OrganizationText]
    level_of_care: Mapped[LevelOfCare] = word("level_of_care", LevelOfCare)
    hours_per_week: Mapped[int]
    is_part2: Mapped[bool] = mapped_column(default=False)
    time_zone: Mapped[Code]
    admission_policy: Mapped[Code]
    opens_on: Mapped[date]
    closes_on: Mapped[date | None]


class Track(Versioned, Tenant, Base):
    """A program's variant: adult evening, adolescent, SUD."""

    __tablename__ = "track"
    __table_args__ = (
        belongs_to("program"),
        Index("track_slug_idx", "organization_id", "program_id", "slug", unique=True),
    )

    program_id: Mapped[UUID]
    slug: Mapped[Code]
    name: Mapped[OrganizationText]
    age_band: Mapped[AgeBand] = word("age_band", AgeBand, default=AgeBand.ADULT)
