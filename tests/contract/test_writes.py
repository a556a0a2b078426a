"""What nobody can write, and what a read does not change. Over the real application: it commits."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from http import HTTPStatus
from typing import Any, Final

import asyncpg
from fastapi import FastAPI

from app.core.embedded import EmbeddedServer
from app.models import Base
from tests.contract.caller import call
from tests.contract.matrix import Matrix
from tests.contract.operations import Operation
from tests.contract.people import World, slots_of
from tests.contract.requests import request_for
from tests.contract.things import body_for

_TRACES: Final = frozenset({"audit_event", "rate_window"})
"""Tables in which a read leaves its trace."""

_OF_THE_TABLE: Final = frozenset(
    {
        "id", "organization_id", "account_id", "author_id", "created_at", "created_by", "role",
        "roles", "score", "state", "status", "updated_at", "version", "is_admin", "permissions",
    }
)  # fmt: skip
"""What mass assignment hopes for."""


async def _contents(server: EmbeddedServer) -> Mapping[str, str]:
    """A digest of every table, as its owner's superior sees it; last-seen times left out."""
    connection = await asyncpg.connect(
        host=str(server.socket_dir), user="postgres", database="stepwell"
    )
    try:
        found = {}
        for name in sorted(set(Base.metadata.tables) - _TRACES):
            columns = [c.name for c in Base.metadata.tables[name].columns]
            kept = ", ".join(f'"{c}"' for c in columns if c != "last_seen_at")
            rows = await connection.fetch(f'select {kept} from stepwell."{name}" order by 1, 2')  # noqa: S608 (names of our own tables)
            found[name] = hashlib.sha256(repr(rows).encode()).hexdigest()
    finally:
        await connection.close()
    return found


def _not_writable(operation: Operation) -> list[str]:
    """What can be read of what the operation makes, or stands in its tables, and is not its own."""
    writable = set((operation.body_schema or {}).get("properties", {}))
    readable: set[str] = set()
    for status, response in operation.description["responses"].items():
        if status.startswith("2"):
            for content in response.get("content", {}).values():
                schema = operation.resolve(content.get("schema", {}))
                readable |= set(schema.get("properties", {}))
    return sorted((readable | _OF_THE_TABLE) - writable)


async def test_authz_31_what_is_not_writable_is_refused_and_changes_nothing(
    app: FastAPI,
    server: EmbeddedServer,
    world: World,
    matrix: Matrix,
    operations: Sequence[Operation],
) -> None:
    before = await _contents(server)
    refused = 0
    for operation in operations:
        if operation.permission is None or operation.media_type != "application/json":
            continue
        body = body_for(operation, world.clinic.own)
        for name in _not_writable(operation):
            tampered = {**body, name: _plausible(name)}
            request = request_for(
                operation, world.clinic.own, matrix.able[operation.id], body=tampered
            )
            answer = await call(app, request)
            assert answer.status == HTTPStatus.UNPROCESSABLE_ENTITY, (str(operation), name)
            assert f"/{name}" in {e["pointer"] for e in answer.json()["errors"]}, operation
            refused += 1
    assert refused >= 300
    assert await _contents(server) == before


def _plausible(name: str) -> Any:  # noqa: ANN401 (JSON)
    if name.endswith("_at"):
        return "2026-03-02T00:05:00Z"
    return 1 if name in {"version", "score"} else "01a20c9d-0000-7000-8000-000000000001"


async def test_authz_33_a_read_changes_nothing(
    app: FastAPI,
    server: EmbeddedServer,
    world: World,
    matrix: Matrix,
    operations: Sequence[Operation],
) -> None:
    before = await _contents(server)
    reads = [one for one in operations if one.method == "GET"]
    for operation in reads:
        actor = matrix.able.get(operation.id)
        request = request_for(operation, world.clinic.own, actor)
        whole, head = await call(app, request), await call(app, replace(request, method="HEAD"))
        assert (whole.status, head.status) == (HTTPStatus.OK, HTTPStatus.OK), operation
        assert whole.body, operation
        assert not head.body, operation
    assert len(reads) > 20
    assert await _contents(server) == before


async def test_authz_31_an_id_in_the_body_is_no_way_to_another_path(
    rehearsal: FastAPI, world: World, matrix: Matrix, operations: Sequence[Operation]
) -> None:
    """A body that repeats its path's parameter with another value is refused, not obeyed."""
    for operation in operations:
        if operation.permission is None or operation.media_type != "application/json":
            continue
        known = set((operation.body_schema or {}).get("properties", {}))
        for slot in slots_of(operation):
            if slot.place == "path" and slot.name not in known:
                body = body_for(operation, world.clinic.own)
                body[slot.name] = world.clinic.other.thing(slot)
                actor = matrix.able[operation.id]
                request = request_for(operation, world.clinic.own, actor, body=body)
                answer = await call(rehearsal, request)
                assert answer.status == HTTPStatus.UNPROCESSABLE_ENTITY, operation
