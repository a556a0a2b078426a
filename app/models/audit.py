"""Audit events: who saw or changed what. Insert-only, in the transaction that they describe."""

from datetime import datetime
from enum import StrEnum, unique
from uuid import UUID

from sqlalchemy import BigInteger, Identity, Index, PrimaryKeyConstraint, Text, Uuid, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, mapped_column

from app.models.base import Base, Code, word


@unique
class AuditAction(StrEnum):
    """What was done, in the letters that FHIR AuditEvent uses."""

    CREATE = "C"
    READ = "R"
    UPDATE = "U"
    DELETE = "D"
    EXECUTE = "E"


@unique
class AuditOutcome(StrEnum):
    """How it ended."""

    SUCCESS = "success"
    REFUSED = "refused"
    FAILED = "failed"


def _context(name: str) -> str:
    return f"nullif(current_setting('stepwell.{name}', true), '')"


class AuditEvent(Base):
    """One access or change. No values, no free text (AUD-08).

    Who asked, from which sign-in and in which request is filled in by the database from the
    transaction's context, which the access check has set: no code can forget or forge it.
    """

    __tablename__ = "audit_event"
    __table_args__ = (
        PrimaryKeyConstraint("organization_id", "id"),
        Index(
            "audit_event_participant_idx",
            "organization_id",
            "participant_id",
            "id",
            postgresql_where=text("participant_id is not null"),
        ),
        Index(
            "audit_event_participants_idx",
            "participant_ids",
            postgresql_using="gin",
            postgresql_where=text("participant_ids is not null"),
        ),
    )

    organization_id: Mapped[UUID] = mapped_column(server_default=text("stepwell.organization_id()"))
    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True))
    recorded_at: Mapped[datetime] = mapped_column(server_default=text("clock_timestamp()"))
    transaction_id: Mapped[int] = mapped_column(
        BigInteger, server_default=text("(pg_current_xact_id()::text)::bigint")
    )
    actor_id: Mapped[UUID | None] = mapped_column(
        server_default=text(f"{_context('account_id')}::uuid")
    )
    actor_role: Mapped[Code | None] = mapped_column(server_default=text(_context("actor_role")))
    client_id: Mapped[Code | None] = mapped_column(server_default=text(_context("client_id")))
    sign_in_id: Mapped[UUID | None] = mapped_column(
        server_default=text(f"{_context('sign_in_id')}::uuid")
    )
    request_id: Mapped[Code | None] = mapped_column(server_default=text(_context("request_id")))
    source: Mapped[Code | None] = mapped_column(server_default=text(_context("source")))
    action: Mapped[AuditAction] = word("action", AuditAction)
    subtype: Mapped[Code]
    outcome: Mapped[AuditOutcome] = word("outcome", AuditOutcome)
    participant_id: Mapped[UUID | None]
    participant_ids: Mapped[list[UUID] | None] = mapped_column(ARRAY(Uuid))
    resource: Mapped[Code]
    resource_id: Mapped[UUID | None]
    resource_version: Mapped[int | None]
    purpose: Mapped[Code] = mapped_column(server_default=text("'treatment'"))
    sensitivity: Mapped[list[str] | None] = mapped_column(ARRAY(Text), info={"class": "code"})
    count: Mapped[int] = mapped_column(server_default=text("1"))
