"""The gate of every request: token, sign-in and tenant in one statement, then the permission.

A route says in its signature who may call it (`Annotated[Principal, Requires(...)]`) and in
which lane it works. The application refuses to start when a route says neither a permission nor
`Public` (AUTHZ-01).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Annotated, Any, Final, cast

import asyncpg
from fastapi import Depends, FastAPI, Request
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute, APIWebSocketRoute, iter_route_contexts
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.requests import HTTPConnection

from app.core import clock
from app.core.database import (
    CommandTransaction,
    Handle,
    Lane,
    LaneTransaction,
    Transaction,
    caller_changed,
    connection_lost,
    was_dead_already,
)
from app.core.problems import Forbidden, InsufficientScope, Problem, Unauthenticated
from app.domain.roles import AccountKind, StaffRole
from app.models.audit import AuditAction, AuditOutcome
from app.runtime import Runtime
from app.security import audit, idempotency
from app.security.acquaintances import Acquaintance
from app.security.openings import KnownOpening
from app.security.permissions import POLICY, Permission
from app.security.principal import Principal, Reach
from app.security.rate_limits import Standing
from app.security.tokens import AccessClaims

_OPEN: Final = (
    "select account_id, kind, client_id, roles, staff_member_id, participant_id, is_licensed,"
    " clock_offset, environment, known from open_request("
)
_OPEN_IN_LANE: Final = f"{_OPEN}$1, $2, $3, $4, $5, $6)"
_OPEN_IN_SESSION: Final = text(
    f"{_OPEN}:organization, :sign_in, :version, :now, :request, :source)"
)
_OPENING_NAMES: Final = ("organization", "sign_in", "version", "now", "request", "source")
_OPENING: Final = "opening"
_PERMISSION: Final = "permission"
_STANDING: Final = "standing"
_TRANSACTION: Final = "transaction"
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
class Opening:
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
    row: Sequence[Any] | asyncpg.Record | None, opening: Opening, handle: Handle, runtime: Runtime
) -> None:
    """Turn the access check's answer into the caller, and the handle into theirs."""
    if row is None:
        # As for a token that is broken or expired: nobody learns which it is (RFC 6750, 3.1).
        raise Unauthenticated(headers={"WWW-Authenticate": 'Bearer error="invalid_token"'})
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
        is_development=row[8] == "development",
    )
    acquaintance = Acquaintance(principal, row[7], row[9])
    runtime.acquaintances.make(claims.jti, acquaintance)
    _receive(handle, runtime, acquaintance)


def _receive(handle: Handle, runtime: Runtime, acquaintance: Acquaintance) -> None:
    clock.set_organization_offset(acquaintance.clock_offset)
    own(handle, runtime, acquaintance.principal)


def own(handle: Handle, runtime: Runtime, principal: Principal) -> None:
    """Write on a handle whose transaction it is."""
    handle.info.update(
        principal=principal,
        organization_id=principal.organization_id,
        account_id=principal.account_id,
        vault=runtime.vault,
    )


def lane_to(opening: Opening, runtime: Runtime) -> LaneTransaction | None:
    """A transaction in the driver's lane for somebody whom this process knows; else None.

    Nothing is believed yet: the access is checked in the transaction's first statement.
    """
    acquaintance = runtime.acquaintances.get(opening.claims.jti)
    if acquaintance is None:
        return None
    transaction = runtime.connections.open_lane(
        KnownOpening(opening.arguments(), acquaintance.known)
    )
    _receive(transaction.lane, runtime, acquaintance)
    return transaction


async def open_lane(opening: Opening, runtime: Runtime) -> LaneTransaction:
    """Begin a transaction in the driver's lane with the access checked. Raises Unauthenticated."""
    if (transaction := lane_to(opening, runtime)) is not None:
        try:
            await transaction.confirm()
        except asyncpg.PostgresError as error:
            if not caller_changed(error):
                raise
            runtime.acquaintances.forget(opening.claims.jti)
        else:
            return transaction
    return await _open_lane_to_a_stranger(opening, runtime)


async def _open_lane_to_a_stranger(opening: Opening, runtime: Runtime) -> LaneTransaction:
    transaction = await runtime.connections.begin_lane()
    try:
        lane = transaction.lane
        row = await lane.fetchrow(_OPEN_IN_LANE, *opening.arguments())
        _admit(row, opening, lane, runtime)
    except BaseException as error:
        await transaction.roll_back(error)
        raise
    return transaction


