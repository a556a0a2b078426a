"""Groups: places, rosters and rooms, as those see them who may and those who may not."""

import asyncio
from datetime import datetime, timedelta
from http import HTTPStatus
from uuid import UUID, uuid4

import pytest
from sqlalchemy import select

from app.core import clock
from app.core.embedded import EmbeddedServer
from app.domain.roles import StaffRole
from app.models.participants import Participant
from app.models.rooms import Room, RoomEntry, RoomMember
from app.services import groups
from tests.factories import Make, Person, problem_of
from tests.routers.assessing import accesses
from tests.routers.scheduling import join, lead, open_group, transaction_at
from tests.watching import watch


@pytest.fixture
async def coordinator(make: Make) -> Person:
    return await make.staff(StaffRole.CARE_COORDINATOR)


async def occupants(make: Make, room_id: str) -> list[RoomMember]:
    async with make.transaction() as db:
        query = select(RoomMember).where(RoomMember.room_id == UUID(room_id))
        return list((await db.scalars(query.order_by(RoomMember.from_seq))).all())


async def admitted(make: Make, at: datetime | None = None) -> int:
    """How many members the job lets into their rooms, now or at an instant."""
    async with transaction_at(make, at or clock.now()) as db:
        due = await groups.groups_with_due_members(db)
        return sum([await groups.admit_due_members(db, group_id) for group_id in due])


async def entries(make: Make, room_id: str) -> list[RoomEntry]:
    async with make.transaction() as db:
        query = select(RoomEntry).where(RoomEntry.room_id == UUID(room_id))
        return list((await db.scalars(query.order_by(RoomEntry.seq))).all())


async def test_a_group_begins_with_a_room_of_its_own(make: Make, coordinator: Person) -> None:
    group = await open_group(make, coordinator)

    async with make.transaction() as db:
        room = await db.get_one(Room, (make.organization_id, UUID(group["room_id"])))
    assert (str(room.group_id), room.kind) == (group["id"], "group")
    assert (await coordinator.get(f"/v1/groups/{group['id']}")).json() == group
    assert (await coordinator.get("/v1/groups")).json()["items"] == [group]


async def test_a_group_needs_a_program_and_a_track_of_it(make: Make, coordinator: Person) -> None:
    body = {"program_id": str(uuid4()), "name": "Lost", "kind": "skill_building", "capacity": 8}
    nowhere = await coordinator.post("/v1/groups", json=body)
    program = await make.program()
    body |= {"program_id": str(program.id), "track_id": str(uuid4())}
    trackless = await coordinator.post("/v1/groups", json=body)

    assert nowhere.status_code == HTTPStatus.NOT_FOUND
    assert problem_of(trackless) == "unknown-track"
    assert trackless.json()["errors"][0]["pointer"] == "/track_id"


async def test_only_those_who_manage_groups_begin_or_fill_them(
    make: Make, coordinator: Person
) -> None:
    group = await open_group(make, coordinator)
    jordan = await make.participant()
    clinician = await make.staff()
    body = {"participant_id": str(jordan.participant_id)}

    for person in (clinician, jordan):
        answer = await person.post(f"/v1/groups/{group['id']}/members", json=body)
        assert answer.status_code == HTTPStatus.FORBIDDEN


async def test_a_member_enters_the_room_under_their_alias_and_sees_the_group(
    make: Make, coordinator: Person
) -> None:
    group = await open_group(make, coordinator)
    jordan = await make.participant(alias="Blue Heron")
    assert (await jordan.get(f"/v1/groups/{group['id']}")).status_code == HTTPStatus.NOT_FOUND

    await join(coordinator, group, jordan)

    assert (await jordan.get(f"/v1/groups/{group['id']}")).json() == group
    (member,) = await occupants(make, group["room_id"])
    assert (member.account_id, member.role, member.from_seq) == (
        jordan.account_id,
        "participant",
        1,
    )
    (entry,) = await entries(make, group["room_id"])
    assert (entry.kind, entry.seq, entry.author_id) == ("membership", 1, member.id)


