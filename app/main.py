"""The one place where routers, middleware, error handlers and lifespan meet."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager
from typing import Final

from fastapi import APIRouter, FastAPI
from fastapi.routing import APIRoute
from opentelemetry.trace import TracerProvider

from app import contract, vitals
from app.core import edge, problems
from app.core.database import Connections
from app.core.pagination import CursorCodec
from app.jobs.supervision import Supervisor
from app.readiness import Check, Readiness, Verdict
from app.realtime.buses import bus_for
from app.realtime.hub import Hub
from app.routers import (
    accesses,
    alerts,
    assessments,
    clock,
    connectivity,
    docs,
    enrollments,
    events,
    groups,
    health,
    instruments,
    intakes,
    invitations,
    me,
    measurements,
    oauth,
    organization,
    participants,
    plans,
    programs,
    realtime,
    rooms,
    series,
    sessions,
    staff,
    trends,
    webhooks,
    well_known,
)
from app.routers.table import RouteTable
from app.runtime import Runtime
from app.security import catalogue, keys
from app.security.guards import check_routes
from app.security.rate_limits import Quota, RateLimits
from app.security.tokens import Issuer, Verifier
from app.security.vault import Vault
from app.settings import Misconfigured, Settings, unsafe

ROUTERS: Final[tuple[APIRouter, ...]] = (
    accesses.routes,
    alerts.routes,
    assessments.routes,
    assessments.batteries,
    clock.routes,
    connectivity.routes,
    docs.problem_pages,
    enrollments.routes,
    events.routes,
    groups.routes,
    health.routes,
    instruments.routes,
    intakes.routes,
    invitations.routes,
    me.routes,
    measurements.routes,
    oauth.routes,
    organization.routes,
    participants.referrals,
    participants.routes,
    plans.routes,
    programs.routes,
    realtime.routes,
    rooms.routes,
    series.routes,
    sessions.routes,
    staff.routes,
    trends.routes,
    webhooks.routes,
    well_known.routes,
)


def make_runtime(settings: Settings, database_url: str) -> Runtime:
    """What a process needs, made from its settings and keys. Raises Misconfigured."""
    if findings := unsafe(settings):
        raise Misconfigured(findings)
    material = keys.load(settings)
    connections = Connections(database_url, size=settings.pool_size)
    return Runtime(
        settings=settings,
        connections=connections,
        vault=Vault(material.root),
        issuer=Issuer(material.ring, settings.issuer, settings.issuer),
        verifier=Verifier(material.ring, settings.issuer, settings.issuer),
        cursors=CursorCodec(material.cursor_key),
        limits=RateLimits(
            connections,
            account=Quota("account", settings.account_requests),
            network=Quota("network", settings.network_requests),
        ),
    )


def create_app(runtime: Runtime, tracer_provider: TracerProvider | None = None) -> FastAPI:
    """The application over a runtime, traced where a provider is given (`app.tracing`).

    Raises UnguardedRoute when a route has no gate.
    """
    settings = runtime.settings
    app = FastAPI(
        title="Stepwell",
        version=contract.VERSION,
        lifespan=_lifespan,
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        # Its log signal holds the messages of exceptions, which may hold what people wrote.
        telemetry={
            "tracing": tracer_provider is not None,
            "tracer_provider": tracer_provider,
            "metrics": False,
            "logs": False,
            "operation_spans": False,
        },
    )
    app.state.runtime = runtime
    app.state.has_started = app.state.is_draining = False
    app.state.findings = []
    hub = Hub(
        runtime,
        bus_for(runtime.connections, settings.nats_url),
        most_lines=settings.max_sockets,
    )
    app.state.hub = hub
    app.state.drain = hub.drain
    app.state.lookout = keys.Lookout(root=runtime.vault.refresh, tokens=runtime.issuer.refresh)
    app.state.readiness = Readiness(runtime.connections, settings, lambda: _own_checks(app))
    _mount(app, (*ROUTERS, *(() if settings.is_production else (docs.routes,))))
    contract.install(app)
    problems.install(app)
    check_routes(app)
    app.add_middleware(edge.Edge, config=_edge_config(settings))
    return app


def _mount(app: FastAPI, routers: Iterable[APIRouter]) -> None:
    """Add every route, flat: an included router would be searched in full at each request."""
    for routes in routers:
        for route in routes.routes:
            if isinstance(route, APIRoute):
                route.operation_id = route.operation_id or route.name
            app.router.routes.append(route)
    app.router.routes.insert(0, RouteTable(app.router.routes))


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Start only on a database that keeps its promises; leave nothing open (AUTHZ-26)."""
    runtime: Runtime = app.state.runtime
    if findings := await catalogue.findings(runtime.connections):
        app.state.findings = findings
        raise Misconfigured(findings)
    app.state.has_started = True
    hub: Hub = app.state.hub
    try:
        async with hub.running(), _measuring(app):
            yield
    finally:
        await runtime.connections.close()


@asynccontextmanager
async def _measuring(app: FastAPI) -> AsyncIterator[None]:
    runtime: Runtime = app.state.runtime
    measuring = vitals.loops(app.state.readiness, runtime.connections)
    supervisor = Supervisor([*measuring, app.state.lookout.loop])
    running = asyncio.create_task(supervisor.run(), name="vitals")
    try:
        yield
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


def _own_checks(app: FastAPI) -> Iterator[Check]:
    """What the process knows of itself without asking anybody."""
    hub: Hub = app.state.hub
    runtime: Runtime = app.state.runtime
    yield Check.of("draining", is_well=not app.state.is_draining, otherwise=Verdict.FAIL)
    yield Check.of("keys", is_well=app.state.lookout.sees, otherwise=Verdict.DEGRADED)
    yield Check.within(
        "listener", hub.bus_link.seconds_down, runtime.settings.listener_limit.total_seconds()
    )


def _edge_config(settings: Settings) -> edge.EdgeConfig:
    return edge.EdgeConfig(
        hosts=settings.hosts,
        origins=settings.origins,
        is_production=settings.is_production,
        deadline=settings.request_deadline,
        max_in_flight=settings.max_in_flight,
    )
