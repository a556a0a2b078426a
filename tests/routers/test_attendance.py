"""Attendance: evidence that adds up to minutes, each participant's own."""

from datetime import datetime
from http import HTTPStatus
from typing import Any
from uuid import UUID, uuid4

import pytest

from app.core.ids import new_id
from app.services import attendance
from tests.factories import Make, Person
from tests.routers.assessing import accesses
from tests.routers.scheduling import (
    Evening,
    an_evening,
    events_of,
    instant,
    join,
    minutes,
    set_clock,
)


@pytest.fixture
async def evening(make: Make) -> Evening:
    return await an_evening(make)


@pytest.fixture
async def room_id(make: Make, evening: Evening) -> UUID:
    await set_clock(make, evening.starts_at)
    door = await evening.jordan.post(f"{evening.first}/join")
    return UUID(door.json()["room_id"])


async def begin(make: Make, room_id: UUID, person: Person, at: datetime) -> UUID:
    connection_id = new_id()
    assert person.participant_id is not None
    async with make.transaction() as db:
        assert await attendance.begin_presence(
            db, room_id, connection_id, person.participant_id, at
        )
    return connection_id


async def end(make: Make, connection_id: UUID, at: datetime) -> int:
    async with make.runtime.connections.lane() as lane:
        await lane.execute("select enter_organization($1)", make.organization_id)
        return await attendance.end_presence(lane, connection_id, at)


async def lines(person: Person, evening: Evening) -> list[dict[str, Any]]:
    answer = await person.get(f"{evening.first}/attendance")
    assert answer.status_code == HTTPStatus.OK, answer.text
    found: list[dict[str, Any]] = answer.json()["lines"]
    return found


async def test_presence_on_two_devices_counts_once(
    make: Make, evening: Evening, room_id: UUID
) -> None:
    start = evening.starts_at
    phone = await begin(make, room_id, evening.jordan, start - minutes(5))
    laptop = await begin(make, room_id, evening.jordan, start + minutes(20))
    await end(make, phone, start + minutes(40))
    await end(make, laptop, start + minutes(80))
    await set_clock(make, evening.ends_at)

    (line,) = await lines(evening.jordan, evening)

    assert (line["minutes"], line["status"], line["is_late"]) == (80, "attended", False)
    assert instant(line["first_seen_at"]) == start
    assert instant(line["last_seen_at"]) == start + minutes(80)


async def test_a_join_without_a_leave_proves_nothing_by_itself(
    make: Make, evening: Evening, room_id: UUID
) -> None:
    await begin(make, room_id, evening.jordan, evening.starts_at)
    await set_clock(make, evening.ends_at)

    (line,) = await lines(evening.leader, evening)

    assert (line["minutes"], line["unexplained_minutes"]) == (0, 90)
    assert (line["status"], line["needs_confirmation"]) == ("no_show", True)


async def test_a_stretch_begins_once_and_ends_once(
    make: Make, evening: Evening, room_id: UUID
) -> None:
    connection_id = await begin(make, room_id, evening.jordan, evening.starts_at)
    assert evening.jordan.participant_id is not None
    async with make.transaction() as db:
        assert not await attendance.begin_presence(
            db, room_id, connection_id, evening.jordan.participant_id, evening.ends_at
        )

    assert await end(make, connection_id, evening.starts_at + minutes(30)) == 1
    assert await end(make, connection_id, evening.ends_at) == 0
    (line,) = await lines(evening.leader, evening)
    assert line["minutes"] == 30


async def test_a_connection_can_leave_one_room_and_stay_in_another(
    make: Make, evening: Evening, room_id: UUID
) -> None:
    connection_id = await begin(make, room_id, evening.jordan, evening.starts_at)
    left_at = evening.starts_at + minutes(30)

    async with make.transaction() as db:
        elsewhere = await attendance.end_presence(
            db, connection_id, left_at, room_id=UUID(evening.group["room_id"])
        )
        here = await attendance.end_presence(db, connection_id, left_at, room_id=room_id)

    assert (elsewhere, here) == (0, 1)


async def test_presence_in_a_group_room_proves_no_attendance(make: Make, evening: Evening) -> None:
    assert evening.jordan.participant_id is not None
    async with make.transaction() as db:
        assert not await attendance.begin_presence(
            db,
            UUID(evening.group["room_id"]),
            new_id(),
            evening.jordan.participant_id,
            evening.starts_at,
        )


