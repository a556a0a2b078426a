"""Webhook endpoints: where an organization's events are sent.

An endpoint first proves that it listens: until it has answered a signed question it receives
nothing else, and a new address proves itself anew (WH-12). Its secret is shown once and kept
sealed. Nothing here speaks to a receiver; the worker does (`app.webhooks.delivery`). Receivers
live by the real clock, so that every time of an endpoint is of it, whatever the organization's
clock says.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from pydantic import MISSING
from sqlalchemy import or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from app import events
from app.core import clock
from app.core.ids import new_id
from app.core.problems import Conflict, FieldError, Invalid, NotFound, PreconditionFailed
from app.models.audit import AuditAction
from app.models.events import Event
from app.models.organizations import KeyPurpose
from app.models.webhooks import (
    WITHHELD,
    DeliveryState,
    EndpointState,
    WebhookDelivery,
    WebhookEndpoint,
)
from app.models.webhooks import WebhookAttempt as AttemptRow
from app.schemas.webhooks import (
    WebhookAttemptRead,
    WebhookCreate,
    WebhookDeliveryRead,
    WebhookRead,
    WebhookReplayRead,
    WebhookSecretRead,
    WebhookUpdate,
)
from app.security import audit, seals
from app.security.permissions import Permission
from app.security.principal import Principal
from app.webhooks import endpoints
from app.webhooks.payload import TEST, VERIFICATION
from app.webhooks.signing import WebhookSecret
from app.webhooks.urls import BadUrl, parse_url

TABLE: Final = "webhook_endpoint"
OVERLAP: Final = timedelta(hours=24)
"""How long a replaced secret goes on signing next to the new one (WH-04)."""

MOST_ENDPOINTS: Final = 50
MOST_REPLAYED: Final = 1_000
"""How many deliveries one request sends again; whoever has more asks again."""

_FAILED: Final = (DeliveryState.DEAD, DeliveryState.CANCELED)


class BadWebhookUrl(Invalid):
    """Events are not sent to this URL; `errors` says which rule it breaks."""

    slug, title = "bad-webhook-url", "Webhooks cannot be sent to this URL"


class TooManyWebhooks(Conflict):
    """The organization has as many endpoints as it may have."""

    slug, title = "too-many-webhooks", "There are too many webhook endpoints"


class WebhookDisabled(Conflict):
    """The endpoint is out of service: enable it first."""

    slug, title = "webhook-disabled", "The webhook endpoint is disabled"


class WebhookNotActive(Conflict):
    """The endpoint has not proven that it listens: it is sent nothing but the question."""

    slug, title = "webhook-not-active", "The webhook endpoint is not active"


class DeliveryUnderWay(Conflict):
    """The delivery is still being tried by itself."""

    slug, title = "delivery-under-way", "The delivery is still under way"


async def register_webhook(
    db: AsyncSession, principal: Principal, request: WebhookCreate, *, allow_local: bool
) -> WebhookSecretRead:
    """Name a receiver; it is asked to prove itself, and the answer holds its secret, once.

    Raises BadWebhookUrl or TooManyWebhooks.
    """
    _check_url(request.url, allow_local=allow_local)
    present = (await db.scalars(select(WebhookEndpoint.id).limit(MOST_ENDPOINTS))).all()
    if len(present) >= MOST_ENDPOINTS:
        raise TooManyWebhooks
    endpoint_id, now, secret = new_id(), clock.wall(), WebhookSecret.generate()
    key = await seals.organization_key(db, KeyPurpose.SECRET)
    endpoint = WebhookEndpoint(
        id=endpoint_id,
        url=request.url,
        event_types=sorted(request.event_types),
        state=EndpointState.PENDING,
        created_by=principal.account_id,
        created_at=now,
        updated_at=now,
        **seals.sealed(key, TABLE, endpoint_id, secret=secret.reveal()),
    )
    db.add(endpoint)
    await db.flush()
    await _record(db, endpoint, AuditAction.CREATE, "endpoint.created")
    await _ask_for_proof(db, endpoint)
    return _with_secret(endpoint, secret)


async def list_webhooks(db: AsyncSession, *, after: UUID, limit: int) -> Sequence[WebhookRead]:
    """The organization's endpoints, by id."""
    query = (
        select(WebhookEndpoint)
        .where(WebhookEndpoint.id > after)
        .order_by(WebhookEndpoint.id)
        .limit(limit + 1)
    )
    return [WebhookRead.model_validate(row) for row in await db.scalars(query)]


