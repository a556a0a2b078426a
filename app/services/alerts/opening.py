"""Opening alerts: in the transaction that found the concern, so that neither is without the other.

The software opens an alert and keeps its clock; what it means is for people to say. One answer
may raise several concerns, each with a code of its own; the same concern is one alert for as
long as somebody owes the participant an answer, and a new one after that.

Written for both lanes: forms are commands, and messages go the short way.
"""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Final
from uuid import UUID
from zoneinfo import ZoneInfo

import asyncpg

from app import events
from app.core import clock
from app.core.database import Handle, in_lane
from app.core.ids import new_id
from app.domain.alerts import (
    ALERT_MACHINE,
    CLOCK_RUNS,
    AlertAction,
    AlertState,
    Due,
    Tier,
    default_alert_policy,
    due,
    starts_clock_anew,
)
from app.models.alerts import AlertSource
from app.models.audit import AuditAction
from app.security import audit, seals

RAISED_AGAIN: Final = "raised_again"

_RUNS: Final = ", ".join(f"'{state.value}'" for state in sorted(CLOCK_RUNS))
_RUNNING: Final = f"""
    select id, tier, state from alert
    where source_id = $1 and code = $2 and participant_id = $3 and state in ({_RUNS})
    for no key update
"""  # noqa: S608 (composed of constants)
_WAS_RAISED: Final = """
    select exists(
        select from alert where source_id = $1 and code = $2 and participant_id = $3
    )
"""
_OPEN: Final = """
    insert into alert (
        id, participant_id, tier, code, state, source, source_id, excerpt, policy_version,
        opened_at, acknowledge_by, contact_by, opening, version, created_at, updated_at
    ) values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, 1, 1, $10, $10)
"""
_START_CLOCK: Final = """
    update alert set
        tier = $2, state = $3, opening = opening + 1, policy_version = $4, acknowledge_by = $5,
        contact_by = $6, acknowledged_at = null, acknowledged_by = null
    where id = $1
"""
_TOUCH: Final = """
    update alert set version = version + 1, updated_at = $2 where id = $1
    returning version, opening
"""
_STEP: Final = """
    insert into alert_step (id, alert_id, opening, kind, actor_id, note, detector_version, at)
    values ($1, $2, $3, $4, $5, $6, $7, $8)
"""
_ZONE: Final = "select time_zone from participant where id = $1"


@dataclass(frozen=True, slots=True)
class Concern:
    """What was found, about whom and in what.

    The code names it, never its content; an excerpt is sealed before it is stored. A detector
    says by its version which phrases it looked for.
    """

    participant_id: UUID
    tier: Tier
    code: str
    source: AlertSource
    source_id: UUID
    excerpt: str | None = field(default=None, repr=False)
    detector_version: str | None = None


async def open_alert(handle: Handle, concern: Concern) -> UUID:
    """Open an alert for a new hit, or tell the hit on the alert that is still running; gives which.

    A running alert that somebody has in hand is open again, with a new clock. The caller holds
    the source's row lock, so that two hits cannot open two; the database keeps the same rule for
    everybody else.
    """
    lane = await in_lane(handle)
    running = await lane.fetchrow(_RUNNING, concern.source_id, concern.code, concern.participant_id)
    if running is None:
        return await _open(handle, concern)
    await _raise_again(handle, running, concern)
    alert_id: UUID = running["id"]
    return alert_id


async def open_alert_once(handle: Handle, concern: Concern) -> None:
    """Open an alert unless the same source has raised the same concern before, answered or not.

    For what is judged a second time when a form is submitted: people have dealt with it, or are
    about to.
    """
    lane = await in_lane(handle)
    if not await lane.fetchval(
        _WAS_RAISED, concern.source_id, concern.code, concern.participant_id
    ):
        await _open(handle, concern)