async def test_the_last_place_is_given_once(make: Make, coordinator: Person) -> None:
    group = await open_group(make, coordinator, capacity=1)
    people = [await make.participant() for _ in range(2)]
    colleague = await make.staff(StaffRole.CARE_COORDINATOR)

    answers = await asyncio.gather(
        *(
            staff.post(
                f"/v1/groups/{group['id']}/members",
                json={"participant_id": str(person.participant_id)},
            )
            for staff, person in zip((coordinator, colleague), people, strict=True)
        )
    )

    assert sorted(answer.status_code for answer in answers) == [201, 409]
    (full,) = (answer for answer in answers if answer.status_code == HTTPStatus.CONFLICT)
    assert problem_of(full) == "group-full"
    assert len(await occupants(make, group["room_id"])) == 1


async def test_nobody_belongs_to_a_group_twice(make: Make, coordinator: Person) -> None:
    group = await open_group(make, coordinator, capacity=1)
    jordan = await make.participant()
    await join(coordinator, group, jordan)

    again = await coordinator.post(
        f"/v1/groups/{group['id']}/members",
        json={"participant_id": str(jordan.participant_id)},
    )

    assert problem_of(again) == "already-in-group"


async def test_leaving_frees_the_place_and_ends_the_view_of_the_room(
    make: Make, coordinator: Person
) -> None:
    group = await open_group(make, coordinator, capacity=1)
    jordan, ari = await make.participant(), await make.participant()
    member = await join(coordinator, group, jordan)

    left = await coordinator.post(f"/v1/groups/{group['id']}/members/{member['id']}/end")
    await join(coordinator, group, ari)

    assert left.status_code == HTTPStatus.NO_CONTENT
    assert (await jordan.get(f"/v1/groups/{group['id']}")).status_code == HTTPStatus.NOT_FOUND
    gone, present = await occupants(make, group["room_id"])
    assert (gone.from_seq, gone.until_seq) == (1, 1)
    assert (present.from_seq, present.until_seq) == (3, None)
    assert [entry.seq for entry in await entries(make, group["room_id"])] == [1, 2, 3]
    again = await coordinator.post(f"/v1/groups/{group['id']}/members/{member['id']}/end")
    assert again.status_code == HTTPStatus.NOT_FOUND


async def test_a_later_start_opens_the_room_when_it_has_come(
    make: Make, coordinator: Person
) -> None:
    group = await open_group(make, coordinator)
    jordan = await make.participant()
    starts_at = clock.now() + timedelta(days=3)
    await join(coordinator, group, jordan, starts_at=starts_at.isoformat())
    assert (await jordan.get(f"/v1/groups/{group['id']}")).status_code == HTTPStatus.NOT_FOUND
    assert await occupants(make, group["room_id"]) == []

    assert await admitted(make, at=starts_at - timedelta(days=1)) == 0
    assert await admitted(make, at=starts_at) == 1
    assert await admitted(make, at=starts_at) == 0
    assert len(await occupants(make, group["room_id"])) == 1


async def test_nobody_joins_in_the_past(make: Make, coordinator: Person) -> None:
    group = await open_group(make, coordinator)
    jordan = await make.participant()
    body = {"participant_id": str(jordan.participant_id), "starts_at": "2020-01-01T00:00:00Z"}

    answer = await coordinator.post(f"/v1/groups/{group['id']}/members", json=body)

    assert answer.json()["errors"][0]["pointer"] == "/starts_at"


