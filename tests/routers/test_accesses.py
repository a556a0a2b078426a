"""Who has looked at a record, for the person whom it is about."""

import base64
import json
import random
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Any
from uuid import UUID

import asyncpg
from httpx import Response
from sqlalchemy import text

from app.core.embedded import EmbeddedServer
from app.domain.roles import StaffRole
from app.models.audit import AuditAction
from app.security import audit
from tests.factories import Make, Person

SEED = 20260301
RECORDED = """
    select actor_id, actor_role, action, subtype, resource, outcome
    from stepwell.audit_event
    where (participant_id = $1 or $1 = any(participant_ids)) and actor_id != $2
    order by id desc
"""


def path(participant: Person) -> str:
    return f"/v1/participants/{participant.participant_id}/accesses"


async def history(reader: Person, participant: Person, query: str = "") -> list[dict[str, Any]]:
    answer = await reader.get(path(participant) + query)
    assert answer.status_code == HTTPStatus.OK, answer.text
    items: list[dict[str, Any]] = answer.json()["items"]
    return items


async def test_a_participant_reads_who_has_looked_at_their_record(make: Make) -> None:
    clinician = await make.staff()
    jordan = await make.participant(team=[clinician])
    await clinician.get(f"/v1/participants/{jordan.participant_id}")
    await jordan.get(f"/v1/participants/{jordan.participant_id}")

    own, looked = (await history(jordan, jordan))[:2]

    assert (own["is_own"], own["actor_name"]) == (True, None)
    assert looked["actor_id"] == str(clinician.account_id)
    assert looked["actor_name"]
    assert (looked["actor_role"], looked["is_own"]) == ("clinician", False)
    assert (looked["action"], looked["subtype"]) == ("R", "participant:read")


async def test_reading_the_history_is_in_the_history(make: Make) -> None:
    jordan = await make.participant()
    await history(jordan, jordan)
    assert (await history(jordan, jordan))[0]["subtype"] == "record_access:read"


async def test_the_history_is_paged_from_the_latest_back(make: Make) -> None:
    clinician = await make.staff()
    jordan = await make.participant(team=[clinician])
    for _ in range(3):
        await clinician.get(f"/v1/participants/{jordan.participant_id}")

    first = (await jordan.get(path(jordan) + "?limit=2")).json()
    rest = await history(jordan, jordan, f"?limit=2&cursor={first['next_cursor']}")

    shown = [*first["items"], *rest]
    assert [each["at"] for each in shown] == sorted((each["at"] for each in shown), reverse=True)
    # Each is there once; that the history was read meanwhile is on a page before these.
    assert len({each["id"] for each in shown}) == 3
    assert (await jordan.get(path(jordan) + "?cursor=other")).status_code == 400


async def test_an_access_keeps_its_id_and_tells_no_number(make: Make) -> None:
    clinician = await make.staff()
    jordan, casey = [await make.participant(team=[clinician]) for _ in range(2)]
    await clinician.get("/v1/participants")

    first = (await jordan.get(path(jordan) + "?limit=1")).json()
    [again] = (await history(jordan, jordan, "?limit=2"))[1:]
    [of_casey] = await history(casey, casey, "?limit=1")

    assert again == first["items"][0]
    assert UUID(again["id"]).int
    # The same row of the trail, under another name.
    assert of_casey["at"] == again["at"]
    assert of_casey["id"] != again["id"]


async def test_a_cursor_tells_no_number(make: Make) -> None:
    clinician = await make.staff()
    jordan = await make.participant(team=[clinician])
    for _ in range(2):
        await clinician.get(f"/v1/participants/{jordan.participant_id}")

    page = (await jordan.get(path(jordan) + "?limit=1")).json()

    inside = base64.urlsafe_b64decode(page["next_cursor"] + "==")[16:]  # past the signature
    assert json.loads(inside) == [["u", UUID(page["items"][0]["id"]).hex]]


async def test_what_another_participant_did_is_not_told(make: Make) -> None:
    clinician = await make.staff()
    jordan, casey = [await make.participant(team=[clinician]) for _ in range(2)]
    # A list that names both is the clinician's access to both, and no trace of one to the other.
    await clinician.get("/v1/participants")
    await casey.get(path(jordan))

    told = (await jordan.get(path(jordan))).text

    assert str(casey.participant_id) not in told
    assert str(casey.account_id) not in told
    assert "participant:list" in told


async def test_what_another_participant_did_leaves_no_gap(make: Make) -> None:
    clinician = await make.staff()
    jordan, casey = [await make.participant(team=[clinician]) for _ in range(2)]
    await clinician.get(f"/v1/participants/{jordan.participant_id}")
    await acts_upon(casey, jordan, make, times=5)

    page = (await jordan.get(path(jordan) + "?limit=2")).json()

    assert [each["subtype"] for each in page["items"]] == ["participant:read"]
    assert page["next_cursor"] is None


