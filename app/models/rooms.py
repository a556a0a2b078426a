"""Rooms: where people talk live. Each is a log with a sequence without gaps."""

from datetime import datetime
from enum import StrEnum, unique
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, Index, PrimaryKeyConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from app.core.ids import new_id
from app.domain.roles import RoomKind, RoomRole
from app.models.base import (
    Base,
    Code,
    Digest,
    OrganizationText,
    Sealed,
    Tenant,
    belongs_to,
    word,
)


class Room(Tenant, Base):
    """A place to talk. `head_seq` is the last sequence number given, under this row's lock."""

    __tablename__ = "room"
    __table_args__ = (
        belongs_to("care_group", "group_id"),
        belongs_to("session"),
        Index(
            "room_group_idx",
            "organization_id",
            "group_id",
            unique=True,
            postgresql_where=text("kind = 'group'"),
        ),
        Index(
            "room_session_idx",
            "organization_id",
            "session_id",
            unique=True,
            postgresql_where=text("kind = 'session'"),
        ),
        CheckConstraint("(kind = 'group') <= (group_id is not null)", name="group"),
        CheckConstraint("(kind = 'session') <= (session_id is not null)", name="session"),
    )

    kind: Mapped[RoomKind] = word("kind", RoomKind)
    group_id: Mapped[UUID | None]
    session_id: Mapped[UUID | None]
    name: Mapped[OrganizationText]
    head_seq: Mapped[int] = mapped_column(BigInteger, default=0, server_default=text("0"))
    opens_at: Mapped[datetime | None]
    closes_at: Mapped[datetime | None]
    created_at: Mapped[datetime]


class RoomMember(Tenant, Base):
    """That an account is in a room, from one entry to another. It sees only what lies between."""

    __tablename__ = "room_member"
    __table_args__ = (
        belongs_to("room"),
        belongs_to("account"),
        Index(
            "room_member_current_idx",
            "organization_id",
            "room_id",
            "account_id",
            unique=True,
            postgresql_where=text("left_at is null"),
        ),
        Index("room_member_account_idx", "organization_id", "account_id"),
        CheckConstraint("(left_at is null) = (until_seq is null)", name="left"),
    )

    room_id: Mapped[UUID]
    account_id: Mapped[UUID]
    participant_id: Mapped[UUID | None]
    staff_member_id: Mapped[UUID | None]
    role: Mapped[RoomRole] = word("role", RoomRole)
    alias: Mapped[Sealed]
    from_seq: Mapped[int] = mapped_column(BigInteger)
    until_seq: Mapped[int | None] = mapped_column(BigInteger)
    read_seq: Mapped[int] = mapped_column(BigInteger, default=0, server_default=text("0"))
    joined_at: Mapped[datetime]
    left_at: Mapped[datetime | None]
    removed_by: Mapped[UUID | None]


@unique
class EntryKind(StrEnum):
    """What an entry of a room's log says."""

    MESSAGE = "message"
    EDIT = "edit"
    RETRACTION = "retraction"
    REACTION = "reaction"
    PIN = "pin"
    POLL = "poll"
    VOTE = "vote"
    MEMBERSHIP = "membership"
    HAND = "hand"
    SYSTEM = "system"


class RoomEntry(Base):
    """One entry of a room's log. Never changed: an edit is an entry of its own."""

    __tablename__ = "room_entry"
    __table_args__ = (
        PrimaryKeyConstraint("organization_id", "room_id", "seq"),
        belongs_to("room"),
        belongs_to("room_member", "author_id"),
        Index(
            "room_entry_client_message_idx",
            "organization_id",
            "room_id",
            "author_id",
            "client_message_id",
            unique=True,
            postgresql_where=text("client_message_id is not null"),
        ),
        Index(
            "room_entry_target_idx",
            "organization_id",
            "room_id",
            "target_seq",
            postgresql_where=text("target_seq is not null"),
        ),
        CheckConstraint("seq >= 1", name="seq"),
    )

    organization_id: Mapped[UUID] = mapped_column(server_default=text("stepwell.organization_id()"))
    room_id: Mapped[UUID]
    seq: Mapped[int] = mapped_column(BigInteger, autoincrement=False)
    id: Mapped[UUID] = mapped_column(default=new_id)
    kind: Mapped[EntryKind] = word("kind", EntryKind)
    author_id: Mapped[UUID | None]
    client_message_id: Mapped[UUID | None]
    body: Mapped[Sealed | None]
    reply_to: Mapped[int | None] = mapped_column(BigInteger)
    target_seq: Mapped[int | None] = mapped_column(BigInteger)
    at: Mapped[datetime]


class Presence(Tenant, Base):
    """That a member follows a room on one connection, until shortly after its last heartbeat.

    Its id is the `connection_id` of the attendance that it proves. Not logged: after a crash of
    the database everybody is gone, and comes again. Never the reason for a decision (WS-16).
    """

    __tablename__ = "presence"
    __table_args__ = (
        belongs_to("room"),
        belongs_to("room_member", "member_id"),
        Index("presence_room_idx", "organization_id", "room_id"),
        {"prefixes": ["UNLOGGED"]},
    )

    room_id: Mapped[UUID]
    member_id: Mapped[UUID]
    expires_at: Mapped[datetime]


class RealtimeTicket(Tenant, Base):
    """Leave to open one socket within thirty seconds (WS-01)."""

    __tablename__ = "realtime_ticket"
    __table_args__ = (
        belongs_to("sign_in"),
        Index("realtime_ticket_digest_idx", "digest", unique=True),
        Index("realtime_ticket_expiry_idx", "organization_id", "expires_at"),
    )

    sign_in_id: Mapped[UUID]
    sign_in_version: Mapped[int]
    digest: Mapped[Digest]
    origin: Mapped[Code | None]
    scope: Mapped[Code]
    expires_at: Mapped[datetime]
    used_at: Mapped[datetime | None]
