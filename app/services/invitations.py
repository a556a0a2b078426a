"""Invitations: how a person comes to a password without anybody else ever knowing it.

The secret of an invitation leaves by mail to the address of the account, from the outbox. It
works once, for a week; a newer one ends the older. Only a development organization shows it.
"""

from datetime import timedelta
from typing import Final, NamedTuple
from uuid import UUID

from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncSession

from app import events, notifications
from app.core import clock
from app.core.ids import new_id
from app.core.problems import Conflict, NotFound
from app.domain.roles import AccountKind
from app.models.accounts import Account, AccountState, Invitation
from app.models.audit import AuditAction
from app.models.participants import Participant
from app.notifications import Template
from app.schemas.accounts import InvitationAccept, InvitationRead
from app.security import audit, passwords, seals, secrets
from app.security.permissions import Permission
from app.security.principal import Principal
from app.security.seals import Cell
from app.services import accounts, participants, throttling
from app.services.visitors import Visitor, enter_by

LIFETIME: Final = timedelta(days=7)


class InvitationNotUsable(NotFound):
    """The invitation was accepted or replaced, has expired, or never was: ask for a new one."""

    slug, title = "invitation-not-usable", "The invitation cannot be used"


class NotInvitable(Conflict):
    """The account has a password already, or was disabled."""

    slug, title = "not-invitable", "The account needs no invitation"


class NoEmail(Conflict):
    """The participant's record holds no address to which an invitation could go."""

    slug, title = "no-email", "An email address is needed first"


async def invite_participant(
    db: AsyncSession, principal: Principal, participant_id: UUID
) -> InvitationRead:
    """Let a participant choose a password; their account begins with the first invitation.

    Raises NotFound, NoEmail, EmailNotUsable or NotInvitable.
    """
    participant = await participants.get_participant(db, principal, participant_id, lock=True)
    account = await _account_of(db, participant)
    invitation = await invite(db, principal, account)
    await audit.record(
        db,
        AuditAction.CREATE,
        Permission.PARTICIPANT_INVITE,
        "invitation",
        invitation.id,
        participant_id=participant.id,
    )
    await events.record(db, "participant.invited", participant.id, participant_id=participant.id)
    return invitation


async def invite(db: AsyncSession, principal: Principal, account: Account) -> InvitationRead:
    """Send an account's owner a new invitation; an older one no longer works.

    Raises NotInvitable.
    """
    if account.state is not AccountState.INVITED:
        raise NotInvitable
    invitation, secret = await issue(db, account, invited_by=principal.account_id)
    await notifications.queue(db, account.id, Template.INVITATION, secret=secret)
    return InvitationRead(
        id=invitation.id,
        account_id=account.id,
        expires_at=invitation.expires_at,
        token=secret if principal.is_development else None,
    )


async def issue(
    db: AsyncSession, account: Account, *, invited_by: UUID | None
) -> tuple[Invitation, str]:
    """Make an invitation and its secret, and withdraw the one before; nothing is sent."""
    await withdraw_invitations(db, account.id)
    secret, digest = secrets.new_secret()
    now = clock.wall()
    invitation = Invitation(
        id=new_id(),
        account_id=account.id,
        digest=digest,
        invited_by=invited_by,
        expires_at=now + LIFETIME,
        created_at=now,
    )
    db.add(invitation)
    await db.flush()
    return invitation, secret


async def withdraw_invitations(db: AsyncSession, account_id: UUID) -> None:
    """Make the open invitation of an account useless."""
    await db.execute(
        update(Invitation)
        .where(
            Invitation.account_id == account_id,
            Invitation.accepted_at.is_(None),
            Invitation.withdrawn_at.is_(None),
        )
        .values(withdrawn_at=clock.wall())
    )


async def accept(visitor: Visitor, request: InvitationAccept) -> None:
    """Choose the password of an invited account: from now on it opens.

    Raises InvitationNotUsable, alike for every cause, and PasswordRefused.
    """
    digest = secrets.digest(request.token)
    async with visitor.transaction() as db:
        _, account = await _open_invitation(db, digest)
        words = await accounts.words_about(db, account)
    accounts.check_password(request.password, words, "/password")
    # No connection waits while the password is hashed; two who accept at once are told apart after.
    password_hash = await passwords.hash_password(request.password)
    async with visitor.transaction() as db:
        await _activate(db, digest, password_hash)


class _Invited(NamedTuple):
    """An invitation that works, and the account that it opens."""

    invitation: Invitation
    account: Account


async def _account_of(db: AsyncSession, participant: Participant) -> Account:
    """The participant's account, begun now if there is none."""
    if participant.account_id is not None:
        return (
            await db.scalars(
                select(Account)
                .where(Account.id == participant.account_id)
                .with_for_update(key_share=True)
            )
        ).one()
    if participant.email is None:
        raise NoEmail
    key = await seals.participant_key(db, participant.id)
    keys = await seals.keys_for(db, [participant.email])
    email = keys.unseal(Cell(participants.TABLE, "email", participant.id), participant.email)
    account = await accounts.create_account(db, AccountKind.PARTICIPANT, email, key)
    participant.account_id = account.id
    participant.updated_at = clock.now()
    await db.flush()
    return account


async def _open_invitation(db: AsyncSession, digest: bytes) -> _Invited:
    """Enter the organization of an invitation that still works, and lock it. Raises otherwise.

    The account comes first, as for everybody who makes an invitation or takes one back.
    """
    if await enter_by(db, "invitation", digest) is None:
        raise InvitationNotUsable
    invited = select(Invitation.account_id).where(Invitation.digest == digest).scalar_subquery()
    await db.execute(
        select(Account.id).where(Account.id == invited).with_for_update(key_share=True)
    )
    row = (
        await db.execute(
            select(Invitation, Account)
            .join(Account, Account.id == Invitation.account_id)
            .where(
                Invitation.digest == digest,
                Invitation.accepted_at.is_(None),
                Invitation.withdrawn_at.is_(None),
                Invitation.expires_at > clock.wall(),
                Account.state == AccountState.INVITED,
            )
            .with_for_update(key_share=True)
        )
    ).one_or_none()
    if row is None:
        raise InvitationNotUsable
    return _Invited(*row)


async def _activate(db: AsyncSession, digest: bytes, password_hash: str) -> None:
    invitation, account = await _open_invitation(db, digest)
    db.info["account_id"] = account.id
    invitation.accepted_at = clock.wall()
    account.password_hash = password_hash
    account.state = AccountState.ACTIVE
    await db.flush()
    # Guesses at a password that did not exist yet are not held against its owner.
    await throttling.forgive(db, [throttling.login(account.login_index)], clock.wall())
    participant_id = await db.scalar(
        select(Participant.id).where(Participant.account_id == account.id)
    )
    await audit.record(
        db,
        AuditAction.UPDATE,
        "account:activate",
        "account",
        account.id,
        participant_id=participant_id,
    )
    await events.record(db, "account.activated", account.id, participant_id=participant_id)
