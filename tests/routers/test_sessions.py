"""Sessions: who sees them, who enters them and when, and what cancelling gives back."""

import asyncio
from collections.abc import Sequence
from http import HTTPStatus
from uuid import UUID, uuid4

import pytest
from sqlalchemy import select

from app.core.embedded import EmbeddedServer
from app.domain.roles import StaffRole
from app.models.groups import GroupFacilitator
from app.models.rooms import Room, RoomMember
from app.services import groups
from app.services.rooms import membership
from app.settings import Settings
from tests.factories import Make, problem_of
from tests.routers.scheduling import (
    Evening,
    an_evening,
    events_of,
    instant,
    join,
    lead,
    live_on,
    minutes,
    open_group,
    sessions_of,
    set_clock,
    weekly,
)
from tests.watching import watch


@pytest.fixture
async def evening(make: Make) -> Evening:
    return await an_evening(make)


async def occupants(make: Make, room_id: str) -> Sequence[RoomMember]:
    async with make.transaction() as db:
        query = select(RoomMember).where(RoomMember.room_id == UUID(room_id))
        return (await db.scalars(query.order_by(RoomMember.from_seq))).all()


async def test_a_session_is_seen_by_those_who_have_a_place_in_it(
    make: Make, evening: Evening
) -> None:
    outsiders = [await make.participant(), await make.staff(StaffRole.FACILITATOR)]

    for person in (evening.coordinator, evening.leader, evening.jordan):
        assert (await person.get(evening.first)).json() == evening.sessions[0]
    for person in outsiders:
        hidden = await person.get(evening.first)
        missing = await person.get(f"/v1/sessions/{uuid4()}")
        assert hidden.status_code == missing.status_code == HTTPStatus.NOT_FOUND
        assert hidden.json().keys() == missing.json().keys()
        assert await sessions_of(person) == []


async def test_another_organization_has_no_such_session(evening: Evening, make: Make) -> None:
    elsewhere = await Make.organization(make.app, make.runtime)
    stranger = await elsewhere.staff(StaffRole.CARE_COORDINATOR)

    answers = [await stranger.get(evening.first), await stranger.post(f"{evening.first}/cancel")]
    seen = await sessions_of(stranger)
    await elsewhere.close()

    assert {answer.status_code for answer in answers} == {HTTPStatus.NOT_FOUND}
    assert seen == []


async def test_a_list_of_sessions_is_in_order_and_in_pages(evening: Evening) -> None:
    first = (await evening.jordan.get("/v1/sessions?limit=3")).json()
    second = (
        await evening.jordan.get(f"/v1/sessions?limit=3&cursor={first['next_cursor']}")
    ).json()

    assert first["items"] + second["items"] == evening.sessions
    assert (len(first["items"]), second["next_cursor"]) == (3, None)
    forged = await evening.jordan.get("/v1/sessions?cursor=AAAA")
    assert problem_of(forged) == "invalid-cursor"


async def test_a_list_of_sessions_is_cut_to_a_stretch_of_time(evening: Evening) -> None:
    second = evening.sessions[1]
    during = instant(second["starts_at"]) + minutes(30)

    found = await evening.jordan.get(
        "/v1/sessions",
        params={"from": during.isoformat(), "to": evening.sessions[3]["starts_at"]},
    )

    assert found.json()["items"] == evening.sessions[1:3]


async def test_one_participant_learns_of_no_other(make: Make, evening: Evening) -> None:
    alone = (
        (await evening.jordan.get("/v1/sessions")).content,
        await evening.jordan.get(evening.first),
    )
    ari = await make.participant()

    await join(evening.coordinator, evening.group, ari)

    assert (await evening.jordan.get("/v1/sessions")).content == alone[0]
    assert (await evening.jordan.get(evening.first)).content == alone[1].content


async def test_an_unchanged_session_is_not_sent_again(evening: Evening) -> None:
    first = await evening.jordan.get(evening.first)

    again = await evening.jordan.get(
        evening.first, headers={"If-None-Match": first.headers["etag"]}
    )

    assert again.status_code == HTTPStatus.NOT_MODIFIED


async def test_the_door_opens_ten_minutes_before_the_start(make: Make, evening: Evening) -> None:
    opens_at = evening.starts_at - minutes(10)
    await set_clock(make, opens_at - minutes(1))
    early = await evening.jordan.post(f"{evening.first}/join")
    await set_clock(make, opens_at)
    in_time = await evening.jordan.post(f"{evening.first}/join")

    assert problem_of(early) == "session-not-open"
    assert instant(early.json()["opens_at"]) == opens_at
    assert in_time.status_code == HTTPStatus.OK
    assert instant(in_time.json()["opens_at"]) == opens_at
    assert instant(in_time.json()["closes_at"]) == evening.ends_at


async def test_the_door_closes_at_the_end(make: Make, evening: Evening) -> None:
    await set_clock(make, evening.ends_at)

    late = await evening.jordan.post(f"{evening.first}/join")

    assert problem_of(late) == "session-over"


