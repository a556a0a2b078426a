"""The organization's clock."""

from typing import Annotated

from fastapi import Depends

from app.core.problems import problems
from app.routers.route import router
from app.schemas.clock import ClockMove, ClockRead
from app.security.guards import Database, Requires
from app.security.permissions import Permission
from app.security.principal import Principal
from app.services import clocks

routes = router("/v1/clock", "clock")

ClockReader = Annotated[Principal, Depends(Requires(Permission.ORGANIZATION_READ))]
ClockMover = Annotated[Principal, Depends(Requires(Permission.CLOCK_MOVE))]


@routes.get("")
async def read_clock(db: Database, _: ClockReader) -> ClockRead:
    """Read what time it is for your organization."""
    return await clocks.read_clock(db)


@routes.post("", responses=problems(clocks.ClockIsReal, clocks.BeforeRealTime, clocks.TooFarAhead))
async def move_clock(body: ClockMove, db: Database, _: ClockMover) -> ClockRead:
    """Move the clock of a development organization, to see today what happens next week."""
    return await clocks.move_clock(db, body)
