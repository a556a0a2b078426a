"""Signing in: a challenge, its steps, and the code that becomes tokens (AUTH-01 to AUTH-04).

Whether an account exists is never told: a known and an unknown login take the same steps, cost
the same password verification and get the same answer (AUTH-22). The only step today is the
password; `next` names the steps that may follow, so that further ones can be added.
"""

import base64
import hashlib
from datetime import timedelta
from typing import Final, NamedTuple
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from app.core import clock
from app.core.ids import new_id
from app.models.accounts import (
    Account,
    AccountState,
    AuthorizationCode,
    AuthorizationSession,
    Client,
    KnownDevice,
    SignIn,
)
from app.models.audit import AuditAction, AuditOutcome
from app.models.participants import Participant
from app.schemas.oauth import ChallengeRead, ChallengeStart, CodeGrant, TokenRead
from app.security import audit, passwords, seals, secrets
from app.security.scopes import InvalidScope, ScopeSet
from app.security.sealing import normalize_email
from app.services import sign_ins, throttling
from app.services.refusals import OAuthCode, OAuthError
from app.services.throttling import Subject
from app.services.visitors import NOWHERE, Visitor, enter, find_account, look_into

SESSION_LIFETIME: Final = timedelta(minutes=10)
CODE_LIFETIME: Final = timedelta(seconds=60)
MOST_STEPS: Final = 10
ONE_FACTOR: Final = "iop:1"
_PASSWORD_STEP: Final = ("password",)


async def begin(visitor: Visitor, request: ChallengeStart) -> ChallengeRead:
    """Take the first step of a sign-in, and the password's step too when it came along.

    Raises OAuthError, which asks for the next step or refuses, and TooManyRequests.
    """
    auth_session, digest = secrets.new_secret()
    now = clock.wall()
    async with visitor.transaction() as db:
        client = await get_client(db, request.client_id)
        login_index = seals.login_index(db, normalize_email(request.username))
        found = await find_account(db, login_index, request.organization)
        organization_id, account_id = found or (None, None)
        db.add(
            AuthorizationSession(
                digest=digest,
                client_id=client.id,
                code_challenge=request.code_challenge,
                scope=str(_grantable(request.scope, client)),
                login_index=login_index,
                device=secrets.digest(request.device) if request.device else None,
                account_organization=organization_id,
                account_id=account_id,
                amr=[],
                steps=0,
                expires_at=now + SESSION_LIFETIME,
            )
        )
    if request.password is None:
        raise _wanted(auth_session, "A password is needed.")
    return await answer_password(visitor, auth_session, request.password)


async def answer_password(visitor: Visitor, auth_session: str, password: str) -> ChallengeRead:
    """Take the password's step. The guess is counted before it is made (AUTH-21).

    Raises OAuthError and TooManyRequests.
    """
    digest = secrets.digest(auth_session)
    async with visitor.transaction() as db:
        attempt = await _reserve(db, visitor, digest)
    # No connection waits while the password is hashed.
    verdict = await passwords.verify_password(attempt.password_hash, password)
    fresh = await passwords.hash_password(password) if verdict.needs_rehash else None
    async with visitor.transaction() as db:
        answer = await (
            _authorize(db, digest, attempt, fresh) if verdict.ok else _refuse(db, attempt)
        )
    if answer is None:
        raise _wanted(
            auth_session,
            "The user name or the password is not right,"
            " or the organization must be named as well.",
        )
    return answer


async def exchange_code(visitor: Visitor, request: CodeGrant) -> TokenRead:
    """Turn a code into the first tokens of a sign-in, once.

    A code that comes a second time was seen by somebody else: the sign-in that it opened ends
    (AUTH-03). Raises OAuthError.
    """
    async with visitor.transaction() as db:
        tokens = await _exchange(db, visitor, request)
    if tokens is None:
        raise OAuthError(OAuthCode.INVALID_GRANT, "The code cannot be used.")
    return tokens


async def get_client(db: AsyncSession, client_id: str) -> Client:
    """A registered application; raises OAuthError for any other."""
    client = await db.get(Client, client_id)
    if client is None:
        raise OAuthError(OAuthCode.INVALID_CLIENT, "The client is not registered.")
    return client