async def read_webhook(db: AsyncSession, endpoint_id: UUID) -> WebhookRead:
    """One endpoint. Raises NotFound."""
    return WebhookRead.model_validate(await _get(db, endpoint_id))


async def update_webhook(
    db: AsyncSession,
    endpoint_id: UUID,
    request: WebhookUpdate,
    version: int,
    *,
    allow_local: bool,
) -> WebhookRead:
    """Change what is given; a new URL makes the endpoint prove itself again.

    Raises NotFound, PreconditionFailed, BadWebhookUrl or WebhookDisabled.
    """
    endpoint = await _get(db, endpoint_id, lock=True)
    if endpoint.version != version:
        raise PreconditionFailed
    is_moved = request.url is not MISSING and request.url != endpoint.url
    if request.url is not MISSING and is_moved:
        if endpoint.state is EndpointState.DISABLED:
            raise WebhookDisabled
        _check_url(request.url, allow_local=allow_local)
        endpoint.url, endpoint.state = request.url, EndpointState.PENDING
    if request.event_types is not MISSING:
        endpoint.event_types = sorted(request.event_types)
    endpoint.updated_at = clock.wall()
    await db.flush()
    await _record(db, endpoint, AuditAction.UPDATE, "endpoint.updated")
    if is_moved:
        await _ask_for_proof(db, endpoint)
    return WebhookRead.model_validate(endpoint)


async def rotate_secret(db: AsyncSession, endpoint_id: UUID) -> WebhookSecretRead:
    """Make a new secret; the one before signs next to it for a day (WH-04). Raises NotFound."""
    endpoint = await _get(db, endpoint_id, lock=True)
    key = await seals.organization_key(db, KeyPurpose.SECRET)
    keys = await seals.keys_for(db, [endpoint.secret])
    old = keys.unseal(seals.Cell(TABLE, "secret", endpoint.id), endpoint.secret)
    new = WebhookSecret.generate()
    cells = seals.sealed(key, TABLE, endpoint.id, secret=new.reveal(), previous_secret=old)
    for column, blob in cells.items():
        setattr(endpoint, column, blob)
    endpoint.previous_secret_until = clock.wall() + OVERLAP
    endpoint.updated_at = clock.wall()
    await db.flush()
    await _record(db, endpoint, AuditAction.UPDATE, "endpoint.secret_rotated")
    return _with_secret(endpoint, new)


async def disable_webhook(db: AsyncSession, endpoint_id: UUID) -> WebhookRead:
    """Take an endpoint out of service; what waits for it is canceled. Raises NotFound."""
    endpoint = await _get(db, endpoint_id, lock=True)
    if endpoint.state is not EndpointState.DISABLED:
        await endpoints.disable(db, endpoint, "by_administrator")
        await _audit(db, endpoint, AuditAction.UPDATE)
    return WebhookRead.model_validate(endpoint)


async def enable_webhook(db: AsyncSession, endpoint_id: UUID) -> WebhookRead:
    """Put an endpoint back into service, as soon as it has proven itself. Raises NotFound."""
    endpoint = await _get(db, endpoint_id, lock=True)
    if endpoint.state is EndpointState.DISABLED:
        endpoint.state, endpoint.disabled_because = EndpointState.PENDING, None
        endpoint.failures_in_a_row, endpoint.paused_until = 0, None
        endpoint.updated_at = clock.wall()
        await db.flush()
        await _record(db, endpoint, AuditAction.UPDATE, "endpoint.enabled")
        await _ask_for_proof(db, endpoint)
    return WebhookRead.model_validate(endpoint)


