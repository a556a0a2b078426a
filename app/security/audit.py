"""Who looked, who changed: one row for each, in the transaction that it describes (AUD-01, 08, 09).

Who asked is filled in by the database from the transaction's context; what is said here is what
was done to what. No values and no free text. When the row cannot be written, neither can the
access happen: both are one transaction.
"""

from collections.abc import Sequence
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Integer, Select, Text, Uuid, bindparam, func, insert, literal, null, select
from sqlalchemy.dialects.postgresql import ARRAY

from app.core.database import Handle, Query, in_lane, paged
from app.models.audit import AuditAction, AuditEvent, AuditOutcome
from app.security.openings import opening

NAMED: Final = "participants_named"
"""Under which name a transaction remembers whose records it has touched."""

_COLUMNS: Final = (
    "action",
    "subtype",
    "outcome",
    "resource",
    "resource_id",
    "resource_version",
    "participant_id",
    "participant_ids",
    "sensitivity",
    "count",
)
_RECORD: Final = Query(
    insert(AuditEvent)
    .values({name: bindparam(name, type_=AuditEvent.__table__.c[name].type) for name in _COLUMNS})
    .inline()
)


async def record(  # noqa: PLR0913 (the fields of AUD-08, by name)
    handle: Handle,
    action: AuditAction,
    subtype: str,
    resource: str,
    resource_id: UUID | None = None,
    *,
    participant_id: UUID | None = None,
    participant_ids: Sequence[UUID] | None = None,
    version: int | None = None,
    sensitivity: Sequence[str] | None = None,
    outcome: AuditOutcome = AuditOutcome.SUCCESS,
    count: int = 1,
) -> None:
    """Leave the trace of one access or change.

    `subtype` is the permission or the verb (`plan:sign`), `resource` a table's word. A record
    of one participant names them in `participant_id`, a list in `participant_ids`.
    """
    lane = await in_lane(handle)
    named = lane.info.setdefault(NAMED, set())
    named.update(participant_ids or ())
    if participant_id is not None:
        named.add(participant_id)
    await lane.execute(
        _RECORD.sql,
        *_RECORD.arguments(
            {
                "action": action,
                "subtype": subtype,
                "outcome": outcome,
                "resource": resource,
                "resource_id": resource_id,
                "resource_version": version,
                "participant_id": participant_id,
                "participant_ids": list(participant_ids) if participant_ids is not None else None,
                "sensitivity": list(sensitivity) if sensitivity is not None else None,
                "count": count,
            }
        ),
    )


def read_one(statement: Select[*tuple[Any, ...]], subtype: str, resource: str) -> Query:
    """Compile a read and its audit row into one statement.

    `statement` selects `id`, `participant_id` and `version`; nothing found leaves no row here,
    because the refusal is recorded where it is answered.
    """
    return Query(
        _and_one_trail(statement, subtype, resource),
        alone=Query(_and_one_trail(opening(statement), subtype, resource)),
    )


def _and_one_trail(
    statement: Select[*tuple[Any, ...]], subtype: str, resource: str
) -> Select[*tuple[Any, ...]]:
    found = statement.cte("found")
    trail = (
        insert(AuditEvent)
        .from_select(
            [
                "action",
                "subtype",
                "outcome",
                "resource",
                "resource_id",
                "resource_version",
                "participant_id",
            ],
            select(
                literal(AuditAction.READ.value, Text),
                literal(subtype, Text),
                literal(AuditOutcome.SUCCESS.value, Text),
                literal(resource, Text),
                found.c.id,
                found.c.version,
                found.c.participant_id,
            ),
            include_defaults=False,
        )
        .cte("trail")
    )
    return select(found).add_cte(trail)


def read_many(statement: Select[*tuple[Any, ...]], subtype: str, resource: str) -> Query:
    """Compile a list and its one audit row, which names every participant in it, together.

    `statement` selects `participant_id`; its order is kept. A page asks for one row more than it
    shows, by the parameter `limit`: who is in that row was not seen, and is not named.
    """
    is_page = "limit" in Query(statement).names
    read = paged(statement) if is_page else statement
    return Query(
        _and_many_trail(read, subtype, resource, is_page=is_page),
        alone=Query(_and_many_trail(opening(read), subtype, resource, is_page=is_page)),
    )


def _and_many_trail(
    statement: Select[*tuple[Any, ...]], subtype: str, resource: str, *, is_page: bool
) -> Select[*tuple[Any, ...]]:
    found = statement.cte("found")
    shown = select(found.c.participant_id)
    if is_page:
        shown = shown.limit(bindparam("limit", type_=Integer) - 1)
    seen = shown.subquery("seen")
    trail = (
        insert(AuditEvent)
        .from_select(
            ["action", "subtype", "outcome", "resource", "participant_ids", "count"],
            select(
                literal(AuditAction.READ.value, Text),
                literal(subtype, Text),
                literal(AuditOutcome.SUCCESS.value, Text),
                literal(resource, Text),
                func.array_agg(seen.c.participant_id.distinct(), type_=ARRAY(Uuid)).filter(
                    seen.c.participant_id.is_not(null())
                ),
                func.count(type_=Integer),
            ).select_from(seen),
            include_defaults=False,
        )
        .cte("trail")
    )
    return select(found).add_cte(trail)