async def test_a_member_without_an_account_enters_the_room_when_they_have_one(
    make: Make, coordinator: Person
) -> None:
    group = await open_group(make, coordinator)
    jordan = await make.participant()
    async with make.transaction() as db:
        participant = await db.get_one(Participant, (make.organization_id, jordan.participant_id))
        participant.account_id = None
    await join(coordinator, group, jordan)
    assert await occupants(make, group["room_id"]) == []

    async with make.transaction() as db:
        participant = await db.get_one(Participant, (make.organization_id, jordan.participant_id))
        participant.account_id = jordan.account_id
    await admitted(make)

    (member,) = await occupants(make, group["room_id"])
    assert member.account_id == jordan.account_id


async def put_out(leader: Person, room_id: str, participant: Person) -> None:
    """Remove somebody from a room, as whoever leads it does."""
    members = (await leader.get(f"/v1/rooms/{room_id}/members")).json()["items"]
    (member,) = (m for m in members if m["participant_id"] == str(participant.participant_id))
    removed = await leader.post(f"/v1/rooms/{room_id}/members/{member['id']}/remove")
    assert removed.status_code == HTTPStatus.NO_CONTENT


async def test_who_was_put_out_of_the_room_is_not_let_in_by_the_calendar(
    make: Make, coordinator: Person
) -> None:
    group = await open_group(make, coordinator)
    leader, jordan = await make.staff(StaffRole.FACILITATOR), await make.participant()
    await lead(coordinator, group, leader)
    await join(coordinator, group, jordan)
    await put_out(leader, group["room_id"], jordan)

    assert await admitted(make) == 0

    room = await jordan.get(f"/v1/rooms/{group['room_id']}/entries")
    assert room.status_code == HTTPStatus.NOT_FOUND


async def test_who_is_put_into_the_group_again_comes_back_into_its_room(
    make: Make, coordinator: Person
) -> None:
    group = await open_group(make, coordinator)
    leader, jordan, ari = (
        await make.staff(StaffRole.FACILITATOR),
        await make.participant(),
        await make.participant(),
    )
    await lead(coordinator, group, leader)
    for person in (jordan, ari):
        member = await join(coordinator, group, person)
        await put_out(leader, group["room_id"], person)
        await coordinator.post(f"/v1/groups/{group['id']}/members/{member['id']}/end")

    await join(coordinator, group, jordan)
    tomorrow = clock.now() + timedelta(days=1)
    await join(coordinator, group, ari, starts_at=tomorrow.isoformat())

    room = f"/v1/rooms/{group['room_id']}/entries"
    assert (await jordan.get(room)).status_code == HTTPStatus.OK
    assert await admitted(make, at=tomorrow) == 1
    assert (await ari.get(room)).status_code == HTTPStatus.OK


async def test_who_leaves_at_the_moment_of_admission_stays_outside(
    make: Make, coordinator: Person, server: EmbeddedServer
) -> None:
    """The job has found them in the group; then it waits, and they leave before it goes on."""
    group = await open_group(make, coordinator)
    jordan = await make.participant()
    tomorrow = clock.now() + timedelta(days=1)
    member = await join(coordinator, group, jordan, starts_at=tomorrow.isoformat())
    ending = f"/v1/groups/{group['id']}/members/{member['id']}/end"

    async with watch(server) as watcher:
        async with make.transaction() as db:
            await groups.hold(db, UUID(group["id"]))
            ended = asyncio.create_task(coordinator.post(ending))
            await watcher.until_blocked("%care_group%")
            job = asyncio.create_task(admitted(make, at=tomorrow))
            await watcher.until_blocked("%for no key update%", count=2)
        assert (await ended).status_code == HTTPStatus.NO_CONTENT
        assert await job == 0

    assert await occupants(make, group["room_id"]) == []


