"""What a program asks by the calendar: the schedule that ships, until the program has its own.

A schedule is never edited. A new one counts from the day on which it is made, and what was given
under an older one stays as it was given. Nothing here is about a person.
"""

from collections.abc import Collection, Mapping
from typing import Final
from uuid import UUID

from pydantic import TypeAdapter
from sqlalchemy import select
from sqlalchemy.dialects.postgresql import distinct_on
from sqlalchemy.ext.asyncio import AsyncSession

from app import events
from app.core import clock
from app.core.ids import new_id
from app.core.problems import FieldError, Invalid, NotFound, PreconditionFailed
from app.domain.measurement import (
    Measurement,
    MeasurementSchedule,
    default_measurement_schedule,
)
from app.models.assessments import ProgramMeasurement
from app.models.audit import AuditAction
from app.models.programs import Program
from app.schemas.measurements import MeasurementsRead, MeasurementsWrite
from app.security import audit
from app.security.permissions import Permission
from app.security.principal import Principal
from app.services import instruments, programs

_SHIPPED: Final = 1
_MEASUREMENTS: Final = TypeAdapter(tuple[Measurement, ...])


async def read_measurements(db: AsyncSession, program_id: UUID) -> MeasurementsRead:
    """What the program asks now; version 1 is the schedule that ships. Raises NotFound."""
    await programs.get_program(db, program_id)
    return _read(program_id, await _present(db, program_id))


async def set_measurements(
    db: AsyncSession,
    principal: Principal,
    program_id: UUID,
    request: MeasurementsWrite,
    version: int,
) -> MeasurementsRead:
    """Let a program ask by a schedule of its own, from today.

    The program is locked, so that of two who change the same schedule one is told. Raises
    NotFound, PreconditionFailed, or Invalid for an instrument that does not exist.
    """
    program = await db.scalar(
        select(Program).where(Program.id == program_id).with_for_update(key_share=True)
    )
    if program is None:
        raise NotFound
    present = await _present(db, program_id)
    if version != (_SHIPPED if present is None else present.number):
        raise PreconditionFailed
    await _check_instruments(db, request)
    now = clock.now()
    row = ProgramMeasurement(
        id=new_id(),
        program_id=program_id,
        number=version + 1,
        effective_from=now.date(),
        measurements=[each.model_dump(mode="json") for each in request.measurements],
        made_by=principal.account_id,
        made_at=now,
    )
    db.add(row)
    await db.flush()
    await audit.record(
        db,
        AuditAction.UPDATE,
        Permission.PROGRAM_MANAGE,
        "program_measurement",
        row.id,
        version=row.number,
    )
    await events.record(db, "program.updated", program_id, version=program.version)
    return _read(program_id, row)


async def schedules_of(
    db: AsyncSession, program_ids: Collection[UUID]
) -> Mapping[UUID, MeasurementSchedule]:
    """The schedule of each program as the rules read it."""
    rows = await db.scalars(
        select(ProgramMeasurement)
        .ext(distinct_on(ProgramMeasurement.program_id))
        .where(ProgramMeasurement.program_id.in_(program_ids))
        .order_by(ProgramMeasurement.program_id, ProgramMeasurement.number.desc())
    )
    own = {row.program_id: _schedule(row) for row in rows}
    return {each: own.get(each, default_measurement_schedule()) for each in program_ids}


async def _present(db: AsyncSession, program_id: UUID) -> ProgramMeasurement | None:
    row: ProgramMeasurement | None = await db.scalar(
        select(ProgramMeasurement)
        .where(ProgramMeasurement.program_id == program_id)
        .order_by(ProgramMeasurement.number.desc())
        .limit(1)
    )
    return row


async def _check_instruments(db: AsyncSession, request: MeasurementsWrite) -> None:
    errors = [
        FieldError(
            f"/measurements/{number}/instruments/{place}",
            "unknown_instrument",
            "See /v1/instruments.",
        )
        for number, measurement in enumerate(request.measurements)
        for place, key in enumerate(measurement.instruments)
        if await instruments.find_instrument(db, key) is None
    ]
    if errors:
        raise Invalid(errors=errors)


def _schedule(row: ProgramMeasurement) -> MeasurementSchedule:
    return MeasurementSchedule(
        key="measurement-program",
        version=f"{row.number}.0.0",
        effective_from=row.effective_from,
        effective_to=None,
        source="The program's own schedule.",
        measurements=_MEASUREMENTS.validate_python(row.measurements),
    )


def _read(program_id: UUID, row: ProgramMeasurement | None) -> MeasurementsRead:
    schedule = default_measurement_schedule() if row is None else _schedule(row)
    return MeasurementsRead(
        program_id=program_id,
        version=_SHIPPED if row is None else row.number,
        effective_from=schedule.effective_from,
        source=schedule.source,
        measurements=_MEASUREMENTS.dump_python(schedule.measurements, mode="json"),
    )
