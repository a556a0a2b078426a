"""Alerts, read: by those who treat the participant and by those who supervise them."""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import cache
from types import MappingProxyType
from typing import Any, Final
from uuid import UUID

import asyncpg
from sqlalchemy import (
    ColumnElement,
    Integer,
    Uuid,
    bindparam,
    case,
    select,
    tuple_,
)
from sqlalchemy.dialects.postgresql import TIMESTAMP
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.database import Handle, Lane, Query, in_lane
from app.core.problems import NotFound
from app.domain.alerts import CLOCK_RUNS, AlertAction, AlertState
from app.models.alerts import Alert, AlertStep
from app.schemas.alerts import AlertRead, AlertStepRead, AlertSummary, DispositionRead
from app.security import audit, seals
from app.security.access import participants_visible_to, reach_parameters, visible_participants
from app.security.permissions import Permission
from app.security.principal import Principal, Reach

TABLE: Final = "alert"
STEP: Final = "alert_step"
DONE: Final[Mapping[AlertAction, str]] = MappingProxyType(
    {
        AlertAction.ACKNOWLEDGE: "acknowledged",
        AlertAction.ASSESS: "assessed",
        AlertAction.DISPOSITION: "dispositioned",
        AlertAction.CLOSE: "closed",
    }
)
"""What a step is called once it was taken, in its row and in its event."""

Place = tuple[int, datetime, UUID]
"""Where an alert stands in the list: how much it waits, by when, and which it is."""

_ANSWERED: Final = 2
_COLUMNS: Final = (
    Alert.id,
    Alert.version,
    Alert.participant_id,
    Alert.tier,
    Alert.code,
    Alert.state,
    Alert.source,
    Alert.source_id,
    Alert.policy_version,
    Alert.opened_at,
    Alert.acknowledge_by,
    Alert.contact_by,
    Alert.acknowledged_at,
    Alert.acknowledged_by,
)
_STEPS: Final = Query(
    select(
        AlertStep.id,
        AlertStep.kind,
        AlertStep.actor_id,
        AlertStep.note,
        AlertStep.detector_version,
        AlertStep.at,
    )
    .where(AlertStep.alert_id == bindparam("alert_id", type_=Uuid))
    .order_by(AlertStep.at, AlertStep.id)
)


def rank(state: AlertState) -> int:
    """How much an alert waits: least for one that nobody has seen, most for an answered one."""
    if state is AlertState.OPEN:
        return 0
    return 1 if state in CLOCK_RUNS else _ANSWERED


def place_of(alert: AlertSummary) -> Place:
    """Where an alert stands in the list."""
    return rank(alert.state), alert.acknowledge_by, alert.id


@cache
def _one(reach: Reach) -> Query:
    statement = select(*_COLUMNS, Alert.excerpt).where(
        Alert.id == bindparam("id"), visible_participants(Alert.participant_id, reach)
    )
    return audit.read_one(statement, Permission.ALERT_READ, TABLE)


@cache
def _page(reach: Reach, *, of_one: bool, reads_on: bool) -> Query:
    waits = _rank_column()
    statement = (
        select(*_COLUMNS)
        .where(visible_participants(Alert.participant_id, reach))
        .order_by(waits, Alert.acknowledge_by, Alert.id)
        .limit(bindparam("limit"))
    )
    if of_one:
        statement = statement.where(Alert.participant_id == bindparam("participant_id"))
    if reads_on:
        seen = tuple_(
            bindparam("rank", type_=Integer),
            bindparam("acknowledge_by", type_=TIMESTAMP(timezone=True)),
            bindparam("after", type_=Uuid),
        )
        statement = statement.where(tuple_(waits, Alert.acknowledge_by, Alert.id) > seen)
    return audit.read_many(statement, Permission.ALERT_READ, TABLE)


async def read_alert(lane: Lane, principal: Principal, alert_id: UUID) -> AlertRead:
    """One alert with everything that happened to it. Raises NotFound."""
    row = await lane.one(_one(principal.reach), id=alert_id, **reach_parameters(principal))
    if row is None:
        raise NotFound
    return await composed(lane, dict(row))


async def list_alerts(
    lane: Lane,
    principal: Principal,
    participant_id: UUID | None,
    *,
    after: Place | None,
    limit: int,
) -> Sequence[AlertSummary]:
    """The alerts that the caller may see: what nobody has seen yet first, by when it is due."""
    place = after or (None, None, None)
    rows = await lane.all(
        _page(principal.reach, of_one=participant_id is not None, reads_on=after is not None),
        rank=place[0],
        acknowledge_by=place[1],
        after=place[2],
        limit=limit + 1,
        participant_id=participant_id,
        **reach_parameters(principal),
    )
    return [AlertSummary.model_validate(dict(row)) for row in rows]


async def get_alert(
    db: AsyncSession, principal: Principal, alert_id: UUID, *, lock: bool = False
) -> Alert:
    """Load an alert the caller may see; one they may not see does not exist."""
    query = select(Alert).where(
        Alert.id == alert_id, participants_visible_to(principal, Alert.participant_id)
    )
    if lock:
        query = query.with_for_update(key_share=True)
    alert = await db.scalar(query)
    if alert is None:
        raise NotFound
    return alert


async def composed(handle: Handle, row: Mapping[str, Any]) -> AlertRead:
    """An alert with its steps, opened."""
    lane = await in_lane(handle)
    steps = await lane.all(_STEPS, alert_id=row["id"])
    keys = await seals.keys_for(lane, [row["excerpt"], *(step["note"] for step in steps)])
    return AlertRead.model_validate(
        {
            **row,
            **seals.opened(keys, TABLE, row, "excerpt"),
            "steps": [_step_read(keys, step) for step in steps],
        }
    )


def columns(alert: Alert) -> dict[str, Any]:
    """A loaded alert, as a lane would have read it."""
    return {column.key: getattr(alert, column.key) for column in (*_COLUMNS, Alert.excerpt)}


def _rank_column() -> ColumnElement[int]:
    """The rank of each row, by the same rule as `rank`."""
    return case(
        *((Alert.state == state, rank(state)) for state in AlertState if rank(state) < _ANSWERED),
        else_=_ANSWERED,
    )


def _step_read(keys: seals.Keys, row: asyncpg.Record) -> AlertStepRead:
    text = seals.opened(keys, STEP, row, "note")["note"]
    is_disposition = row["kind"] == DONE[AlertAction.DISPOSITION]
    disposition = (
        DispositionRead.model_validate(json.loads(text))
        if is_disposition and text is not None
        else None
    )
    return AlertStepRead(
        id=row["id"],
        kind=row["kind"],
        actor_id=row["actor_id"],
        note=None if is_disposition else text,
        disposition=disposition,
        detector_version=row["detector_version"],
        at=row["at"],
    )
