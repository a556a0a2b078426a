"""Instruments: the questionnaires that can be assigned."""

from typing import Annotated

from fastapi import Depends, Path, Response

from app.core.problems import NotFound, problems
from app.routers.route import router
from app.schemas.instruments import InstrumentPage, InstrumentRead
from app.schemas.types import Slug
from app.security.guards import RequiresInLane
from app.security.permissions import Permission
from app.security.principal import Principal
from app.services import instruments

routes = router("/v1/instruments", "instruments")

InstrumentReader = Annotated[Principal, Depends(RequiresInLane(Permission.INSTRUMENT_READ))]


@routes.get("")
async def list_instruments(_: InstrumentReader) -> InstrumentPage:
    """List the instruments that can be assigned."""
    return InstrumentPage(items=list(instruments.list_instruments()), next_cursor=None)


@routes.get("/{key}", responses=problems(NotFound))
async def read_instrument(
    key: Annotated[Slug, Path(examples=["phq-9"])], response: Response, _: InstrumentReader
) -> InstrumentRead:
    """Read one instrument, with its items and the lines that must be shown with it."""
    instrument = instruments.read_instrument(key)
    response.headers["ETag"] = f'"{instrument.version}"'
    return instrument