async def acts_upon(actor: Person, concerned: Person, make: Make, *, times: int) -> None:
    """Leave traces of one participant in another's record, by name and in a list."""
    async with make.transaction() as db:
        await db.execute(
            text("select set_config('stepwell.account_id', :id, true)"),
            {"id": str(actor.account_id)},
        )
        for _ in range(times):
            await audit.record(
                db, AuditAction.READ, "room:read", "room", participant_id=concerned.participant_id
            )
            await audit.record(
                db,
                AuditAction.READ,
                "room:read",
                "room",
                participant_ids=[known(actor), known(concerned)],
            )


def known(participant: Person) -> UUID:
    assert participant.participant_id is not None
    return participant.participant_id


async def test_a_record_named_alone_and_in_a_list_was_accessed_once(make: Make) -> None:
    jordan = await make.participant()
    async with make.transaction() as db:
        await audit.record(
            db,
            AuditAction.READ,
            "room:read",
            "room",
            participant_id=known(jordan),
            participant_ids=[known(jordan)],
        )

    assert len(await history(jordan, jordan)) == 1


async def test_a_privacy_officer_reads_everybodys(make: Make) -> None:
    privacy, jordan = await make.staff(StaffRole.PRIVACY_OFFICER), await make.participant()
    await history(jordan, jordan)
    assert (await history(privacy, jordan))[0]["is_own"] is True


async def test_nobody_else_reads_it(make: Make) -> None:
    clinician = await make.staff()
    jordan, casey = await make.participant(team=[clinician]), await make.participant()

    by_casey, by_clinician = await casey.get(path(jordan)), await clinician.get(path(jordan))

    assert by_casey.status_code == HTTPStatus.NOT_FOUND
    assert by_clinician.status_code == HTTPStatus.FORBIDDEN


async def test_aud_12_what_is_told_is_what_was_recorded(make: Make, server: EmbeddedServer) -> None:
    moves = random.Random(SEED)  # noqa: S311  # a random run, not a secret
    clinician, coordinator = await make.staff(), await make.staff(StaffRole.CARE_COORDINATOR)
    stranger, privacy = await make.staff(), await make.staff(StaffRole.PRIVACY_OFFICER)
    jordan = await make.participant(team=[clinician, coordinator])
    casey = await make.participant(team=[clinician])
    record = f"/v1/participants/{jordan.participant_id}"

    def change() -> Awaitable[Response]:
        body = {"pronouns": moves.choice(["they", "she", "he"])}
        return jordan.patch(record, json=body, headers={"If-Match": f'"{moves.randint(1, 5)}"'})

    def look(who: Person, place: str) -> Callable[[], Awaitable[Response]]:
        return lambda: who.get(place)

    possible = [
        change,
        *(look(who, record) for who in (jordan, casey, clinician, coordinator, stranger)),
        *(look(who, "/v1/participants") for who in (clinician, coordinator, stranger)),
        *(look(who, f"{record}/care-team") for who in (jordan, clinician, casey)),
        *(look(who, path(jordan)) for who in (privacy, jordan, clinician)),
    ]
    for _ in range(80):
        await moves.choice(possible)()

    recorded = await rows_of(server, jordan, casey)
    told = await whole_history(jordan)
    fields = ("actor_id", "actor_role", "action", "subtype", "resource", "outcome")

    assert len({row["subtype"] for row in recorded}) >= 5
    # To have asked is itself recorded, after what was told.
    assert [tuple(one[name] for name in fields) for one in told] == [
        (str(row["actor_id"]), *list(row.values())[1:]) for row in recorded
    ]
    assert len({one["id"] for one in told}) == len(told)


async def rows_of(
    server: EmbeddedServer, participant: Person, other: Person
) -> list[asyncpg.Record]:
    """What the trail holds of a participant, but for what the other participant did."""
    connection = await asyncpg.connect(
        host=str(server.socket_dir), user="postgres", database="stepwell"
    )
    try:
        rows: list[asyncpg.Record] = await connection.fetch(
            RECORDED, participant.participant_id, other.account_id
        )
    finally:
        await connection.close()
    return rows


async def whole_history(participant: Person) -> list[dict[str, Any]]:
    """Every page of what a participant is told."""
    told: list[dict[str, Any]] = []
    query = "?limit=20"
    while True:
        page = (await participant.get(path(participant) + query)).json()
        told += page["items"]
        if page["next_cursor"] is None:
            return told
        query = f"?limit=20&cursor={page['next_cursor']}"