def parse_scope(text: str) -> ScopeSet:
    """A requested scope; raises OAuthError when it is not of the grammar (AUTH-31)."""
    try:
        return ScopeSet.parse(text)
    except InvalidScope:
        raise OAuthError(
            OAuthCode.INVALID_SCOPE, "The scope is not of the grammar of SMART App Launch 2."
        ) from None


class _Attempt(NamedTuple):
    """A counted guess, with what is needed to judge it."""

    organization_id: UUID | None
    account_id: UUID | None
    participant_id: UUID | None
    password_hash: str | None
    login_index: bytes
    known_device: bytes | None
    subjects: tuple[Subject, ...]


def _grantable(requested: str | None, client: Client) -> ScopeSet:
    """What was asked, as far as the client is registered for it; everything when none is named."""
    registered = ScopeSet.parse(client.scope)
    scope = registered if requested is None else registered & parse_scope(requested)
    if not scope:
        raise OAuthError(OAuthCode.INVALID_SCOPE, "Nothing of the scope can be granted.")
    return scope


def _wanted(auth_session: str, description: str) -> OAuthError:
    return OAuthError(
        OAuthCode.INSUFFICIENT_AUTHORIZATION,
        description,
        auth_session=auth_session,
        next_steps=_PASSWORD_STEP,
    )


async def _open_session(db: AsyncSession, digest: bytes) -> AuthorizationSession:
    session = await db.scalar(
        select(AuthorizationSession)
        .where(AuthorizationSession.digest == digest)
        .with_for_update(key_share=True)
    )
    if session is None or session.expires_at <= clock.wall():
        raise _over()
    return session


def _over() -> OAuthError:
    return OAuthError(OAuthCode.INVALID_SESSION, "Begin the sign-in anew.")


async def _reserve(db: AsyncSession, visitor: Visitor, digest: bytes) -> _Attempt:
    session = await _open_session(db, digest)
    if session.steps >= MOST_STEPS:
        raise _over()
    session.steps += 1
    await look_into(db, session.account_organization)
    known = await _what_is_known(db, session)
    known_device = session.device if known.is_known_device else None
    subjects = _subjects(session.login_index, known_device, visitor.source)
    await throttling.reserve(db, subjects, clock.wall())
    return _Attempt(
        session.account_organization,
        session.account_id,
        known.participant_id,
        known.password_hash,
        session.login_index,
        known_device,
        subjects,
    )


def _subjects(login_index: bytes, known_device: bytes | None, source: str) -> tuple[Subject, ...]:
    if known_device is not None:
        return (throttling.device(login_index, known_device),)
    return (throttling.login(login_index), throttling.network(source))


class _Known(NamedTuple):
    """What is known of a login; all of it nothing when nobody has it."""

    participant_id: UUID | None = None
    password_hash: str | None = None
    is_known_device: bool = False


async def _what_is_known(db: AsyncSession, session: AuthorizationSession) -> _Known:
    """Whose record the account is part of and, of an active one, its password and this device."""
    device = (
        select(KnownDevice.id)
        .where(KnownDevice.account_id == Account.id, KnownDevice.digest == session.device)
        .exists()
    )
    row = (
        await db.execute(
            select(Account.state, Participant.id, Account.password_hash, device)
            .outerjoin(Participant, Participant.account_id == Account.id)
            .where(Account.id == (session.account_id or NOWHERE))
        )
    ).one_or_none()
    if row is None:
        return _Known()
    state, participant_id, password_hash, is_known_device = row
    if state is not AccountState.ACTIVE:
        return _Known(participant_id)
    return _Known(participant_id, password_hash, is_known_device)


async def _refuse(db: AsyncSession, attempt: _Attempt) -> None:
    """Leave the trace of a failed sign-in, where there is an organization to leave it in."""
    await look_into(db, attempt.organization_id)
    is_delayed = await throttling.is_delayed(db, attempt.subjects, clock.wall())
    if attempt.organization_id is None:
        return
    await audit.record(
        db,
        AuditAction.EXECUTE,
        "sign_in:password",
        "account",
        attempt.account_id,
        participant_id=attempt.participant_id,
        outcome=AuditOutcome.FAILED,
    )
    if is_delayed:
        await audit.record(
            db,
            AuditAction.EXECUTE,
            "sign_in:throttled",
            "account",
            attempt.account_id,
            participant_id=attempt.participant_id,
            outcome=AuditOutcome.REFUSED,
        )


