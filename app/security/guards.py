"""The gate of every request: token, sign-in and tenant in one statement, then the permission.

A route says in its signature who may call it (`Annotated[Principal, Requires(...)]`) and in
which lane it works. The application refuses to start when a route says neither a permission nor
`Public` (AUTHZ-01).
"""

from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from http import HTTPStatus
from typing import Annotated, Any, Final

import asyncpg
from fastapi import Depends, FastAPI, Request
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute, APIWebSocketRoute, iter_route_contexts
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.requests import HTTPConnection

from app.core import clock
from app.core.database import Handle, Lane, connection_lost
from app.core.problems import Forbidden, InsufficientScope, Problem, Unauthenticated
from app.domain.roles import AccountKind, StaffRole
from app.models.audit import AuditAction, AuditOutcome
from app.runtime import Runtime
from app.security import audit, idempotency
from app.security.permissions import POLICY, Permission
from app.security.principal import Principal, Reach
from app.security.tokens import AccessClaims

_OPEN: Final = (
    "select account_id, kind, client_id, roles, staff_member_id, participant_id, is_licensed,"
    " clock_offset, environment from open_request("
)
_OPEN_IN_LANE: Final = f"{_OPEN}$1, $2, $3, $4, $5, $6)"
_OPEN_IN_SESSION: Final = text(
    f"{_OPEN}:organization, :sign_in, :version, :now, :request, :source)"
)
_REFUSALS: Final = frozenset({HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND})


def runtime_of(connection: HTTPConnection) -> Runtime:
    """What the process was started with."""
    runtime: Runtime = connection.app.state.runtime
    return runtime


def request_id_of(connection: HTTPConnection) -> str:
    """The id under which this request is logged and audited."""
    request_id: str = connection.scope["state"]["request_id"]
    return request_id


def source_of(connection: HTTPConnection) -> str:
    """The network that the request came from, not the device: enough to notice a stranger."""
    host = connection.client.host if connection.client else ""
    if ":" in host:
        return ":".join(host.split(":")[:3]) + "::/48"
    return ".".join(host.split(".")[:3]) + ".0/24" if host.count(".") == 3 else "local"


def claims_of(request: HTTPConnection) -> AccessClaims:
    """The verified claims of the bearer token; anything else is the one 401."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token:
        raise Unauthenticated
    return runtime_of(request).verifier.verify(token, clock.wall())


@dataclass(frozen=True, slots=True)
class _Opening:
    """What the first statement of a transaction needs to know."""

    claims: AccessClaims
    request_id: str
    source: str

    def arguments(self) -> tuple[Any, ...]:
        claims = self.claims
        return (
            claims.organization_id,
            claims.sign_in_id,
            claims.version,
            clock.wall(),
            self.request_id,
            self.source,
        )


def _admit(
    row: Sequence[Any] | asyncpg.Record | None, opening: _Opening, handle: Handle, runtime: Runtime
) -> Principal:
    """Turn the access check's answer into the caller, and the handle into theirs."""
    if row is None:
        raise Unauthenticated
    claims = opening.claims
    principal = Principal(
        organization_id=claims.organization_id,
        account_id=row[0],
        kind=AccountKind(row[1]),
        client_id=row[2],
        roles=frozenset(map(StaffRole, row[3] or ())),
        staff_member_id=row[4],
        participant_id=row[5],
        is_licensed=row[6],
        sign_in_id=claims.sign_in_id,
        sign_in_version=claims.version,
        scope=claims.scope,
        acr=claims.acr,
        authenticated_at=claims.auth_time,
        request_id=opening.request_id,
        is_development=row[8] == "development",
    )
    clock.set_organization_offset(row[7])
    own(handle, runtime, principal)
    return principal


def own(handle: Handle, runtime: Runtime, principal: Principal) -> None:
    """Write on a handle whose transaction it is."""
    handle.info.update(
        principal=principal,
        organization_id=principal.organization_id,
        account_id=principal.account_id,
        vault=runtime.vault,
    )


async def open_lane(stack: AsyncExitStack, opening: _Opening, runtime: Runtime) -> Lane:
    """Open a transaction in the driver's lane and check the access, in its first statement.

    A pooled connection may have died since it was used: nothing has happened yet, so the
    statement is repeated once on a fresh one.
    """
    try:
        return await _open_lane_once(stack, opening, runtime)
    except Exception as error:
        if not connection_lost(error):
            raise
        return await _open_lane_once(stack, opening, runtime)


async def _open_lane_once(stack: AsyncExitStack, opening: _Opening, runtime: Runtime) -> Lane:
    async with AsyncExitStack() as attempt:
        lane = await attempt.enter_async_context(runtime.connections.lane())
        row = await lane.connection.fetchrow(_OPEN_IN_LANE, *opening.arguments())
        _admit(row, opening, lane, runtime)
        stack.push_async_exit(attempt.pop_all())
    return lane


async def open_session(stack: AsyncExitStack, opening: _Opening, runtime: Runtime) -> AsyncSession:
    """The same in the ORM's lane."""
    try:
        return await _open_session_once(stack, opening, runtime)
    except Exception as error:
        if not connection_lost(error):
            raise
        return await _open_session_once(stack, opening, runtime)


