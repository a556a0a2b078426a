"""Logs hold names, ids and numbers, and no text of anybody's (PHI-10)."""

import io
import json
import logging as stdlib
import warnings
from collections.abc import Iterator
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from sqlalchemy.exc import DBAPIError

from app.core import logging, metrics

CANARY = "canary: I cannot sleep"
ROOM = UUID("01a20c72-9ac9-768d-ac7a-d9abca78da7c")


@pytest.fixture(params=[True, False], ids=["strict", "dropping"])
def is_strict(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


@pytest.fixture
def lines() -> Iterator[io.StringIO]:
    stream = io.StringIO()
    logging.configure(stream=stream)
    yield stream
    logging.configure()


@pytest.fixture
def strict_lines(lines: io.StringIO) -> io.StringIO:
    logging.configure(stream=lines, is_strict=True)
    return lines


def read(lines: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in lines.getvalue().splitlines()]


def test_a_line_has_a_name_a_level_a_time_and_its_fields(strict_lines: io.StringIO) -> None:
    logging.get_logger("rooms").info("message_sent", room_id=ROOM, count=2, outcome=None)
    (line,) = read(strict_lines)
    assert line.pop("at").endswith("Z")
    assert line == {
        "event": "message_sent",
        "level": "info",
        "source": "rooms",
        "room_id": str(ROOM),
        "count": 2,
        "outcome": None,
    }


@pytest.mark.parametrize(
    ("event", "fields"),
    [
        (CANARY, {}),
        ("sent", {"body": CANARY}),
        ("sent", {"email": "a@b.co"}),
        ("sent", {"path": "/v1/x"}),
        ("sent", {"reason": CANARY}),
        ("sent", {"reason": "line\nfeed"}),
        ("sent", {"reason": "x" * 201}),
        ("sent", {"reason": {"a": CANARY}}),
        ("sent", {"count": object()}),
        ("sent", {"state": b"canary"}),
    ],
)
def test_phi_10_what_is_not_allowed_is_dropped_and_counted_or_raises(
    lines: io.StringIO, event: str, fields: dict[str, Any], *, is_strict: bool
) -> None:
    def dropped() -> float:
        return metrics.REGISTRY.get_sample_value("stepwell_log_fields_dropped_total") or 0

    logging.configure(stream=lines, is_strict=is_strict)
    log, before = logging.get_logger("t"), dropped()
    if is_strict:
        with pytest.raises(logging.FieldNotAllowedError):
            log.info(event, **fields)
    else:
        log.info(event, **fields)
        assert len(read(lines)) == 1
    assert dropped() == before + 1
    assert "canary" not in lines.getvalue()
    assert "a@b.co" not in lines.getvalue()


def test_phi_10_an_exception_is_its_class_and_place(strict_lines: io.StringIO) -> None:
    log = logging.get_logger("t")
    try:
        json.loads(CANARY)
    except ValueError as error:
        log.error("parse_failed", error=error)  # noqa: TRY400  # it is the field that is tried
        log.exception("parse_failed")
    for line in read(strict_lines):
        assert line["error"] == "JSONDecodeError"
        assert line["place"].startswith("library:")
    assert "canary" not in strict_lines.getvalue()


def test_an_exception_of_ours_names_our_line(strict_lines: io.StringIO) -> None:
    try:
        logging.get_logger("t").info("sent", body=1)
    except logging.FieldNotAllowedError as error:
        logging.get_logger("t").warning("refused", error=error)
    (line,) = read(strict_lines)
    assert line["place"].startswith("core/logging.py:")
    assert line["place"].endswith(":_refuse")


def test_phi_10_a_database_error_is_its_sqlstate(strict_lines: io.StringIO) -> None:
    driver = asyncpg.UniqueViolationError(f"Key (email)=({CANARY}) already exists")
    dialect = Exception(CANARY)
    dialect.__cause__ = driver
    error = DBAPIError(f"insert {CANARY}", {"p": CANARY}, dialect)
    logging.get_logger("t").error("database_refused", error=error)
    (line,) = read(strict_lines)
    assert (line["error"], line["sqlstate"], line["place"]) == ("DBAPIError", "23505", "unknown")
    assert "canary" not in strict_lines.getvalue()


def test_debug_is_silent_unless_asked_for(lines: io.StringIO) -> None:
    logging.get_logger("t").debug("detail")
    assert not read(lines)
    logging.configure(stream=lines, level=stdlib.DEBUG)
    logging.get_logger("t").debug("detail")
    assert [line["event"] for line in read(lines)] == ["detail"]


@pytest.mark.parametrize(
    ("logger", "message", "arguments", "event"),
    [
        ("uvicorn.error", "Application startup complete.", (), "server_started"),
        ("uvicorn.error", "Started server process [%d]", (7,), "server_process_started"),
        ("uvicorn.error", f"Exception {CANARY}", (), "library_message"),
        ("asyncio", "%s", (CANARY,), "library_message"),
        ("sqlalchemy.engine", "INSERT %s", (CANARY,), "library_message"),
    ],
)
def test_phi_10_libraries_lose_their_message(
    lines: io.StringIO, logger: str, message: str, arguments: tuple[object, ...], event: str
) -> None:
    stdlib.getLogger(logger).warning(message, *arguments)
    (line,) = read(lines)
    assert (line["event"], line["source"], line["level"]) == (event, logger, "warning")
    assert line["place"].startswith("test_logging:")
    assert "canary" not in lines.getvalue()


def test_phi_10_libraries_lose_the_text_of_their_exceptions(lines: io.StringIO) -> None:
    try:
        _ = dict[str, int]()[CANARY]
    except LookupError:
        stdlib.getLogger(f"a library {CANARY}").exception(CANARY)
    (line,) = read(lines)
    assert (line["error"], line["source"]) == ("KeyError", "[refused]")
    assert "canary" not in lines.getvalue()


def test_phi_10_the_server_s_access_log_is_not_ours(lines: io.StringIO) -> None:
    stdlib.getLogger("uvicorn.access").info('"GET /v1/x?q=canary"')
    assert not lines.getvalue()


def test_phi_10_warnings_lose_their_text(lines: io.StringIO) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        # The test runner has put its own capture over the one that `configure` installed.
        stdlib.captureWarnings(capture=False)
        logging.configure(stream=lines)
        warnings.warn(CANARY, stacklevel=1)
    (line,) = read(lines)
    assert line["source"] == "py.warnings"
    assert "canary" not in lines.getvalue()


def test_configuring_twice_writes_once(lines: io.StringIO) -> None:
    logging.configure(stream=lines)
    logging.configure(stream=lines)
    stdlib.getLogger("x").warning("y")
    assert len(read(lines)) == 1


def test_the_access_line_is_json(lines: io.StringIO) -> None:
    logging.access("/v1/pots/{pot_id}", "GET", 200, 0.0123456, "r-1", ROOM)
    (line,) = read(lines)
    assert line["duration_ms"] == 12.346
    assert set(line) - {"event", "level", "at"} <= logging.FIELDS