async def send_test_event(db: AsyncSession, endpoint_id: UUID) -> WebhookDeliveryRead:
    """Send an endpoint something about itself, whatever it listens for (WH-11).

    Raises NotFound, WebhookDisabled or WebhookNotActive.
    """
    endpoint = await _get(db, endpoint_id, lock=True)
    if endpoint.state is EndpointState.DISABLED:
        raise WebhookDisabled
    if endpoint.state is EndpointState.PENDING:
        raise WebhookNotActive
    delivery = await _send(db, endpoint, TEST)
    await _audit(db, endpoint, AuditAction.EXECUTE)
    return _delivery(delivery, TEST, [])


async def list_deliveries(
    db: AsyncSession,
    endpoint_id: UUID,
    *,
    after: UUID,
    limit: int,
    state: DeliveryState | None = None,
) -> Sequence[WebhookDeliveryRead]:
    """What was and is on its way to an endpoint, with every attempt. Raises NotFound."""
    await _get(db, endpoint_id)
    query = (
        select(WebhookDelivery, Event.type)
        .join(Event, Event.id == WebhookDelivery.event_id)
        .where(WebhookDelivery.endpoint_id == endpoint_id, WebhookDelivery.id > after)
        .order_by(WebhookDelivery.id)
        .limit(limit + 1)
    )
    if state is not None:
        query = query.where(WebhookDelivery.state == state)
    rows = (await db.execute(query)).all()
    attempts = await _attempts(db, (delivery.id for delivery, _ in rows))
    return [_delivery(delivery, type_, attempts[delivery.id]) for delivery, type_ in rows]


async def replay_delivery(
    db: AsyncSession, endpoint_id: UUID, delivery_id: UUID
) -> WebhookDeliveryRead:
    """Send a delivery again, under the id that it had (WH-11).

    One that was given up gets one more attempt. Raises NotFound, WebhookDisabled or
    DeliveryUnderWay.
    """
    endpoint = await _get(db, endpoint_id, lock=True)
    row = (
        await db.execute(
            select(WebhookDelivery, Event.type)
            .join(Event, Event.id == WebhookDelivery.event_id)
            .where(WebhookDelivery.endpoint_id == endpoint_id, WebhookDelivery.id == delivery_id)
            .with_for_update(of=WebhookDelivery)
        )
    ).one_or_none()
    if row is None:
        raise NotFound
    delivery, type_ = row
    if endpoint.state is EndpointState.DISABLED:
        raise WebhookDisabled
    if delivery.state is DeliveryState.WAITING:
        raise DeliveryUnderWay
    delivery.state, delivery.next_attempt_at = DeliveryState.WAITING, clock.wall()
    await db.flush()
    await audit.record(db, AuditAction.EXECUTE, "webhook:replay", "webhook_delivery", delivery.id)
    attempts = await _attempts(db, [delivery.id])
    return _delivery(delivery, type_, attempts[delivery.id])


async def replay_deliveries(
    db: AsyncSession, endpoint_id: UUID, *, since: datetime, until: datetime | None
) -> WebhookReplayRead:
    """Send again what was given up or canceled in a range, under the ids that it had (WH-11).

    The oldest go first. What the law withheld stays withheld, and a question for proof is asked
    by enabling the endpoint. Raises NotFound or WebhookDisabled.
    """
    endpoint = await _get(db, endpoint_id, lock=True)
    if endpoint.state is EndpointState.DISABLED:
        raise WebhookDisabled
    query = (
        select(WebhookDelivery.id)
        .join(Event, Event.id == WebhookDelivery.event_id)
        .where(
            WebhookDelivery.endpoint_id == endpoint_id,
            WebhookDelivery.state.in_(_FAILED),
            or_(
                WebhookDelivery.last_failure.is_(None),
                WebhookDelivery.last_failure != WITHHELD,
            ),
            WebhookDelivery.created_at >= since,
            Event.type != VERIFICATION,
        )
        .order_by(WebhookDelivery.created_at, WebhookDelivery.id)
        .limit(MOST_REPLAYED + 1)
        .with_for_update(of=WebhookDelivery)
    )
    if until is not None:
        query = query.where(WebhookDelivery.created_at < until)
    found = (await db.scalars(query)).all()
    chosen = found[:MOST_REPLAYED]
    await db.execute(
        update(WebhookDelivery)
        .where(WebhookDelivery.id.in_(chosen))
        .values(state=DeliveryState.WAITING, next_attempt_at=clock.wall())
        .execution_options(synchronize_session=False)
    )
    await audit.record(
        db,
        AuditAction.EXECUTE,
        "webhook:replay",
        "webhook_delivery",
        count=len(chosen),
    )
    return WebhookReplayRead(replayed=len(chosen), has_more=len(found) > len(chosen))


