"""Sign-ins: a person on a device, from the proof of who they are until the end of access.

A sign-in stands in one row that every request checks first (AUTH-12): ending it, or raising its
version, ends every token of it at once. What an application may do is cut anew for each token
from what was asked, what the application is registered for, and what the person's roles give.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Final
from uuid import UUID

from sqlalchemy import ColumnElement, and_, func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from app import events
from app.core import clock
from app.core.ids import new_id
from app.core.problems import NotFound
from app.domain.roles import AccountKind, StaffRole
from app.models.accounts import Account, AccountState, Client, RefreshToken, SignIn
from app.models.audit import AuditAction
from app.models.participants import Participant
from app.models.staff import StaffMember
from app.runtime import Runtime
from app.schemas.accounts import SignInRead
from app.schemas.oauth import TokenRead
from app.security import audit, secrets
from app.security.permissions import POLICY
from app.security.principal import Principal
from app.security.scopes import Scope, ScopeSet
from app.security.tokens import AccessClaims

MOST_SIGN_INS: Final = 10
"""Of one account at a time; the oldest gives way (AUTH-14)."""

# Whose record a sign-in is part of, so that it is protected as the rest of that record (WH-15).
_PARTICIPANT: Final = (
    select(Participant.id)
    .where(Participant.account_id == SignIn.account_id)
    .correlate(SignIn)
    .scalar_subquery()
    .label("participant_id")
)


@dataclass(frozen=True, slots=True)
class Holder:
    """An account, and who it belongs to."""

    account: Account
    roles: frozenset[StaffRole]
    participant_id: UUID | None

    @property
    def is_staff(self) -> bool:
        """Whether they work for the organization."""
        return self.account.kind is AccountKind.STAFF


@dataclass(frozen=True, slots=True)
class Proof:
    """That somebody is who they say: how it was shown, and when."""

    acr: str
    amr: Sequence[str]
    at: datetime


async def get_holder(db: AsyncSession, account_id: UUID, *, lock: bool = False) -> Holder | None:
    """An active account and its holder; None when it opens nothing."""
    query = (
        select(Account, StaffMember.roles, Participant.id)
        .outerjoin(StaffMember, StaffMember.account_id == Account.id)
        .outerjoin(Participant, Participant.account_id == Account.id)
        .where(Account.id == account_id, Account.state == AccountState.ACTIVE)
    )
    if lock:
        query = query.with_for_update(of=Account, key_share=True)
    row = (await db.execute(query)).one_or_none()
    if row is None:
        return None
    return Holder(row[0], frozenset(map(StaffRole, row[1] or ())), row[2])


@cache
def ceiling(kind: AccountKind, roles: frozenset[StaffRole]) -> ScopeSet:
    """The most that any application may do for such a person (AUTH-31), read from the policy."""
    if kind is AccountKind.PARTICIPANT:
        rules = [rule for rule in POLICY.values() if rule.participant]
        return ScopeSet(Scope("patient", rule.resource, rule.action) for rule in rules)
    rules = [rule for rule in POLICY.values() if any(rule.staff.get(role) for role in roles)]
    return ScopeSet(Scope("user", rule.resource, rule.action) for rule in rules)


async def open_sign_in(  # noqa: PLR0913 (what a sign-in is made from)
    db: AsyncSession,
    runtime: Runtime,
    holder: Holder,
    client: Client,
    *,
    scope: str,
    proof: Proof,
) -> SignIn:
    """Begin a sign-in; an eleventh ends the oldest.

    The holder was loaded with its account locked, so that two devices cannot both be the tenth.
    """
    settings, now = runtime.settings, clock.wall()
    idle = settings.staff_idle if holder.is_staff else settings.participant_idle
    absolute = settings.staff_absolute if holder.is_staff else settings.participant_absolute
    sign_in = SignIn(
        id=new_id(),
        account_id=holder.account.id,
        client_id=client.id,
        scope=scope,
        version=1,
        acr=proof.acr,
        amr=list(proof.amr),
        authenticated_at=proof.at,
        last_seen_at=now,
        idle_seconds=int(idle.total_seconds()),
        expires_at=now + absolute,
    )
    db.add(sign_in)
    await db.flush()
    await audit.record(
        db,
        AuditAction.EXECUTE,
        "sign_in:create",
        "sign_in",
        sign_in.id,
        participant_id=holder.participant_id,
    )
    await events.record(db, "sign_in.created", sign_in.id, participant_id=holder.participant_id)
    await _end_oldest(db, holder)
    return sign_in


def granted_scope(holder: Holder, sign_in: SignIn, client: Client) -> ScopeSet:
    """What an application may do in a sign-in now: what it asked for, may have, and they may do."""
    return (
        ScopeSet.parse(sign_in.scope)
        & ScopeSet.parse(client.scope)
        & ceiling(holder.account.kind, holder.roles)
    )


async def issue_tokens(  # noqa: PLR0913 (what a pair of tokens is made from)
    db: AsyncSession,
    runtime: Runtime,
    holder: Holder,
    sign_in: SignIn,
    client: Client,
    *,
    previous_id: UUID | None = None,
    part: ScopeSet | None = None,
) -> TokenRead:
    """Give a pair of tokens for a sign-in; `part` narrows what this access token may do."""
    now = clock.wall()
    granted = granted_scope(holder, sign_in, client)
    scope = granted if part is None else granted & part
    lifetime = runtime.settings.access_token_lifetime
    access_token = runtime.issuer.issue(
        AccessClaims(
            sub=holder.account.id,
            organization_id=holder.account.organization_id,
            sign_in_id=sign_in.id,
            version=sign_in.version,
            client_id=client.id,
            scope=scope,
            auth_time=sign_in.authenticated_at,
            acr=sign_in.acr,
            amr=tuple(sign_in.amr),
            jti=new_id(),
            iat=now,
            exp=now + lifetime,
        ),
        now,
    )
    refresh_token, digest = secrets.new_secret()
    db.add(
        RefreshToken(
            id=new_id(),
            sign_in_id=sign_in.id,
            digest=digest,
            previous_id=previous_id,
            issued_at=now,
        )
    )
    await db.flush()
    return TokenRead(
        access_token=access_token,
        token_type="Bearer",  # noqa: S106 (the type, not a token)
        expires_in=int(lifetime.total_seconds()),
        refresh_token=refresh_token,
        scope=str(scope),
    )


def is_live(now: datetime) -> ColumnElement[bool]:
    """The condition that a sign-in still opens something, as `open_request` asks it."""
    idle_until = SignIn.last_seen_at + func.make_interval(0, 0, 0, 0, 0, 0, SignIn.idle_seconds)
    return and_(SignIn.revoked_at.is_(None), SignIn.expires_at > now, idle_until > now)


async def end(db: AsyncSession, because: str, *which: ColumnElement[bool]) -> Sequence[UUID]:
    """End the sign-ins that `which` selects, with all their tokens; returns those that ended.

    From the commit on no token of theirs is accepted, and their open sockets close (AUTH-13).
    """
    now = clock.wall()
    rows = await db.execute(
        update(SignIn)
        .where(SignIn.revoked_at.is_(None), *which)
        .values(revoked_at=now, revoked_because=because)
        .returning(SignIn.id, _PARTICIPANT)
    )
    ended = {row.id: row.participant_id for row in rows}
    await db.execute(
        update(RefreshToken)
        .where(RefreshToken.sign_in_id.in_(ended), RefreshToken.revoked_at.is_(None))
        .values(revoked_at=now)
    )
    for sign_in_id, participant_id in ended.items():
        await audit.record(
            db,
            AuditAction.EXECUTE,
            f"sign_in:{because}",
            "sign_in",
            sign_in_id,
            participant_id=participant_id,
        )
        await events.record(db, "sign_in.ended", sign_in_id, participant_id=participant_id)
    return list(ended)


async def end_all_of(
    db: AsyncSession, account_id: UUID, because: str, *, but: UUID | None = None
) -> None:
    """End every sign-in of an account, but for one that may stay."""
    which = [SignIn.account_id == account_id]
    if but is not None:
        which.append(SignIn.id != but)
    await end(db, because, *which)


async def renew_access(db: AsyncSession, account_id: UUID) -> None:
    """Make every access token of an account unusable; each device must refresh (AUTH-13).

    What it then gets is cut from the roles that the person has now.
    """
    await db.execute(
        update(SignIn)
        .where(SignIn.account_id == account_id, SignIn.revoked_at.is_(None))
        .values(version=SignIn.version + 1)
    )


async def list_sign_ins(db: AsyncSession, principal: Principal) -> Sequence[SignInRead]:
    """The caller's own devices that are signed in now, the latest first."""
    rows = await db.execute(
        select(SignIn, Client.name)
        .join(Client, Client.id == SignIn.client_id)
        .where(SignIn.account_id == principal.account_id, is_live(clock.wall()))
        .order_by(SignIn.id.desc())
        .limit(MOST_SIGN_INS)
    )
    return [
        SignInRead(
            id=sign_in.id,
            client_id=sign_in.client_id,
            client_name=client_name,
            acr=sign_in.acr,
            amr=sign_in.amr,
            authenticated_at=sign_in.authenticated_at,
            last_seen_at=sign_in.last_seen_at,
            expires_at=sign_in.expires_at,
            is_current=sign_in.id == principal.sign_in_id,
        )
        for sign_in, client_name in rows
    ]


async def end_sign_in(db: AsyncSession, principal: Principal, sign_in_id: UUID) -> None:
    """End one of the caller's own sign-ins. Raises NotFound for any other."""
    mine = (SignIn.id == sign_in_id, SignIn.account_id == principal.account_id)
    if not await end(db, "ended", *mine):
        raise NotFound


async def sign_out(db: AsyncSession, principal: Principal) -> None:
    """End the sign-in that asks."""
    await end(db, "signed_out", SignIn.id == principal.sign_in_id)


async def sign_out_everywhere(db: AsyncSession, principal: Principal) -> None:
    """End every sign-in of the caller, this one included."""
    await end_all_of(db, principal.account_id, "signed_out")


async def _end_oldest(db: AsyncSession, holder: Holder) -> None:
    surplus = (
        select(SignIn.id)
        .where(SignIn.account_id == holder.account.id, is_live(clock.wall()))
        .order_by(SignIn.id.desc())
        .offset(MOST_SIGN_INS)
    )
    await end(db, "too_many", SignIn.id.in_(surplus))
