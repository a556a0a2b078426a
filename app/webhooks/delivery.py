"""Takes events to the endpoints that listen for them, until they are taken or given up.

A delivery is leased in one transaction, sent outside of any, and recorded in another (WH-06):
a crash in between sends it again, under the same id, once the lease has run out. What is sent
is made at that moment from the stored event, and withheld if it may not leave any more (WH-15).
"""

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from http import HTTPStatus
from typing import Final
from uuid import UUID

from sqlalchemy import case, select, text, update
from sqlalchemy.ext.asyncio import AsyncSession

from app import events, notifications
from app.core import clock
from app.core.ids import new_id
from app.core.metrics import WEBHOOK_ATTEMPTS
from app.domain.retries import DeliveryOutcome, classify, next_delay
from app.jobs.workplace import Workplace
from app.models.accounts import Notification
from app.models.audit import AuditAction, AuditOutcome
from app.models.events import Event
from app.models.participants import Participant
from app.models.webhooks import (
    WITHHELD,
    DeliveryState,
    EndpointState,
    WebhookAttempt,
    WebhookDelivery,
    WebhookEndpoint,
)
from app.notifications import Template
from app.security import audit, seals
from app.webhooks import endpoints
from app.webhooks.payload import VERIFICATION, Happening, body_of
from app.webhooks.signing import WebhookSecret, message_id, sign
from app.webhooks.transport import Attempt, Transport

LEASE: Final = timedelta(seconds=60)
AT_ONCE: Final = 16
CIRCUIT_FAILURES: Final = 20
CIRCUIT_PAUSE: Final = timedelta(seconds=60)
GIVEN_UP_AFTER: Final = timedelta(days=5)
"""An endpoint that took nothing for so long is out of service (WH-09)."""

_OWNER_TOLD_EVERY: Final = timedelta(days=1)
_CLAIM: Final = text(
    "select organization_id, delivery_id from worker_claim_deliveries(:now, :lease, :limit)"
)


@dataclass(frozen=True, slots=True)
class Parcel:
    """One attempt, ready to be sent."""

    delivery_id: UUID
    endpoint_id: UUID
    number: int
    url: str
    event_id: UUID
    body: bytes
    secrets: tuple[WebhookSecret, ...]
    nonce: str | None