async def _get(db: AsyncSession, endpoint_id: UUID, *, lock: bool = False) -> WebhookEndpoint:
    query = select(WebhookEndpoint).where(WebhookEndpoint.id == endpoint_id)
    endpoint = await db.scalar(query.with_for_update() if lock else query)
    if endpoint is None:
        raise NotFound
    return endpoint


def _check_url(url: str, *, allow_local: bool) -> None:
    try:
        parse_url(url, development=allow_local)
    except BadUrl as refused:
        raise BadWebhookUrl(errors=[FieldError("/url", refused.code)]) from None


async def _ask_for_proof(db: AsyncSession, endpoint: WebhookEndpoint) -> None:
    """Put the question on its way whose answer makes the endpoint active."""
    await _send(db, endpoint, VERIFICATION)


async def _send(db: AsyncSession, endpoint: WebhookEndpoint, type_: str) -> WebhookDelivery:
    """Put an event about an endpoint on its way to that endpoint, which gets no others of them."""
    event_id = await events.record(db, type_, endpoint.id, version=endpoint.version)
    now = clock.wall()
    delivery = WebhookDelivery(
        id=new_id(),
        endpoint_id=endpoint.id,
        event_id=event_id,
        state=DeliveryState.WAITING,
        next_attempt_at=now,
        created_at=now,
    )
    db.add(delivery)
    await db.flush()
    return delivery


async def _attempts(
    db: AsyncSession, delivery_ids: Iterable[UUID]
) -> Mapping[UUID, list[WebhookAttemptRead]]:
    found: dict[UUID, list[WebhookAttemptRead]] = defaultdict(list)
    query = (
        select(AttemptRow)
        .where(AttemptRow.delivery_id.in_(list(delivery_ids)))
        .order_by(AttemptRow.delivery_id, AttemptRow.number)
    )
    for row in await db.scalars(query):
        found[row.delivery_id].append(WebhookAttemptRead.model_validate(row))
    return found


def _delivery(
    delivery: WebhookDelivery, event_type: str, attempts: list[WebhookAttemptRead]
) -> WebhookDeliveryRead:
    is_waiting = delivery.state is DeliveryState.WAITING
    return WebhookDeliveryRead(
        id=delivery.id,
        event_id=delivery.event_id,
        event_type=event_type,
        state=delivery.state,
        attempts=attempts,
        next_attempt_at=delivery.next_attempt_at if is_waiting else None,
        last_failure=delivery.last_failure,
        delivered_at=delivery.delivered_at,
        created_at=delivery.created_at,
    )


def _with_secret(endpoint: WebhookEndpoint, secret: WebhookSecret) -> WebhookSecretRead:
    read = WebhookRead.model_validate(endpoint)
    return WebhookSecretRead(**dict(read), secret=secret.reveal())


async def _record(
    db: AsyncSession, endpoint: WebhookEndpoint, action: AuditAction, event: str
) -> None:
    await _audit(db, endpoint, action)
    await events.record(db, event, endpoint.id, version=endpoint.version)


async def _audit(db: AsyncSession, endpoint: WebhookEndpoint, action: AuditAction) -> None:
    await audit.record(
        db, action, Permission.WEBHOOK_MANAGE, TABLE, endpoint.id, version=endpoint.version
    )
