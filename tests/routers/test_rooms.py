"""Rooms by REST: who reads, who speaks, who is removed, and what nobody learns."""

import asyncio
import json
import random
from http import HTTPStatus
from uuid import UUID, uuid4

import pytest
from sqlalchemy import select

from app.core import embedded
from app.models.rooms import EntryKind, RealtimeTicket, RoomMember
from app.security import secrets
from tests.factories import Make, Person, problem_of
from tests.realtime.staging import Stage, open_stage
from tests.routers.scheduling import created, events_of
from tests.routers.signing_in import audited


@pytest.fixture
async def stage(make: Make) -> Stage:
    return await open_stage(make)


def message(body: str = "Hello", **members: object) -> dict[str, object]:
    return {"client_message_id": str(uuid4()), "body": body, **members}


async def entries(person: Person, room_id: str, **query: int) -> list[dict[str, object]]:
    answer = await person.get(f"/v1/rooms/{room_id}/entries", params=query)
    assert answer.status_code == HTTPStatus.OK, answer.text
    items: list[dict[str, object]] = answer.json()["items"]
    return items


async def test_people_list_and_read_the_rooms_that_they_are_in(stage: Stage) -> None:
    heron = await stage.member()
    stranger = await stage.make.participant()

    listed = (await heron.get("/v1/rooms")).json()["items"]

    assert [room["id"] for room in listed] == [stage.room_id]
    assert listed[0]["member_id"] == await stage.member_id(heron)
    assert (await heron.get(f"/v1/rooms/{stage.room_id}")).json() == listed[0]
    assert (await stranger.get("/v1/rooms")).json()["items"] == []
    for path in ("", "/members", "/entries"):
        refused = await stranger.get(f"/v1/rooms/{stage.room_id}{path}")
        assert problem_of(refused) == "not-found"


async def test_members_show_aliases_and_names_only_to_who_leads(stage: Stage) -> None:
    heron, wren = await stage.member("Blue Heron"), await stage.member("Small Wren")

    shown = (await heron.get(f"/v1/rooms/{stage.room_id}/members")).json()["items"]
    led = (await stage.leader.get(f"/v1/rooms/{stage.room_id}/members")).json()["items"]

    assert {member["alias"] for member in shown} == {"Robin Vale", "Blue Heron", "Small Wren"}
    assert all(member["name"] is member["participant_id"] is None for member in shown)
    assert str(wren.participant_id) not in json.dumps(shown)
    assert str(wren.account_id) not in json.dumps(shown)
    assert {member["name"] for member in led} == {"Robin Vale", "Jordan Reed"}
    assert str(wren.participant_id) in json.dumps(led)


async def test_what_is_said_is_in_the_log_once(stage: Stage) -> None:
    heron = await stage.member()
    body = message("I tried it twice.")

    first = created(await heron.post(f"/v1/rooms/{stage.room_id}/entries", json=body))
    again = created(await heron.post(f"/v1/rooms/{stage.room_id}/entries", json=body))

    assert (first["duplicate"], again["duplicate"]) == (False, True)
    assert {**first, "duplicate": True} == again
    said = [entry for entry in await entries(heron, stage.room_id) if entry["kind"] == "message"]
    assert [(entry["seq"], entry["body"]) for entry in said] == [
        (first["seq"], "I tried it twice.")
    ]
    assert [row.kind for row in await stage.log()].count(EntryKind.MESSAGE) == 1


async def test_the_log_is_sealed_in_the_database(stage: Stage) -> None:
    heron = await stage.member()
    await heron.post(f"/v1/rooms/{stage.room_id}/entries", json=message("never in plain"))

    assert all(b"never in plain" not in (row.body or b"") for row in await stage.log())


async def test_an_entry_names_its_author_by_alias_and_role_only(stage: Stage) -> None:
    heron, wren = await stage.member("Blue Heron"), await stage.member("Small Wren")
    await heron.post(f"/v1/rooms/{stage.room_id}/entries", json=message())

    seen = (await entries(wren, stage.room_id))[-1]

    member_id = await stage.member_id(heron)
    assert seen["author"] == {
        "member_id": member_id,
        "alias": "Blue Heron",
        "role": "participant",
    }
    assert "client_message_id" not in seen
    assert "client_message_id" in (await entries(heron, stage.room_id))[-1]


async def test_authz_07_history_begins_where_the_membership_does(stage: Stage) -> None:
    heron = await stage.member()
    await heron.post(f"/v1/rooms/{stage.room_id}/entries", json=message("before"))
    wren = await stage.member()
    await heron.post(f"/v1/rooms/{stage.room_id}/entries", json=message("after"))

    seen = await entries(wren, stage.room_id)

    room = (await wren.get(f"/v1/rooms/{stage.room_id}")).json()
    assert seen[0]["seq"] == room["first_seq"]
    assert [entry["body"] for entry in seen if entry["kind"] == "message"] == ["after"]


async def test_history_is_read_in_pages_by_sequence(stage: Stage) -> None:
    heron = await stage.member()
    for number in range(5):
        await heron.post(f"/v1/rooms/{stage.room_id}/entries", json=message(str(number)))

    whole = await entries(heron, stage.room_id, limit=100)
    held: list[dict[str, object]] = []
    while page := await entries(
        heron, stage.room_id, after_seq=int(str(held[-1]["seq"])) if held else 0, limit=2
    ):
        held += page

    assert held == whole
    assert [entry["seq"] for entry in whole] == list(range(2, 8))