async def test_those_who_come_first_together_meet_in_one_room(make: Make, evening: Evening) -> None:
    await set_clock(make, evening.starts_at)

    doors = await asyncio.gather(
        evening.jordan.post(f"{evening.first}/join"), evening.leader.post(f"{evening.first}/join")
    )
    again = await evening.jordan.post(f"{evening.first}/join")

    assert {door.status_code for door in doors} == {HTTPStatus.OK}
    (room_id,) = {door.json()["room_id"] for door in (*doors, again)}
    present = await occupants(make, room_id)
    assert {(each.account_id, each.role.value) for each in present} == {
        (evening.jordan.account_id, "participant"),
        (evening.leader.account_id, "host"),
    }


async def test_nobody_without_a_place_finds_the_door(make: Make, evening: Evening) -> None:
    await set_clock(make, evening.starts_at)
    outsiders = [
        await make.participant(),
        await make.staff(StaffRole.FACILITATOR),
        evening.coordinator,  # sees every session, and is in none
    ]

    for person in outsiders:
        answer = await person.post(f"{evening.first}/join")
        assert answer.status_code == HTTPStatus.NOT_FOUND
    assert (await (await make.staff(StaffRole.ADMINISTRATOR)).post(f"{evening.first}/join")
            ).status_code == HTTPStatus.FORBIDDEN  # fmt: skip


async def test_who_leaves_the_group_leaves_the_session_that_is_running(
    make: Make, evening: Evening
) -> None:
    await set_clock(make, evening.starts_at)
    door = (await evening.jordan.post(f"{evening.first}/join")).json()

    await evening.coordinator.post(
        f"/v1/groups/{evening.group['id']}/members/{evening.member['id']}/end"
    )

    (gone,) = await occupants(make, door["room_id"])
    assert (gone.until_seq, gone.left_at is not None) == (1, True)
    back = await evening.jordan.post(f"{evening.first}/join")
    assert back.status_code == HTTPStatus.NOT_FOUND


async def test_who_was_put_out_of_the_room_does_not_come_back_by_the_door(
    make: Make, evening: Evening
) -> None:
    await set_clock(make, evening.starts_at)
    room_id = UUID((await evening.jordan.post(f"{evening.first}/join")).json()["room_id"])
    account_id = evening.jordan.account_id
    assert account_id is not None
    async with make.transaction() as db:
        await membership.dismiss(db, room_id, account_id, removed_by=evening.leader.account_id)

    back = await evening.jordan.post(f"{evening.first}/join")

    assert problem_of(back) == "removed-from-session"


async def test_who_is_being_put_out_at_this_moment_does_not_come_back_by_the_door(
    make: Make, evening: Evening, server: EmbeddedServer
) -> None:
    await set_clock(make, evening.starts_at)
    room_id = UUID((await evening.jordan.post(f"{evening.first}/join")).json()["room_id"])
    account_id = evening.jordan.account_id
    assert account_id is not None

    async with watch(server) as watcher:
        async with make.transaction() as db:
            await membership.dismiss(db, room_id, account_id, removed_by=evening.leader.account_id)
            back = asyncio.create_task(evening.jordan.post(f"{evening.first}/join"))
            await watcher.until_blocked("%from room%for no key update%")
        answer = await back

    assert problem_of(answer) == "removed-from-session"
    (gone,) = await occupants(make, str(room_id))
    assert gone.left_at is not None


async def test_who_leaves_the_group_while_they_enter_does_not_stay_in_the_room(
    make: Make, evening: Evening, server: EmbeddedServer
) -> None:
    """Their place was found; then the door waits, and somebody takes the place away."""
    await set_clock(make, evening.starts_at)
    room_id = (await evening.leader.post(f"{evening.first}/join")).json()["room_id"]
    ending = f"/v1/groups/{evening.group['id']}/members/{evening.member['id']}/end"

    async with watch(server) as watcher:
        async with make.transaction() as db:
            await db.execute(select(Room.id).where(Room.id == UUID(room_id)).with_for_update())
            entering = asyncio.create_task(evening.jordan.post(f"{evening.first}/join"))
            await watcher.until_blocked("%from room%")
            leaving = asyncio.create_task(evening.coordinator.post(ending))
            await watcher.until_blocked("%update booking%")
        assert (await entering).status_code == HTTPStatus.OK
        assert (await leaving).status_code == HTTPStatus.NO_CONTENT

    *_, jordan = await occupants(make, room_id)
    assert (jordan.account_id, jordan.left_at is not None) == (evening.jordan.account_id, True)


