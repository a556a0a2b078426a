"""What every process keeps measuring of itself, asked or not (REL-17)."""

import asyncio
from collections.abc import Sequence
from typing import Final, cast

from sqlalchemy.pool import QueuePool

from app.core import clock, metrics
from app.core.database import Connections
from app.jobs.supervision import Loop
from app.readiness import Readiness

_CHECKS_EVERY: Final = 5.0
_LAG_OVER: Final = 0.5


def loops(readiness: Readiness, connections: Connections) -> Sequence[Loop]:
    """Loops that keep the metrics of a process true; for its supervisor."""
    pool = cast("QueuePool", connections.engine.pool)
    metrics.POOL_IN_USE.set_function(pool.checkedout)

    async def check() -> bool:
        await readiness.report()
        return False

    return (
        Loop("checks", check, _CHECKS_EVERY, is_critical=False),
        Loop("loop_lag", _measure_lag, 0.0, is_critical=False),
    )


async def _measure_lag() -> bool:
    """See how much later than asked for the event loop comes back."""
    began = clock.monotonic()
    await asyncio.sleep(_LAG_OVER)
    metrics.LOOP_LAG.observe(max(0.0, clock.monotonic() - began - _LAG_OVER))
    return True
