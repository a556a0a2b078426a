"""Logs: one JSON object per line, with fields from an allow-list and no text of anybody's (PHI-10).

A log line is an event's name and some ids, counts and durations. Whoever logs a field that is not
listed loses the field (and fails a test); an exception becomes its class, its place in the code
and its SQLSTATE, because the texts of exceptions quote what people wrote. Libraries keep their
level and their place in the code, and lose their message.

Importing this module is enough to make structlog safe; `configure` routes the standard library
as well, and is called by whatever starts a process.
"""

import json
import logging
import re
import sys
import traceback
from collections.abc import Mapping, MutableMapping
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any, Final, TextIO, cast
from uuid import UUID

import structlog
from typing_extensions import override

from app.core import metrics

FIELDS: Final = frozenset(
    {
        # who and what, as ids
        "account_id", "alert_id", "delivery_id", "endpoint_id", "enrollment_id", "event_id",
        "intake_id", "job", "organization_id", "participant_id", "request_id", "room_id",
        "session_id", "sign_in_id", "staff_id",
        # requests
        "duration_ms", "method", "problem", "route", "status",
        # amounts and states
        "attempt", "count", "depth", "kind", "lag_ms", "limit", "outcome", "pool", "port", "reason",
        "retry_in_ms", "sequence", "state", "version",
        # errors
        "error", "place", "source", "sqlstate",
    }
)  # fmt: skip
_RESERVED: Final = frozenset({"event", "level", "at"})
_EVENT: Final = re.compile(r"[a-z][a-z0-9_]{0,63}")
# Ids, slugs, templates, class names; no white space, so no sentence.
_VALUE: Final = re.compile(r"[A-Za-z0-9_.:/{}<>\[\]@+-]{0,200}")
_REFUSED: Final = "[refused]"
_STDLIB_EVENTS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "Started server process [%d]": "server_process_started",
        "Waiting for application startup.": "server_starting",
        "Application startup complete.": "server_started",
        "Application startup failed. Exiting.": "server_start_failed",
        "Shutting down": "server_stopping",
        "Waiting for application shutdown.": "server_stopping",
        "Application shutdown complete.": "server_stopped",
        "Finished server process [%d]": "server_process_stopped",
        "Uvicorn running on %s://%s:%d (Press CTRL+C to quit)": "server_listening",
        "Invalid HTTP request received.": "invalid_http_request",
        "Exception in ASGI application\n": "unhandled_exception",
        "ASGI callable returned without completing response.": "response_cut",
    }
)


# The server says it of every handshake that was refused with an answer of its own (WS-02).
_UNTRUE: Final = frozenset({"ASGI callable returned without completing handshake."})


class FieldNotAllowedError(ValueError):
    """Something was logged under a name, or with a text, that logs may not hold."""


class _Output:
    """Where lines go, and whether a forbidden field is an error (in tests) or is dropped."""

    stream: TextIO | None = None
    is_strict: bool = False


def get_logger(name: str) -> structlog.stdlib.BoundLogger:
    """A logger whose lines say which module spoke: `log.info("plan_signed", event_id=…)`."""
    return cast("structlog.stdlib.BoundLogger", structlog.get_logger(source=name))


def configure(
    *, stream: TextIO | None = None, level: int = logging.INFO, is_strict: bool = False
) -> None:
    """Send every line to `stream` (standard output), the standard library's included.

    With `is_strict`, a field that is not allowed raises FieldNotAllowedError instead of being
    dropped and counted.
    """
    _Output.stream, _Output.is_strict = stream, is_strict
    _configure_structlog(level)
    root = logging.getLogger()
    for handler in [h for h in root.handlers if isinstance(h, _StdlibHandler)]:
        root.removeHandler(handler)
    root.addHandler(_StdlibHandler())
    root.setLevel(level)
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = name != "uvicorn.access"  # it would log paths and queries
    logging.captureWarnings(capture=True)


