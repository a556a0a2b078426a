"""One participant's scores over time: what the clinic looks at to see whether care helps.

Only what counts is here: a corrected form gives way to its correction, at the time at which the
person answered. Scores stay those of the definition that made them; the bands beside them are
those of the definition of today.
"""

from collections.abc import Sequence
from functools import cache
from typing import Final
from uuid import UUID
from zoneinfo import ZoneInfo

import asyncpg
from sqlalchemy import Integer, Text, Uuid, bindparam, select

from app.core.database import Lane, Query
from app.core.problems import NotFound
from app.domain.instruments import Instrument, ScoreRule
from app.domain.scoring.scores import NOBODY_KNOWS
from app.models.assessments import Assessment, Score
from app.models.participants import Participant
from app.schemas.assessments import ChangeRead, ResultState
from app.schemas.trends import TrendPoint, TrendRead, TrendSeries
from app.security import audit
from app.security.access import reach_parameters, visible_participants
from app.security.permissions import Permission
from app.security.principal import Principal, Reach
from app.services import instruments
from app.services.assessments.reading import is_result_shown
from app.services.instruments.describing import NOT_VALIDATED

LONGEST: Final = 366
"""How many administrations a trend holds: a year of days. The newest are kept."""

_POINTS: Final = Query(
    select(
        Assessment.id,
        Assessment.revision,
        Assessment.taken_at,
        Score.instrument_version,
        Score.code,
        Score.value,
        Score.band,
        Score.is_prorated,
        Score.change,
        Score.change_from_previous,
    )
    .join(
        Score,
        (Score.organization_id == Assessment.organization_id)
        & (Score.assessment_id == Assessment.id),
    )
    .where(
        Assessment.participant_id == bindparam("participant_id", type_=Uuid),
        Assessment.instrument_key == bindparam("key", type_=Text),
        Assessment.corrected_by_id.is_(None),
    )
    .order_by(Assessment.taken_at.desc(), Assessment.id.desc(), Score.id)
    .limit(bindparam("most", type_=Integer))
)


@cache
def _participant(reach: Reach) -> Query:
    statement = select(
        Participant.id,
        Participant.id.label("participant_id"),
        Participant.version,
        Participant.time_zone,
    ).where(Participant.id == bindparam("id"), visible_participants(Participant.id, reach))
    return audit.read_one(statement, Permission.ASSESSMENT_READ, "trend")


async def read_trend(lane: Lane, principal: Principal, participant_id: UUID, key: str) -> TrendRead:
    """A participant's scores on one instrument, oldest first.

    A participant whose result is not for them learns that it is withheld, and no more. Raises
    NotFound for an instrument that does not exist, and for a participant who is not visible.
    """
    row = await lane.one(
        _participant(principal.reach), id=participant_id, **reach_parameters(principal)
    )
    instrument = await instruments.find_instrument(lane, key)
    if row is None or instrument is None:
        raise NotFound
    is_shown = is_result_shown(principal, instrument)
    most = LONGEST * max(len(instrument.scores), 1)
    points: Sequence[asyncpg.Record] = (
        await lane.all(_POINTS, participant_id=participant_id, key=key, most=most + 1)
        if is_shown
        else ()
    )
    zone = ZoneInfo(row["time_zone"])
    shown = points[:most][::-1]
    return TrendRead(
        participant_id=participant_id,
        instrument_key=instrument.key,
        title=instrument.title,
        label=None if instrument.is_validated else NOT_VALIDATED,
        time_zone=row["time_zone"],
        result=ResultState.SHOWN if is_shown else ResultState.WITHHELD,
        is_cut=len(points) > most,
        series=[_series(instrument, rule, shown, zone) for rule in instrument.scores]
        if is_shown
        else [],
    )


def _series(
    instrument: Instrument, rule: ScoreRule, rows: Sequence[asyncpg.Record], zone: ZoneInfo
) -> TrendSeries:
    change = instrument.change
    minimum, maximum = rule.range
    return TrendSeries.model_validate(
        {
            "code": rule.id,
            "label": rule.label or rule.id.replace("_", " ").capitalize(),
            "minimum": minimum,
            "maximum": maximum,
            "direction": rule.direction,
            "bands": [
                {"code": band.code, "label": band.label, "minimum": band.min, "maximum": band.max}
                for band in rule.reading(NOBODY_KNOWS).bands
            ],
            "reliable_points": change.reliable if change and change.score == rule.id else None,
            "points": [_point(row, zone) for row in rows if row["code"] == rule.id],
        }
    )


def _point(row: asyncpg.Record, zone: ZoneInfo) -> TrendPoint:
    change = None if row["change"] is None else ChangeRead.model_validate(row["change"])
    return TrendPoint.model_validate(
        {
            **dict(row),
            "assessment_id": row["id"],
            "taken_on": row["taken_at"].astimezone(zone).date(),
            "change": change,
            "change_class": None if change is None else change.change_class,
        }
    )
