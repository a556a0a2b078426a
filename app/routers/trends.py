"""A participant's scores over time, as figures and as a picture."""

from typing import Annotated, Final
from uuid import UUID

from fastapi import Depends, Path, Response

from app.core.problems import NotFound, problems
from app.routers.route import router
from app.schemas.trends import TrendRead
from app.schemas.types import Slug
from app.security.guards import ReadLane, RequiresInLane
from app.security.permissions import Permission
from app.security.principal import Principal
from app.services import charts, trends

SVG: Final = "image/svg+xml"

routes = router("/v1/participants/{participant_id}/trends", "assessments")

AssessmentReader = Annotated[Principal, Depends(RequiresInLane(Permission.ASSESSMENT_READ))]
InstrumentKey = Annotated[Slug, Path(description="The instrument's key, such as `phq-9`.")]


class Svg(Response):
    """A picture that is text."""

    media_type = SVG


@routes.get("/{key}", responses=problems(NotFound))
async def read_trend(
    participant_id: UUID, key: InstrumentKey, lane: ReadLane, principal: AssessmentReader
) -> TrendRead:
    """Read a participant's scores on one instrument over time, ready to plot."""
    return await trends.read_trend(lane, principal, participant_id, key)


@routes.get("/{key}/chart.svg", response_class=Svg, responses=problems(NotFound))
async def draw_trend(
    participant_id: UUID, key: InstrumentKey, lane: ReadLane, principal: AssessmentReader
) -> Svg:
    """Draw a participant's scores over time, with bands, dates of their zone and a description."""
    trend = await trends.read_trend(lane, principal, participant_id, key)
    return Svg(await charts.draw_trend(trend))
