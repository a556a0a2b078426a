"""Staff members: who works for the organization, as what, and where they may treat people.

A change of roles reaches every open application at once: its access tokens stop working, and
what it gets instead is cut from the new roles (AUTH-13). One administrator always remains.
"""

from collections.abc import Sequence
from typing import Final
from uuid import UUID

from pydantic import MISSING
from sqlalchemy import or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from app import events
from app.core import clock
from app.core.ids import new_id
from app.core.problems import Conflict, FieldError, Invalid, NotFound, PreconditionFailed
from app.domain.roles import AccountKind, StaffRole
from app.models.accounts import Account, AccountState
from app.models.audit import AuditAction
from app.models.organizations import KeyPurpose
from app.models.participants import CareTeamMember
from app.models.staff import StaffAuthorization, StaffMember
from app.schemas.accounts import InvitationRead
from app.schemas.staff import (
    StaffAuthorizationCreate,
    StaffAuthorizationRead,
    StaffMemberCreate,
    StaffMemberInvited,
    StaffMemberRead,
    StaffMemberSummary,
    StaffMemberUpdate,
)
from app.security import audit, seals
from app.security.permissions import Permission, roles_in_care_teams
from app.security.principal import Principal
from app.security.seals import Cell
from app.services import accounts, invitations, sign_ins
from app.services.care_teams import check_nobody_is_left

TABLE: Final = "staff_member"


class LastAdministrator(Conflict):
    """Nobody would be left who can manage the organization: name another administrator first."""

    slug, title = "last-administrator", "The organization needs an administrator"


class UnknownSupervisor(Invalid):
    """The supervisor is nobody of the organization, or the staff member themselves."""

    slug, title = "unknown-supervisor", "The supervisor is not known"


class BadDates(Invalid):
    """The authorization would end before it starts."""

    slug, title = "bad-dates", "The dates are in the wrong order"


async def invite_staff_member(
    db: AsyncSession, principal: Principal, request: StaffMemberCreate
) -> StaffMemberInvited:
    """Let somebody work for the organization: they choose a password by an invitation.

    Raises EmailNotUsable or UnknownSupervisor.
    """
    member_id, now = new_id(), clock.now()
    await _check_supervisor(db, member_id, request.supervisor_id)
    key = await seals.organization_key(db, KeyPurpose.STAFF)
    account = await accounts.create_account(db, AccountKind.STAFF, request.email, key)
    member = StaffMember(
        id=member_id,
        account_id=account.id,
        roles=sorted(request.roles),
        supervisor_id=request.supervisor_id,
        is_independently_licensed=request.is_independently_licensed,
        created_at=now,
        updated_at=now,
        **seals.sealed(key, TABLE, member_id, name=request.name),
    )
    db.add(member)
    await db.flush()
    invitation = await invitations.invite(db, principal, account)
    await _record(db, member, AuditAction.CREATE, "staff.created")
    read = await _read(db, member, account)
    return StaffMemberInvited(**dict(read), invitation=invitation)


async def invite_again(db: AsyncSession, principal: Principal, member_id: UUID) -> InvitationRead:
    """Send a staff member who has no password yet a new invitation.

    Raises NotFound or NotInvitable.
    """
    member, account = await _get(db, member_id, lock=True)
    invitation = await invitations.invite(db, principal, account)
    await _record(db, member, AuditAction.UPDATE, "staff.invited")
    return invitation


async def list_staff(db: AsyncSession, *, after: UUID, limit: int) -> Sequence[StaffMemberSummary]:
    """Who works for the organization, by id, one more than asked when there are more."""
    rows = (
        await db.execute(
            select(StaffMember, Account)
            .join(Account, Account.id == StaffMember.account_id)
            .where(StaffMember.id > after)
            .order_by(StaffMember.id)
            .limit(limit + 1)
        )
    ).all()
    keys = await seals.keys_for(db, (member.name for member, _ in rows))
    return [_summary(keys, member, account) for member, account in rows]


async def read_staff_member(db: AsyncSession, member_id: UUID) -> StaffMemberRead:
    """One staff member. Raises NotFound."""
    return await _read(db, *await _get(db, member_id))


async def update_staff_member(
    db: AsyncSession,
    principal: Principal,
    member_id: UUID,
    request: StaffMemberUpdate,
    version: int,
) -> StaffMemberRead:
    """Change what is given; new roles end every access token that was cut from the old ones.

    Raises NotFound, PreconditionFailed, UnknownSupervisor, LastAdministrator, or LastOfCareTeam
    for roles in which they could not attend whom nobody else attends.
    """
    await _lock_with_administrators(db, member_id)
    member, account = await _get(db, member_id)
    if member.version != version:
        raise PreconditionFailed
    if request.supervisor_id is not MISSING:
        await _check_supervisor(db, member.id, request.supervisor_id)
        member.supervisor_id = request.supervisor_id
    if request.name is not MISSING:
        key = await seals.organization_key(db, KeyPurpose.STAFF)
        member.name = key.seal(Cell(TABLE, "name", member.id), request.name)
    if request.is_independently_licensed is not MISSING:
        member.is_independently_licensed = request.is_independently_licensed
    if request.roles is not MISSING:
        await _change_roles(db, principal, member, request.roles)
    member.updated_at = clock.now()
    await db.flush()
    await _record(db, member, AuditAction.UPDATE, "staff.updated")
    return await _read(db, member, account)


