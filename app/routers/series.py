"""Series of sessions: at one time on the wall, whatever the clocks do."""

from http import HTTPStatus
from typing import Annotated
from uuid import UUID

from fastapi import Depends, Response

from app.core.problems import NotFound, problems
from app.routers.route import router, tagged
from app.schemas.series import SeriesCreate, SeriesRead
from app.security.guards import Database, Requires
from app.security.permissions import Permission
from app.security.principal import Principal
from app.services import bookings, groups, series

routes = router("/v1/series", "series")

SeriesReader = Annotated[Principal, Depends(Requires(Permission.SESSION_READ))]
SeriesManager = Annotated[Principal, Depends(Requires(Permission.SESSION_MANAGE))]


@routes.post(
    "",
    status_code=HTTPStatus.CREATED,
    responses=problems(
        NotFound,
        series.InvalidSeries,
        groups.GroupClosed,
        bookings.StaffBooked,
        bookings.ParticipantBooked,
    ),
)
async def create_series(
    body: SeriesCreate, response: Response, db: Database, principal: SeriesManager
) -> SeriesRead:
    """Schedule a group's sessions, and book everybody who leads it or belongs to it.

    Sessions exist for the next 90 days; later ones follow as the days pass. The time is that
    on the wall of the zone: a time in the hour that clocks repeat means the first of the two,
    one in the hour that they leave out means the first instant after it.
    """
    created = SeriesRead.model_validate(await series.create_series(db, principal, body))
    response.headers["Location"] = f"/v1/series/{created.id}"
    return tagged(response, created)


@routes.get("/{series_id}", responses=problems(NotFound))
async def read_series(
    series_id: UUID, response: Response, db: Database, principal: SeriesReader
) -> SeriesRead:
    """Read one series."""
    found = await series.get_series(db, principal, series_id)
    return tagged(response, SeriesRead.model_validate(found))


@routes.post("/{series_id}/end", responses=problems(NotFound, series.SeriesEnded))
async def end_series(
    series_id: UUID, response: Response, db: Database, principal: SeriesManager
) -> SeriesRead:
    """End a series: sessions that have not begun are canceled, and every place given back."""
    ended = await series.end_series(db, principal, series_id)
    return tagged(response, SeriesRead.model_validate(ended))