async def _authorize(
    db: AsyncSession, digest: bytes, attempt: _Attempt, fresh_hash: str | None
) -> ChallengeRead | None:
    """Give the code to whoever knew the password of an account that is still active."""
    session = await _open_session(db, digest)
    if session.account_organization is None or session.account_id is None:
        return None
    now = clock.wall()
    await enter(db, session.account_organization, session.account_id)
    holder = await sign_ins.get_holder(db, session.account_id, lock=True)
    if holder is None:
        return None
    scope = ScopeSet.parse(session.scope)
    if not scope & sign_ins.ceiling(holder.account.kind, holder.roles):
        raise OAuthError(OAuthCode.INVALID_SCOPE, "Nothing of the scope can be granted.")
    if fresh_hash is not None:
        holder.account.password_hash = fresh_hash
    await throttling.forgive(db, _forgiven(attempt), now)
    device = await _remember_device(db, holder.account.id, attempt.known_device)
    # A session that gave its code is over.
    session.expires_at = now
    code, code_digest = secrets.new_secret()
    db.add(
        AuthorizationCode(
            digest=code_digest,
            client_id=session.client_id,
            code_challenge=session.code_challenge,
            scope=session.scope,
            account_organization=session.account_organization,
            account_id=session.account_id,
            acr=ONE_FACTOR,
            amr=["pwd"],
            authenticated_at=now,
            expires_at=now + CODE_LIFETIME,
        )
    )
    await audit.record(
        db,
        AuditAction.EXECUTE,
        "sign_in:password",
        "account",
        holder.account.id,
        participant_id=holder.participant_id,
    )
    return ChallengeRead(authorization_code=code, device=device)


def _forgiven(attempt: _Attempt) -> list[Subject]:
    """A success from a known device ends the run of failures of the login too."""
    return [*{*attempt.subjects, throttling.login(attempt.login_index)}]


async def _remember_device(
    db: AsyncSession, account_id: UUID, known_device: bytes | None
) -> str | None:
    """Note that a device signed in; a new one gets a secret to prove it later."""
    now = clock.wall()
    if known_device is not None:
        device = await db.scalar(
            select(KnownDevice).where(
                KnownDevice.account_id == account_id, KnownDevice.digest == known_device
            )
        )
        if device is not None:
            device.last_seen_at = now
        return None
    secret, digest = secrets.new_secret()
    db.add(KnownDevice(id=new_id(), account_id=account_id, digest=digest, last_seen_at=now))
    return secret


async def _exchange(db: AsyncSession, visitor: Visitor, request: CodeGrant) -> TokenRead | None:
    """The tokens, or None. What a replay ends must stay ended, so nothing is raised for it."""
    client = await get_client(db, request.client_id)
    code = await db.scalar(
        select(AuthorizationCode)
        .where(AuthorizationCode.digest == secrets.digest(request.code))
        .with_for_update(key_share=True)
    )
    if code is None:
        return None
    await enter(db, code.account_organization, code.account_id)
    if code.used_at is not None:
        await sign_ins.end(db, "code_replayed", SignIn.id == code.sign_in_id)
        return None
    if not _is_for(code, request):
        return None
    holder = await sign_ins.get_holder(db, code.account_id, lock=True)
    if holder is None:
        return None
    proof = sign_ins.Proof(code.acr, code.amr, code.authenticated_at)
    sign_in = await sign_ins.open_sign_in(
        db, visitor.runtime, holder, client, scope=code.scope, proof=proof
    )
    code.used_at, code.sign_in_id = clock.wall(), sign_in.id
    return await sign_ins.issue_tokens(db, visitor.runtime, holder, sign_in, client)


def _is_for(code: AuthorizationCode, request: CodeGrant) -> bool:
    """Whether the code is still good, and for this client and this verifier (AUTH-04)."""
    hashed = hashlib.sha256(request.code_verifier.encode()).digest()
    challenge = base64.urlsafe_b64encode(hashed).rstrip(b"=")
    return (
        code.client_id == request.client_id
        and code.expires_at > clock.wall()
        and secrets.matches(challenge, code.code_challenge.encode())
    )
