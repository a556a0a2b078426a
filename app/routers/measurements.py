"""What a program asks by the calendar."""

from typing import Annotated
from uuid import UUID

from fastapi import Depends, Response

from app.core.problems import (
    Invalid,
    NotFound,
    PreconditionFailed,
    PreconditionRequired,
    problems,
)
from app.routers.route import IfMatch, expected_version, router, tagged
from app.schemas.measurements import MeasurementsRead, MeasurementsWrite
from app.security.guards import Database, Requires
from app.security.permissions import Permission
from app.security.principal import Principal
from app.services import measurements

routes = router("/v1/programs/{program_id}/measurements", "programs")

ProgramReader = Annotated[Principal, Depends(Requires(Permission.PROGRAM_READ))]
ProgramManager = Annotated[Principal, Depends(Requires(Permission.PROGRAM_MANAGE))]


@routes.get("", responses=problems(NotFound))
async def read_measurements(
    program_id: UUID, response: Response, db: Database, _: ProgramReader
) -> MeasurementsRead:
    """Read what the program asks by the calendar, and for how long each form stays open."""
    return tagged(response, await measurements.read_measurements(db, program_id))


@routes.put("", responses=problems(NotFound, Invalid, PreconditionRequired, PreconditionFailed))
async def set_measurements(
    program_id: UUID,
    body: MeasurementsWrite,
    response: Response,
    db: Database,
    principal: ProgramManager,
    if_match: IfMatch = None,
) -> MeasurementsRead:
    """Let the program ask by a schedule of its own from today; forms that were given stay.

    A worker gives each form up to a week before it opens. Days and midnights are those of the
    participant's own zone.
    """
    version = expected_version(if_match)
    changed = await measurements.set_measurements(db, principal, program_id, body, version)
    return tagged(response, changed)
