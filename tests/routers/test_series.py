"""Series: wall time that holds, places for everybody in the group, and conflicts that tell on
nobody."""

import asyncio
from datetime import timedelta
from http import HTTPStatus
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import select, update

from app.core import embedded
from app.domain.roles import StaffRole
from app.jobs import horizon
from app.models.groups import Group
from app.models.rooms import RoomMember
from app.models.sessions import Series
from app.services import groups
from app.settings import Settings
from tests.factories import Make, Person, problem_of
from tests.routers.assessing import accesses
from tests.routers.scheduling import (
    AUTUMN,
    events_of,
    id_of,
    instant,
    join,
    lead,
    live_on,
    open_group,
    schedule,
    sessions_of,
    set_clock,
    weekly,
)
from tests.watching import watch
from tests.working import workplace


@pytest.fixture
async def coordinator(make: Make) -> Person:
    await set_clock(make, AUTUMN)
    return await make.staff(StaffRole.CARE_COORDINATOR)


async def test_a_weekly_series_keeps_its_wall_time_across_the_change_of_clocks(
    make: Make, coordinator: Person
) -> None:
    group = await open_group(make, coordinator)

    series, sessions = await schedule(coordinator, group)

    assert [each["starts_at"] for each in sessions] == [
        "2027-10-26T23:00:00Z",
        "2027-11-02T23:00:00Z",
        "2027-11-10T00:00:00Z",
        "2027-11-17T00:00:00Z",
    ]
    assert {each["local_start"][11:] for each in sessions} == {"17:00:00"}
    lengths = {instant(each["ends_at"]) - instant(each["starts_at"]) for each in sessions}
    assert lengths == {timedelta(minutes=90)}
    assert (await coordinator.get(f"/v1/series/{series['id']}")).json() == series


async def test_excluded_starts_are_left_out_and_added_ones_put_in(
    make: Make, coordinator: Person
) -> None:
    group = await open_group(make, coordinator)

    _, sessions = await schedule(
        coordinator,
        group,
        rule="FREQ=WEEKLY;COUNT=2",
        excluded=["2027-11-02T17:00"],
        added=["2027-11-04T10:30"],
    )

    starts = [each["local_start"] for each in sessions]
    assert starts == ["2027-10-26T17:00:00", "2027-11-04T10:30:00"]


async def test_a_single_session_is_a_series_without_a_rule(make: Make, coordinator: Person) -> None:
    group = await open_group(make, coordinator)

    series, sessions = await schedule(coordinator, group, rule=None)

    assert series["rule"] is None
    assert len(sessions) == 1


@pytest.mark.parametrize(
    ("fields", "pointer", "code"),
    [
        ({"rule": "FREQ=WEEKLY"}, "/rule", "unending"),
        ({"rule": "FREQ=HOURLY;COUNT=3"}, "/rule", "too_frequent"),
        ({"local_start": "2027-10-26T17:00:30"}, "/local_start", "start_not_whole_minute"),
        ({"rule": "FREQ=WEEKLY;BYDAY=MO;COUNT=3"}, "/local_start", "start_not_in_rule"),
        ({"local_start": "2027-10-26T17:00:00Z"}, "/local_start", "local_time_format"),
        ({"time_zone": "Mars/Olympus"}, "/time_zone", "unknown_zone"),
    ],
)
async def test_a_recurrence_that_cannot_be_read_is_refused_at_its_place(
    make: Make, coordinator: Person, fields: dict[str, str], pointer: str, code: str
) -> None:
    group = await open_group(make, coordinator)

    answer = await coordinator.post("/v1/series", json=weekly(group, **fields))

    assert answer.status_code == HTTPStatus.UNPROCESSABLE_ENTITY
    (error,) = answer.json()["errors"]
    assert (error["pointer"], error["code"]) == (pointer, code)