async def add_step(  # noqa: PLR0913 (the fields of a step)
    handle: Handle,
    alert_id: UUID,
    opening: int,
    kind: str,
    at: datetime,
    *,
    step_id: UUID | None = None,
    note: bytes | None = None,
    detector_version: str | None = None,
) -> None:
    """Say that something happened to an alert, and through whom."""
    lane = await in_lane(handle)
    await lane.execute(
        _STEP,
        step_id or new_id(),
        alert_id,
        opening,
        kind,
        lane.info["account_id"],
        note,
        detector_version,
        at,
    )


async def _open(handle: Handle, concern: Concern) -> UUID:
    now = clock.now()
    clocks = await _clocks(handle, concern, now)
    alert_id = new_id()
    excerpt = await _sealed_excerpt(handle, concern, "alert", alert_id, "excerpt")
    lane = await in_lane(handle)
    await lane.execute(
        _OPEN,
        alert_id,
        concern.participant_id,
        concern.tier,
        concern.code,
        AlertState.OPEN,
        concern.source,
        concern.source_id,
        excerpt,
        default_alert_policy().version,
        now,
        clocks.acknowledge_by,
        clocks.contact_by,
    )
    await add_step(handle, alert_id, 1, "opened", now, detector_version=concern.detector_version)
    await _tell(handle, concern, alert_id, 1, AuditAction.CREATE, "alert:open", "alert.opened")
    return alert_id


async def _raise_again(handle: Handle, running: asyncpg.Record, concern: Concern) -> None:
    """Tell a new hit, and start the clock again if the one that runs is not for it.

    What was said this time stands with the step, for the alert keeps what was said first.
    """
    now = clock.now()
    alert_id: UUID = running["id"]
    if starts_clock_anew(AlertState(running["state"]), Tier(running["tier"]), concern.tier):
        await _start_clock_anew(handle, running, concern, now)
    lane = await in_lane(handle)
    # Whoever has read the alert must read it anew, whether or not its clock has changed.
    (alert,) = await lane.fetch(_TOUCH, alert_id, now)
    step_id = new_id()
    await add_step(
        handle,
        alert_id,
        alert["opening"],
        RAISED_AGAIN,
        now,
        step_id=step_id,
        note=await _sealed_excerpt(handle, concern, "alert_step", step_id, "note"),
        detector_version=concern.detector_version,
    )
    await _tell(
        handle,
        concern,
        alert_id,
        alert["version"],
        AuditAction.UPDATE,
        "alert:raise_again",
        f"alert.{RAISED_AGAIN}",
    )


async def _start_clock_anew(
    handle: Handle, running: asyncpg.Record, concern: Concern, now: datetime
) -> None:
    clocks = await _clocks(handle, concern, now)
    state = AlertState(running["state"])
    if state is not AlertState.OPEN:
        state = ALERT_MACHINE.advance(state, AlertAction.REOPEN)
    lane = await in_lane(handle)
    await lane.execute(
        _START_CLOCK,
        running["id"],
        concern.tier,
        state,
        default_alert_policy().version,
        clocks.acknowledge_by,
        clocks.contact_by,
    )


async def _clocks(handle: Handle, concern: Concern, now: datetime) -> Due:
    """By when people must act on a concern; the day is the participant's."""
    zone = await (await in_lane(handle)).fetchval(_ZONE, concern.participant_id)
    return due(default_alert_policy(), concern.tier, now, zone=ZoneInfo(zone))


async def _sealed_excerpt(
    handle: Handle, concern: Concern, table: str, row_id: UUID, column: str
) -> bytes | None:
    if concern.excerpt is None:
        return None
    key = await seals.participant_key(handle, concern.participant_id)
    return seals.sealed(key, table, row_id, **{column: concern.excerpt})[column]


async def _tell(  # noqa: PLR0913, PLR0917 (what is told, and under which words)
    handle: Handle,
    concern: Concern,
    alert_id: UUID,
    version: int,
    action: AuditAction,
    subtype: str,
    event: str,
) -> None:
    await audit.record(
        handle,
        action,
        subtype,
        "alert",
        alert_id,
        participant_id=concern.participant_id,
        version=version,
    )
    await events.record(
        handle,
        event,
        alert_id,
        participant_id=concern.participant_id,
        version=version,
    )
