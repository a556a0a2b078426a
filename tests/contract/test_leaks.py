"""What people write is found where it belongs, and nowhere else (PHI-10, PHI-14, PHI-20).

Every text field of every body holds canaries, each in a request of its own: some succeed and most
do not. Then everything is searched that the service has answered, logged, sent, told or stored.
"""

import io
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Final

import asyncpg
import pytest

from app.core import metrics
from app.core.embedded import EmbeddedServer
from app.models import Base
from app.security import seals
from tests.contract.caller import JSON
from tests.contract.canaries import BANNER, places_of
from tests.contract.documents import class_of
from tests.contract.flight import (
    WELL,
    Flight,
)
from tests.contract.matrix import Matrix
from tests.contract.operations import Operation
from tests.contract.people import Clinic

_UNSEALABLE: Final[Mapping[str, str]] = {
    "alert.excerpt": "nothing writes it yet",
    "assessment.correction_reason": "only a submitted assessment is corrected",
    "decision.overrides": "only where a decision departs from what was suggested",
    "intake.facts": "what the rules looked at, in words of the software",
    "participant.born_on": "a date is no text",
    "room_member.alias": "made from the participant's, when somebody joins a room",
}
"""Columns of the class phi-text into which no request puts a canary."""

_NEEDS_A_CHALLENGE: Final = frozenset({"answer_challenge", "issue_token"})
"""Operations that succeed only as steps of a sign-in, which the flight has as a whole."""


# What was planted


def test_phi_20_five_hundred_canaries_are_in_every_field_of_free_text(
    flight: Flight, operations: Sequence[Operation]
) -> None:
    fields = set().union(*(places_of(one) for one in operations if one.media_type == JSON))

    assert len(flight.aviary.owners) >= 500
    assert len(fields) >= 40
    assert fields <= flight.aviary.places


def test_phi_20_every_operation_was_driven_to_success_and_to_failure(
    flight: Flight, matrix: Matrix, operations: Sequence[Operation]
) -> None:
    told = {one.operation.id: one.answer.text for one in flight.of(WELL) if not one.is_success}
    done = {one.operation.id for one in flight.of(WELL) if one.is_success}
    failed = {one.operation.id for one in flight.passages if not one.is_success}

    # Whether somebody can succeed at all is another test's question (AUTHZ-30).
    possible = {one.id for one in operations if one.permission is None or one.id in matrix.able}
    never = possible - done - _NEEDS_A_CHALLENGE
    assert not never, {one: told.get(one) for one in never}
    assert {one.id for one in operations} == failed
    assert len(done) > 90


async def test_phi_20_every_sealed_column_holds_a_canary(flight: Flight) -> None:
    found: set[str] = set()
    for clinic in (flight.world.clinic, flight.world.elsewhere):
        found |= await _columns_with_canaries(clinic, flight)

    sealed = {
        f"{table.name}.{column.name}"
        for table in Base.metadata.tables.values()
        for column in table.columns
        if class_of(column) == "phi-text"
    }
    assert sealed - found <= set(_UNSEALABLE)
    assert set(_UNSEALABLE) <= sealed


async def _columns_with_canaries(clinic: Clinic, flight: Flight) -> set[str]:
    """The sealed columns in which an organization has canaries, read with its keys."""
    found: set[str] = set()
    async with clinic.make.transaction() as db:
        for table in Base.metadata.tables.values():
            columns = [one for one in table.columns if class_of(one) == "phi-text"]
            if not columns:
                continue
            for row in await db.execute(table.select()):
                keys = await seals.keys_for(db, [row._mapping[one] for one in columns])  # noqa: SLF001
                for column in columns:
                    cell = seals.Cell(table.name, column.name, row.id)
                    text = keys.unseal_optional(cell, row._mapping[column])  # noqa: SLF001
                    if text is not None and flight.aviary.seen_in(text.encode()):
                        found.add(f"{table.name}.{column.name}")
    return found


# Where it may not be


def test_phi_14_no_refusal_repeats_what_was_sent(flight: Flight) -> None:
    refused = [one for one in flight.passages if not one.is_success]

    assert len(refused) >= 400
    assert [
        (str(one.operation), one.answer.status, one.answer.text[:300])
        for one in refused
        if flight.aviary.seen_in(one.answer.body)
    ] == []


def test_phi_10_no_canary_is_in_a_log_a_url_or_a_metric(flight: Flight) -> None:
    log = flight.log.getvalue()

    assert log.count('"event":"request"') >= len(flight.passages)
    assert "[refused]" not in log
    assert flight.aviary.seen_in(log.encode()) == set()
    assert flight.aviary.seen_in(b" ".join(one.request.target for one in flight.passages)) == set()
    assert flight.aviary.seen_in(metrics.render()) == set()
    assert flight.console.getvalue() == ""


