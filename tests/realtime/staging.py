"""Rooms for the tests of live connections: a group with its leader, and who is in it."""

from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import select

from app.domain.roles import StaffRole
from app.models.rooms import RoomEntry, RoomMember
from tests.factories import Make, Person
from tests.routers.scheduling import join, lead, open_group


@dataclass(frozen=True)
class Stage:
    """A group's room, who leads it and who manages it."""

    make: Make
    group: dict[str, str]
    room_id: str
    leader: Person
    coordinator: Person

    async def member(self, alias: str = "Blue Heron") -> Person:
        """A participant who is in the room."""
        person = await self.make.participant(alias=alias)
        await join(self.coordinator, self.group, person)
        return person

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

    async def log(self) -> list[RoomEntry]:
        """The room's log, as the database holds it."""
        async with self.make.transaction() as db:
            entries = await db.scalars(
                select(RoomEntry)
                .where(RoomEntry.room_id == UUID(self.room_id))
                .order_by(RoomEntry.seq)
            )
            return list(entries)


async def open_stage(make: Make) -> Stage:
    """A group with a room, led by a facilitator."""
    coordinator = await make.staff(StaffRole.CARE_COORDINATOR)
    leader = await make.staff(StaffRole.FACILITATOR)
    group = await open_group(make, coordinator)
    await lead(coordinator, group, leader)
    return Stage(make, group, group["room_id"], leader, coordinator)