async def test_a_reply_names_an_entry_that_its_author_can_see(stage: Stage) -> None:
    heron = await stage.member()
    path = f"/v1/rooms/{stage.room_id}/entries"
    early = created(await heron.post(path, json=message("before")))
    wren = await stage.member()

    unseen = await wren.post(path, json=message("re", reply_to=early["seq"]))
    seen = await heron.post(path, json=message("re", reply_to=early["seq"]))

    assert problem_of(unseen) == "not-found"
    assert seen.status_code == HTTPStatus.CREATED
    assert (await entries(heron, stage.room_id))[-1]["reply_to"] == early["seq"]


async def test_who_is_not_in_the_room_does_not_speak_in_it(stage: Stage) -> None:
    stranger = await stage.make.participant()
    refused = await stranger.post(f"/v1/rooms/{stage.room_id}/entries", json=message())
    assert problem_of(refused) == "not-found"


async def test_an_observer_sees_and_says_nothing(stage: Stage) -> None:
    heron = await stage.member()
    async with stage.make.transaction() as db:
        member = await db.scalar(
            select(RoomMember).where(RoomMember.account_id == heron.account_id)
        )
        assert member is not None
        member.role = "observer"  # type: ignore[assignment]  # the word, as the column keeps it

    refused = await heron.post(f"/v1/rooms/{stage.room_id}/entries", json=message())

    assert problem_of(refused) == "listens-only"
    assert await entries(heron, stage.room_id)


async def test_who_leads_removes_a_member(stage: Stage) -> None:
    heron, wren = await stage.member(), await stage.member()
    member_id = await stage.member_id(heron)
    path = f"/v1/rooms/{stage.room_id}/members/{member_id}/remove"

    by_a_member = await wren.post(path)
    removed = await stage.leader.post(path)
    again = await stage.leader.post(path)

    assert by_a_member.status_code == HTTPStatus.FORBIDDEN
    assert removed.status_code == HTTPStatus.NO_CONTENT
    assert problem_of(again) == "not-found"
    assert problem_of(await heron.get(f"/v1/rooms/{stage.room_id}/entries")) == "not-found"
    assert problem_of(await heron.post(path.replace("remove", "x"))) == "not-found"
    event = (await events_of(stage.make, "room.member_removed"))[0]
    assert (event.subject_id, event.participant_id) == (UUID(stage.room_id), heron.participant_id)


async def test_who_leads_is_not_removed(stage: Stage) -> None:
    member_id = await stage.member_id(stage.leader)
    refused = await stage.leader.post(f"/v1/rooms/{stage.room_id}/members/{member_id}/remove")
    assert problem_of(refused) == "leaders-stay"


async def test_authz_07_nobody_sees_what_was_said_outside_their_membership(stage: Stage) -> None:
    """A random history of joining, leaving and speaking, told by what each member sees."""
    chance = random.Random(7)  # noqa: S311 (a history, not a secret)
    people = [await stage.make.participant(alias=f"Bird {n}") for n in range(4)]
    inside: dict[Person, list[str]] = {}
    for step in range(40):
        person = chance.choice(people)
        if person not in inside:
            await stage.admit(person)
            inside[person] = []
        elif chance.random() < 0.3:
            await stage.remove(person)
            del inside[person]
        else:
            await stage.say(person, str(step))
            for seen in inside.values():
                seen.append(str(step))

    for person in people:
        answer = await person.get(f"/v1/rooms/{stage.room_id}/entries", params={"limit": 100})
        if person in inside:
            said = [each for each in answer.json()["items"] if each["kind"] == "message"]
            assert [each["body"] for each in said] == inside[person]
        else:
            assert problem_of(answer) == "not-found"
    assert inside


async def test_ws_07_many_writers_make_a_sequence_without_gaps_and_without_doubles(
    stage: Stage,
) -> None:
    path = f"/v1/rooms/{stage.room_id}/entries"
    people = [await stage.member(f"Bird {n}") for n in range(4)]

    async def write(person: Person) -> list[str]:
        bodies = [message(str(n)) for n in range(10)]
        for body in (*bodies, *bodies[::5]):
            created(await person.post(path, json=body))
        return [str(body["client_message_id"]) for body in bodies]

    written = await asyncio.gather(*(write(person) for person in people))

    log = await stage.log()
    assert [row.seq for row in log] == list(range(1, len(log) + 1))
    kept = sorted(str(row.client_message_id) for row in log if row.kind is EntryKind.MESSAGE)
    assert kept == sorted(each for some in written for each in some)


async def test_reads_words_and_refusals_leave_a_trace(
    stage: Stage, server: embedded.EmbeddedServer
) -> None:
    heron, stranger = await stage.member(), await stage.make.participant()
    await stage.say(heron, "hello")
    await entries(stage.leader, stage.room_id)
    await stranger.get(f"/v1/rooms/{stage.room_id}/entries")

    items = (await heron.get(f"/v1/participants/{heron.participant_id}/accesses")).json()["items"]

    traces = {(each["action"], each["resource"]) for each in items}
    assert {("C", "room_entry"), ("R", "room")} <= traces
    assert "room:read refused" in await audited(server, stage.make.organization_id)


async def test_ws_01_a_ticket_is_kept_as_a_digest(make: Make) -> None:
    person = await make.participant()

    issued = created(
        await person.post("/v1/realtime/tickets", headers={"Origin": "http://localhost:5173"})
    )

    assert issued["expires_in"] == 30
    assert len(issued["ticket"]) == 43
    async with make.transaction() as db:
        kept = (await db.scalars(select(RealtimeTicket))).one()
    assert kept.digest == secrets.digest(issued["ticket"])
    assert (kept.origin, kept.sign_in_id) == ("http://localhost:5173", person.sign_in_id)
