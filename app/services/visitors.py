"""Callers whom nobody knows yet, and how one of them enters an organization.

Signing in takes several short transactions instead of one: a counted guess must stay counted
although the request is refused, and no connection may wait while a password is hashed. What such
a step decides is therefore returned out of its transaction, and refused after the commit.
"""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Final, Literal
from uuid import UUID

from sqlalchemy import TextClause, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from app.core import clock
from app.core.database import connection_lost
from app.models.organizations import Organization
from app.runtime import Runtime

_NOBODY: Final = text(
    "select set_config('stepwell.organization_id', '', true),"
    " set_config('stepwell.account_id', '', true),"
    " set_config('stepwell.request_id', :request, true),"
    " set_config('stepwell.source', :source, true)"
)
_ENTER: Final = text(
    "select enter_organization(:organization), set_config('stepwell.account_id', :account, true)"
)
_FIND: Final = text("select organization_id, account_id from accounts_with_login(:index, :slug)")
NOWHERE: Final = UUID(int=0)
"""The id of no organization and of no account."""

SecretNoun = Literal["refresh_token", "invitation"]
_OWNER: Final[dict[SecretNoun, TextClause]] = {
    "refresh_token": text("select organization_of_refresh_token(:digest)"),
    "invitation": text("select organization_of_invitation(:digest)"),
}


@dataclass(frozen=True, slots=True)
class Visitor:
    """A caller without a token: where the request came from, and what serves it."""

    runtime: Runtime
    request_id: str
    source: str

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncSession]:
        """A transaction of nobody, in which no organization's row is visible.

        A pooled connection may have died since it was used: nothing has happened yet, so the
        first statement is repeated once on a fresh one.
        """
        async with AsyncExitStack() as stack:
            try:
                db = await self._begin(stack)
            except Exception as error:
                if not connection_lost(error):
                    raise
                db = await self._begin(stack)
            yield db

    async def _begin(self, stack: AsyncExitStack) -> AsyncSession:
        async with AsyncExitStack() as attempt:
            db = await attempt.enter_async_context(self.runtime.connections.command())
            await db.execute(_NOBODY, {"request": self.request_id, "source": self.source})
            db.info["vault"] = self.runtime.vault
            stack.push_async_exit(attempt.pop_all())
        return db


async def look_into(
    db: AsyncSession, organization_id: UUID | None, account_id: UUID | None = None
) -> None:
    """Make the rows of an organization visible in a transaction of nobody.

    For a login whose password is checked before anything is told. One that nobody has looks into
    `NOWHERE`, with the same statements, so that time does not tell them apart (AUTH-22).
    """
    await db.execute(
        _ENTER,
        {
            "organization": organization_id or NOWHERE,
            "account": str(account_id) if account_id else "",
        },
    )


async def enter(
    db: AsyncSession, organization_id: UUID, account_id: UUID | None = None
) -> Organization:
    """Make a transaction of nobody one of this organization, and of this account if it is known.

    Only for who has proven it, by a secret or a password. The clock becomes the organization's.
    """
    await look_into(db, organization_id, account_id)
    db.info.update(organization_id=organization_id, account_id=account_id)
    organization = (
        await db.scalars(
            select(Organization).where(Organization.organization_id == organization_id)
        )
    ).one()
    clock.set_organization_offset(organization.clock_offset)
    return organization


async def find_account(
    db: AsyncSession, login_index: bytes, slug: str | None
) -> tuple[UUID, UUID] | None:
    """The organization and the account of a login; None when there is none, or more than one."""
    found = (await db.execute(_FIND, {"index": login_index, "slug": slug})).all()
    return (found[0][0], found[0][1]) if len(found) == 1 else None


async def enter_by(db: AsyncSession, noun: SecretNoun, digest: bytes) -> Organization | None:
    """Enter the organization in which a secret was issued; None when none was."""
    organization_id = await db.scalar(_OWNER[noun], {"digest": digest})
    return None if organization_id is None else await enter(db, organization_id)
