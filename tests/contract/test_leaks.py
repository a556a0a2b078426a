"""What people write is found where it belongs, and nowhere else (PHI-10, PHI-14, PHI-20).

Every text field of every body gets a canary of its own, in requests that succeed and in requests
that fail. Afterwards logs, metrics, the server's log and every readable column are searched.
"""

import copy
import io
import itertools
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Final

import asyncpg
import pytest
from fastapi import FastAPI
from sqlalchemy import LargeBinary

from app.core import logging, metrics
from app.core.embedded import EmbeddedServer
from app.models import Base
from app.runtime import Runtime
from tests.contract.caller import Answer, Request, call
from tests.contract.documents import class_of
from tests.contract.matrix import Matrix
from tests.contract.operations import Operation
from tests.contract.people import World
from tests.contract.requests import request_for
from tests.contract.things import body_for
from tests.contract.world import build

CANARY: Final = "canary"
_FORMAL: Final = frozenset({"format", "pattern", "enum", "const"})
_OWN_RULES: Final = frozenset({"rule", "time_zone", "token", "url"})
"""Fields that hold text of a form that their type checks by itself."""

_ORGANIZATIONS: Final = frozenset({"open_program", "update_program", "open_track", "open_group"})
"""Operations whose texts are what an organization calls its own things."""


@dataclass(repr=False)
class Flight:
    """What was planted, what was answered, and what was logged meanwhile."""

    log: io.StringIO = field(default_factory=io.StringIO)
    planted: set[str] = field(default_factory=set)
    refusals: list[tuple[str, Answer]] = field(default_factory=list)
    urls: list[bytes] = field(default_factory=list)
    accepted: set[str] = field(default_factory=set)
    declined: dict[str, str] = field(default_factory=dict)


@contextmanager
def _logged(stream: io.StringIO) -> Iterator[None]:
    """Write the log into `stream`, strictly: a field that is not allowed is an error."""
    previous = logging._Output.stream, logging._Output.is_strict  # noqa: SLF001 (to give it back)
    logging._Output.stream, logging._Output.is_strict = stream, True  # noqa: SLF001
    try:
        yield
    finally:
        logging._Output.stream, logging._Output.is_strict = previous  # noqa: SLF001


def _planted(operation: Operation, body: Any, numbers: Iterator[int]) -> tuple[Any, set[str]]:  # noqa: ANN401
    """The body with a canary in each field of free text."""
    body, canaries = copy.deepcopy(body), set[str]()

    def plant(schema: dict[str, Any], value: Any) -> Any:  # noqa: ANN401 (JSON)
        kinds = [operation.resolve(one) for one in schema.get("anyOf", [schema])]
        kind = next((one for one in kinds if one.get("type") != "null"), {})
        if isinstance(value, dict):
            known = kind.get("properties", {})
            free = set(known) - _OWN_RULES
            return {k: plant(known[k], v) if k in free else v for k, v in value.items()}
        if isinstance(value, list):
            return [plant(kind.get("items", {}), one) for one in value]
        if isinstance(value, str) and kind.get("type") == "string" and not kind.keys() & _FORMAL:
            canary = f"{CANARY}{next(numbers):06d}"
            canaries.add(canary)
            return canary
        return value

    return plant(operation.body_schema or {}, body), canaries


def _spoiled(request: Request) -> Iterator[Request]:
    """The same content on its way to a refusal."""
    nobody = {k: v for k, v in request.headers.items() if k != "Authorization"}
    yield Request(request.method, request.target, nobody, request.body)
    yield Request(request.method, request.target, request.headers, request.body[:-1])
    extra = request.body[:-1] + b',"unknown":"' + CANARY.encode() + b'"}'
    yield Request(request.method, request.target, request.headers, extra)


