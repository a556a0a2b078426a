"""Webhook endpoints: where your organization's events are sent."""

from http import HTTPStatus
from typing import Annotated
from uuid import UUID

from fastapi import Depends, Query, Request, Response

from app.core.problems import (
    InvalidCursor,
    NotFound,
    PreconditionFailed,
    PreconditionRequired,
    problems,
)
from app.models.webhooks import DeliveryState
from app.routers.pages import PageQuery, page_of
from app.routers.route import IfMatch, expected_version, router, tagged
from app.schemas.webhooks import (
    WebhookCreate,
    WebhookDeliveryPage,
    WebhookDeliveryRead,
    WebhookPage,
    WebhookRead,
    WebhookReplayCreate,
    WebhookReplayRead,
    WebhookSecretRead,
    WebhookUpdate,
)
from app.security.guards import Database, Requires, runtime_of
from app.security.permissions import Permission
from app.security.principal import Principal
from app.services import webhooks

routes = router("/v1/webhooks", "webhooks")

WebhookManager = Annotated[Principal, Depends(Requires(Permission.WEBHOOK_MANAGE))]


async def _allow_local(request: Request) -> bool:
    return runtime_of(request).settings.allow_local_webhooks


AllowLocal = Annotated[bool, Depends(_allow_local)]


@routes.post(
    "",
    status_code=HTTPStatus.CREATED,
    responses=problems(webhooks.BadWebhookUrl, webhooks.TooManyWebhooks),
)
async def register_webhook(
    body: WebhookCreate,
    response: Response,
    db: Database,
    principal: WebhookManager,
    allow_local: AllowLocal,
) -> WebhookSecretRead:
    """Name a receiver of events. The answer holds its signing secret, this once.

    The receiver is sent `endpoint.verification` and becomes active when it answers 200 with the
    event's `data.nonce` in the body.
    """
    endpoint = await webhooks.register_webhook(db, principal, body, allow_local=allow_local)
    response.headers["Location"] = f"/v1/webhooks/{endpoint.id}"
    return tagged(response, endpoint)


@routes.get("", responses=problems(InvalidCursor))
async def list_webhooks(page: PageQuery, db: Database, _: WebhookManager) -> WebhookPage:
    """List the receivers of your organization's events."""
    found = await webhooks.list_webhooks(db, after=page.after_id(), limit=page.limit)
    return page_of(WebhookPage, page, found)


@routes.get("/{webhook_id}", responses=problems(NotFound))
async def read_webhook(
    webhook_id: UUID, response: Response, db: Database, _: WebhookManager
) -> WebhookRead:
    """Read one receiver, and how it is doing."""
    return tagged(response, await webhooks.read_webhook(db, webhook_id))


@routes.patch(
    "/{webhook_id}",
    responses=problems(
        NotFound,
        PreconditionRequired,
        PreconditionFailed,
        webhooks.BadWebhookUrl,
        webhooks.WebhookDisabled,
    ),
)
async def update_webhook(
    webhook_id: UUID,
    body: WebhookUpdate,
    response: Response,
    db: Database,
    _: WebhookManager,
    allow_local: AllowLocal,
    if_match: IfMatch = None,
) -> WebhookRead:
    """Change where events are sent, or which. A new URL has to prove itself first."""
    version = expected_version(if_match)
    endpoint = await webhooks.update_webhook(db, webhook_id, body, version, allow_local=allow_local)
    return tagged(response, endpoint)


@routes.post("/{webhook_id}/rotate-secret", responses=problems(NotFound))
async def rotate_webhook_secret(
    webhook_id: UUID, response: Response, db: Database, _: WebhookManager
) -> WebhookSecretRead:
    """Make a new signing secret. For a day both sign, so that the receiver can change over."""
    return tagged(response, await webhooks.rotate_secret(db, webhook_id))


@routes.post("/{webhook_id}/disable", responses=problems(NotFound))
async def disable_webhook(
    webhook_id: UUID, response: Response, db: Database, _: WebhookManager
) -> WebhookRead:
    """Send nothing there any more; what waits is canceled."""
    return tagged(response, await webhooks.disable_webhook(db, webhook_id))


@routes.post("/{webhook_id}/enable", responses=problems(NotFound))
async def enable_webhook(
    webhook_id: UUID, response: Response, db: Database, _: WebhookManager
) -> WebhookRead:
    """Put a disabled receiver back into service, as soon as it has proven itself again."""
    return tagged(response, await webhooks.enable_webhook(db, webhook_id))


@routes.post(
    "/{webhook_id}/test",
    status_code=HTTPStatus.CREATED,
    responses=problems(NotFound, webhooks.WebhookDisabled, webhooks.WebhookNotActive),
)
async def send_test_webhook(
    webhook_id: UUID, db: Database, _: WebhookManager
) -> WebhookDeliveryRead:
    """Send `endpoint.tested` to a receiver. The list of deliveries says what came of it."""
    return await webhooks.send_test_event(db, webhook_id)


@routes.get("/{webhook_id}/deliveries", responses=problems(NotFound, InvalidCursor))
async def list_webhook_deliveries(
    webhook_id: UUID,
    page: PageQuery,
    db: Database,
    _: WebhookManager,
    state: Annotated[
        DeliveryState | None, Query(description="Only those that stand so, such as `dead`.")
    ] = None,
) -> WebhookDeliveryPage:
    """List what was and is on its way to a receiver, with every attempt, for thirty days."""
    found = await webhooks.list_deliveries(
        db, webhook_id, after=page.after_id(), limit=page.limit, state=state
    )
    return page_of(WebhookDeliveryPage, page, found)


@routes.post("/{webhook_id}/replays", responses=problems(NotFound, webhooks.WebhookDisabled))
async def replay_webhook_deliveries(
    webhook_id: UUID, body: WebhookReplayCreate, db: Database, _: WebhookManager
) -> WebhookReplayRead:
    """Send again what was given up or canceled in a range of time, the oldest first.

    Each keeps its `webhook-id`. At most 1000 go at once: repeat the request while `has_more`.
    """
    return await webhooks.replay_deliveries(db, webhook_id, since=body.since, until=body.until)


@routes.post(
    "/{webhook_id}/deliveries/{delivery_id}/replay",
    responses=problems(NotFound, webhooks.WebhookDisabled, webhooks.DeliveryUnderWay),
)
async def replay_webhook_delivery(
    webhook_id: UUID, delivery_id: UUID, db: Database, _: WebhookManager
) -> WebhookDeliveryRead:
    """Send a delivery again. It keeps its `webhook-id`, so that the receiver knows it."""
    return await webhooks.replay_delivery(db, webhook_id, delivery_id)
