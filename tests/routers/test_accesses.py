"""Who has looked at a record, for the person whom it is about."""

from http import HTTPStatus
from typing import Any

from app.domain.roles import StaffRole
from tests.factories import Make, Person


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

    ids = [each["id"] for each in [*first["items"], *rest]]
    assert ids == sorted(ids, reverse=True)
    # Each is there once; that the history was read meanwhile is on a page before these.
    assert len(set(ids)) == 3
    assert (await jordan.get(path(jordan) + "?cursor=other")).status_code == 400


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