async def test_everybody_of_the_group_has_a_place_and_nobody_else(
    make: Make, coordinator: Person
) -> None:
    group = await open_group(make, coordinator)
    jordan, stranger = await make.participant(), await make.participant()
    leader, colleague = await make.staff(StaffRole.FACILITATOR), await make.staff()
    await join(coordinator, group, jordan)
    await lead(coordinator, group, leader)

    series, sessions = await schedule(leader, group)

    assert await sessions_of(jordan) == await sessions_of(leader) == sessions
    assert await sessions_of(stranger) == await sessions_of(colleague) == []
    assert (await jordan.get(f"/v1/series/{series['id']}")).json() == series
    hidden = await stranger.get(f"/v1/series/{series['id']}")
    assert hidden.status_code == HTTPStatus.NOT_FOUND


async def test_who_joins_later_is_booked_into_what_comes_until_they_leave(
    make: Make, coordinator: Person
) -> None:
    group = await open_group(make, coordinator)
    _, sessions = await schedule(coordinator, group)
    jordan = await make.participant()
    await set_clock(make, instant("2027-11-03T12:00:00Z"))

    member = await join(coordinator, group, jordan)
    booked = await sessions_of(jordan)
    await coordinator.post(f"/v1/groups/{group['id']}/members/{member['id']}/end")

    assert booked == sessions[2:]
    assert await sessions_of(jordan) == []
    created = await events_of(make, "booking.created")
    canceled = await events_of(make, "booking.canceled")
    assert sorted(e.subject_id for e in created) == sorted(e.subject_id for e in canceled)
    assert {e.participant_id for e in created} == {jordan.participant_id}


async def test_a_participant_has_one_place_at_a_time_and_the_refusal_names_nobody(
    make: Make, coordinator: Person
) -> None:
    first, second = await open_group(make, coordinator), await open_group(make, coordinator)
    jordan = await make.participant()
    await join(coordinator, first, jordan)
    await schedule(coordinator, first)
    await join(coordinator, second, jordan)

    answer = await coordinator.post(
        "/v1/series", json=weekly(second, local_start="2027-11-02T18:00", rule=None)
    )

    assert problem_of(answer) == "participant-booked"
    assert answer.json()["occurrences"] == ["2027-11-03T00:00:00Z"]
    assert set(answer.json()) == {
        "type", "title", "status", "code", "request_id", "occurrences",
    }  # fmt: skip
    assert len(await sessions_of(jordan)) == 4
    touching = weekly(second, local_start="2027-11-02T18:30", rule=None)
    assert (await coordinator.post("/v1/series", json=touching)).status_code == HTTPStatus.CREATED


async def test_who_cannot_be_booked_does_not_join(make: Make, coordinator: Person) -> None:
    first, second = await open_group(make, coordinator), await open_group(make, coordinator)
    jordan = await make.participant()
    await join(coordinator, first, jordan)
    await schedule(coordinator, first)
    await schedule(coordinator, second)

    answer = await coordinator.post(
        f"/v1/groups/{second['id']}/members",
        json={"participant_id": str(jordan.participant_id)},
    )

    assert problem_of(answer) == "participant-booked"
    assert len(answer.json()["occurrences"]) == 4
    roster = await coordinator.get(f"/v1/groups/{second['id']}/members")
    assert roster.json()["items"] == []


async def test_a_facilitator_leads_one_session_at_a_time(make: Make, coordinator: Person) -> None:
    first, second = await open_group(make, coordinator), await open_group(make, coordinator)
    leader = await make.staff(StaffRole.FACILITATOR)
    for group in (first, second):
        await lead(coordinator, group, leader)
    await schedule(coordinator, first)

    answer = await coordinator.post("/v1/series", json=weekly(second))

    assert problem_of(answer) == "staff-booked"
    assert len(answer.json()["occurrences"]) == 4
    assert len(await sessions_of(coordinator)) == 4


async def test_of_two_series_for_one_facilitator_at_one_time_one_is_made(
    make: Make, coordinator: Person
) -> None:
    colleague = await make.staff(StaffRole.CARE_COORDINATOR)
    groups = [await open_group(make, coordinator) for _ in range(2)]
    leader = await make.staff(StaffRole.FACILITATOR)
    for group in groups:
        await lead(coordinator, group, leader)

    answers = await asyncio.gather(
        *(
            staff.post("/v1/series", json=weekly(group))
            for staff, group in zip((coordinator, colleague), groups, strict=True)
        )
    )

    assert sorted(answer.status_code for answer in answers) == [201, 409]
    (refused,) = (a for a in answers if a.status_code == HTTPStatus.CONFLICT)
    assert problem_of(refused) == "staff-booked"
    assert len(await sessions_of(leader)) == 4


