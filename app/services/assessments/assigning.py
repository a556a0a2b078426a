"""Giving an instrument, or several together, to a participant."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from app.core import clock
from app.core.ids import new_id
from app.core.problems import FieldError, Invalid
from app.domain.instruments import Instrument
from app.models.assessments import Assessment, AssessmentState
from app.models.audit import AuditAction
from app.schemas.assessments import (
    AssessmentCreate,
    AssessmentSummary,
    BatteryCreate,
    BatteryRead,
)
from app.security.permissions import Permission
from app.security.principal import Principal
from app.services import instruments
from app.services.assessments.reading import columns, is_for_staff, summary
from app.services.assessments.telling import record
from app.services.participants import get_participant


async def assign(
    db: AsyncSession, principal: Principal, request: AssessmentCreate
) -> AssessmentSummary:
    """Ask a participant to answer an instrument, in the version that it has today.

    Raises NotFound for a participant whom the caller may not see, Invalid for an instrument
    that does not exist, an end that has passed or comes before the beginning, and
    InstrumentUnavailable.
    """
    now = clock.now()
    participant = await get_participant(db, principal, request.participant_id)
    instrument = await instruments.assignable_instrument(db, request.instrument_key)
    _check_window(request, now)
    assessment = _given(principal, participant.id, instrument, request, now)
    await _give(db, [assessment])
    return summary(columns(assessment), now)


async def assign_battery(
    db: AsyncSession, principal: Principal, request: BatteryCreate
) -> BatteryRead:
    """Ask a participant to answer several instruments; all are given, or none.

    Raises what `assign` raises; what is wrong with an instrument points at its place.
    """
    now = clock.now()
    participant = await get_participant(db, principal, request.participant_id)
    chosen = [
        await _instrument_at(db, request.instrument_keys, place)
        for place in range(len(request.instrument_keys))
    ]
    _check_window(request, now)
    battery_id = new_id()
    given = [
        _given(principal, participant.id, instrument, request, now, battery_id=battery_id)
        for instrument in chosen
    ]
    await _give(db, given)
    return BatteryRead(id=battery_id, items=[summary(columns(each), now) for each in given])


async def _instrument_at(db: AsyncSession, keys: Sequence[str], place: int) -> Instrument:
    pointer = f"/instrument_keys/{place}"
    if keys[place] in keys[:place]:
        raise Invalid(errors=[FieldError(pointer, "repeated", "It is named twice.")])
    try:
        return await instruments.assignable_instrument(db, keys[place])
    except Invalid as refused:
        errors = [FieldError(pointer, each.code, each.detail) for each in refused.errors]
        raise Invalid(errors=errors) from None


def _check_window(request: AssessmentCreate | BatteryCreate, now: datetime) -> None:
    if request.expires_at is None:
        return
    if request.expires_at <= now:
        raise Invalid(errors=[FieldError("/expires_at", "past", "It must lie in the future.")])
    if request.opens_at is not None and request.expires_at <= request.opens_at:
        raise Invalid(
            errors=[FieldError("/expires_at", "before_it_opens", "It must lie after `opens_at`.")]
        )


def _given(  # noqa: PLR0913 (what, to whom, by whom, when and together with what)
    principal: Principal,
    participant_id: UUID,
    instrument: Instrument,
    request: AssessmentCreate | BatteryCreate,
    now: datetime,
    *,
    battery_id: UUID | None = None,
) -> Assessment:
    return Assessment(
        id=new_id(),
        participant_id=participant_id,
        instrument_key=instrument.key,
        instrument_version=instrument.version,
        is_validated=instrument.is_validated,
        is_for_staff=is_for_staff(instrument),
        state=AssessmentState.ASSIGNED,
        assigned_by=principal.account_id,
        battery_id=battery_id,
        opens_at=request.opens_at,
        due_at=request.due_at,
        expires_at=request.expires_at,
        revision=1,
        created_at=now,
        updated_at=now,
    )


async def _give(db: AsyncSession, given: Sequence[Assessment]) -> None:
    db.add_all(given)
    await db.flush()
    for assessment in given:
        await record(
            db,
            assessment,
            Permission.ASSESSMENT_ASSIGN,
            "assessment.assigned",
            AuditAction.CREATE,
        )