def test_phi_20_a_webhook_has_no_canary_in_its_body_and_none_in_its_headers(
    flight: Flight,
) -> None:
    assert len(flight.webhooks) >= 40
    assert flight.aviary.seen_in(b"\n".join(flight.webhooks)) == set()


def test_phi_12_a_mail_has_no_canary_but_the_address_that_it_goes_to(flight: Flight) -> None:
    told = [line for text in flight.mail for line in text.splitlines()]
    addressed = [line for line in told if line.lower().startswith(("rcpt to:", "to: "))]
    others = "\n".join(line for line in told if line not in addressed)

    assert flight.aviary.seen_in("\n".join(addressed).encode())
    assert "Subject:" in others
    assert flight.aviary.seen_in(others.encode()) == set()


def test_phi_20_the_bus_carries_no_canary(flight: Flight) -> None:
    assert len(flight.hints) >= 20
    assert flight.aviary.seen_in("\n".join(flight.hints).encode()) == set()


def test_phi_20_nobody_is_told_a_canary_of_somebody_whom_they_cannot_reach(
    flight: Flight,
) -> None:
    told: list[str] = []
    for one in flight.passages:
        who = "nobody" if one.actor is None else one.actor.name
        told += [
            f"{one.operation} ({one.kind}) told {who} {canary}"
            for canary in flight.aviary.seen_in(one.answer.body)
            if not flight.is_for(one, canary)
        ]
    assert len(flight.passages) >= 1_000
    assert told == []


async def test_phi_20_no_canary_can_be_read_in_any_table(
    flight: Flight, server: EmbeddedServer
) -> None:
    found: defaultdict[str, set[str]] = defaultdict(set)
    for place, text in (await _dump(server)).items():
        # An octet string is written out in hexadecimal; a text in it would be found there.
        plain = text + bytes.fromhex(_hexadecimal(text))
        found[place] |= flight.aviary.seen_in(plain)
    banners = {one for one in flight.aviary.owners if one.startswith(BANNER)}
    assert {
        place: seen
        for place, seen in found.items()
        # What an organization calls its own things is in the clear, and says so.
        if seen - (banners if "organization-text" in place else set())
    } == {}


def _hexadecimal(text: bytes) -> str:
    """The digits of every octet string of a dump."""
    return "".join(
        field[3:].decode()
        for line in text.split(b"\n")
        for field in line.split(b"\t")
        if field.startswith(b"\\\\x")
    )


async def _dump(server: EmbeddedServer) -> Mapping[str, bytes]:
    """Every column as text, by its name and class, as a superuser would copy it out."""
    connection = await asyncpg.connect(
        host=str(server.socket_dir), user="postgres", database="stepwell"
    )
    texts: dict[str, bytes] = {}
    try:
        for table in Base.metadata.tables.values():
            for column in table.columns:
                output = io.BytesIO()
                await connection.copy_from_table(
                    table.name, schema_name="stepwell", columns=[column.name], output=output
                )
                texts[f"{table.name}.{column.name} ({class_of(column)})"] = output.getvalue()
    finally:
        await connection.close()
    return texts


async def test_phi_11_no_file_of_the_database_holds_a_canary(
    flight: Flight, server: EmbeddedServer
) -> None:
    """Not its log, not its tables, and not what it wrote ahead of them."""
    connection = await asyncpg.connect(
        host=str(server.socket_dir), user="postgres", database="stepwell"
    )
    await connection.execute("checkpoint")
    await connection.close()
    files = [path for path in server.data_dir.rglob("*") if path.is_file()]
    found = {
        f"{path.relative_to(server.data_dir)}: {one}"
        for path in files
        for one in flight.aviary.seen_in(path.read_bytes())
        if not one.startswith(BANNER)
    }
    assert {path.name for path in files} >= {"server.log", "PG_VERSION"}
    assert any(path.parent.name == "pg_wal" for path in files)
    assert found == set()


@pytest.mark.parametrize("place", ["log", "webhooks", "hints", "urls", "tables", "metrics"])
async def test_phi_20_a_secret_that_was_given_out_is_nowhere_else(
    flight: Flight, server: EmbeddedServer, place: str
) -> None:
    text = {
        "log": flight.log.getvalue().encode(),
        "webhooks": b"\n".join(flight.webhooks),
        "hints": "\n".join(flight.hints).encode(),
        "urls": b" ".join(one.request.target for one in flight.passages),
        "tables": b"\n".join((await _dump(server)).values()) if place == "tables" else b"",
        "metrics": metrics.render(),
    }[place]

    assert len(flight.secrets) >= 20
    assert text
    assert [one for one in flight.secrets if one.encode() in text] == []