async def test_whose_leading_ends_while_they_enter_does_not_stay_in_the_room(
    make: Make, evening: Evening, server: EmbeddedServer
) -> None:
    await set_clock(make, evening.starts_at)
    room_id = (await evening.jordan.post(f"{evening.first}/join")).json()["room_id"]
    async with make.transaction() as db:
        facilitator_id = (await db.scalars(select(GroupFacilitator.id))).one()
    ending = f"/v1/groups/{evening.group['id']}/facilitators/{facilitator_id}/end"

    async with watch(server) as watcher:
        async with make.transaction() as db:
            await db.execute(select(Room.id).where(Room.id == UUID(room_id)).with_for_update())
            entering = asyncio.create_task(evening.leader.post(f"{evening.first}/join"))
            await watcher.until_blocked("%from room%")
            leaving = asyncio.create_task(evening.coordinator.post(ending))
            await watcher.until_blocked("%update session_staff%")
        assert (await entering).status_code == HTTPStatus.OK
        assert (await leaving).status_code == HTTPStatus.NO_CONTENT

    *_, leader = await occupants(make, room_id)
    assert (leader.account_id, leader.left_at is not None) == (evening.leader.account_id, True)


async def test_whoever_holds_a_group_keeps_nobody_from_its_rooms(
    make: Make, evening: Evening
) -> None:
    """The room refers to the group; were that to wait, the two would wait for each other."""
    await set_clock(make, evening.starts_at)

    async with make.transaction() as db:
        await groups.hold(db, UUID(evening.group["id"]))
        door = await evening.jordan.post(f"{evening.first}/join")

    assert door.status_code == HTTPStatus.OK


async def test_cancelling_gives_every_place_back_and_stays_visible(
    make: Make, evening: Evening
) -> None:
    canceled = await evening.leader.post(f"{evening.first}/cancel")
    again = await evening.leader.post(f"{evening.first}/cancel")

    assert canceled.json()["state"] == "canceled"
    assert problem_of(again) == "session-canceled"
    assert (await evening.jordan.get(evening.first)).json() == canceled.json()
    (booking,) = await events_of(make, "booking.canceled")
    assert booking.participant_id == evening.jordan.participant_id
    other = await open_group(make, evening.coordinator)
    await lead(evening.coordinator, other, evening.leader)
    await join(evening.coordinator, other, evening.jordan)
    free = await evening.leader.post("/v1/series", json=weekly(other, rule=None))
    assert free.status_code == HTTPStatus.CREATED, free.text


async def test_who_gave_their_place_back_before_hears_nothing_of_a_cancellation(
    make: Make, evening: Evening
) -> None:
    group = f"/v1/groups/{evening.group['id']}"
    colleague = await make.staff(StaffRole.FACILITATOR)
    leading = await lead(evening.coordinator, evening.group, colleague, is_lead=False)
    await evening.coordinator.post(f"{group}/members/{evening.member['id']}/end")
    await evening.coordinator.post(f"{group}/facilitators/{leading['id']}/end")

    await evening.coordinator.post(f"{evening.first}/cancel")

    for person in (evening.jordan, colleague):
        assert (await person.get(evening.first)).status_code == HTTPStatus.NOT_FOUND
        assert await sessions_of(person) == []
    assert (await evening.leader.get(evening.first)).json()["state"] == "canceled"


async def test_who_leaves_after_a_cancellation_still_knows_of_it(evening: Evening) -> None:
    await evening.coordinator.post(f"{evening.first}/cancel")

    await evening.coordinator.post(
        f"/v1/groups/{evening.group['id']}/members/{evening.member['id']}/end"
    )

    (known,) = await sessions_of(evening.jordan)
    assert (known["id"], known["state"]) == (evening.sessions[0]["id"], "canceled")


async def test_nobody_enters_a_canceled_session(make: Make, evening: Evening) -> None:
    await set_clock(make, evening.starts_at - minutes(5))
    await evening.jordan.post(f"{evening.first}/join")
    await evening.leader.post(f"{evening.first}/cancel")

    answer = await evening.jordan.post(f"{evening.first}/join")

    assert problem_of(answer) == "session-canceled"


async def test_what_is_over_is_not_canceled(make: Make, evening: Evening) -> None:
    await set_clock(make, evening.ends_at)

    answer = await evening.leader.post(f"{evening.first}/cancel")

    assert problem_of(answer) == "session-over"


async def test_only_those_who_lead_or_coordinate_cancel(make: Make, evening: Evening) -> None:
    stranger = await make.staff()

    assert (
        await evening.jordan.post(f"{evening.first}/cancel")
    ).status_code == HTTPStatus.FORBIDDEN
    assert (await stranger.post(f"{evening.first}/cancel")).status_code == HTTPStatus.NOT_FOUND
    assert (await evening.coordinator.post(f"{evening.first}/cancel")).status_code == HTTPStatus.OK


async def test_sessions_begin_and_end_with_the_calendar(
    make: Make, evening: Evening, server: EmbeddedServer, settings: Settings
) -> None:
    assert await live_on(make, evening.starts_at, server, settings) == 1
    running = (await evening.jordan.get(evening.first)).json()["state"]
    assert await live_on(make, evening.ends_at, server, settings) == 1
    over = (await evening.jordan.get(evening.first)).json()["state"]
    assert await live_on(make, evening.ends_at, server, settings) == 0

    assert (running, over) == ("in_progress", "ended")
    told = await events_of(make, "session.started", "session.ended")
    assert [event.type for event in told] == ["session.started", "session.ended"]
