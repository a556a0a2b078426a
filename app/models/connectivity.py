"""Connectivity tests: what a participant's connection carried, by the server's own clock."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, Index
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, mapped_column

from app.domain.connectivity import TestStep
from app.models.base import Base, Digest, Tenant, Versioned, belongs_to, word


class ConnectivityTest(Versioned, Tenant, Base):
    """One test: its exchanges so far, and the durations between them in microseconds.

    `sent_at` is when the last answer left, and `token_digest` what the client must give back to
    prove that it has received that answer to its end.
    """

    __tablename__ = "connectivity_test"
    __table_args__ = (
        belongs_to("participant"),
        Index("connectivity_test_participant_idx", "organization_id", "participant_id", "id"),
        CheckConstraint("(step = 'done') = (finished_at is not null)", name="finished"),
    )

    participant_id: Mapped[UUID]
    step: Mapped[TestStep] = word("step", TestStep)
    round_trips: Mapped[list[int]] = mapped_column(ARRAY(BigInteger))
    download: Mapped[int | None] = mapped_column(BigInteger)
    upload: Mapped[int | None] = mapped_column(BigInteger)
    sent_at: Mapped[datetime]
    token_digest: Mapped[Digest]
    expires_at: Mapped[datetime]
    finished_at: Mapped[datetime | None]
