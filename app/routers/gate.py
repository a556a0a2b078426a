"""The guards of an endpoint, called directly and in the order of its signature.

The framework's solver visits a guard anew for every parameter that depends on it, and spends more
on that than the guards do. So a route's guards are found once, when the route is made; what is
left, which is parameters and body, stays the framework's, as does the documented signature.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from functools import wraps
from typing import Any, Final

from fastapi import Request
from fastapi.dependencies.models import Dependant

from app.security.guards import Requires, RequiresInLane, get_db, get_lane

Guard = Callable[[Request], Awaitable[Any]]
Endpoint = Callable[..., Awaitable[Any]]

_GIVEN: Final = "given"
_REQUEST: Final = "request of the gate"


@dataclass(frozen=True, slots=True)
class Gate:
    """The guards of one endpoint, each with the parameter that takes what it gives."""

    guards: tuple[tuple[str | None, Guard], ...]

    async def pass_through(self, request: Request) -> None:
        """Let a request in. Raises whatever a guard raises."""
        given: dict[str | None, Any] = {name: await guard(request) for name, guard in self.guards}
        given.pop(None, None)
        request.scope["state"][_GIVEN] = given


def split(whole: Dependant) -> tuple[Gate, Dependant]:
    """Part an endpoint's dependencies into its gate and what the framework solves behind it."""
    guards = [(one.name, _guard_of(one.call)) for one in whole.dependencies]
    rest = [
        one for one, (_, guard) in zip(whole.dependencies, guards, strict=True) if guard is None
    ]
    gate = Gate(tuple((name, guard) for name, guard in guards if guard is not None))
    if whole.call is None:
        return gate, whole
    call = _behind_a_gate(whole.call, whole.request_param_name)
    return gate, replace(whole, dependencies=rest, call=call, request_param_name=_REQUEST)


def _guard_of(call: object) -> Guard | None:
    match call:
        case Requires():
            return _with_db(call)
        case RequiresInLane():
            return _with_lane(call)
        case _ if call is get_db:
            return get_db
        case _ if call is get_lane:
            return get_lane
        case _:
            return None


def _with_db(requires: Requires) -> Guard:
    async def guard(request: Request) -> object:
        return await requires(request, await get_db(request))

    return guard


def _with_lane(requires: RequiresInLane) -> Guard:
    async def guard(request: Request) -> object:
        return await requires(request, await get_lane(request))

    return guard


def _behind_a_gate(endpoint: Endpoint, request_name: str | None) -> Endpoint:
    """The endpoint, taking from the gate what its guards have given."""

    @wraps(endpoint)
    async def call(**values: Any) -> Any:  # noqa: ANN401  # what endpoints take and give
        request: Request = values.pop(_REQUEST)
        if request_name is not None:
            values[request_name] = request
        return await endpoint(**values, **request.scope["state"][_GIVEN])

    return call
