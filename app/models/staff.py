"""Staff members, their roles and where they may treat people."""

from datetime import date
from uuid import UUID

from sqlalchemy import CheckConstraint, Index, Text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, mapped_column

from app.domain.roles import AuthorizationKind, StaffRole
from app.models.base import Base, Code, Sealed, Tenant, Versioned, belongs_to, word

_ROLES = ", ".join(f"'{role.value}'" for role in StaffRole)


class StaffMember(Versioned, Tenant, Base):
    """Someone who works for the organization."""

    __tablename__ = "staff_member"
    __table_args__ = (
        belongs_to("account"),
        belongs_to("staff_member", "supervisor_id"),
        Index("staff_member_account_idx", "organization_id", "account_id", unique=True),
        Index("staff_member_supervisor_idx", "organization_id", "supervisor_id"),
        CheckConstraint(f"roles <@ array[{_ROLES}]", name="roles_known"),
        CheckConstraint("cardinality(roles) > 0", name="roles_some"),
    )

    account_id: Mapped[UUID]
    name: Mapped[Sealed]
    roles: Mapped[list[str]] = mapped_column(ARRAY(Text), info={"class": "code"})
    supervisor_id: Mapped[UUID | None]
    is_independently_licensed: Mapped[bool] = mapped_column(default=False)


class StaffAuthorization(Tenant, Base):
    """By what right a staff member treats people who are in a given state, and until when."""

    __tablename__ = "staff_authorization"
    __table_args__ = (
        belongs_to("staff_member"),
        Index("staff_authorization_member_idx", "organization_id", "staff_member_id", "state"),
        CheckConstraint("ends_on is null or ends_on >= starts_on", name="dates"),
    )

    staff_member_id: Mapped[UUID]
    state: Mapped[Code]
    kind: Mapped[AuthorizationKind] = word("kind", AuthorizationKind)
    starts_on: Mapped[date]
    ends_on: Mapped[date | None]
