"""Wraps the keys of every organization with the newest root key, while everybody works (PHI-05)."""

import asyncpg

from app.core import logging
from app.core.database import connection_lost, driver_connection
from app.jobs.workplace import Workplace
from app.security.sealing import Unsealable
from app.security.turning import Rewrapped

_log = logging.get_logger(__name__)


async def rewrap(place: Workplace) -> Rewrapped:
    """Wrap anew what another root key has wrapped, each organization in a transaction of its own.

    One whose keys are held by somebody, or whose root key is not here, is left and counted. What
    was done before an interruption is done.
    """
    place.vault.refresh()
    anew = left = 0
    for organization_id in await place.organizations():
        try:
            async with place.enter(organization_id) as db:
                connection = await driver_connection(db)
                anew += await place.vault.rewrap(connection, organization_id)
        except (asyncpg.PostgresError, Unsealable) as error:
            if connection_lost(error):
                raise
            left += 1
            _log.error(
                "organization_key_left",
                organization_id=str(organization_id),
                **logging.describe(error),
            )
    return Rewrapped(anew, left)
