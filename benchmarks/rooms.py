"""Stepwell's rooms, filled by the database's owner: who is in them, and how each gets in."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID, uuid5

import asyncpg

from app.core import clock
from app.core.ids import new_id
from app.security import secrets
from app.security.sealing import Cell, DataKey
from benchmarks.sockets import Seat, Venue, upgrade_request

TEXT: Final = "A line of two hundred bytes, as people write them to each other. ".ljust(180, ".")
_SCOPE: Final = "patient/*.cruds"
_PER_ADDRESS: Final = 40
"""Fewer sockets than one address may hold: the members of the rooms live in several homes."""


@dataclass(frozen=True, slots=True)
class Member:
    """An account in a room; a staff member is no participant."""

    account_id: UUID
    participant_id: UUID | None
    staff_member_id: UUID | None
    key: DataKey


async def make_rooms(
    connection: asyncpg.Connection, organization_id: UUID, members: Sequence[Sequence[Member]]
) -> list[UUID]:
    """Open a room for each of the groups of members."""
    now, rooms = clock.wall(), [new_id() for _ in members]
    await connection.copy_records_to_table(
        "room",
        records=[(organization_id, room, "peer_support", "Evening", 0, now) for room in rooms],
        columns=("organization_id", "id", "kind", "name", "head_seq", "created_at"),
    )
    await connection.copy_records_to_table(
        "room_member",
        records=[
            _membership(organization_id, room, member, now)
            for room, group in zip(rooms, members, strict=True)
            for member in group
        ],
        columns=(
            *("organization_id", "id", "room_id", "account_id", "participant_id"),
            *("staff_member_id", "role", "alias", "from_seq", "read_seq", "joined_at"),
        ),
    )
    return rooms


def _membership(
    organization_id: UUID, room: UUID, member: Member, now: datetime
) -> tuple[object, ...]:
    member_id = new_id()
    alias = member.key.seal(Cell("room_member", "alias", member_id), "Blue Heron")
    role = "participant" if member.staff_member_id is None else "host"
    return (
        *(organization_id, member_id, room, member.account_id, member.participant_id),
        *(member.staff_member_id, role, alias, 0, 0, now),
    )


async def give_accounts(
    connection: asyncpg.Connection, organization_id: UUID, keys: Mapping[UUID, DataKey]
) -> list[tuple[Member, UUID]]:
    """Give each participant an account that is signed in on a phone; its sign-in comes with it."""
    now = clock.wall()
    people = [
        (Member(new_id(), participant_id, None, key), new_id())
        for participant_id, key in keys.items()
    ]
    await connection.copy_records_to_table(
        "account",
        records=[
            (
                organization_id,
                one.account_id,
                "participant",
                b"%d" % number,
                b"e",
                "h",
                "active",
                now,
            )
            for number, (one, _) in enumerate(people)
        ],
        columns=(
            *("organization_id", "id", "kind", "login_index", "email", "password_hash"),
            *("state", "created_at"),
        ),
    )
    await connection.executemany(
        "update participant set account_id = $1 where organization_id = $2 and id = $3",
        [(one.account_id, organization_id, one.participant_id) for one, _ in people],
    )
    await connection.copy_records_to_table(
        "sign_in",
        records=[
            (
                *(organization_id, sign_in, one.account_id, "stepwell-mobile", _SCOPE, 1),
                *("iop:1", ["pwd"], now, now, 86_400, now + timedelta(days=1)),
            )
            for one, sign_in in people
        ],
        columns=(
            *("organization_id", "id", "account_id", "client_id", "scope", "version"),
            *("acr", "amr", "authenticated_at", "last_seen_at", "idle_seconds", "expires_at"),
        ),
    )
    return people


async def open_venue(
    connection: asyncpg.Connection,
    organization_id: UUID,
    people: Sequence[tuple[Member, UUID]],
    *,
    rooms: int,
    seats: int,
) -> Venue:
    """New rooms, and a ticket for each seat; with too few people, some sit in two rooms."""
    seated = [[people[(r * seats + s) % len(people)] for s in range(seats)] for r in range(rooms)]
    ids = await make_rooms(connection, organization_id, [[one for one, _ in g] for g in seated])
    tickets: list[tuple[object, ...]] = []
    expires_at = clock.wall() + timedelta(minutes=10)

    def seat(room: UUID, sign_in: UUID) -> Seat:
        ticket, digest = secrets.new_secret()
        number = len(tickets)
        tickets.append((organization_id, new_id(), sign_in, 1, digest, _SCOPE, expires_at))
        offer = ("stepwell.v1", f"stepwell.ticket.{ticket}")
        subscribe = {"type": "subscribe", "ref": "s", "room_id": str(room)}
        return Seat(
            upgrade_request("/v1/realtime", subprotocols=offer),
            (json.dumps(subscribe).encode(),),
            address=f"127.0.1.{1 + number // _PER_ADDRESS}",
        )

    places = [
        [seat(room, sign_in) for _, sign_in in group]
        for room, group in zip(ids, seated, strict=True)
    ]
    await connection.copy_records_to_table(
        "realtime_ticket",
        records=tickets,
        columns=(
            *("organization_id", "id", "sign_in_id", "sign_in_version", "digest", "scope"),
            "expires_at",
        ),
    )
    return Venue(
        rooms=places,
        message=lambda room, number: _send(ids[room], number),
        delivers=lambda payload: b'"kind":"message"' in payload,
        welcome=b'"type":"subscribed"',
    )


def _send(room: UUID, number: int) -> bytes:
    return json.dumps(
        {
            "type": "send",
            "ref": str(number),
            "room_id": str(room),
            "kind": "message",
            "client_message_id": str(uuid5(room, str(number))),
            "body": TEXT,
        }
    ).encode()
