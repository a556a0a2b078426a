"""What befalls an endpoint, whether a person decides it or the worker finds it out."""

from sqlalchemy import update
from sqlalchemy.ext.asyncio import AsyncSession

from app import events
from app.core import clock
from app.models.webhooks import DeliveryState, EndpointState, WebhookDelivery, WebhookEndpoint


async def disable(db: AsyncSession, endpoint: WebhookEndpoint, because: str) -> None:
    """Take an endpoint out of service: what waits for it is canceled, visibly."""
    endpoint.state, endpoint.disabled_because = EndpointState.DISABLED, because
    endpoint.updated_at = clock.wall()
    await db.flush()
    await db.execute(
        update(WebhookDelivery)
        .where(
            WebhookDelivery.endpoint_id == endpoint.id,
            WebhookDelivery.state == DeliveryState.WAITING,
        )
        .values(state=DeliveryState.CANCELED, leased_until=None)
    )
    await events.record(db, "endpoint.disabled", endpoint.id, version=endpoint.version)