async def test_ending_a_series_gives_back_what_has_not_begun(
    make: Make, coordinator: Person
) -> None:
    group = await open_group(make, coordinator)
    jordan, leader = await make.participant(), await make.staff(StaffRole.FACILITATOR)
    await join(coordinator, group, jordan)
    await lead(coordinator, group, leader)
    series, _ = await schedule(coordinator, group)
    await set_clock(make, instant("2027-11-03T00:15:00Z"))  # during the second session

    ended = await coordinator.post(f"/v1/series/{series['id']}/end")
    again = await coordinator.post(f"/v1/series/{series['id']}/end")

    assert ended.json()["ended_at"] is not None
    assert problem_of(again) == "series-ended"
    states = ["scheduled", "scheduled", "canceled", "canceled"]
    assert [each["state"] for each in await sessions_of(jordan)] == states
    _, replaced = await schedule(
        coordinator, group, local_start="2027-11-09T17:00", rule="FREQ=WEEKLY;COUNT=2"
    )
    assert len(replaced) == 2


async def test_aud_01_ending_a_series_names_everybody_whose_places_it_gave_back(
    make: Make, coordinator: Person
) -> None:
    group = await open_group(make, coordinator)
    jordan, gone = await make.participant(), await make.participant()
    await join(coordinator, group, jordan)
    member = await join(coordinator, group, gone)
    series, _ = await schedule(coordinator, group)
    await coordinator.post(f"/v1/groups/{group['id']}/members/{member['id']}/end")

    await coordinator.post(f"/v1/series/{series['id']}/end")

    assert await accesses(make, jordan, "series") == [
        ("C", "session:manage"),
        ("U", "session:manage"),
    ]
    assert await accesses(make, gone, "series") == [("C", "session:manage")]


async def test_the_worker_moves_the_horizon_and_opens_rooms_with_the_calendar(
    make: Make, coordinator: Person, server: embedded.EmbeddedServer, settings: Settings
) -> None:
    group = await open_group(make, coordinator)
    jordan = await make.participant()
    starts_at = AUTUMN + timedelta(hours=1)
    await join(coordinator, group, jordan, starts_at=starts_at.isoformat())
    series, sessions = await schedule(coordinator, group, rule="FREQ=WEEKLY;COUNT=20")
    assert max(each["starts_at"] for each in sessions) < series["expanded_until"]
    await set_clock(make, AUTUMN + timedelta(days=100))

    async with workplace(server, settings) as place:
        assert await horizon.run(place)
        assert await horizon.keep_up(place, make.organization_id) == 0

    everything = await sessions_of(jordan)
    assert (len(sessions), len(everything)) == (12, 20)
    assert {each["local_start"][11:] for each in everything} == {"17:00:00"}
    assert await accesses(make, jordan, "series") == [
        ("C", "session:manage"),
        ("U", "session:manage"),
    ]
    async with make.transaction() as db:
        inside = await db.scalar(
            select(RoomMember.id).where(RoomMember.account_id == jordan.account_id)
        )
    assert inside is not None


async def test_the_worker_commits_what_it_did_for_one_group_before_it_takes_another(
    make: Make, coordinator: Person, server: embedded.EmbeddedServer, settings: Settings
) -> None:
    """Two groups' locks at once, or a room's and then a group's, is how it would deadlock."""
    first, second = [await open_group(make, coordinator) for _ in range(2)]
    jordan = await make.participant()
    starts_at = AUTUMN + timedelta(hours=1)
    await join(coordinator, first, jordan, starts_at=starts_at.isoformat())
    for group in (first, second):
        await schedule(coordinator, group, local_start="2028-02-15T17:00", rule=None)

    async with watch(server) as watcher:
        async with make.transaction() as db:
            await groups.hold(db, id_of(second))
            worker = asyncio.create_task(
                live_on(make, AUTUMN + timedelta(days=60), server, settings)
            )
            await watcher.until_blocked("%care_group%")
            room = await jordan.get(f"/v1/rooms/{first['room_id']}/entries")
            begun = [each["group_id"] for each in await sessions_of(coordinator)]
            async with make.transaction() as another:
                free = await another.scalar(
                    select(Group.id).where(Group.id == id_of(first)).with_for_update(nowait=True)
                )
        done = await worker

    assert room.status_code == HTTPStatus.OK
    assert begun == [first["id"]]
    assert free == id_of(first)
    assert done == 3


