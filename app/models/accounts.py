"""Accounts and sign-ins: who may ask, from which device, since when."""

from datetime import datetime
from enum import StrEnum, unique
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKey, ForeignKeyConstraint, Index, Text, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, mapped_column

from app.domain.roles import AccountKind
from app.models.base import (
    Base,
    BlindIndex,
    Code,
    Digest,
    OrganizationText,
    Sealed,
    Tenant,
    belongs_to,
    word,
)


@unique
class AccountState(StrEnum):
    """An invited account has no password yet; a disabled one opens nothing."""

    INVITED = "invited"
    ACTIVE = "active"
    DISABLED = "disabled"


class Account(Tenant, Base):
    """What a person signs in with. Who they are is a participant or a staff member."""

    __tablename__ = "account"
    __table_args__ = (
        ForeignKeyConstraint(["organization_id"], ["organization.organization_id"]),
        Index("account_login_idx", "organization_id", "login_index", unique=True),
        Index("account_login_everywhere_idx", "login_index"),
        CheckConstraint("state <> 'active' or password_hash is not null", name="password"),
    )

    kind: Mapped[AccountKind] = word("kind", AccountKind)
    login_index: Mapped[BlindIndex]
    email: Mapped[Sealed]
    password_hash: Mapped[str | None] = mapped_column(Text, info={"class": "secret"})
    state: Mapped[AccountState] = word("state", AccountState, default=AccountState.INVITED)
    created_at: Mapped[datetime]


class Client(Base):
    """An application that people sign in with. Not a tenant's: an app serves several."""

    __tablename__ = "client"

    id: Mapped[Code] = mapped_column(primary_key=True)
    name: Mapped[OrganizationText]
    scope: Mapped[Code]
    origins: Mapped[list[str]] = mapped_column(ARRAY(Text), info={"class": "code"})
    is_native: Mapped[bool]


class SignIn(Tenant, Base):
    """An authenticated device. Raising `version` or setting `revoked_at` ends every token of it."""

    __tablename__ = "sign_in"
    __table_args__ = (
        belongs_to("account"),
        Index("sign_in_account_idx", "organization_id", "account_id"),
    )

    account_id: Mapped[UUID]
    client_id: Mapped[Code] = mapped_column(ForeignKey("client.id"))
    scope: Mapped[Code]
    version: Mapped[int] = mapped_column(default=1)
    acr: Mapped[Code]
    amr: Mapped[list[str]] = mapped_column(ARRAY(Text), info={"class": "code"})
    authenticated_at: Mapped[datetime]
    last_seen_at: Mapped[datetime]
    idle_seconds: Mapped[int]
    expires_at: Mapped[datetime]
    revoked_at: Mapped[datetime | None]
    revoked_because: Mapped[Code | None]


class RefreshToken(Tenant, Base):
    """One link of a sign-in's chain of refresh tokens (AUTH-15, AUTH-16)."""

    __tablename__ = "refresh_token"
    __table_args__ = (
        belongs_to("sign_in"),
        Index("refresh_token_digest_idx", "digest", unique=True),
        Index("refresh_token_sign_in_idx", "organization_id", "sign_in_id"),
    )

    sign_in_id: Mapped[UUID]
    digest: Mapped[Digest]
    previous_id: Mapped[UUID | None]
    issued_at: Mapped[datetime]
    rotated_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]


class AuthorizationSession(Base):
    """A sign-in under way: at most ten steps in ten minutes (AUTH-03).

    It exists before anybody knows whose it is, so it belongs to no organization; an account
    that is named in it is only reachable with the secret.
    """

    __tablename__ = "authorization_session"

    digest: Mapped[Digest] = mapped_column(primary_key=True)
    client_id: Mapped[Code] = mapped_column(ForeignKey("client.id"))
    code_challenge: Mapped[Code]
    scope: Mapped[Code]
    login_index: Mapped[BlindIndex]
    device: Mapped[Digest | None]
    account_organization: Mapped[UUID | None]
    account_id: Mapped[UUID | None]
    amr: Mapped[list[str]] = mapped_column(ARRAY(Text), info={"class": "code"})
    steps: Mapped[int] = mapped_column(default=0)
    expires_at: Mapped[datetime]


class AuthorizationCode(Base):
    """A code that becomes tokens once, within a minute, for who holds the PKCE verifier."""

    __tablename__ = "authorization_code"

    digest: Mapped[Digest] = mapped_column(primary_key=True)
    client_id: Mapped[Code] = mapped_column(ForeignKey("client.id"))
    code_challenge: Mapped[Code]
    scope: Mapped[Code]
    account_organization: Mapped[UUID]
    account_id: Mapped[UUID]
    acr: Mapped[Code]
    amr: Mapped[list[str]] = mapped_column(ARRAY(Text), info={"class": "code"})
    authenticated_at: Mapped[datetime]
    expires_at: Mapped[datetime]
    used_at: Mapped[datetime | None]
    sign_in_id: Mapped[UUID | None]


class Throttle(Base):
    """How often something failed, and when it may be tried again (AUTH-21). Shared by processes."""

    __tablename__ = "throttle"

    key: Mapped[Digest] = mapped_column(primary_key=True)
    failures: Mapped[int] = mapped_column(default=0)
    blocked_until: Mapped[datetime | None]
    updated_at: Mapped[datetime]


class RateWindow(Base):
    """How many requests of a window are spent or leased (API-06). Lost in a crash, without harm."""

    __tablename__ = "rate_window"
    __table_args__ = ({"prefixes": ["UNLOGGED"]},)

    key: Mapped[Digest] = mapped_column(primary_key=True)
    started_at: Mapped[datetime]
    used: Mapped[int]


class KnownDevice(Tenant, Base):
    """A device that signed in before: guesses from elsewhere do not slow it (AUTH-21)."""

    __tablename__ = "known_device"
    __table_args__ = (
        belongs_to("account"),
        Index("known_device_digest_idx", "organization_id", "account_id", "digest", unique=True),
    )

    account_id: Mapped[UUID]
    digest: Mapped[Digest]
    last_seen_at: Mapped[datetime]


class Invitation(Tenant, Base):
    """A link that lets an invited person choose a password, once, for a limited time."""

    __tablename__ = "invitation"
    __table_args__ = (
        belongs_to("account"),
        Index("invitation_digest_idx", "digest", unique=True),
        Index(
            "invitation_open_idx",
            "organization_id",
            "account_id",
            unique=True,
            postgresql_where=text("accepted_at is null and withdrawn_at is null"),
        ),
    )

    account_id: Mapped[UUID]
    digest: Mapped[Digest]
    invited_by: Mapped[UUID | None]
    expires_at: Mapped[datetime]
    accepted_at: Mapped[datetime | None]
    withdrawn_at: Mapped[datetime | None]
    created_at: Mapped[datetime]


class Notification(Tenant, Base):
    """A message on its way to an account's own address. It carries no PHI (PHI-12)."""

    __tablename__ = "notification"
    __table_args__ = (
        belongs_to("account"),
        Index(
            "notification_due_idx",
            "organization_id",
            "created_at",
            postgresql_where=text("sent_at is null"),
        ),
    )

    account_id: Mapped[UUID]
    template: Mapped[Code]
    secret: Mapped[bytes | None] = mapped_column(info={"class": "secret"})
    created_at: Mapped[datetime]
    sent_at: Mapped[datetime | None]
    leased_until: Mapped[datetime | None]
    attempts: Mapped[int] = mapped_column(default=0)
