"""Events: what happened, recorded in the transaction that made it happen."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import BigInteger, Index, text
from sqlalchemy.orm import Mapped, mapped_column

from app.models.base import Base, Code, Tenant


class Event(Tenant, Base):
    """Something that happened: ids, a type and a time, never a story.

    `position` is given after the commit, in the order in which commits became visible, so it
    is a safe cursor; an id is not, because a lower one may commit later.
    """

    __tablename__ = "event"
    __table_args__ = (
        Index(
            "event_position_idx",
            "organization_id",
            "position",
            unique=True,
            postgresql_where=text("position is not null"),
        ),
        Index("event_waiting_idx", "organization_id", postgresql_where=text("position is null")),
    )

    type: Mapped[Code]
    subject: Mapped[Code]
    subject_id: Mapped[UUID]
    participant_id: Mapped[UUID | None]
    actor_id: Mapped[UUID | None]
    subject_version: Mapped[int | None]
    at: Mapped[datetime]
    position: Mapped[int | None] = mapped_column(BigInteger)


class EventHead(Base):
    """The last position given in an organization; its row lock makes positions gapless."""

    __tablename__ = "event_head"

    organization_id: Mapped[UUID] = mapped_column(primary_key=True)
    position: Mapped[int] = mapped_column(BigInteger, default=0, server_default=text("0"))
