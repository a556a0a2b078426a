"""Programs and tracks: what an organization offers. Nothing here is about a person."""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from app import events
from app.core import clock
from app.core.ids import new_id
from app.core.problems import (
    Conflict,
    FieldError,
    Invalid,
    NotFound,
    PreconditionFailed,
    constraint_problem,
)
from app.models.audit import AuditAction
from app.models.programs import Program, Track
from app.schemas.programs import ProgramCreate, ProgramUpdate, TrackCreate
from app.security import audit
from app.security.permissions import Permission
from app.security.principal import Principal


class SlugTaken(Conflict):
    """Another program, or another track of the program, has this slug."""

    slug, title = "slug-taken", "The slug is taken"


constraint_problem("program_slug_idx", SlugTaken)
constraint_problem("track_slug_idx", SlugTaken)


async def open_program(db: AsyncSession, _: Principal, request: ProgramCreate) -> Program:
    """Begin to offer a program; people can be referred to it. Raises SlugTaken."""
    now = clock.now()
    program = Program(
        id=new_id(),
        created_at=now,
        updated_at=now,
        **request.model_dump(),
    )
    db.add(program)
    await _changed(db, program, AuditAction.CREATE, "program.opened")
    return program


async def update_program(
    db: AsyncSession, _: Principal, program_id: UUID, request: ProgramUpdate, version: int
) -> Program:
    """Change what is given. Raises NotFound, PreconditionFailed or Invalid."""
    program = await db.scalar(
        select(Program).where(Program.id == program_id).with_for_update(key_share=True)
    )
    if program is None:
        raise NotFound
    if program.version != version:
        raise PreconditionFailed
    for field, value in request.model_dump(exclude_unset=True).items():
        setattr(program, field, value)
    if program.closes_on is not None and program.closes_on < program.opens_on:
        sentence = "It may not lie before opens_on."
        raise Invalid(errors=[FieldError("/closes_on", "before_opens_on", sentence)])
    program.updated_at = clock.now()
    await _changed(db, program, AuditAction.UPDATE, "program.updated")
    return program


async def get_program(db: AsyncSession, program_id: UUID) -> Program:
    """One program of the organization. Raises NotFound."""
    program = await db.scalar(select(Program).where(Program.id == program_id))
    if program is None:
        raise NotFound
    return program


async def list_programs(db: AsyncSession, *, after: UUID, limit: int) -> Sequence[Program]:
    """The organization's programs, by id."""
    query = select(Program).where(Program.id > after).order_by(Program.id).limit(limit + 1)
    return (await db.scalars(query)).all()


async def open_track(
    db: AsyncSession, _: Principal, program_id: UUID, request: TrackCreate
) -> Track:
    """Add a variant to a program. Raises NotFound or SlugTaken."""
    program = await get_program(db, program_id)
    now = clock.now()
    track = Track(
        id=new_id(),
        program_id=program.id,
        created_at=now,
        updated_at=now,
        **request.model_dump(),
    )
    db.add(track)
    await _changed(db, track, AuditAction.CREATE, "track.opened")
    return track


async def list_tracks(db: AsyncSession, program_id: UUID) -> Sequence[Track]:
    """A program's tracks. Raises NotFound."""
    await get_program(db, program_id)
    query = select(Track).where(Track.program_id == program_id).order_by(Track.id).limit(100)
    return (await db.scalars(query)).all()


async def _changed(
    db: AsyncSession, changed: Program | Track, action: AuditAction, event: str
) -> None:
    await db.flush()
    await audit.record(
        db,
        action,
        Permission.PROGRAM_MANAGE,
        event.partition(".")[0],
        changed.id,
        version=changed.version,
    )
    await events.record(db, event, changed.id, version=changed.version)