async def open_command(opening: Opening, runtime: Runtime) -> CommandTransaction:
    """The same in the ORM's lane."""
    try:
        return await _open_command_once(opening, runtime)
    except Exception as error:
        if not was_dead_already(error):
            raise
        return await _open_command_once(opening, runtime)


async def _open_command_once(opening: Opening, runtime: Runtime) -> CommandTransaction:
    transaction = await runtime.connections.begin_command()
    try:
        db = transaction.handle
        parameters = dict(zip(_OPENING_NAMES, opening.arguments(), strict=True))
        row = (await db.execute(_OPEN_IN_SESSION, parameters)).one_or_none()
        _admit(row, opening, db, runtime)
    except BaseException as error:
        await transaction.roll_back(error)
        raise
    return transaction


def opening_of(request: HTTPConnection) -> Opening:
    """Who asks, by the token, and in which request. Raises Unauthenticated."""
    opening = Opening(claims_of(request), request_id_of(request), source_of(request))
    state = request.scope["state"]
    state["organization_id"] = str(opening.claims.organization_id)
    state[_OPENING] = opening
    return opening


async def _arrive(request: Request) -> tuple[Opening, Runtime]:
    """Who asks, within their limit. Raises Unauthenticated or TooManyRequests."""
    runtime, opening = runtime_of(request), opening_of(request)
    account_id = opening.claims.sub
    standing = await runtime.limits.spend_account(account_id, clock.wall())
    request.scope["state"][_STANDING] = standing
    return opening, runtime


async def get_db(request: Request) -> AsyncSession:
    """The request's transaction in the ORM's lane. Its route ends it (`app.routers.route`)."""
    if (opened := request.scope["state"].get(_TRANSACTION)) is not None:
        return cast("CommandTransaction", opened).handle
    transaction = await open_command(*await _arrive(request))
    request.scope["state"][_TRANSACTION] = transaction
    return transaction.handle


async def get_lane(request: Request) -> Lane:
    """The request's transaction in the driver's lane. Its route ends it."""
    if (opened := request.scope["state"].get(_TRANSACTION)) is not None:
        return cast("LaneTransaction", opened).lane
    opening, runtime = await _arrive(request)
    transaction = lane_to(opening, runtime) or await _open_lane_to_a_stranger(opening, runtime)
    request.scope["state"][_TRANSACTION] = transaction
    return transaction.lane


async def get_public_db(request: Request) -> AsyncSession:
    """A transaction of nobody: no tenant is set, so that no tenant's row is visible.

    A service that has proven whose secret it holds enters that organization itself.
    """
    runtime = runtime_of(request)
    transaction = await runtime.connections.begin_command()
    request.scope["state"][_TRANSACTION] = transaction
    db = transaction.handle
    await db.execute(text("select set_config('stepwell.organization_id', '', true)"))
    db.info.update(vault=runtime.vault, request_id=request_id_of(request))
    return db


def transaction_of(request: Request) -> Transaction | None:
    """The request's transaction, as long as its route has not ended it."""
    transaction: Transaction | None = request.scope["state"].get(_TRANSACTION)
    return transaction


async def commit(request: Request) -> None:
    """Make the request's transaction true, before the answer leaves."""
    transaction: Transaction | None = request.scope["state"].pop(_TRANSACTION, None)
    if transaction is not None:
        await transaction.commit()


async def roll_back(request: Request, error: BaseException) -> None:
    """Undo the request's transaction; a refusal leaves its trace in one of its own (AUD-09).

    Whoever is refused before anything was asked of the database has not been checked yet: that
    is made up for first, because who may not call at all is told nothing else.
    """
    state = request.scope["state"]
    transaction: Transaction | None = state.pop(_TRANSACTION, None)
    if transaction is not None:
        try:
            if isinstance(transaction, LaneTransaction) and not _is_of_the_database(error):
                await transaction.confirm()
        except asyncpg.PostgresError as refusal:
            _forget_changed(request, refusal)
            raise
        finally:
            await transaction.roll_back(error)
    _forget_changed(request, error)
    if isinstance(error, Problem) and error.status in _REFUSALS and _OPENING in state:
        await _record_refusal(request)


def _is_of_the_database(error: BaseException) -> bool:
    return (
        not isinstance(error, Exception)
        or isinstance(error, asyncpg.PostgresError)
        or connection_lost(error)
    )