async def disable_staff_member(
    db: AsyncSession, principal: Principal, member_id: UUID
) -> StaffMemberRead:
    """Close a staff member's account: every sign-in ends, no invitation works any more.

    Nothing that they wrote changes. Disabling again changes nothing. Raises NotFound,
    LastAdministrator, or LastOfCareTeam while somebody in treatment has nobody else.
    """
    await _lock_with_administrators(db, member_id)
    member, account = await _get(db, member_id)
    if account.state is AccountState.DISABLED:
        return await _read(db, member, account)
    await _check_administrators(db, without=member)
    await check_nobody_is_left(db, principal, CareTeamMember.staff_member_id == member.id)
    account.state = AccountState.DISABLED
    member.updated_at = clock.now()
    await db.flush()
    await invitations.withdraw_invitations(db, account.id)
    await sign_ins.end_all_of(db, account.id, "account_disabled")
    await _record(db, member, AuditAction.UPDATE, "staff.disabled")
    return await _read(db, member, account)


async def authorize_staff_member(
    db: AsyncSession, member_id: UUID, request: StaffAuthorizationCreate
) -> StaffAuthorizationRead:
    """Note by what right a staff member treats people who are in a state.

    Raises NotFound or BadDates.
    """
    member, _ = await _get(db, member_id)
    if request.ends_on is not None and request.ends_on < request.starts_on:
        raise BadDates(errors=[FieldError("/ends_on", "before_start")])
    authorization = StaffAuthorization(
        id=new_id(),
        staff_member_id=member.id,
        state=request.state,
        kind=request.kind,
        starts_on=request.starts_on,
        ends_on=request.ends_on,
    )
    db.add(authorization)
    await db.flush()
    await _record(db, member, AuditAction.UPDATE, "staff.authorized")
    return StaffAuthorizationRead.model_validate(authorization)


async def _get(
    db: AsyncSession, member_id: UUID, *, lock: bool = False
) -> tuple[StaffMember, Account]:
    query = (
        select(StaffMember, Account)
        .join(Account, Account.id == StaffMember.account_id)
        .where(StaffMember.id == member_id)
    )
    if lock:
        query = query.with_for_update(key_share=True)
    row = (await db.execute(query)).one_or_none()
    if row is None:
        raise NotFound
    return row[0], row[1]


async def _lock_with_administrators(db: AsyncSession, member_id: UUID) -> None:
    """Lock a staff member and every administrator, in one order.

    Two administrators who disable each other at the same moment take turns. What they decide by
    is read afterwards, because a statement that waited for a lock still sees what stood before.
    """
    administrators = StaffMember.roles.contains([StaffRole.ADMINISTRATOR])
    await db.execute(
        select(StaffMember.id)
        .where(or_(StaffMember.id == member_id, administrators))
        .order_by(StaffMember.id)
        .with_for_update(key_share=True)
    )


async def _check_administrators(db: AsyncSession, *, without: StaffMember) -> None:
    """Raise LastAdministrator if nobody but this one can manage the organization."""
    if StaffRole.ADMINISTRATOR not in without.roles:
        return
    other = await db.scalar(
        select(StaffMember.id)
        .join(Account, Account.id == StaffMember.account_id)
        .where(
            StaffMember.id != without.id,
            StaffMember.roles.contains([StaffRole.ADMINISTRATOR]),
            Account.state == AccountState.ACTIVE,
        )
        .limit(1)
    )
    if other is None:
        raise LastAdministrator


async def _change_roles(
    db: AsyncSession, principal: Principal, member: StaffMember, roles: frozenset[StaffRole]
) -> None:
    if sorted(roles) == member.roles:
        return
    if StaffRole.ADMINISTRATOR not in roles:
        await _check_administrators(db, without=member)
    if roles.isdisjoint(roles_in_care_teams(Permission.PARTICIPANT_READ)):
        await check_nobody_is_left(db, principal, CareTeamMember.staff_member_id == member.id)
    member.roles = sorted(roles)
    await sign_ins.renew_access(db, member.account_id)
    await audit.record(db, AuditAction.UPDATE, "staff:roles", TABLE, member.id)


async def _check_supervisor(db: AsyncSession, member_id: UUID, supervisor_id: UUID | None) -> None:
    if supervisor_id is None:
        return
    known = await db.scalar(select(StaffMember.id).where(StaffMember.id == supervisor_id))
    if known is None or supervisor_id == member_id:
        raise UnknownSupervisor(errors=[FieldError("/supervisor_id", "unknown_supervisor")])


async def _record(db: AsyncSession, member: StaffMember, action: AuditAction, event: str) -> None:
    await audit.record(
        db, action, Permission.STAFF_MANAGE, TABLE, member.id, version=member.version
    )
    await events.record(db, event, member.id, version=member.version)


def _summary(keys: seals.Keys, member: StaffMember, account: Account) -> StaffMemberSummary:
    return StaffMemberSummary(
        id=member.id,
        version=member.version,
        name=keys.unseal(Cell(TABLE, "name", member.id), member.name),
        roles=[StaffRole(role) for role in member.roles],
        is_independently_licensed=member.is_independently_licensed,
        account_state=account.state,
    )


async def _read(db: AsyncSession, member: StaffMember, account: Account) -> StaffMemberRead:
    keys = await seals.keys_for(db, [member.name])
    authorizations = await db.scalars(
        select(StaffAuthorization)
        .where(StaffAuthorization.staff_member_id == member.id)
        .order_by(StaffAuthorization.id)
        .limit(100)
    )
    return StaffMemberRead(
        **dict(_summary(keys, member, account)),
        account_id=account.id,
        email=await accounts.email_of(db, account),
        supervisor_id=member.supervisor_id,
        authorizations=[StaffAuthorizationRead.model_validate(a) for a in authorizations],
        created_at=member.created_at,
        updated_at=member.updated_at,
    )
