"""Where exceptions become answers: the only place that knows both the framework and problems."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

import asyncpg
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError, WebSocketRequestValidationError
from sqlalchemy.exc import SQLAlchemyError
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection
from starlette.responses import Response
from starlette.types import Scope
from starlette.websockets import WebSocket, WebSocketState

from app.core.logging import get_logger
from app.core.problems.base import Problem, problem_response
from app.core.problems.database import from_database_error, is_our_mistake
from app.core.problems.standard import (
    BadRequest,
    ContentTooLarge,
    Forbidden,
    HeadersTooLarge,
    Internal,
    Invalid,
    MethodNotAllowed,
    NotAcceptable,
    NotFound,
    ServiceBusy,
    TooManyRequests,
    Unauthenticated,
    UnsupportedMediaType,
    UriTooLong,
)
from app.core.problems.validation import invalid

_log = get_logger("problems")

_BY_STATUS: Final[Mapping[int, type[Problem]]] = MappingProxyType(
    {
        int(problem.status): problem
        for problem in (
            BadRequest,
            ContentTooLarge,
            Forbidden,
            HeadersTooLarge,
            Internal,
            Invalid,
            MethodNotAllowed,
            NotAcceptable,
            NotFound,
            ServiceBusy,
            TooManyRequests,
            Unauthenticated,
            UnsupportedMediaType,
            UriTooLong,
        )
    }
)
# RFC 6455 and its registry of close codes.
_POLICY_VIOLATION: Final = 1008
_CLOSE_CODES: Final[Mapping[int, int]] = MappingProxyType(
    {int(Internal.status): 1011, int(ServiceBusy.status): 1013}
)


def request_id_of(scope: Scope) -> str | None:
    """The id that the edge gave to this request."""
    request_id: str | None = scope.get("state", {}).get("request_id")
    return request_id


def problem_of(error: Exception) -> Problem:
    """The problem that any exception means; a bug is Internal, and is logged."""
    if isinstance(error, Problem):
        return error
    if isinstance(error, RequestValidationError):
        return invalid(error.errors(), error.body)
    if isinstance(error, HTTPException):
        return _from_framework(error)
    problem = from_database_error(error)
    if problem is None:
        return internal(error)
    if is_our_mistake(error) or isinstance(problem, Internal):
        _log.error("database_refused", error=error)
    elif isinstance(problem, ServiceBusy):
        _log.warning("database_busy", error=error)
    return problem


def close_code(problem: Problem) -> int:
    """The code with which a WebSocket ends: our bug, try again later, or your mistake."""
    return _CLOSE_CODES.get(int(problem.status), _POLICY_VIOLATION)


def internal(error: BaseException) -> Internal:
    """Log a bug by its class and place, and say nothing else about it."""
    _log.error("unhandled_exception", error=error)
    return Internal()


def _from_framework(error: HTTPException) -> Problem:
    """Name the framework's own refusals; their texts may repeat the request, and are dropped."""
    problem = _BY_STATUS.get(error.status_code)
    if problem is None:
        problem = Internal if error.status_code >= Internal.status else BadRequest
    return problem(headers=error.headers)


async def answer(connection: HTTPConnection, error: Exception) -> Response | None:
    """Answer an HTTP request, refuse a WebSocket handshake, or close an open socket."""
    if isinstance(connection, WebSocket):
        await _refuse(connection, error)
        return None
    return problem_response(problem_of(error), request_id_of(connection.scope))


async def _refuse(socket: WebSocket, error: Exception) -> None:
    if isinstance(error, WebSocketRequestValidationError):
        problem: Problem = invalid(error.errors())
    else:
        problem = problem_of(error)
    if socket.application_state is WebSocketState.CONNECTING:
        await socket.send_denial_response(problem_response(problem, request_id_of(socket.scope)))
    elif socket.application_state is WebSocketState.CONNECTED:
        await socket.close(close_code(problem), reason=problem.code())


def install(app: FastAPI) -> None:
    """Let every exception of this application be answered as a problem."""
    for expected in (
        Problem,
        HTTPException,
        RequestValidationError,
        WebSocketRequestValidationError,
        SQLAlchemyError,
        asyncpg.PostgresError,
        asyncpg.InterfaceError,
        OSError,
        Exception,
    ):
        app.add_exception_handler(expected, answer)  # type: ignore[arg-type]  # takes both kinds
