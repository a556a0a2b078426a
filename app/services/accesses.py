"""The record's own history: a participant can read who has looked, and when (design, section 4).

What another participant did is left out by the database, even where it touched this record,
because it would tell that they exist; for the same reason an access has a name and no number.
What it says of staff is what the audit trail says: who, as what, when.
"""

from collections.abc import Sequence
from typing import Any, Final, NamedTuple
from uuid import UUID

from sqlalchemy import BigInteger, Row, Text, Uuid, bindparam, column, func, select
from sqlalchemy import DateTime as Instant
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.problems import InvalidCursor
from app.models.audit import AuditAction, AuditOutcome
from app.models.participants import Participant
from app.models.staff import StaffMember
from app.schemas.accesses import AccessRead
from app.security import audit, seals
from app.security.permissions import Permission
from app.security.principal import Principal
from app.security.seals import Cell
from app.security.veils import Veil
from app.services import participants

_FOUND: Final = (
    func.stepwell.accesses_to_participant(
        bindparam("participant", type_=Uuid),
        bindparam("before", type_=BigInteger),
        bindparam("limit"),
    )
    .table_valued(
        column("id", BigInteger),
        column("recorded_at", Instant(timezone=True)),
        column("actor_id", Uuid),
        column("actor_role", Text),
        column("action", Text),
        column("subtype", Text),
        column("resource", Text),
        column("outcome", Text),
    )
    .render_derived(name="found")
)
_ACCESSES: Final = (
    select(
        *_FOUND.c,
        StaffMember.id.label("staff_member_id"),
        StaffMember.name.label("sealed_name"),
        Participant.id.label("own_id"),
    )
    .select_from(_FOUND)
    .outerjoin(StaffMember, StaffMember.account_id == _FOUND.c.actor_id)
    .outerjoin(Participant, Participant.account_id == _FOUND.c.actor_id)
    .order_by(_FOUND.c.id.desc())
)


class Accesses(NamedTuple):
    """What may be shown of a stretch of the trail, and where to go on when there is more."""

    shown: Sequence[AccessRead]
    next_before: UUID | None


async def list_accesses(
    db: AsyncSession, principal: Principal, participant_id: UUID, *, before: UUID | None, limit: int
) -> Accesses:
    """Who looked at a participant's record and who changed it, the latest first.

    Reading it is an access as well, and is in the next answer. `before` is the id of the last
    one seen. Raises NotFound or InvalidCursor.
    """
    participant = await participants.get_participant(db, principal, participant_id)
    veil = Veil(await seals.blind_index(db, "audit-veil", "number"), participant.id)
    number = None if before is None else veil.number(before)
    if before is not None and number is None:
        raise InvalidCursor
    rows = (
        await db.execute(
            _ACCESSES, {"participant": participant.id, "before": number, "limit": limit + 1}
        )
    ).all()
    page = rows[:limit]
    keys = await seals.keys_for(db, (row.sealed_name for row in page))
    await audit.record(
        db,
        AuditAction.READ,
        Permission.RECORD_ACCESS_READ,
        "audit_event",
        participant_id=participant.id,
        count=len(page),
    )
    shown = [_read(keys, row, veil.name(row.id), participant.id) for row in page]
    return Accesses(shown, shown[-1].id if len(rows) > limit else None)


def _read(
    keys: seals.Keys, row: Row[*tuple[Any, ...]], access_id: UUID, participant_id: UUID
) -> AccessRead:
    return AccessRead(
        id=access_id,
        at=row.recorded_at,
        actor_id=row.actor_id,
        actor_name=(
            None
            if row.sealed_name is None
            else keys.unseal(Cell("staff_member", "name", row.staff_member_id), row.sealed_name)
        ),
        actor_role=row.actor_role,
        is_own=row.own_id == participant_id,
        action=AuditAction(row.action),
        subtype=row.subtype,
        resource=row.resource,
        outcome=AuditOutcome(row.outcome),
    )
