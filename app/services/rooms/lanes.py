"""Transactions that no request opens: those of a handshake, and of what is told to sockets."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Final
from uuid import UUID

from app.core import clock
from app.core.database import Lane, LaneTransaction, connection_lost
from app.runtime import Runtime

_ENTER: Final = (
    "select set_config('stepwell.organization_id', $1, true),"
    " set_config('stepwell.account_id', '', true)"
)


_OFFSET: Final = "select clock_offset from organization"


@asynccontextmanager
async def entered(runtime: Runtime, organization_id: UUID | None) -> AsyncIterator[Lane]:
    """A transaction of one organization, or of none; committed at the end.

    Nobody's access was checked: what is read here is for whoever may see it, and who that is has
    to be part of the query.
    """
    transaction = await _begin(runtime, organization_id)
    try:
        transaction.lane.info.update(
            organization_id=organization_id, account_id=None, vault=runtime.vault
        )
        yield transaction.lane
    except BaseException as error:
        await transaction.roll_back(error)
        raise
    await transaction.commit()


async def keep_organization_time(lane: Lane) -> None:
    """Let `clock.now()` be the organization's, as a request's first statement would."""
    offset: timedelta | None = await lane.fetchval(_OFFSET)
    clock.set_organization_offset(offset or clock.ZERO)


async def _begin(runtime: Runtime, organization_id: UUID | None) -> LaneTransaction:
    """Begin; repeated once when the pooled connection has died since it was used."""
    try:
        return await _begin_once(runtime, organization_id)
    except Exception as error:
        if not connection_lost(error):
            raise
        return await _begin_once(runtime, organization_id)


async def _begin_once(runtime: Runtime, organization_id: UUID | None) -> LaneTransaction:
    transaction = await runtime.connections.begin_lane()
    try:
        organization = "" if organization_id is None else str(organization_id)
        await transaction.lane.execute(_ENTER, organization)
    except BaseException as error:
        await transaction.roll_back(error)
        raise
    return transaction
