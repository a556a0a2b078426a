"""What is written may say that somebody is in danger: staff hear of it, the author gets help.

And nothing else happens: nobody in the room learns of it, and the message is posted as written.
"""

import json
from http import HTTPStatus
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import select

from app.domain.signals import default_detector
from app.models.alerts import Alert, AlertStep
from app.models.rooms import EntryKind
from tests.factories import Make, Person
from tests.realtime.staging import Stage, open_stage
from tests.routers.assessing import accesses, alerts_of, answered, assigned, events_of, treated
from tests.routers.scheduling import created

ACUTE = "I am going to kill myself tonight"
URGENT = "Some days I want to die"


@pytest.fixture
async def stage(make: Make) -> Stage:
    return await open_stage(make)


async def seated(stage: Stage) -> tuple[Person, Person]:
    """A clinician who is not in the room, and a participant of theirs who is."""
    clinician, participant = await treated(stage.make)
    await stage.admit(participant)
    return clinician, participant


async def read(person: Person, alert: dict[str, Any]) -> dict[str, Any]:
    answer = await person.get(f"/v1/alerts/{alert['id']}")
    assert answer.status_code == HTTPStatus.OK, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def test_a_message_that_may_mean_danger_opens_an_alert(stage: Stage) -> None:
    clinician, participant = await seated(stage)

    said = await stage.say(participant, f"Hello. {ACUTE}.")

    (alert,) = await alerts_of(clinician, participant)
    assert (alert["tier"], alert["code"], alert["state"]) == ("acute", "text_suicide", "open")
    assert alert["source"] == "message"
    assert alert["source_id"] == await stage.member_id(participant)
    whole = await read(clinician, alert)
    assert whole["excerpt"] == f"Hello. {ACUTE}."
    assert whole["steps"][0]["detector_version"] == default_detector().version
    assert await events_of(stage.make, alert["id"]) == ["alert.opened"]
    assert ("C", "alert:open") in await accesses(stage.make, participant, "alert")
    assert said["crisis_resources"][0]["key"]


async def test_the_message_goes_its_way_and_the_room_learns_nothing(stage: Stage) -> None:
    _, participant = await seated(stage)
    other = await stage.member("Small Wren")

    await stage.say(participant, ACUTE)

    page = (await other.get(f"/v1/rooms/{stage.room_id}/entries")).json()
    assert page["items"][-1]["body"] == ACUTE
    assert "crisis" not in json.dumps(page)
    assert [row.kind for row in await stage.log()][-1] is EntryKind.MESSAGE
    assert (await other.get("/v1/alerts")).status_code == HTTPStatus.FORBIDDEN
    assert (await stage.say(other, "I am with you"))["crisis_resources"] == []


async def test_what_was_said_is_sealed(stage: Stage) -> None:
    _, participant = await seated(stage)
    await stage.say(participant, ACUTE)
    await stage.say(participant, URGENT)

    async with stage.make.transaction() as db:
        (excerpt,) = await db.scalars(select(Alert.excerpt))
        notes = list(await db.scalars(select(AlertStep.note)))

    assert excerpt is not None
    for blob in (excerpt, *notes):
        assert b"myself" not in (blob or b"")
        assert b"die" not in (blob or b"")


async def test_a_further_sign_in_the_conversation_is_told_on_the_running_alert(
    stage: Stage,
) -> None:
    clinician, participant = await seated(stage)
    await stage.say(participant, URGENT)
    (before,) = await alerts_of(clinician, participant)

    await stage.say(participant, ACUTE)

    (alert,) = await alerts_of(clinician, participant)
    assert (alert["id"], alert["tier"]) == (before["id"], "acute")
    assert alert["acknowledge_by"] < before["acknowledge_by"]
    whole = await read(clinician, alert)
    assert whole["excerpt"] == URGENT
    assert [(step["kind"], step["note"]) for step in whole["steps"]] == [
        ("opened", None),
        ("raised_again", ACUTE),
    ]


async def test_a_milder_sign_never_lowers_an_alert(stage: Stage) -> None:
    clinician, participant = await seated(stage)
    await stage.say(participant, ACUTE)
    await stage.say(participant, URGENT)

    (alert,) = await alerts_of(clinician, participant)

    assert alert["tier"] == "acute"


async def test_a_sign_after_somebody_has_the_alert_in_hand_opens_it_again(stage: Stage) -> None:
    clinician, participant = await seated(stage)
    await stage.say(participant, ACUTE)
    (alert,) = await alerts_of(clinician, participant)
    await clinician.post(f"/v1/alerts/{alert['id']}/acknowledge", json={})

    await stage.say(participant, ACUTE)

    (again,) = await alerts_of(clinician, participant)
    assert (again["id"], again["state"], again["acknowledged_by"]) == (alert["id"], "open", None)


async def test_a_message_sent_again_is_heard_once_and_its_author_gets_help_again(
    stage: Stage,
) -> None:
    clinician, participant = await seated(stage)
    body = {"client_message_id": str(uuid4()), "body": ACUTE}
    path = f"/v1/rooms/{stage.room_id}/entries"

    first = created(await participant.post(path, json=body))
    again = created(await participant.post(path, json=body))

    assert again["duplicate"]
    assert again["crisis_resources"] == first["crisis_resources"] != []
    (alert,) = await alerts_of(clinician, participant)
    assert [step["kind"] for step in (await read(clinician, alert))["steps"]] == ["opened"]


async def test_two_people_in_one_room_have_an_alert_each(stage: Stage) -> None:
    one, another = await seated(stage), await seated(stage)
    for _, participant in (one, another):
        await stage.say(participant, ACUTE)

    for clinician, participant in (one, another):
        assert len(await alerts_of(clinician, participant)) == 1
    assert (await alerts_of(one[0], another[1])) == []


async def test_each_concern_of_a_text_has_an_alert_of_its_own(stage: Stage) -> None:
    clinician, participant = await seated(stage)

    await stage.say(participant, "I want to die. He hits me.")

    codes = {alert["code"] for alert in await alerts_of(clinician, participant)}
    assert codes == {"text_suicide", "text_abuse"}


async def test_what_staff_write_raises_nothing(stage: Stage) -> None:
    said = await stage.say(stage.leader, "If you think about suicide, tell us.")

    assert said["crisis_resources"] == []
    async with stage.make.transaction() as db:
        assert list(await db.scalars(select(Alert.id))) == []


async def test_an_ordinary_message_shows_no_card(stage: Stage) -> None:
    clinician, participant = await seated(stage)

    said = await stage.say(participant, "I tried the breathing exercise twice.")

    assert said["crisis_resources"] == []
    assert await alerts_of(clinician, participant) == []


async def test_free_text_in_a_form_is_heard_as_it_is_answered(make: Make) -> None:
    clinician, participant = await treated(make)
    assessment = await assigned(clinician, participant, "session-check-in")

    saved = await answered(participant, assessment, {"note": URGENT})

    assert saved["crisis_resources"] != []
    (alert,) = await alerts_of(clinician, participant)
    assert (alert["code"], alert["source"], alert["source_id"]) == (
        "text_suicide",
        "assessment",
        assessment["id"],
    )
    assert (await read(clinician, alert))["excerpt"] == URGENT

    same = await answered(participant, saved, {"note": URGENT})
    assert len((await read(clinician, alert))["steps"]) == 1
    await answered(participant, same, {"note": f"Truly. {ACUTE}"})
    (raised,) = await alerts_of(clinician, participant)
    assert (raised["id"], raised["tier"]) == (alert["id"], "acute")
