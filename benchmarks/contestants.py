"""Who can be measured. A new subject is one class, and one line at the end."""

import json
import sys
from collections.abc import Mapping
from http import HTTPStatus
from typing import Final

from typing_extensions import override

from benchmarks.floors import records
from benchmarks.floors.records import PAGE, TENANTS, TOKEN, record_id
from benchmarks.floors.rooms import make_table
from benchmarks.load import Exchange, request_bytes
from benchmarks.servers import Command
from benchmarks.sockets import Seat, Venue, upgrade_request
from benchmarks.stepwell import Stepwell, StepwellAlone
from benchmarks.subject import Operation, Site, Subject

_TEXT: Final = "A line of two hundred bytes, as people write them to each other. ".ljust(180, ".")


class PlainFloor(Subject):
    """A web framework that answers one JSON object, without a database."""

    is_floor = True
    scenarios = frozenset({"read", "submit"})

    def __init__(self, name: str, module: str) -> None:
        self.name, self._module = name, module

    @override
    def command(self, site: Site) -> Command:
        return Command(
            (
                *(sys.executable, "-m", "uvicorn", f"{self._module}:app"),
                *("--host", "127.0.0.1", "--port", str(site.port)),
                *("--loop", "uvloop", "--http", "httptools"),
                *("--log-level", "warning", "--no-access-log"),
            ),
            {records.DATABASE_URL: site.url()},
        )

    @override
    async def exchanges(self, site: Site) -> Mapping[Operation, Exchange]:
        return {Operation.READ: _read(rows=1)}

    @override
    async def forms(self, site: Site, *, count: int) -> Exchange:
        return _read(rows=1)


class RecordFloor(PlainFloor):
    """A web framework over the tables of `floors.records`."""

    scenarios = frozenset({"read", "list", "create", "growth", "start", "submit"})

    @override
    async def provision(self, site: Site) -> None:
        await records.fill(site.url(), site.rows)

    @override
    async def exchanges(self, site: Site) -> Mapping[Operation, Exchange]:
        middle = site.rows // 2
        return {
            Operation.READ: _read(rows=site.rows),
            Operation.LIST: _page("/records"),
            Operation.PAGE: _page(f"/records?after={record_id(middle)}"),
            Operation.CREATE: _create(),
        }

    @override
    async def forms(self, site: Site, *, count: int) -> Exchange:
        return _create()


_BEARER: Final = {"Authorization": f"Bearer {TOKEN}"}


def _read(*, rows: int) -> Exchange:
    """Records of the caller's tenant, spread over the table."""
    own = max(1, rows // TENANTS)

    def request(number: int) -> bytes:
        # 7919 is prime, and so visits every record before it comes back to one.
        path = f"/records/{record_id(number * 7919 % own * TENANTS)}"
        return request_bytes("GET", path, headers=_BEARER)

    return Exchange(request, HTTPStatus.OK, lambda body: len(body) >= 350)


def _page(path: str) -> Exchange:
    request = request_bytes("GET", path, headers=_BEARER)
    return Exchange(
        lambda _number: request,
        HTTPStatus.OK,
        lambda body: len(json.loads(body)["items"]) == PAGE,
    )


def _create() -> Exchange:
    def request(number: int) -> bytes:
        body = {"kind": "note", "title": f"Record {number}", "body": records.FILLING * 2}
        return request_bytes("POST", "/records", headers=_BEARER, body=json.dumps(body).encode())

    return Exchange(request, HTTPStatus.CREATED, lambda body: "id" in json.loads(body))


class RoomFloor(Subject):
    """Rooms on bare `websockets`."""

    is_floor = True
    scenarios = frozenset({"fanout"})

    def __init__(self, name: str, *, commits: bool) -> None:
        self.name, self._commits = name, commits

    @override
    async def provision(self, site: Site) -> None:
        if self._commits:
            await make_table(site.url())

    @override
    def command(self, site: Site) -> Command:
        environment = {records.DATABASE_URL: site.url()} if self._commits else {}
        return Command(
            (sys.executable, "-m", "benchmarks.floors.rooms", str(site.port)), environment
        )

    @override
    async def venue(self, site: Site, *, rooms: int, seats: int) -> Venue:
        return Venue(
            rooms=[[Seat(upgrade_request(f"/room-{room}"))] * seats for room in range(rooms)],
            message=lambda room, number: json.dumps(
                {"room": room, "number": number, "body": _TEXT}
            ).encode(),
            delivers=lambda payload: payload.startswith(b'{"room"'),
        )


SUBJECTS: Final[tuple[Subject, ...]] = (
    RecordFloor("FastAPI + Core", "benchmarks.floors.fastapi_core"),
    RecordFloor("Starlette + asyncpg", "benchmarks.floors.starlette_asyncpg"),
    PlainFloor("bare FastAPI", "benchmarks.floors.fastapi_json"),
    PlainFloor("bare Starlette", "benchmarks.floors.starlette_json"),
    RoomFloor("websockets.broadcast", commits=False),
    RoomFloor("websockets, commit each", commits=True),
    Stepwell(),
    StepwellAlone(),
)
"""Within a scenario the first that takes part is the floor of its ratios."""
