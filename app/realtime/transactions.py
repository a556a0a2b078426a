"""Transactions of somebody who stays: each checks the access anew, in its first statement."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from app.core.database import Lane
from app.runtime import Runtime
from app.security.guards import Opening, open_lane


@asynccontextmanager
async def opened(opening: Opening, runtime: Runtime) -> AsyncIterator[Lane]:
    """A transaction of who asks, in the driver's lane, committed at the end.

    Raises Unauthenticated once the sign-in has ended.
    """
    transaction = await open_lane(opening, runtime)
    try:
        yield transaction.lane
    except BaseException as error:
        await transaction.roll_back(error)
        raise
    await transaction.commit()