class Courier:
    """Delivers what is due, some at a time. Any number may work on one database."""

    def __init__(
        self,
        place: Workplace,
        transport: Transport,
        *,
        at_once: int = AT_ONCE,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._place = place
        self._transport = transport
        self._at_once = at_once
        self._jitter = jitter
        self._under_way: set[asyncio.Task[None]] = set()
        self._failures: list[Exception] = []
        self.has_room = asyncio.Event()
        """Set whenever an attempt has ended, so that the next can begin."""

    async def deliver_due(self) -> bool:
        """Take on as much as there is room for, and answer whether that was anything.

        What goes wrong in an attempt, other than the receiver, is raised by a later call.
        """
        self._raise_failures()
        room = self._at_once - len(self._under_way)
        claimed = await self._claim(room) if room > 0 else []
        for organization_id, delivery_id in claimed:
            task = asyncio.create_task(self._deliver(organization_id, delivery_id))
            self._under_way.add(task)
            task.add_done_callback(self._note)
        return bool(claimed)

    async def finish(self) -> None:
        """Wait for the attempts that are under way; each ends within its own limits."""
        if self._under_way:
            await asyncio.wait(self._under_way)
        self._raise_failures()

    def _raise_failures(self) -> None:
        if self._failures:
            failures, self._failures = self._failures, []
            raise ExceptionGroup("deliveries failed on our side", failures)

    def _note(self, task: asyncio.Task[None]) -> None:
        self._under_way.discard(task)
        self.has_room.set()
        if not task.cancelled() and isinstance(error := task.exception(), Exception):
            self._failures.append(error)

    async def _claim(self, limit: int) -> list[tuple[UUID, UUID]]:
        async with self._place.connections.command() as db:
            rows = await db.execute(_CLAIM, {"now": clock.wall(), "lease": LEASE, "limit": limit})
            return [(row.organization_id, row.delivery_id) for row in rows]

    async def _deliver(self, organization_id: UUID, delivery_id: UUID) -> None:
        async with self._place.enter(organization_id) as db:
            parcel = await pack(db, delivery_id)
        if parcel is None:
            return
        headers = sign(parcel.secrets, message_id(parcel.event_id), clock.wall(), parcel.body)
        attempt = await self._transport.send(parcel.url, headers, parcel.body)
        async with self._place.enter(organization_id) as db:
            await record(db, parcel, attempt, jitter=self._jitter())


async def pack(db: AsyncSession, delivery_id: UUID) -> Parcel | None:
    """Make what is sent, now; None when the delivery was withheld, answered or must wait.

    An endpoint whose address was changed since the lease gets the question for proof and nothing
    else (WH-12); what else was leased for it is due again, at once when the proof is there.
    """
    row = (
        await db.execute(
            select(WebhookDelivery, WebhookEndpoint, Event)
            .join(WebhookEndpoint, WebhookEndpoint.id == WebhookDelivery.endpoint_id)
            .join(Event, Event.id == WebhookDelivery.event_id)
            .where(
                WebhookDelivery.id == delivery_id,
                WebhookDelivery.state == DeliveryState.WAITING,
            )
        )
    ).one_or_none()
    if row is None:
        return None
    delivery, endpoint, event = row
    if not _may_take(endpoint, event):
        # Its number stays used: another worker may hold it by now, if this one was slow.
        delivery.leased_until = None
        await db.flush()
        return None
    if not await _may_leave(db, event):
        await _withhold(db, delivery, event)
        return None
    nonce = None
    if event.type == VERIFICATION:
        nonce = await nonce_of(db, event.id)
    happening = Happening(
        event.type,
        event.subject,
        event.subject_id,
        event.subject_version,
        event.at,
        await _pairwise(db, endpoint.id, event.participant_id),
    )
    return Parcel(
        delivery.id,
        endpoint.id,
        delivery.attempts,
        endpoint.url,
        event.id,
        body_of(happening, nonce=nonce),
        await _secrets(db, endpoint),
        nonce,
    )


async def nonce_of(db: AsyncSession, event_id: UUID) -> str:
    """What an endpoint must give back to prove that it reads what it is sent (WH-12).

    It is derived, not drawn: the same in each attempt, and known to nobody who does not receive.
    """
    return (await seals.blind_index(db, "webhook-nonce", event_id.hex)).hex()


async def record(db: AsyncSession, parcel: Parcel, attempt: Attempt, *, jitter: float) -> None:
    """Write down what came of an attempt, and what follows from it.

    The endpoint is locked before its delivery, as everywhere. An attempt whose lease ran out
    while it was under way decides nothing any more, unless it succeeded.
    """
    now = clock.wall()
    endpoint = (
        await db.scalars(
            select(WebhookEndpoint)
            .where(WebhookEndpoint.id == parcel.endpoint_id)
            .with_for_update()
        )
    ).one()
    delivery = (
        await db.scalars(
            select(WebhookDelivery)
            .where(WebhookDelivery.id == parcel.delivery_id)
            .with_for_update()
        )
    ).one()
    failure = _failure_of(parcel, attempt)
    db.add(
        WebhookAttempt(
            id=new_id(),
            delivery_id=delivery.id,
            number=parcel.number,
            status=attempt.status,
            failure=failure,
            duration_ms=round(attempt.duration.total_seconds() * 1000),
            at=now,
        )
    )
    is_current = delivery.state is DeliveryState.WAITING and delivery.attempts == parcel.number
    is_delivered = attempt.is_success and failure is None
    WEBHOOK_ATTEMPTS.labels("delivered" if is_delivered else "failed").inc()
    if is_delivered and delivery.state is DeliveryState.WAITING:
        delivery.state, delivery.delivered_at = DeliveryState.DELIVERED, now
    if is_delivered or is_current:
        delivery.leased_until = None
        delivery.last_status, delivery.last_failure = attempt.status, failure
    await db.flush()
    if is_delivered:
        await _after_success(db, endpoint, parcel)
    elif is_current:
        await _after_failure(db, endpoint, delivery, attempt, jitter)


def _failure_of(parcel: Parcel, attempt: Attempt) -> str | None:
    if attempt.failure_code is not None:
        return attempt.failure_code.value
    if parcel.nonce is not None and attempt.is_success:
        is_proof = attempt.status == HTTPStatus.OK and parcel.nonce.encode() in attempt.body_head
        return None if is_proof else "nonce_missing"
    return None


async def _after_success(db: AsyncSession, endpoint: WebhookEndpoint, parcel: Parcel) -> None:
    await _count(db, endpoint, failures_in_a_row=0, paused_until=None, last_success_at=clock.wall())
    if parcel.nonce is None or endpoint.state is not EndpointState.PENDING:
        return
    if parcel.url != endpoint.url:
        return  # the address was changed meanwhile, and another proof is under way
    endpoint.state, endpoint.disabled_because = EndpointState.ACTIVE, None
    endpoint.updated_at = clock.wall()
    await db.flush()
    await events.record(db, "endpoint.verified", endpoint.id, version=endpoint.version)


async def _after_failure(
    db: AsyncSession,
    endpoint: WebhookEndpoint,
    delivery: WebhookDelivery,
    attempt: Attempt,
    jitter: float,
) -> None:
    now = clock.wall()
    failures = WebhookEndpoint.failures_in_a_row + 1
    await _count(
        db,
        endpoint,
        failures_in_a_row=failures,
        paused_until=case(
            (failures >= CIRCUIT_FAILURES, now + CIRCUIT_PAUSE), else_=WebhookEndpoint.paused_until
        ),
    )
    if classify(attempt.status, None, now).outcome is DeliveryOutcome.GONE:
        await endpoints.disable(db, endpoint, "gone")
        await _tell_owner(db, endpoint)
        return
    delay = next_delay(delivery.attempts, jitter, retry_after=attempt.retry_after)
    if delay is None:
        delivery.state = DeliveryState.DEAD
        await _tell_owner(db, endpoint)
    else:
        delivery.next_attempt_at = now + delay
    if now - (endpoint.last_success_at or endpoint.created_at) >= GIVEN_UP_AFTER and (
        endpoint.failures_in_a_row + 1 >= CIRCUIT_FAILURES
    ):
        await endpoints.disable(db, endpoint, "unreachable")
        await _tell_owner(db, endpoint)
    await db.flush()


async def _count(db: AsyncSession, endpoint: WebhookEndpoint, **values: object) -> None:
    """Change the counters, which are no part of the version that people edit."""
    await db.execute(
        update(WebhookEndpoint)
        .where(WebhookEndpoint.id == endpoint.id)
        .values(**values)
        .execution_options(synchronize_session=False)
    )


def _may_take(endpoint: WebhookEndpoint, event: Event) -> bool:
    """Whether an endpoint as it is now may be sent this, as the claim asked before."""
    if endpoint.state is EndpointState.DISABLED:
        return False
    return (event.type == VERIFICATION) == (endpoint.state is EndpointState.PENDING)


async def _may_leave(db: AsyncSession, event: Event) -> bool:
    """Whether anybody outside may hear of it: not of a record that the law protects further.

    Until consents exist, nothing of a Part 2 record is disclosed (42 CFR 2.13, WH-15).
    """
    if event.participant_id is None:
        return True
    sensitivity = await db.scalar(
        select(Participant.sensitivity).where(Participant.id == event.participant_id)
    )
    return sensitivity == []


async def _withhold(db: AsyncSession, delivery: WebhookDelivery, event: Event) -> None:
    delivery.state, delivery.leased_until = DeliveryState.CANCELED, None
    delivery.last_failure = WITHHELD
    await audit.record(
        db,
        AuditAction.EXECUTE,
        "webhook:deliver",
        "webhook_delivery",
        delivery.id,
        participant_id=event.participant_id,
        outcome=AuditOutcome.REFUSED,
    )
    await db.flush()


async def _pairwise(db: AsyncSession, endpoint_id: UUID, participant_id: UUID | None) -> str | None:
    """The participant as this endpoint knows them, which no other can recognize."""
    if participant_id is None:
        return None
    purpose = f"webhook-participant:{endpoint_id.hex}"
    return (await seals.blind_index(db, purpose, participant_id.hex)).hex()[:32]


async def _secrets(db: AsyncSession, endpoint: WebhookEndpoint) -> tuple[WebhookSecret, ...]:
    """The secrets in force, the newest first (WH-04)."""
    until = endpoint.previous_secret_until
    columns = ["secret"]
    if endpoint.previous_secret is not None and until is not None and until > clock.wall():
        columns.append("previous_secret")
    blobs = {column: getattr(endpoint, column) for column in columns}
    keys = await seals.keys_for(db, blobs.values())
    return tuple(
        WebhookSecret.parse(keys.unseal(seals.Cell("webhook_endpoint", column, endpoint.id), blob))
        for column, blob in blobs.items()
    )


async def _tell_owner(db: AsyncSession, endpoint: WebhookEndpoint) -> None:
    """Send whoever registered the endpoint a message, once a day at most."""
    told = await db.scalar(
        select(Notification.id)
        .where(
            Notification.account_id == endpoint.created_by,
            Notification.template == Template.WEBHOOK_FAILING,
            Notification.created_at > clock.wall() - _OWNER_TOLD_EVERY,
        )
        .limit(1)
    )
    if told is None:
        await notifications.queue(db, endpoint.created_by, Template.WEBHOOK_FAILING)
