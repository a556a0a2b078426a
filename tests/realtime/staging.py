"""Rooms for the tests of live connections: a group with its leader, and who is in it."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final
from uuid import UUID, uuid4

import pytest
from sqlalchemy import insert, select
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.typing import Origin, Subprotocol

from app.core import clock
from app.core.ids import new_id
from app.domain.roles import RoomRole, StaffRole
from app.models.rooms import EntryKind, Room, RoomEntry, RoomMember
from app.services.rooms import membership
from tests.clients.chat import ChatClient, History, RoomView
from tests.factories import Make, Person
from tests.processes import ApiProcess
from tests.realtime.making import assert_fits
from tests.routers.scheduling import created, join, lead, open_group
from tests.tracer import repeated

ORIGIN: Final = Origin("http://localhost:5173")


@dataclass(frozen=True)
class Stage:
    """A group's room, who leads it and who manages it."""

    make: Make
    group: dict[str, Any]
    room_id: str
    leader: Person
    coordinator: Person

    async def member(self, alias: str = "Blue Heron", *, scope: str | None = None) -> Person:
        """A participant who is in the room."""
        person = await self.make.participant(alias=alias, scope=scope)
        await join(self.coordinator, self.group, person)
        return person

    async def admit(self, person: Person) -> None:
        """Let a participant into the room, whatever the group's roster says."""
        async with self.make.transaction() as db:
            occupant = await membership.participant_occupant(db, _known(person.participant_id))
            assert occupant is not None
            await membership.admit(db, UUID(self.room_id), occupant, RoomRole.PARTICIPANT)

    async def remove(self, person: Person) -> None:
        """Remove somebody from the room, as its leader."""
        path = f"/v1/rooms/{self.room_id}/members/{await self.member_id(person)}/remove"
        answer = await self.leader.post(path)
        assert answer.status_code == HTTPStatus.NO_CONTENT, answer.text

    async def member_id(self, person: Person) -> str:
        """Somebody as the room knows them."""
        async with self.make.transaction() as db:
            found = await db.scalar(
                select(RoomMember.id).where(
                    RoomMember.room_id == UUID(self.room_id),
                    RoomMember.account_id == person.account_id,
                    RoomMember.left_at.is_(None),
                )
            )
        return str(found)

    async def say(self, person: Person, body: str) -> dict[str, Any]:
        """Say something by REST, which nothing slows down; the answer reads as an `ack`."""
        message = {"client_message_id": str(uuid4()), "body": body}
        posted = created(await person.post(f"/v1/rooms/{self.room_id}/entries", json=message))
        return {**posted, "message_id": posted["entry_id"]}

    async def lengthen(self, by: int) -> None:
        """Let so many entries have been made, at once and without a sound."""
        async with self.make.transaction() as db:
            room = await db.get_one(
                Room, (self.make.organization_id, UUID(self.room_id)), with_for_update=True
            )
            await db.execute(
                insert(RoomEntry),
                [
                    {
                        "room_id": room.id,
                        "seq": room.head_seq + n,
                        "id": new_id(),
                        "kind": EntryKind.SYSTEM,
                        "at": clock.now(),
                    }
                    for n in range(1, by + 1)
                ],
            )
            room.head_seq += by

    async def log(self) -> list[RoomEntry]:
        """The room's log, as the database holds it."""
        async with self.make.transaction() as db:
            entries = await db.scalars(
                select(RoomEntry)
                .where(RoomEntry.room_id == UUID(self.room_id))
                .order_by(RoomEntry.seq)
            )
            return list(entries)


def _known(participant_id: UUID | None) -> UUID:
    assert participant_id is not None
    return participant_id


@repeated
async def open_stage(make: Make) -> Stage:
    """A group with a room, led by a facilitator."""
    coordinator = await make.staff(StaffRole.CARE_COORDINATOR)
    leader = await make.staff(StaffRole.FACILITATOR)
    group = await open_group(make, coordinator)
    await lead(coordinator, group, leader)
    return Stage(make, group, group["room_id"], leader, coordinator)


async def ticket_of(person: Person, origin: str | None = ORIGIN) -> str:
    """A fresh ticket of somebody, for a browser at this origin."""
    headers = {} if origin is None else {"Origin": origin}
    issued = created(await person.post("/v1/realtime/tickets", headers=headers))
    return str(issued["ticket"])


def device(api: ApiProcess, person: Person, *, history: History | None = None) -> ChatClient:
    """The reference client on one process, signed in as somebody; it connects again at once."""
    return ChatClient(
        api.socket_url, lambda: ticket_of(person), history=history, pause=_at_once, origin=ORIGIN
    )


async def _at_once(_seconds: float) -> None:
    await asyncio.sleep(0)


@asynccontextmanager
async def raw(
    api: ApiProcess,
    person: Person,
    *offered: str,
    **options: Any,  # noqa: ANN401 (what `connect` takes)
) -> AsyncIterator[ClientConnection]:
    """A socket without a client's manners."""
    protocols = offered or ("stepwell.v1", f"stepwell.ticket.{await ticket_of(person)}")
    async with connect(
        options.pop("url", api.socket_url),
        subprotocols=[Subprotocol(each) for each in protocols],
        origin=options.pop("origin", ORIGIN),
        compression=None,
        proxy=None,
        **options,
    ) as socket:
        yield socket


async def ask(socket: ClientConnection, kind: str, /, **members: object) -> None:
    await socket.send(json.dumps({"type": kind, **members}, default=str))


async def hear(socket: ClientConnection, kind: str) -> dict[str, Any]:
    """Take frames until one of this kind comes; each fits the published contract (WS-05)."""
    while True:
        frame: dict[str, Any] = json.loads(await socket.recv())
        assert_fits(frame)
        if frame["type"] == kind:
            return frame


async def close_of(socket: ClientConnection) -> tuple[int | None, str | None]:
    """Read until the server closes, and give its code and reason."""
    try:
        while True:
            await socket.recv()
    except ConnectionClosed:
        return socket.close_code, socket.close_reason


async def ended(view: RoomView) -> str:
    """Wait until the server has ended a subscription, and give the code that says why."""
    async with view.changed:
        await view.changed.wait_for(lambda: view.ended_because is not None)
    return str(view.ended_because)


async def refusal(
    api: ApiProcess,
    person: Person,
    *offered: str,
    **options: Any,  # noqa: ANN401 (as above)
) -> int:
    """The status with which a handshake is refused."""
    with pytest.raises(InvalidStatus) as refused:
        async with raw(api, person, *offered, **options):
            pass
    return refused.value.response.status_code
