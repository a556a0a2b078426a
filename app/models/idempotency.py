"""Answers that were given once already, so that a repeated request changes nothing (API-07)."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Index, PrimaryKeyConstraint, Uuid, text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import Mapped, mapped_column

from app.models.base import Base, Digest, Secret


class StoredAnswer(Base):
    """The answer to one keyed request of one account, sealed, for a day.

    It names whose records it is about, so that it is given again only to who may still see them.
    """

    __tablename__ = "stored_answer"
    __table_args__ = (
        PrimaryKeyConstraint("organization_id", "account_id", "key"),
        Index("stored_answer_age_idx", "created_at"),
    )

    organization_id: Mapped[UUID] = mapped_column(server_default=text("stepwell.organization_id()"))
    account_id: Mapped[UUID]
    key: Mapped[Digest]
    fingerprint: Mapped[Digest]
    id: Mapped[UUID]
    participant_ids: Mapped[list[UUID]] = mapped_column(ARRAY(Uuid))
    status: Mapped[int]
    headers: Mapped[dict[str, Any]] = mapped_column(JSONB, info={"class": "code"})
    body: Mapped[Secret | None]
    created_at: Mapped[datetime] = mapped_column(server_default=text("now()"))
