"""What payers authorize, beside the level of care that a clinician decided.

The two are kept apart: a payer's number changes nothing about what somebody needs. An
authorization never changes; the next one is a new row.
"""

from collections.abc import Iterable, Sequence
from typing import Final
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from app import events
from app.core import clock
from app.core.ids import new_id
from app.core.problems import FieldError, Invalid, NotFound
from app.models.audit import AuditAction
from app.models.intakes import Enrollment, LevelAuthorization
from app.schemas.enrollments import AuthorizationCreate, AuthorizationRead
from app.security import audit, seals
from app.security.access import participants_visible_to
from app.security.permissions import Permission
from app.security.principal import Principal

TABLE: Final = "level_authorization"
_ENROLLMENT: Final = "enrollment"
_MOST: Final = 200


async def authorize_level(
    db: AsyncSession, principal: Principal, enrollment_id: UUID, request: AuthorizationCreate
) -> AuthorizationRead:
    """Record what a payer has authorized from now on. Raises NotFound or Invalid."""
    enrollment = await _enrollment(db, principal, enrollment_id)
    return await record(db, principal, enrollment, request)


async def record(
    db: AsyncSession, principal: Principal, enrollment: Enrollment, request: AuthorizationCreate
) -> AuthorizationRead:
    """Record an authorization of an enrollment at hand. Raises Invalid for impossible days."""
    if errors := list(_impossible(request)):
        raise Invalid(errors=errors)
    authorization_id = new_id()
    key = await seals.participant_key(db, enrollment.participant_id)
    row = LevelAuthorization(
        id=authorization_id,
        enrollment_id=enrollment.id,
        recorded_by=principal.account_id,
        recorded_at=clock.now(),
        **request.model_dump(exclude={"payer", "number"}),
        **seals.sealed(key, TABLE, authorization_id, payer=request.payer, number=request.number),
    )
    db.add(row)
    await db.flush()
    await _audit(db, AuditAction.UPDATE, Permission.ENROLLMENT_AUTHORIZE, enrollment)
    await events.record(
        db,
        "enrollment.authorized",
        enrollment.id,
        participant_id=enrollment.participant_id,
        version=enrollment.version,
    )
    return _read(await seals.keys_for(db, [row.payer, row.number]), row)


async def list_authorizations(
    db: AsyncSession, principal: Principal, enrollment_id: UUID
) -> Sequence[AuthorizationRead]:
    """What payers have authorized for an enrollment, the oldest first. Raises NotFound."""
    enrollment = await _enrollment(db, principal, enrollment_id)
    rows = (
        await db.scalars(
            select(LevelAuthorization)
            .where(LevelAuthorization.enrollment_id == enrollment.id)
            .order_by(LevelAuthorization.id)
            .limit(_MOST)
        )
    ).all()
    await _audit(db, AuditAction.READ, Permission.ENROLLMENT_READ, enrollment)
    keys = await seals.keys_for(db, [blob for row in rows for blob in (row.payer, row.number)])
    return [_read(keys, row) for row in rows]


async def _enrollment(db: AsyncSession, principal: Principal, enrollment_id: UUID) -> Enrollment:
    enrollment = await db.scalar(
        select(Enrollment).where(
            Enrollment.id == enrollment_id,
            participants_visible_to(principal, Enrollment.participant_id),
        )
    )
    if enrollment is None:
        raise NotFound
    return enrollment


def _impossible(request: AuthorizationCreate) -> Iterable[FieldError]:
    if request.ends_on < request.starts_on:
        yield FieldError("/ends_on", "ends_before_it_begins", "It ends before it begins.")
    elif not request.starts_on <= request.next_review_on <= request.ends_on:
        yield FieldError("/next_review_on", "outside", "The review lies outside of its days.")


def _read(keys: seals.Keys, row: LevelAuthorization) -> AuthorizationRead:
    return AuthorizationRead(
        **{
            name: getattr(row, name)
            for name in AuthorizationRead.model_fields
            if name not in {"payer", "number"}
        },
        payer=keys.unseal(seals.Cell(TABLE, "payer", row.id), row.payer),
        number=keys.unseal(seals.Cell(TABLE, "number", row.id), row.number),
    )


async def _audit(
    db: AsyncSession, action: AuditAction, permission: Permission, enrollment: Enrollment
) -> None:
    await audit.record(
        db,
        action,
        permission,
        _ENROLLMENT,
        enrollment.id,
        participant_id=enrollment.participant_id,
        version=enrollment.version,
    )