def _forget_changed(request: Request, error: BaseException) -> None:
    """Whoever is not who they were is met anew when the request is repeated."""
    if caller_changed(error):
        opening: Opening = request.scope["state"][_OPENING]
        runtime_of(request).acquaintances.forget(opening.claims.jti)


Database = Annotated[AsyncSession, Depends(get_db)]
ReadLane = Annotated[Lane, Depends(get_lane)]
PublicDatabase = Annotated[AsyncSession, Depends(get_public_db)]


def allow(principal: Principal, permission: Permission) -> Principal:
    """The caller with the reach that a permission gives them.

    Raises InsufficientScope when the application may not, Forbidden when the person may not.
    """
    rule = POLICY[permission]
    if not rule.is_in_scope_of(principal):
        scope = rule.scope_for(principal)
        raise InsufficientScope(
            f"It needs the scope {scope}.",
            headers={"WWW-Authenticate": f'Bearer error="insufficient_scope", scope="{scope}"'},
        )
    reach = rule.reach_of(principal)
    if reach is Reach.NONE:
        raise Forbidden
    return principal.reaching(reach)


@dataclass(frozen=True)
class Requires:
    """The permission that a command needs."""

    permission: Permission

    async def __call__(self, request: Request, db: Database) -> Principal:
        request.scope["state"][_PERMISSION] = self.permission
        principal = allow(db.info["principal"], self.permission)
        await idempotency.begin(request, db, principal)
        return principal


@dataclass(frozen=True)
class RequiresInLane:
    """The permission that a route of the driver's lane needs."""

    permission: Permission

    async def __call__(self, request: Request, lane: ReadLane) -> Principal:
        request.scope["state"][_PERMISSION] = self.permission
        principal = allow(lane.info["principal"], self.permission)
        await idempotency.begin(request, lane, principal)
        return principal


async def public() -> None:
    """Anybody may call: nothing of a participant is behind it, or a secret of its own is."""


async def limited(request: Request) -> None:
    """Anybody may call, but no network more often than its limit. Raises TooManyRequests."""
    standing = await runtime_of(request).limits.spend_network(source_of(request), clock.wall())
    request.scope["state"][_STANDING] = standing


def standing_of(request: Request) -> Standing | None:
    """What is left of the caller's limit, when the request was counted."""
    standing: Standing | None = request.scope["state"].get(_STANDING)
    return standing


Public = Depends(public)
Limited = Depends(limited)


async def _record_refusal(request: Request) -> None:
    state = request.scope["state"]
    permission: Permission | None = state.get(_PERMISSION)
    if permission is None:
        return
    transaction = await open_lane(state[_OPENING], runtime_of(request))
    try:
        await audit.record(
            transaction.lane,
            AuditAction.EXECUTE,
            permission.value,
            permission.value.partition(":")[0],
            outcome=AuditOutcome.REFUSED,
        )
    except BaseException as error:
        await transaction.roll_back(error)
        raise
    await transaction.commit()


class UnguardedRoute(RuntimeError):
    """A route declares neither a permission nor that it is public."""


def check_routes(app: FastAPI) -> None:
    """Refuse to start with a route that nobody guards (AUTHZ-01), or that leaves its work open."""
    for context in iter_route_contexts(app.routes):
        route = context.route
        if not isinstance(route, APIRoute | APIWebSocketRoute):
            continue
        if not any(_is_gate(call) for call in _calls(route.dependant)):
            raise UnguardedRoute(f"{context.path} declares no permission and is not public")
        if _opens(route.dependant) and not getattr(route, "ends_transactions", False):
            raise UnguardedRoute(f"{context.path} opens a transaction that nobody ends")


def permission_of(route: APIRoute) -> Permission | None:
    """The permission that a route declares; None when it is public."""
    for call in _calls(route.dependant):
        if isinstance(call, Requires | RequiresInLane):
            return call.permission
    return None


def _opens(dependant: Dependant) -> bool:
    return not {get_db, get_lane, get_public_db}.isdisjoint(_calls(dependant))


def _is_gate(call: object) -> bool:
    return call in (public, limited) or isinstance(call, Requires | RequiresInLane)


def _calls(dependant: Dependant) -> Iterator[object]:
    for dependency in dependant.dependencies:
        yield dependency.call
        yield from _calls(dependency)