def access(  # noqa: PLR0913, PLR0917  # the fields of a line; names at each call would cost more
    route: str, method: str, status: int, duration: float, request_id: str, organization_id: object
) -> None:
    """Write the line of one request. It is formatted by hand, because it is written for each.

    Every value is one of ours, or was checked by the edge, so none needs escaping. `duration` is
    in seconds.
    """
    organization = "" if organization_id is None else f'"organization_id":"{organization_id}",'
    _write(
        f'{{"event":"request","level":"info","at":"{_now()}","route":"{route}",'
        f'"method":"{method}","status":{status},"duration_ms":{duration * 1000:.3f},'
        f'{organization}"request_id":"{request_id}"}}\n'
    )


def describe(error: BaseException) -> dict[str, str]:
    """An exception without its text: its class, where in the code it arose, and its SQLSTATE."""
    described = {"error": type(error).__qualname__, "place": _place(error)}
    cause: BaseException | None = error
    while cause is not None:
        state = getattr(cause, "sqlstate", None)
        if isinstance(state, str):
            return {**described, "sqlstate": state}
        cause = getattr(cause, "orig", None) or cause.__cause__
    return described


def _place(error: BaseException) -> str:
    """The innermost line of ours on the way to the error, or the innermost of all."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if "/app/" in frame.filename] or frames
    if not ours:
        return "unknown"
    frame = ours[-1]
    path = frame.filename.rpartition("/app/")[2] if "/app/" in frame.filename else "library"
    return f"{path}:{frame.lineno}:{frame.name}"


def _now() -> str:
    # The machine's clock, whatever an organization's or a test's is: a log is evidence.
    return datetime.now(UTC).isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"


def _write(line: str) -> None:
    stream = _Output.stream or sys.stdout
    stream.write(line)
    stream.flush()


# structlog


def _at(_logger: object, level: str, line: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    line["level"], line["at"] = level, _now()
    return line


def _errors(_logger: object, _: str, line: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    error = line.get("error")
    exc_info = line.pop("exc_info", None)
    if exc_info is True:
        exc_info = sys.exc_info()
    if isinstance(exc_info, tuple):
        exc_info = exc_info[1]
    for found in (exc_info, error):
        if isinstance(found, BaseException):
            line.update(describe(found))
    return line


def _allowed(_logger: object, _: str, line: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    if not _EVENT.fullmatch(str(line.get("event"))):
        line["event"] = _refuse("an event's name")
    for name in list(line):
        if name in _RESERVED:
            continue
        if name in FIELDS:
            line[name] = _value(line[name])
        else:
            del line[name]
            _refuse(name)
    return line


def _value(value: object) -> object:
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, UUID | datetime):
        return str(value)
    if isinstance(value, str) and _VALUE.fullmatch(value):
        return value
    return _refuse("a value")


def _refuse(what: str) -> str:
    metrics.LOG_FIELDS_DROPPED.inc()
    if _Output.is_strict:
        raise FieldNotAllowedError(what)
    return _REFUSED


def _render(_logger: object, _: str, line: MutableMapping[str, Any]) -> str:
    return json.dumps({"event": line.pop("event"), **line}, separators=(",", ":"), allow_nan=True)


class _Lines:
    """What structlog calls with a rendered line, under the name of the line's level."""

    def msg(self, line: str) -> None:
        _write(line + "\n")

    debug = info = warning = error = critical = fatal = exception = warn = log = msg


def _configure_structlog(level: int = logging.INFO) -> None:
    structlog.configure(
        processors=[_at, _errors, _allowed, _render],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=lambda *_: _Lines(),
        cache_logger_on_first_use=False,
    )


# The standard library


class _StdlibHandler(logging.Handler):
    """Renders a library's record as a line without its message."""

    @override
    def emit(self, record: logging.LogRecord) -> None:
        if str(record.msg) in _UNTRUE:
            return
        line: dict[str, Any] = {
            "event": _STDLIB_EVENTS.get(str(record.msg), "library_message"),
            "level": record.levelname.lower(),
            "at": _now(),
            "source": record.name if _VALUE.fullmatch(record.name) else _REFUSED,
            "place": f"{record.module}:{record.lineno}",
        }
        if record.exc_info and record.exc_info[1] is not None:
            line.update(describe(record.exc_info[1]))
        _write(json.dumps(line, separators=(",", ":")) + "\n")


_configure_structlog()
