"""How every route answers: what is stored, tagged or left out after the service has spoken."""

import asyncio
import secrets
from collections.abc import Callable, Coroutine
from http import HTTPStatus
from typing import Annotated, Any, Final, Protocol, TypeVar

from fastapi import APIRouter, Header, Request, Response
from fastapi.routing import APIRoute
from typing_extensions import override

from app.core.database import may_be_repeated
from app.core.problems import PreconditionFailed, PreconditionRequired
from app.routers.gate import Gate, split
from app.security import guards, idempotency

_REPETITIONS: Final = 3
_PAUSE_SECONDS: Final = 0.005

Handler = Callable[[Request], Coroutine[Any, Any, Response]]


class Route(APIRoute):
    """A route that ends what it began: one request is one transaction.

    The answer is made and, under an idempotency key, stored while the transaction is open; it
    leaves after the commit, so that a 2xx is never a lie.
    """

    ends_transactions = True

    @override
    def get_route_handler(self) -> Handler:
        gate, handle = self._gate_and_handler()

        async def answer(request: Request) -> Response:
            for _ in range(_REPETITIONS):
                try:
                    return await _answer_once(request, gate, handle)
                except Exception as error:
                    if not may_be_repeated(error):
                        raise
                # Whoever won the race is done soon; two losers should not meet again.
                await asyncio.sleep(_PAUSE_SECONDS * (1 + secrets.randbelow(8)))
            return await _answer_once(request, gate, handle)

        return answer

    def _gate_and_handler(self) -> tuple[Gate, Handler]:
        """The guards, and the framework's handler behind them.

        The route keeps its whole signature, which the documentation is made of.
        """
        whole = self.dependant
        gate, self.dependant = split(whole)
        try:
            return gate, super().get_route_handler()
        finally:
            self.dependant = whole


async def _answer_once(request: Request, gate: Gate, handle: Handler) -> Response:
    try:
        await gate.pass_through(request)
        response = await handle(request)
        if request.method == "POST":
            await idempotency.finish(request, response, guards.transaction_of(request))
        elif request.method == "GET" and _is_unchanged(request, response):
            response = _not_modified(response)
    except idempotency.Replayed as replayed:
        # Nothing is done again, but that it was read again is on record.
        response = replayed.response
    except BaseException as error:
        await guards.roll_back(request, error)
        raise
    await guards.commit(request)
    if standing := guards.standing_of(request):
        response.headers.update(standing.headers())
    return response


def router(prefix: str, tag: str) -> APIRouter:
    """A router of one resource."""
    return APIRouter(prefix=prefix, tags=[tag], route_class=Route)


class HasVersion(Protocol):
    """A schema of a mutable resource."""

    @property
    def version(self) -> int: ...


V = TypeVar("V", bound=HasVersion)


def tagged(response: Response, resource: V) -> V:
    """Send a resource with the ETag that a later change must name (API-08)."""
    response.headers["ETag"] = f'"{resource.version}"'
    return resource


IfMatch = Annotated[
    str | None, Header(description="The ETag of the version that is to be changed.")
]


def expected_version(if_match: str | None) -> int:
    """The version that a change names; raises PreconditionRequired or PreconditionFailed."""
    if if_match is None:
        raise PreconditionRequired
    digits = if_match.strip().removeprefix('"').removesuffix('"')
    if not (digits.isascii() and digits.isdigit() and len(digits) <= 9):
        raise PreconditionFailed("If-Match names one ETag, exactly as the answer had it.")
    return int(digits)


def _is_unchanged(request: Request, response: Response) -> bool:
    known = request.headers.get("if-none-match")
    return known is not None and response.headers.get("etag") in {
        tag.strip() for tag in known.split(",")
    }


def _not_modified(response: Response) -> Response:
    return Response(status_code=HTTPStatus.NOT_MODIFIED, headers={"ETag": response.headers["etag"]})
