"""Accounts: what people sign in with, and what they may change about it themselves."""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from app import events, notifications
from app.core import clock
from app.core.ids import new_id
from app.core.problems import Conflict, FieldError, Invalid, Problem, constraint_problem
from app.domain.roles import AccountKind
from app.models.accounts import Account, AccountState
from app.models.audit import AuditAction, AuditOutcome
from app.models.organizations import Organization
from app.models.participants import Participant
from app.models.staff import StaffMember
from app.notifications import Template
from app.schemas.accounts import MeRead, OrganizationBrief, PasswordChange
from app.security import audit, passwords, seals
from app.security.principal import Principal
from app.security.sealing import normalize_email
from app.security.seals import Cell, DataKey
from app.services import sign_ins, throttling


class EmailNotUsable(Conflict):
    """An account of the organization has this address already."""

    slug, title = "email-not-usable", "This email address cannot be used for an account"


class PasswordRefused(Invalid):
    """The password is too short, too long, too common, or made of words about its owner."""

    slug, title = "password-refused", "Choose another password"


class WrongPassword(Invalid):
    """The present password was not given; the attempt counts against the limit."""

    slug, title = "wrong-password", "The present password is not right"


constraint_problem("account_login_idx", EmailNotUsable)


async def read_me(db: AsyncSession, principal: Principal) -> MeRead:
    """Who the caller is, and what the application may do for them."""
    organization = (
        await db.scalars(
            select(Organization).where(Organization.organization_id == principal.organization_id)
        )
    ).one()
    return MeRead(
        account_id=principal.account_id,
        kind=principal.kind,
        roles=sorted(principal.roles),
        participant_id=principal.participant_id,
        staff_member_id=principal.staff_member_id,
        sign_in_id=principal.sign_in_id,
        scope=str(principal.scope),
        organization=OrganizationBrief(
            id=organization.organization_id,
            slug=organization.slug,
            name=organization.name,
            environment=organization.environment,
        ),
        time=clock.now(),
    )


async def create_account(db: AsyncSession, kind: AccountKind, email: str, key: DataKey) -> Account:
    """Begin an account without a password, its address sealed under `key`.

    Raises EmailNotUsable.
    """
    login_index = seals.login_index(db, normalize_email(email))
    if await db.scalar(select(Account.id).where(Account.login_index == login_index)) is not None:
        raise EmailNotUsable
    account_id = new_id()
    account = Account(
        id=account_id,
        kind=kind,
        login_index=login_index,
        state=AccountState.INVITED,
        created_at=clock.now(),
        **seals.sealed(key, "account", account_id, email=email),
    )
    db.add(account)
    await db.flush()
    return account


async def change_password(
    db: AsyncSession, principal: Principal, request: PasswordChange
) -> Problem | None:
    """Change the caller's password and end their other sign-ins (AUTH-13).

    A wrong present password is returned, not raised: the guess that it was must stay counted,
    so the transaction has to commit. Raises PasswordRefused and TooManyRequests.
    """
    account = await _locked_account(db, principal.account_id)
    words = await words_about(db, account)
    check_password(request.new_password, words, "/new_password")
    # The count stays locked while the password is hashed, so guesses of one device queue up.
    # Whoever holds the token may guess as often as a known device may, and slows nobody else.
    subjects = [throttling.device(account.login_index, principal.sign_in_id.bytes)]
    await throttling.reserve(db, subjects, clock.wall())
    verdict = await passwords.verify_password(account.password_hash, request.current_password)
    if not verdict.ok:
        await _record_password(db, principal, AuditOutcome.FAILED)
        return WrongPassword(errors=[FieldError("/current_password", "wrong_password")])
    await throttling.forgive(db, subjects, clock.wall())
    account.password_hash = await passwords.hash_password(request.new_password)
    await db.flush()
    await sign_ins.end_all_of(db, account.id, "password_changed", but=principal.sign_in_id)
    await notifications.queue(db, account.id, Template.PASSWORD_CHANGED)
    await _record_password(db, principal, AuditOutcome.SUCCESS)
    await events.record(
        db, "account.password_changed", account.id, participant_id=principal.participant_id
    )
    return None


def check_password(candidate: str, words: Sequence[str], pointer: str) -> None:
    """Hold a new password against the policy (AUTH-20); raises PasswordRefused.

    A password is the only factor for now, so the longer minimum applies.
    """
    problems = passwords.password_problems(
        candidate, with_second_factor=False, personal_words=words
    )
    if problems:
        raise PasswordRefused(errors=[FieldError(pointer, code) for code in problems])


async def words_about(db: AsyncSession, account: Account) -> list[str]:
    """What others know of an account's owner and would try first as a password (V6.2.11)."""
    organization = (
        await db.scalars(
            select(Organization).where(Organization.organization_id == account.organization_id)
        )
    ).one()
    email = await email_of(db, account)
    names = await _names_of(db, account)
    return [organization.slug, organization.name, email, *names]


async def email_of(db: AsyncSession, account: Account) -> str:
    """The address of an account."""
    keys = await seals.keys_for(db, [account.email])
    return keys.unseal(Cell("account", "email", account.id), account.email)


async def _names_of(db: AsyncSession, account: Account) -> list[str]:
    if account.kind is AccountKind.STAFF:
        return await _staff_names(db, account.id)
    return await _participant_names(db, account.id)


async def _staff_names(db: AsyncSession, account_id: UUID) -> list[str]:
    query = select(StaffMember.id, StaffMember.name).where(StaffMember.account_id == account_id)
    row = (await db.execute(query)).one()
    keys = await seals.keys_for(db, [row.name])
    return [keys.unseal(Cell("staff_member", "name", row.id), row.name)]


async def _participant_names(db: AsyncSession, account_id: UUID) -> list[str]:
    names = ("given_name", "family_name")
    query = select(Participant.id, Participant.given_name, Participant.family_name).where(
        Participant.account_id == account_id
    )
    row = (await db.execute(query)).mappings().one()
    keys = await seals.keys_for(db, (row[name] for name in names))
    return [keys.unseal(Cell("participant", name, row["id"]), row[name]) for name in names]


async def _locked_account(db: AsyncSession, account_id: UUID) -> Account:
    return (
        await db.scalars(
            select(Account).where(Account.id == account_id).with_for_update(key_share=True)
        )
    ).one()


async def _record_password(db: AsyncSession, principal: Principal, outcome: AuditOutcome) -> None:
    await audit.record(
        db,
        AuditAction.UPDATE,
        "account:password",
        "account",
        principal.account_id,
        participant_id=principal.participant_id,
        outcome=outcome,
    )