@pytest.fixture(scope="module")
async def flight(
    app: FastAPI, runtime: Runtime, matrix: Matrix, operations: Sequence[Operation]
) -> AsyncIterator[Flight]:
    """Canaries through every operation that takes a body, over a world that may be used up."""
    world = await build(app, runtime)
    flight, numbers = Flight(), itertools.count(1)
    with _logged(flight.log):
        for operation in operations:
            if operation.media_type != "application/json" or operation.id in _ORGANIZATIONS:
                continue
            await _fly(app, world, matrix, operation, flight, numbers)
    yield flight
    for clinic in (world.clinic, world.elsewhere):
        await clinic.make.close()


async def _fly(  # noqa: PLR0913, PLR0917 (a step of the fixture)
    app: FastAPI,
    world: World,
    matrix: Matrix,
    operation: Operation,
    flight: Flight,
    numbers: Iterator[int],
) -> None:
    circle, able = world.clinic.own, matrix.able.get(operation.id)
    actor = None if able is None else world.clinic.actor(able.name)
    body, canaries = _planted(operation, body_for(operation, circle), numbers)
    if not canaries:
        return
    request = request_for(operation, circle, actor, body=body)
    flight.planted |= canaries
    flight.urls.append(request.target)
    for spoiled in _spoiled(request):
        flight.refusals.append((str(operation), await call(app, spoiled)))
    answer = await call(app, request)
    if answer.status >= HTTPStatus.BAD_REQUEST:
        flight.refusals.append((str(operation), answer))
        flight.declined[operation.id] = answer.text
    else:
        flight.accepted.add(operation.id)
    stranger = world.clinic.actor("administrator unrelated")
    flight.refusals.extend(
        [(str(operation), await call(app, request_for(operation, circle, stranger, body=body)))]
        if actor is not None and not actor.name.startswith("administrator")
        else []
    )


def test_phi_20_the_canaries_were_planted_and_accepted(flight: Flight) -> None:
    assert len(flight.planted) >= 30
    assert len(flight.accepted) >= 12, flight.declined


def test_phi_14_no_refusal_repeats_what_was_sent(flight: Flight) -> None:
    refused = [(o, a) for o, a in flight.refusals if a.status >= HTTPStatus.BAD_REQUEST]
    assert len(refused) >= 40
    assert not [(o, a.status, a.text[:300]) for o, a in refused if CANARY.encode() in a.body]


def test_phi_10_no_canary_is_in_a_log_a_url_or_a_metric(flight: Flight) -> None:
    log = flight.log.getvalue()
    assert '"event":"request"' in log
    assert CANARY not in log
    assert "[refused]" not in log
    assert not [url for url in flight.urls if CANARY.encode() in url]
    assert CANARY.encode() not in metrics.render()


def test_phi_11_no_canary_is_in_the_log_of_the_database(
    flight: Flight, server: EmbeddedServer
) -> None:
    log = (server.data_dir / "server.log").read_bytes()
    assert flight.planted
    assert log
    assert CANARY.encode() not in log


async def test_phi_20_no_canary_can_be_read_in_any_table(
    flight: Flight, server: EmbeddedServer
) -> None:
    assert flight.planted
    connection = await asyncpg.connect(
        host=str(server.socket_dir), user="postgres", database="stepwell"
    )
    found: list[str] = []
    try:
        for table in Base.metadata.tables.values():
            for column in table.columns:
                kind = (
                    "encode({}, 'escape')" if isinstance(column.type, LargeBinary) else "{}::text"
                )
                text = kind.format(f'"{column.name}"')
                query = f"select exists (select from stepwell.{table.name} where {text} like $1)"  # noqa: S608 (our own names)
                if await connection.fetchval(query, f"%{CANARY}%"):
                    found.append(f"{table.name}.{column.name} ({class_of(column)})")
    finally:
        await connection.close()
    # A series has a title, a staff member none of a participant's: what an organization calls
    # its own things is in the clear, and says so.
    assert {one for one in found if "organization-text" not in one} == set()
