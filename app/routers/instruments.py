"""Instruments: the questionnaires that can be assigned."""

from http import HTTPStatus
from typing import Annotated

from fastapi import Depends, Path, Query, Response

from app.core.problems import Invalid, NotFound, problems
from app.routers.route import router
from app.schemas.instruments import (
    InstrumentAdapt,
    InstrumentDefinitionRead,
    InstrumentLoad,
    InstrumentPage,
    InstrumentRead,
    InstrumentSwitchOn,
)
from app.schemas.types import SemanticVersion, Slug
from app.security.guards import Database, ReadLane, Requires, RequiresInLane
from app.security.permissions import Permission
from app.security.principal import Principal
from app.services import instruments

routes = router("/v1/instruments", "instruments")

InstrumentReader = Annotated[Principal, Depends(RequiresInLane(Permission.INSTRUMENT_READ))]
DefinitionReader = Annotated[Principal, Depends(RequiresInLane(Permission.INSTRUMENT_MANAGE))]
InstrumentManager = Annotated[Principal, Depends(Requires(Permission.INSTRUMENT_MANAGE))]
Key = Annotated[Slug, Path(examples=["phq-9"])]


@routes.get("")
async def list_instruments(lane: ReadLane, _: InstrumentReader) -> InstrumentPage:
    """List the instruments of the organization: those that ship, and those that it has loaded."""
    found = await instruments.list_instruments(lane)
    return InstrumentPage(items=list(found), next_cursor=None)


@routes.post(
    "",
    status_code=HTTPStatus.CREATED,
    responses=problems(
        Invalid,
        instruments.InstrumentKeyTaken,
        instruments.InstrumentVersionTaken,
        instruments.InstrumentVersionNotNewer,
        instruments.TooManyInstruments,
    ),
)
async def load_instrument(
    body: InstrumentLoad, response: Response, db: Database, principal: InstrumentManager
) -> InstrumentDefinitionRead:
    """Publish a version of an instrument that the organization has the right to use.

    It is judged as a whole: every mistake is named with its place, and nothing is stored. A
    published version never changes.
    """
    loaded = await instruments.load_instrument(db, principal, body)
    response.headers["Location"] = f"/v1/instruments/{loaded.key}"
    return loaded


@routes.get("/{key}", responses=problems(NotFound))
async def read_instrument(
    key: Key, response: Response, lane: ReadLane, _: InstrumentReader
) -> InstrumentRead:
    """Read one instrument, with its items and the lines that must be shown with it."""
    instrument = await instruments.read_instrument(lane, key)
    state = "on" if instrument.is_assignable else "off"
    response.headers["ETag"] = f'"{instrument.version}-{state}"'
    return instrument


@routes.get("/{key}/definition", responses=problems(NotFound))
async def read_instrument_definition(
    key: Key,
    lane: ReadLane,
    _: DefinitionReader,
    version: Annotated[
        SemanticVersion | None, Query(description="An earlier version; else the present one.")
    ] = None,
) -> InstrumentDefinitionRead:
    """Read a version as it is written, with the settings that it leaves to the organization."""
    return await instruments.read_definition(lane, key, version)


@routes.post(
    "/{key}/adaptations",
    status_code=HTTPStatus.CREATED,
    responses=problems(
        NotFound,
        Invalid,
        instruments.InstrumentVersionTaken,
        instruments.InstrumentVersionNotNewer,
        instruments.TooManyInstruments,
    ),
)
async def adapt_instrument(
    key: Key, body: InstrumentAdapt, db: Database, principal: InstrumentManager
) -> InstrumentDefinitionRead:
    """Publish a version with figures that the organization sets; the wording stays."""
    return await instruments.adapt_instrument(db, principal, key, body)


@routes.post(
    "/{key}/switch-on",
    responses=problems(
        NotFound, instruments.ConditionNotAccepted, instruments.InstrumentVersionChanged
    ),
)
async def switch_instrument_on(
    key: Key, body: InstrumentSwitchOn, db: Database, principal: InstrumentManager
) -> InstrumentRead:
    """Use an instrument from now on, and accept its condition if it has one."""
    return await instruments.switch_instrument_on(db, principal, key, body)


@routes.post("/{key}/switch-off", responses=problems(NotFound))
async def switch_instrument_off(
    key: Key, db: Database, principal: InstrumentManager
) -> InstrumentRead:
    """Assign an instrument no more; what was assigned can still be answered."""
    return await instruments.switch_instrument_off(db, principal, key)