async def test_the_roster_has_names_for_those_who_lead_and_for_no_participant(
    make: Make, coordinator: Person
) -> None:
    group = await open_group(make, coordinator)
    jordan = await make.participant(given_name="Jordan", alias="Blue Heron")
    ari = await make.participant(given_name="Ari", alias="Grey Owl")
    for person in (jordan, ari):
        await join(coordinator, group, person)
    leader, stranger = await make.staff(), await make.staff()
    await lead(coordinator, group, leader)
    url = f"/v1/groups/{group['id']}/members"

    roster = (await leader.get(url)).json()

    assert [(each["given_name"], each["alias"]) for each in roster["items"]] == [
        ("Jordan", "Blue Heron"),
        ("Ari", "Grey Owl"),
    ]
    assert (await coordinator.get(url)).json() == roster
    assert (await stranger.get(url)).status_code == HTTPStatus.NOT_FOUND
    assert (await jordan.get(url)).status_code == HTTPStatus.FORBIDDEN


async def test_aud_01_joining_leaving_and_every_look_at_the_roster_leave_their_trace(
    make: Make, coordinator: Person
) -> None:
    group = await open_group(make, coordinator)
    jordan = await make.participant()
    member = await join(coordinator, group, jordan)
    await coordinator.get(f"/v1/groups/{group['id']}/members")
    await coordinator.post(f"/v1/groups/{group['id']}/members/{member['id']}/end")

    assert await accesses(make, jordan, "group_member") == [
        ("U", "group:manage"),
        ("R", "group:roster"),
        ("U", "group:manage"),
    ]


async def test_a_roster_is_read_in_pages(make: Make, coordinator: Person) -> None:
    group = await open_group(make, coordinator)
    for _ in range(3):
        await join(coordinator, group, await make.participant())
    url = f"/v1/groups/{group['id']}/members?limit=2"

    first = (await coordinator.get(url)).json()
    second = (await coordinator.get(f"{url}&cursor={first['next_cursor']}")).json()

    assert (len(first["items"]), len(second["items"]), second["next_cursor"]) == (2, 1, None)


async def test_a_facilitator_hosts_the_room_until_their_leading_ends(
    make: Make, coordinator: Person
) -> None:
    group = await open_group(make, coordinator)
    leader = await make.staff(StaffRole.FACILITATOR)
    facilitator = await lead(coordinator, group, leader)
    url = f"/v1/groups/{group['id']}/facilitators"
    (host,) = await occupants(make, group["room_id"])
    assert (host.role, host.staff_member_id) == ("host", leader.staff_member_id)

    twice = await coordinator.post(url, json={"staff_member_id": str(leader.staff_member_id)})
    ended = await coordinator.post(f"{url}/{facilitator['id']}/end")

    assert problem_of(twice) == "already-facilitator"
    assert ended.status_code == HTTPStatus.NO_CONTENT
    (gone,) = await occupants(make, group["room_id"])
    assert gone.until_seq == 1
    roster = await leader.get(f"/v1/groups/{group['id']}/members")
    assert roster.status_code == HTTPStatus.NOT_FOUND
    again = await coordinator.post(f"{url}/{facilitator['id']}/end")
    assert again.status_code == HTTPStatus.NOT_FOUND


async def test_one_participant_learns_of_no_other(make: Make, coordinator: Person) -> None:
    group = await open_group(make, coordinator)
    jordan, ari = await make.participant(), await make.participant(given_name="Zyx")
    await join(coordinator, group, jordan)
    alone = (await jordan.get("/v1/groups")).content

    await join(coordinator, group, ari)

    assert (await jordan.get("/v1/groups")).content == alone


async def test_another_organization_has_no_such_group(make: Make, coordinator: Person) -> None:
    group = await open_group(make, coordinator)
    elsewhere = await Make.organization(make.app, make.runtime)
    stranger = await elsewhere.staff(StaffRole.CARE_COORDINATOR)

    answers = [
        await stranger.get(f"/v1/groups/{group['id']}"),
        await stranger.get(f"/v1/groups/{group['id']}/members"),
        await stranger.post(
            f"/v1/groups/{group['id']}/facilitators",
            json={"staff_member_id": str(stranger.staff_member_id)},
        ),
    ]
    await elsewhere.close()

    assert {answer.status_code for answer in answers} == {HTTPStatus.NOT_FOUND}
