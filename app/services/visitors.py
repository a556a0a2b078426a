"""Callers whom nobody knows yet, and how one of them enters an organization.

Signing in takes several short transactions instead of one: a counted guess must stay counted
although the request is refused, and no connection may wait while a password is hashed. What such
a step decides is therefore returned out of its transaction, and refused after the commit.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncSession

from app.core import clock
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


@dataclass(frozen=True, slots=True)
class Visitor:
    """A caller without a token: where the request came from, and what serves it."""

    runtime: Runtime
    request_id: str
    source: str

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncSession]:
        """A transaction of nobody, in which no organization's row is visible."""
        async with self.runtime.connections.command() as db:
            await db.execute(_NOBODY, {"request": self.request_id, "source": self.source})
            db.info["vault"] = self.runtime.vault
            yield db


async def enter(
    db: AsyncSession, organization_id: UUID, account_id: UUID | None = None
) -> Organization:
    """Make a transaction of nobody one of this organization, and of this account if it is known.

    Only for who has proven it: the organization was found by a secret, or by a login whose
    password is checked before anything is told. The clock becomes the organization's.
    """
    await db.execute(
        _ENTER,
        {"organization": organization_id, "account": str(account_id) if account_id else ""},
    )
    db.info.update(organization_id=organization_id, account_id=account_id)
    organization = (
        await db.scalars(
            select(Organization).where(Organization.organization_id == organization_id)
        )
    ).one()
    clock.set_organization_offset(organization.clock_offset)
    return organization
