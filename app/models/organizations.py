"""Organizations: the tenants, and the keys that seal what they hold."""

from datetime import datetime, timedelta
from enum import StrEnum, unique
from uuid import UUID

from sqlalchemy import CheckConstraint, Index, text
from sqlalchemy.orm import Mapped, mapped_column

from app.core.ids import new_id
from app.models.base import Base, Code, OrganizationText, Secret, Tenant, belongs_to, word


@unique
class Environment(StrEnum):
    """Whether real people are treated here; only a development organization may move its clock."""

    PRODUCTION = "production"
    DEVELOPMENT = "development"


class Organization(Base):
    """A tenant. Its id is the `organization_id` of every row that it owns."""

    __tablename__ = "organization"
    __table_args__ = (
        CheckConstraint(
            "environment = 'development' or clock_offset = interval '0'", name="clock_is_real"
        ),
    )

    organization_id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    slug: Mapped[Code] = mapped_column(unique=True)
    name: Mapped[OrganizationText]
    environment: Mapped[Environment] = word(
        "environment", Environment, default=Environment.PRODUCTION
    )
    region: Mapped[Code] = mapped_column(default="US")
    clock_offset: Mapped[timedelta] = mapped_column(default=timedelta())
    created_at: Mapped[datetime]


@unique
class KeyState(StrEnum):
    """An active key seals and unseals; a retired one only unseals."""

    ACTIVE = "active"
    RETIRED = "retired"


class OrganizationKey(Tenant, Base):
    """The key that wraps an organization's data keys, itself wrapped by a root key."""

    __tablename__ = "organization_key"
    __table_args__ = (
        Index(
            "organization_key_active_idx",
            "organization_id",
            unique=True,
            postgresql_where=text("state = 'active'"),
        ),
    )

    wrapped: Mapped[Secret]
    root_key_id: Mapped[Code]
    state: Mapped[KeyState] = word("state", KeyState, default=KeyState.ACTIVE)
    created_at: Mapped[datetime] = mapped_column(server_default=text("now()"))


@unique
class KeyPurpose(StrEnum):
    """What a data key seals."""

    PARTICIPANT = "participant"
    STAFF = "staff"
    SECRET = "secret"  # noqa: S105 (a purpose, not a secret)


class DataKey(Tenant, Base):
    """A key that seals cells: one for each participant, and a few for the organization."""

    __tablename__ = "data_key"
    __table_args__ = (
        belongs_to("organization_key"),
        Index(
            "data_key_active_idx",
            "organization_id",
            "participant_id",
            "purpose",
            unique=True,
            postgresql_nulls_not_distinct=True,
            postgresql_where=text("state = 'active'"),
        ),
        CheckConstraint(
            "(purpose = 'participant') = (participant_id is not null)", name="participant"
        ),
    )

    participant_id: Mapped[UUID | None]
    purpose: Mapped[KeyPurpose] = word("purpose", KeyPurpose)
    organization_key_id: Mapped[UUID]
    wrapped: Mapped[Secret]
    state: Mapped[KeyState] = word("state", KeyState, default=KeyState.ACTIVE)
    seals_reserved: Mapped[int] = mapped_column(default=0, server_default=text("0"))
    created_at: Mapped[datetime] = mapped_column(server_default=text("now()"))