async def test_a_session_that_has_not_ended_is_not_judged(make: Make, evening: Evening) -> None:
    (before,) = await lines(evening.leader, evening)
    await set_clock(make, evening.starts_at)
    (during,) = await lines(evening.leader, evening)
    await evening.leader.post(f"{evening.first}/cancel")
    canceled = await lines(evening.leader, evening)

    assert (before["status"], during["status"]) == ("scheduled", "in_progress")
    assert canceled == []


async def test_whoever_leads_the_session_states_who_was_there(make: Make, evening: Evening) -> None:
    await set_clock(make, evening.ends_at + minutes(30))
    body = {
        "participant_id": str(evening.jordan.participant_id),
        "joined_at": evening.sessions[0]["starts_at"],
        "left_at": evening.sessions[0]["ends_at"],
    }

    stated = await evening.leader.post(f"{evening.first}/attendance", json=body)

    assert stated.status_code == HTTPStatus.CREATED, stated.text
    assert stated.json()["source"] == "staff_statement"
    (line,) = await lines(evening.coordinator, evening)
    assert (line["minutes"], line["status"]) == (90, "attended")
    (event,) = await events_of(make, "attendance.stated")
    assert event.participant_id == evening.jordan.participant_id


async def test_a_statement_is_about_the_past_and_about_a_booked_participant(
    make: Make, evening: Evening
) -> None:
    await set_clock(make, evening.starts_at + minutes(30))
    ari = await make.participant()
    start, end_ = evening.sessions[0]["starts_at"], evening.sessions[0]["ends_at"]
    url, jordan = f"{evening.first}/attendance", str(evening.jordan.participant_id)

    future = await evening.leader.post(
        url, json={"participant_id": jordan, "joined_at": start, "left_at": end_}
    )
    backwards = await evening.leader.post(
        url, json={"participant_id": jordan, "joined_at": end_, "left_at": start}
    )
    unbooked = await evening.leader.post(
        url,
        json={"participant_id": str(ari.participant_id), "joined_at": start, "left_at": start},
    )

    assert future.json()["errors"] == [{"pointer": "/left_at", "code": "in_the_future"}]
    assert backwards.json()["errors"] == [{"pointer": "/left_at", "code": "ends_before_it_begins"}]
    assert unbooked.status_code == HTTPStatus.NOT_FOUND


async def test_only_those_who_lead_the_session_state_presence(make: Make, evening: Evening) -> None:
    await set_clock(make, evening.ends_at)
    body = {
        "participant_id": str(evening.jordan.participant_id),
        "joined_at": evening.sessions[0]["starts_at"],
        "left_at": evening.sessions[0]["ends_at"],
    }
    url = f"{evening.first}/attendance"

    answers = [
        await person.post(url, json=body)
        for person in (evening.jordan, evening.coordinator, await make.staff())
    ]

    assert [answer.status_code for answer in answers] == [403, 403, 404]
    (line,) = await lines(evening.leader, evening)
    assert line["minutes"] == 0


async def test_aud_01_evidence_and_every_look_at_it_leave_their_trace(
    make: Make, evening: Evening, room_id: UUID
) -> None:
    connection_id = await begin(make, room_id, evening.jordan, evening.starts_at)
    await end(make, connection_id, evening.starts_at + minutes(30))
    await lines(evening.leader, evening)

    assert await accesses(make, evening.jordan, "attendance") == [
        ("C", "attendance:observe"),
        ("U", "attendance:observe"),
        ("R", "attendance:read"),
    ]
    assert ("E", "session:join") in await accesses(make, evening.jordan, "session")


async def test_one_participant_reads_their_own_line_and_no_other(
    make: Make, evening: Evening
) -> None:
    alone = await lines(evening.jordan, evening)
    ari, stranger = await make.participant(), await make.participant()
    await join(evening.coordinator, evening.group, ari)

    assert await lines(evening.jordan, evening) == alone
    assert [line["participant_id"] for line in alone] == [str(evening.jordan.participant_id)]
    assert len(await lines(evening.leader, evening)) == 2
    hidden = await stranger.get(f"{evening.first}/attendance")
    missing = await stranger.get(f"/v1/sessions/{uuid4()}/attendance")
    assert hidden.status_code == missing.status_code == HTTPStatus.NOT_FOUND
