"""Instruments that an organization has loaded, the figures it has set, and what it uses."""

from datetime import datetime
from enum import StrEnum, unique
from typing import Any
from uuid import UUID

from sqlalchemy import ForeignKeyConstraint, Index
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from app.models.base import Base, Code, OrganizationText, Tenant, Versioned, word


@unique
class InstrumentOrigin(StrEnum):
    """How an organization came by a version: it loaded it, or set figures of one that it had."""

    LOADED = "loaded"
    ADAPTED = "adapted"


class InstrumentVersion(Tenant, Base):
    """One version of a definition, as it was published; the database refuses to change it."""

    __tablename__ = "instrument_version"
    __table_args__ = (
        ForeignKeyConstraint(["organization_id"], ["organization.organization_id"]),
        Index(
            "instrument_version_key_idx",
            "organization_id",
            "instrument_key",
            "instrument_version",
            unique=True,
        ),
    )

    instrument_key: Mapped[Code]
    instrument_version: Mapped[Code]
    origin: Mapped[InstrumentOrigin] = word("origin", InstrumentOrigin)
    definition: Mapped[dict[str, Any]] = mapped_column(JSONB, info={"class": "organization-text"})
    loaded_by: Mapped[UUID]
    loaded_at: Mapped[datetime]


class InstrumentSwitch(Versioned, Tenant, Base):
    """Whether an organization uses an instrument, where that is not what it ships with."""

    __tablename__ = "instrument_switch"
    __table_args__ = (
        ForeignKeyConstraint(["organization_id"], ["organization.organization_id"]),
        Index("instrument_switch_key_idx", "organization_id", "instrument_key", unique=True),
    )

    instrument_key: Mapped[Code]
    is_on: Mapped[bool]
    accepted_condition: Mapped[OrganizationText | None]
    switched_by: Mapped[UUID]