async def _open_session_once(
    stack: AsyncExitStack, opening: _Opening, runtime: Runtime
) -> AsyncSession:
    names = ("organization", "sign_in", "version", "now", "request", "source")
    async with AsyncExitStack() as attempt:
        db = await attempt.enter_async_context(runtime.connections.command())
        parameters = dict(zip(names, opening.arguments(), strict=True))
        row = (await db.execute(_OPEN_IN_SESSION, parameters)).one_or_none()
        _admit(row, opening, db, runtime)
        stack.push_async_exit(attempt.pop_all())
    return db


def _opening(request: HTTPConnection) -> _Opening:
    opening = _Opening(claims_of(request), request_id_of(request), source_of(request))
    request.scope["state"]["organization_id"] = str(opening.claims.organization_id)
    return opening


async def get_db(request: Request) -> AsyncIterator[AsyncSession]:
    """One transaction for the request, in the ORM's lane, committed before the answer leaves."""
    runtime, opening = runtime_of(request), _opening(request)
    try:
        async with AsyncExitStack() as stack:
            db = await open_session(stack, opening, runtime)
            await idempotency.begin(request, db)
            yield db
    except Problem as problem:
        await record_refusal(request, opening, problem)
        raise


async def get_lane(request: Request) -> AsyncIterator[Lane]:
    """One transaction for the request, in the driver's lane."""
    runtime, opening = runtime_of(request), _opening(request)
    try:
        async with AsyncExitStack() as stack:
            lane = await open_lane(stack, opening, runtime)
            await idempotency.begin(request, lane)
            yield lane
    except Problem as problem:
        await record_refusal(request, opening, problem)
        raise


Database = Annotated[AsyncSession, Depends(get_db, scope="function")]
ReadLane = Annotated[Lane, Depends(get_lane, scope="function")]


def allow(principal: Principal, permission: Permission) -> Principal:
    """The caller with the reach that a permission gives them.

    Raises InsufficientScope when the application may not, Forbidden when the person may not.
    """
    rule = POLICY[permission]
    context = "patient" if principal.kind is AccountKind.PARTICIPANT else "user"
    if not principal.scope.allows(context, rule.resource, rule.action):
        raise InsufficientScope
    reach = rule.reach_of(principal)
    if reach is Reach.NONE:
        raise Forbidden
    return principal.reaching(reach)


@dataclass(frozen=True)
class Requires:
    """The permission that a command needs."""

    permission: Permission

    async def __call__(self, request: Request, db: Database) -> Principal:
        request.scope["state"]["permission"] = self.permission
        return allow(db.info["principal"], self.permission)


@dataclass(frozen=True)
class RequiresInLane:
    """The permission that a route of the driver's lane needs."""

    permission: Permission

    async def __call__(self, request: Request, lane: ReadLane) -> Principal:
        request.scope["state"]["permission"] = self.permission
        return allow(lane.info["principal"], self.permission)


async def public() -> None:
    """Anybody may call: nothing of a participant is behind it, or a secret of its own is."""


Public = Depends(public)


async def get_public_db(request: Request) -> AsyncIterator[AsyncSession]:
    """A transaction of nobody: no tenant is set, so that no tenant's row is visible.

    A service that has proven whose secret it holds enters that organization itself.
    """
    runtime = runtime_of(request)
    async with runtime.connections.command() as db:
        await db.execute(text("select set_config('stepwell.organization_id', '', true)"))
        db.info.update(vault=runtime.vault, request_id=request_id_of(request))
        yield db


PublicDatabase = Annotated[AsyncSession, Depends(get_public_db, scope="function")]


async def record_refusal(request: HTTPConnection, opening: _Opening, problem: Problem) -> None:
    """Leave a trace of what was refused, in a transaction of its own (AUD-09)."""
    permission = request.scope["state"].get("permission")
    if problem.status not in _REFUSALS or permission is None:
        return
    async with AsyncExitStack() as stack:
        lane = await open_lane(stack, opening, runtime_of(request))
        await audit.record(
            lane,
            AuditAction.EXECUTE,
            permission.value,
            permission.value.partition(":")[0],
            outcome=AuditOutcome.REFUSED,
        )


class UnguardedRoute(RuntimeError):
    """A route declares neither a permission nor that it is public."""


def check_routes(app: FastAPI) -> None:
    """Refuse to start with a route that nobody guards (AUTHZ-01)."""
    for context in iter_route_contexts(app.routes):
        route = context.route
        if not isinstance(route, APIRoute | APIWebSocketRoute):
            continue
        if not any(_is_gate(call) for call in _calls(route.dependant)):
            raise UnguardedRoute(f"{context.path} declares no permission and is not public")


def permission_of(route: APIRoute) -> Permission | None:
    """The permission that a route declares; None when it is public."""
    for call in _calls(route.dependant):
        if isinstance(call, Requires | RequiresInLane):
            return call.permission
    return None


def _is_gate(call: object) -> bool:
    return call is public or isinstance(call, Requires | RequiresInLane)


def _calls(dependant: Dependant) -> Iterator[object]:
    for dependency in dependant.dependencies:
        yield dependency.call
        yield from _calls(dependency)
