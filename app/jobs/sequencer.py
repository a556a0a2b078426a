"""Gives events their positions, in the order in which their commits became visible.

An id is drawn before the commit, so a lower one may appear later and a reader who went by ids
would miss it. Positions are given afterwards, under the row lock of the organization's head:
only what is committed is seen, and two workers take turns. So a reader who has seen position n
has seen everything up to n, forever (API-05). The deliveries of an event are born in the same
transaction, so that none is lost between the log and the webhooks (WH-05).
"""

from typing import Final
from uuid import UUID

from sqlalchemy import bindparam, func, insert, or_, select, text, update
from sqlalchemy.dialects import postgresql
from sqlalchemy.ext.asyncio import AsyncSession

from app.core import clock
from app.core.ids import new_id
from app.core.metrics import OUTBOX_DEPTH
from app.jobs.workplace import Workplace, in_turn
from app.models.events import Event, EventHead
from app.models.webhooks import DeliveryState, EndpointState, WebhookDelivery, WebhookEndpoint

BATCH: Final = 500
CHANNEL: Final = "stepwell_positions"
"""Where `<organization>:<position>` is told once positions are given."""

OWN_SUBJECT: Final = "endpoint"
"""Events about webhook endpoints are not sent to endpoints: failing deliveries would breed."""

_WAITING: Final = text("select worker_organizations_with_events()")
_GIVE: Final = (
    update(Event.__table__)  # type: ignore[arg-type]  # a declarative table is a Table
    .where(Event.__table__.c.id == bindparam("event_id"))
    .values(position=bindparam("given"))
)


async def sequence(place: Workplace) -> bool:
    """Give positions to what waits, a batch for each organization; answers if some may be left.

    What fails in one organization is raised when all the others have their positions.
    """
    async with place.connections.command() as db:
        waiting: list[UUID] = list((await db.scalars(_WAITING)).all())
    most = 0

    async def work(organization_id: UUID) -> None:
        nonlocal most
        async with place.enter(organization_id) as db:
            most = max(most, await give_positions(db))

    try:
        await in_turn(waiting, work)
    finally:
        OUTBOX_DEPTH.set(most)
    return most == BATCH


async def give_positions(db: AsyncSession) -> int:
    """Give positions to the organization's waiting events, and say how many got one."""
    head = await _locked_head(db)
    # Read after the lock is held: what another worker has just positioned is seen as such.
    waiting = (
        await db.execute(
            select(Event.id, Event.type, Event.subject)
            .where(Event.position.is_(None))
            .order_by(Event.at, Event.id)
            .limit(BATCH)
        )
    ).all()
    if not waiting:
        return 0
    await db.execute(
        _GIVE,
        [
            {"event_id": event_id, "given": position}
            for position, (event_id, *_) in enumerate(waiting, head + 1)
        ],
    )
    reached = head + len(waiting)
    await db.execute(update(EventHead).values(position=reached))
    await _send_to_webhooks(db, [(row.id, row.type, row.subject) for row in waiting])
    await db.execute(select(func.pg_notify(CHANNEL, f"{db.info['organization_id']}:{reached}")))
    return len(waiting)


async def _locked_head(db: AsyncSession) -> int:
    query = select(EventHead.position).with_for_update(key_share=True)
    head = await db.scalar(query)
    if head is None:
        await db.execute(
            postgresql.insert(EventHead)
            .values(organization_id=db.info["organization_id"], position=0)
            .on_conflict_do_nothing()
        )
        head = (await db.scalars(query)).one()
    return head


async def _send_to_webhooks(db: AsyncSession, events: list[tuple[UUID, str, str]]) -> None:
    """Put each event on its way to every endpoint that listens for its type."""
    endpoints = (
        await db.execute(
            select(WebhookEndpoint.id, WebhookEndpoint.event_types).where(
                or_(
                    WebhookEndpoint.state == EndpointState.ACTIVE,
                    # One whose new address is being verified gets what it missed afterwards.
                    WebhookEndpoint.last_success_at.is_not(None)
                    & (WebhookEndpoint.state == EndpointState.PENDING),
                )
            )
        )
    ).all()
    now = clock.wall()
    deliveries = [
        {
            "id": new_id(),
            "endpoint_id": endpoint.id,
            "event_id": event_id,
            "state": DeliveryState.WAITING,
            "next_attempt_at": now,
            "created_at": now,
        }
        for event_id, type_, subject in events
        for endpoint in endpoints
        if listens(endpoint.event_types, type_, subject)
    ]
    if deliveries:
        await db.execute(insert(WebhookDelivery), deliveries)


def listens(event_types: list[str], type_: str, subject: str) -> bool:
    """Whether a subscription covers a type: by name, by subject (`plan.*`), or by `*`."""
    if subject == OWN_SUBJECT:
        return False
    return not {"*", f"{subject}.*", type_}.isdisjoint(event_types)
