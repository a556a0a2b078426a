"""Refresh tokens: each is good for one use, and a stolen one ends the sign-in (AUTH-15, AUTH-16).

All tokens of a sign-in form one chain. Its last link is current. An answer can get lost on a bad
network, so that a client honestly comes back with the link before: it may, for half a minute, and
as long as nobody has used what was lost. Every other link is in the wrong hands, or its
successor is, and nobody can tell which: the sign-in ends.
"""

from datetime import datetime, timedelta
from enum import Enum, auto, unique
from typing import Final

from sqlalchemy import ColumnElement, select
from sqlalchemy.ext.asyncio import AsyncSession

from app import notifications
from app.core import clock
from app.core.problems import Unauthenticated
from app.models.accounts import RefreshToken, SignIn
from app.notifications import Template
from app.schemas.oauth import RefreshGrant, RevocationRequest, TokenRead
from app.security import secrets
from app.security.scopes import ScopeSet
from app.services import authorization, sign_ins
from app.services.refusals import OAuthCode, OAuthError
from app.services.visitors import Visitor, enter, enter_by

TOLERANCE: Final = timedelta(seconds=30)
"""How long the answer to a refresh may have been lost."""


@unique
class Use(Enum):
    """What presenting a refresh token means; the letters are AUTH-16's."""

    ROTATE = auto()
    """(a) The current token is used."""
    REPEAT = auto()
    """(b) The answer to its use was lost, and it is used again."""
    REUSE = auto()
    """(c) Two hold tokens of this chain."""


def judge(token: RefreshToken, successor: RefreshToken | None, now: datetime) -> Use:
    """Say what it means that `token` is presented, and `successor` was issued for it."""
    if token.revoked_at is not None:
        return Use.REUSE
    if token.rotated_at is None:
        return Use.ROTATE
    is_recent = now - token.rotated_at <= TOLERANCE
    is_unused = (
        successor is not None and successor.rotated_at is None and successor.revoked_at is None
    )
    return Use.REPEAT if is_recent and is_unused else Use.REUSE


async def refresh(visitor: Visitor, request: RefreshGrant) -> TokenRead:
    """Turn a refresh token into a new pair. Raises OAuthError."""
    part = None if request.scope is None else authorization.parse_scope(request.scope)
    async with visitor.transaction() as db:
        tokens = await _refresh(db, visitor, request, part)
    if tokens is None:
        raise OAuthError(OAuthCode.INVALID_GRANT, "The refresh token cannot be used.")
    return tokens


async def revoke(visitor: Visitor, request: RevocationRequest) -> None:
    """End the sign-in that a token belongs to; an unknown token is no error (RFC 7009, 2.2).

    Raises OAuthError for an unregistered client.
    """
    async with visitor.transaction() as db:
        client = await authorization.get_client(db, request.client_id)
        which = await _sign_in_of(db, visitor, request.token)
        if which is not None:
            await sign_ins.end(db, "revoked", which, SignIn.client_id == client.id)


async def _refresh(
    db: AsyncSession, visitor: Visitor, request: RefreshGrant, part: ScopeSet | None
) -> TokenRead | None:
    """The new pair, or None. What a reuse ends must stay ended, so nothing is raised for it."""
    client = await authorization.get_client(db, request.client_id)
    digest = secrets.digest(request.refresh_token)
    if await enter_by(db, "refresh_token", digest) is None:
        return None
    sign_in = await _locked_sign_in(db, digest)
    if sign_in is None or sign_in.client_id != client.id:
        return None
    token, successor = await _links(db, digest)
    now = clock.wall()
    if judge(token, successor, now) is Use.REUSE:
        await _end_stolen(db, sign_in)
        return None
    holder = await sign_ins.get_holder(db, sign_in.account_id)
    if holder is None:
        return None
    if part is not None and not sign_ins.granted_scope(holder, sign_in, client) & part:
        raise OAuthError(OAuthCode.INVALID_SCOPE, "The scope is no part of what was granted.")
    if successor is None:
        token.rotated_at = now
    else:
        # (b) What was lost is worth nothing any more, should somebody find it.
        successor.revoked_at = now
    sign_in.last_seen_at = now
    return await sign_ins.issue_tokens(
        db, visitor.runtime, holder, sign_in, client, previous_id=token.id, part=part
    )


async def _locked_sign_in(db: AsyncSession, digest: bytes) -> SignIn | None:
    """The live sign-in of a token. Its lock makes the refreshes of one chain queue up."""
    query = (
        select(SignIn)
        .join(RefreshToken, RefreshToken.sign_in_id == SignIn.id)
        .where(RefreshToken.digest == digest, sign_ins.is_live(clock.wall()))
        .with_for_update(of=SignIn, key_share=True)
    )
    sign_in: SignIn | None = await db.scalar(query)
    return sign_in


async def _links(db: AsyncSession, digest: bytes) -> tuple[RefreshToken, RefreshToken | None]:
    """The presented token and its successor, read after the lock.

    Of several successors all but one were revoked as lost, and that one counts. Ids do not order
    them: the next may have been drawn by a process whose clock is behind.
    """
    token = (await db.scalars(select(RefreshToken).where(RefreshToken.digest == digest))).one()
    successor = await db.scalar(
        select(RefreshToken)
        .where(RefreshToken.previous_id == token.id)
        .order_by(RefreshToken.revoked_at.desc().nulls_first())
        .limit(1)
    )
    return token, successor


async def _end_stolen(db: AsyncSession, sign_in: SignIn) -> None:
    """End a sign-in of which two hold tokens, and tell its owner."""
    await sign_ins.end(db, "refresh_reuse", SignIn.id == sign_in.id)
    await notifications.queue(db, sign_in.account_id, Template.SIGN_IN_ENDED)


async def _sign_in_of(db: AsyncSession, visitor: Visitor, token: str) -> ColumnElement[bool] | None:
    """The condition that selects a token's sign-in, with its organization entered."""
    if "." in token:
        try:
            claims = visitor.runtime.verifier.verify(token, clock.wall())
        except Unauthenticated:
            return None
        await enter(db, claims.organization_id, claims.sub)
        return SignIn.id == claims.sign_in_id
    digest = secrets.digest(token)
    if await enter_by(db, "refresh_token", digest) is None:
        return None
    return SignIn.id.in_(select(RefreshToken.sign_in_id).where(RefreshToken.digest == digest))