async def test_what_fails_in_one_series_does_not_stop_the_others(
    make: Make, coordinator: Person, server: embedded.EmbeddedServer, settings: Settings
) -> None:
    broken, sound = [await open_group(make, coordinator) for _ in range(2)]
    far = {"local_start": "2028-02-15T17:00", "rule": None}
    series, _ = await schedule(coordinator, broken, **far)
    await schedule(coordinator, sound, **far)
    later = AUTUMN + timedelta(days=60)

    await in_zone(make, series, "Mars/Olympus")
    with pytest.raises(ExceptionGroup, match="some have failed"):
        await live_on(make, later, server, settings)
    begun = [each["group_id"] for each in await sessions_of(coordinator)]
    await in_zone(make, series, "America/Denver")

    assert begun == [sound["id"]]
    assert await live_on(make, later, server, settings) == 1


async def in_zone(make: Make, series: dict[str, Any], zone: str) -> None:
    """Put a series into a zone, known or not, as no request can."""
    async with make.transaction() as db:
        change = update(Series).where(Series.id == id_of(series))
        await db.execute(change.values(time_zone=zone))


async def test_whoever_is_taken_when_the_horizon_moves_is_left_out_and_that_is_said(
    make: Make, coordinator: Person, server: embedded.EmbeddedServer, settings: Settings
) -> None:
    first, second = await open_group(make, coordinator), await open_group(make, coordinator)
    jordan = await make.participant()
    for group in (first, second):
        await join(coordinator, group, jordan)
    far = {"local_start": "2028-02-15T17:00", "rule": None}
    for group in (first, second):  # both lie beyond the horizon, so neither is refused
        _, none_yet = await schedule(coordinator, group, **far)
        assert none_yet == []

    await live_on(make, AUTUMN + timedelta(days=60), server, settings)

    assert len(await sessions_of(coordinator)) == 2
    assert len(await sessions_of(jordan)) == 1
    (conflict,) = await events_of(make, "session.conflicted")
    assert conflict.participant_id == jordan.participant_id


async def test_only_those_who_lead_a_group_or_coordinate_make_series(
    make: Make, coordinator: Person
) -> None:
    group = await open_group(make, coordinator)
    jordan, stranger = await make.participant(), await make.staff(StaffRole.FACILITATOR)
    await join(coordinator, group, jordan)

    forbidden = await jordan.post("/v1/series", json=weekly(group))
    hidden = await stranger.post("/v1/series", json=weekly(group))
    missing = await coordinator.post("/v1/series", json=weekly({"id": str(uuid4())}))

    assert forbidden.status_code == HTTPStatus.FORBIDDEN
    assert hidden.status_code == missing.status_code == HTTPStatus.NOT_FOUND


async def test_of_two_groups_that_take_a_participant_at_one_time_one_does(
    make: Make, coordinator: Person
) -> None:
    colleague, jordan = await make.staff(StaffRole.CARE_COORDINATOR), await make.participant()
    groups = [await open_group(make, coordinator) for _ in range(2)]
    for group in groups:
        await schedule(coordinator, group)
    body = {"participant_id": str(jordan.participant_id)}

    answers = await asyncio.gather(
        *(
            staff.post(f"/v1/groups/{group['id']}/members", json=body)
            for staff, group in zip((coordinator, colleague), groups, strict=True)
        )
    )

    assert sorted(answer.status_code for answer in answers) == [201, 409]
    (refused,) = (a for a in answers if a.status_code == HTTPStatus.CONFLICT)
    assert problem_of(refused) == "participant-booked"
    assert len(refused.json()["occurrences"]) == 4
    assert len(await sessions_of(jordan)) == 4
