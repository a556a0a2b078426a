"""What each operation leaves on record, whatever comes of it (AUD-09, I8).

The events of a success stand in `trail.json`, operation by operation. A change of the trail changes
that file, and is read by somebody who asks: would an auditor still find out? The failing test
leaves the file as it would have to be, and names the place.
"""

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final

import asyncpg
import pytest

from app.core.embedded import EmbeddedServer
from app.security.permissions import Permission
from tests.contract.caller import JSON
from tests.contract.flight import BADLY, MALFORMED, NOBODY, OUTSIDE, STRANGER, WELL, Flight, Passage

EXPECTED: Final = Path(__file__).with_name("trail.json")
_REFUSALS: Final = frozenset({HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND})

Trail = Mapping[str, Sequence[asyncpg.Record]]
"""The events by the id of the request that left them."""


@pytest.fixture(scope="module")
async def trail(flight: Flight, server: EmbeddedServer) -> Trail:
    """What was put on record in the flight."""
    connection = await asyncpg.connect(
        host=str(server.socket_dir), user="postgres", database="stepwell"
    )
    try:
        rows = await connection.fetch(
            "select * from stepwell.audit_event where organization_id = any($1) order by id",
            [one.make.organization_id for one in (flight.world.clinic, flight.world.elsewhere)],
        )
    finally:
        await connection.close()
    found: defaultdict[str, list[asyncpg.Record]] = defaultdict(list)
    for row in rows:
        found[row["request_id"]].append(row)
    return found


def events_of(trail: Trail, one: Passage) -> Sequence[asyncpg.Record]:
    return trail.get(one.answer.header("x-request-id") or "", ())


def named_by(rows: Sequence[asyncpg.Record]) -> set[str]:
    """Whom events name."""
    ids = [row["participant_id"] for row in rows]
    return {str(one) for one in [*ids, *(i for row in rows for i in row["participant_ids"] or ())]}


def line_of(row: asyncpg.Record) -> str:
    """An event without its ids: `R plan:read plan success, of one`."""
    whose = "of one" if row["participant_id"] is not None else "of nobody"
    if row["participant_ids"] is not None:
        whose = "of those in it"
    return f"{row['action']} {row['subtype']} {row['resource']} {row['outcome']}, {whose}"


def test_aud_09_a_success_leaves_exactly_its_events(
    flight: Flight, trail: Trail, tmp_path: Path
) -> None:
    left: defaultdict[str, set[tuple[str, ...]]] = defaultdict(set)
    for one in flight.of(WELL):
        if one.is_success:
            left[one.operation.id].add(tuple(sorted(map(line_of, events_of(trail, one)))))
    told = {operation: sorted(map(list, left[operation])) for operation in sorted(left)}
    actual = tmp_path / EXPECTED.name
    actual.write_text(json.dumps(told, indent=2) + "\n", encoding="utf-8")
    expected = json.loads(EXPECTED.read_text(encoding="utf-8"))

    assert len(told) > 90
    different = sorted(
        operation
        for operation in told.keys() | expected.keys()
        if told.get(operation) != expected.get(operation)
    )
    assert not different, f"read the difference, then take it over from {actual}"


def test_aud_09_a_refusal_leaves_one_event_although_its_transaction_was_undone(
    flight: Flight, trail: Trail
) -> None:
    refused = [
        one
        for one in flight.of(STRANGER, OUTSIDE)
        if one.answer.status in _REFUSALS and one.operation.permission is not None
    ]
    wrong: list[str] = []
    for one in refused:
        lines = [line_of(row) for row in events_of(trail, one)]
        permission = str(one.operation.permission)
        subject = permission.partition(":")[0]
        if lines != [f"E {permission} {subject} refused, of nobody"]:
            wrong.append(f"{one.operation}: {lines}")

    assert {one.operation.id for one in refused} >= {
        one.operation.id for one in flight.of(STRANGER)
    }
    assert len(refused) >= 200
    assert wrong == []


def test_aud_09_what_reaches_no_record_leaves_no_event(flight: Flight, trail: Trail) -> None:
    unread = [
        one
        for one in flight.of(NOBODY, MALFORMED, BADLY)
        if not one.is_success and one.answer.status not in _REFUSALS
    ]

    assert len(unread) >= 400
    assert [
        f"{one.operation} ({one.kind}, {one.answer.status}): {line_of(row)}"
        for one in unread
        for row in events_of(trail, one)
    ] == []


def test_i8_whoever_is_told_of_a_participant_is_on_record_with_them(
    flight: Flight, trail: Trail
) -> None:
    checked = 0
    missing: list[str] = []
    for one in flight.of(WELL, OUTSIDE):
        if not one.is_success or one.answer.header("content-type") != JSON or not one.answer.body:
            continue
        told = set(_participants_in(one.answer.json()))
        if one.operation.permission is Permission.OWN_ACCOUNT and one.actor is not None:
            told -= {str(one.actor.person.participant_id)}  # who they are is no record
        checked += bool(told)
        if not told <= named_by(events_of(trail, one)):
            missing.append(f"{one.operation} by {one.actor.name if one.actor else 'nobody'}")

    assert checked >= 50
    assert missing == []


def _participants_in(value: Any) -> Iterator[str]:  # noqa: ANN401 (JSON)
    """The participants that an answer names by their ids."""
    if isinstance(value, dict):
        for name, member in value.items():
            if name == "participant_id" and isinstance(member, str):
                yield member
            else:
                yield from _participants_in(member)
    elif isinstance(value, list):
        for member in value:
            yield from _participants_in(member)
