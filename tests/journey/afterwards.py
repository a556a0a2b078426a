"""What remains of it: the discharge, the webhooks, who has looked, and what nobody may learn."""

import re
from collections.abc import Sequence
from datetime import timedelta
from http import HTTPStatus
from typing import Any, Final
from uuid import UUID, uuid4

from tests.journey import evening, planning
from tests.journey.journey import PATIENCE_SECONDS, Case, Journey, instant

_OWED: Final = {
    "participant.invited",
    "assessment.submitted",
    "intake.decided",
    "enrollment.started",
    "plan.activated",
    "series.created",
    "room.member_removed",
    "enrollment.ended",
}
_WRITTEN: Final = (*evening.SAID, *evening.MISSED, evening.AFTERWARDS, planning.STATEMENT)


async def discharge(journey: Journey) -> None:
    """Jordan has reached what they came for: care ends, and so does what belongs to it."""
    journey.story.chapter("Afterwards")
    jordan = journey.jordan
    upcoming = await jordan.person.all_of(f"/v1/sessions?from={_after_first(journey)}")
    await journey.clinician.post(
        f"/v1/enrollments/{jordan.enrollment_id}/discharge",
        {"reason": "completed"},
        expect=HTTPStatus.OK,
    )
    left = await jordan.person.all_of(f"/v1/sessions?from={_after_first(journey)}")
    journey.story.expect(len(upcoming) == 3, f"Jordan saw {len(upcoming)} sessions to come")
    journey.story.expect(not left, "somebody who was discharged still has a place in a session")
    gone = await jordan.person.get(
        f"/v1/rooms/{journey.group['room_id']}", expect=HTTPStatus.NOT_FOUND
    )
    journey.story.step(
        "Robin discharges Jordan: no session to come, and no room of the group",
        gone.status,
        f"{len(upcoming)} places given back",
    )


def _after_first(journey: Journey) -> str:
    after = instant(journey.sessions[0]["ends_at"]) + timedelta(minutes=1)
    return after.strftime("%Y-%m-%dT%H:%M:%SZ")


async def receive(journey: Journey) -> None:
    """Every event of the feed has reached the receiver, signed, and says nothing about anybody."""
    feed = await _feed(journey)
    owed = {f"msg_{UUID(event['id']).hex}": event["type"] for event in feed}
    types = set(owed.values())
    journey.story.expect(types >= _OWED, f"the feed lacks {sorted(_OWED - types)}")
    places = [event["position"] for event in feed]
    journey.story.expect(
        places == list(range(places[0], places[0] + len(places))), "the feed has a gap"
    )
    receiver = journey.receiver
    await receiver.until_received(owed, PATIENCE_SECONDS)
    journey.story.expect(receiver.forged == 0, "a webhook was signed with another secret")
    journey.story.step(
        "The feed has no gap, and every event in it has reached the receiver",
        telling=f"{len(owed)} events, signatures verified",
    )
    _expect_unheard(journey, "a webhook", receiver.raw, _all_secrets(journey))
    known_as = {
        document["data"]["participant"]
        for document in receiver.received.values()
        if document["type"] in {"participant.invited", "plan.activated"}
    }
    journey.story.expect(len(known_as) == 2, f"the receiver knows {len(known_as)} participants")
    journey.story.step(
        "No webhook names anybody, says what was written, or holds a participant's id",
        telling="participants have ids of the receiver's own",
    )


async def _feed(journey: Journey) -> list[dict[str, Any]]:
    """What happened since the receiver listens, until nothing new comes."""
    events: list[dict[str, Any]] = []
    after = journey.listens_after

    async def has_ended() -> bool:
        nonlocal after
        page = await journey.administrator.get(f"/v1/events?after={after}&limit=100")
        events.extend(page["items"])
        after = page["next_after"]
        return any(event["type"] == "enrollment.ended" for event in events) and not page["items"]

    await journey.eventually(has_ended, "the feed does not come to the end of the journey")
    return events


async def account_for(journey: Journey) -> None:
    """Jordan reads who has seen the record; so does the privacy officer, who is seen as well."""
    jordan = journey.jordan
    lifetime = await jordan.person.renew()
    journey.story.step("Jordan's phone wakes up and renews its tokens", 200, f"{lifetime} s")
    path = f"/v1/participants/{jordan.participant_id}/accesses"
    history = await jordan.person.all_of(path)
    names = {each["actor_name"] for each in history if each["actor_name"]}
    journey.story.expect(
        {"Dana Whitfield", "Robin Vale"} <= names <= {each.name for each in journey.staff.values()},
        f"the record was seen by {names}",
    )
    journey.story.expect(
        journey.casey.person.me["account_id"] not in {each["actor_id"] for each in history},
        "the history tells of another participant",
    )
    journey.story.step(
        "Jordan reads who has seen the record",
        200,
        f"{len(history)} accesses, by {', '.join(sorted(names))} and themselves",
    )
    await journey.staff["privacy_officer"].get(path)
    seen = (await jordan.person.all_of(path))[0]
    journey.story.expect(seen["actor_name"] == "Noor Haddad", "the officer's look was not kept")
    journey.story.step(
        "Noor, the privacy officer, looks as well, and is seen", 200, seen["subtype"]
    )


async def see_nothing(journey: Journey) -> None:
    """The other participant of the same program has heard nothing of Jordan, and finds nothing."""
    jordan, casey = journey.jordan, journey.casey
    for one, other in ((casey, jordan), (jordan, casey)):
        _expect_unheard(journey, one.person.name, one.person.heard, other.secrets)
    journey.story.step(
        "In all that Casey's phone was ever told, nothing is Jordan's, and the reverse",
        telling=f"{len(casey.person.heard)} and {len(jordan.person.heard)} answers searched",
    )
    for path in _records(jordan):
        foreign = await casey.person.get(path, expect=HTTPStatus.NOT_FOUND)
        absent = await casey.person.get(_nobodys(path), expect=HTTPStatus.NOT_FOUND)
        journey.story.expect(
            foreign["code"] == absent["code"] and foreign.body.keys() == absent.body.keys(),
            f"{path} tells Casey that somebody is there",
        )
    journey.story.step(
        "Casey asks for each of Jordan's records by its id",
        404,
        f"{len(_records(jordan))} times, as for an id that never was",
    )
    for path in ("/v1/assessments", "/v1/plans", "/v1/enrollments"):
        found = await casey.person.all_of(f"{path}?participant_id={jordan.participant_id}")
        journey.story.expect(not found, f"{path} lists Jordan's to Casey")
    journey.story.step("Casey's lists are empty when they ask for Jordan's", 200)


async def keep_quiet(journey: Journey) -> None:
    """The logs of three processes name nobody, and repeat nothing that anybody wrote."""
    lines = [line for child in journey.service.children for line in child.lines]
    _expect_unheard(journey, "a log", lines, _all_secrets(journey, ids=False))
    journey.story.step(
        "The logs name nobody, and hold nothing that anybody wrote",
        telling=f"{len(lines)} lines searched",
    )


def _all_secrets(journey: Journey, *, ids: bool = True) -> set[str]:
    """Names, addresses, passwords and texts of everybody; with the participants' ids."""
    people = [*journey.staff.values(), *(case.person for case in journey.cases.values())]
    return {
        *(part for person in people for part in person.name.split()),
        *(person.email for person in people),
        *(person.password for person in people),
        *(case.participant_id for case in journey.cases.values() if ids),
        *_WRITTEN,
    }


def _expect_unheard(journey: Journey, who: str, heard: Sequence[str], secrets: set[str]) -> None:
    """Raise Surprise when any of the secrets stands in what was heard.

    As a word of its own: the letters of a short name occur by chance in every long token.
    """
    words = "|".join(map(re.escape, sorted(secrets)))
    pattern = re.compile(f"(?<![A-Za-z0-9_-])(?:{words})(?![A-Za-z0-9_-])")
    told = {match for text in heard for match in pattern.findall(text)}
    journey.story.expect(not told, f"{who} was told {sorted(told)}")


def _records(case: Case) -> list[str]:
    """Where each of somebody's records is read."""
    person = f"/v1/participants/{case.participant_id}"
    return [
        person,
        f"{person}/care-team",
        f"{person}/accesses",
        f"/v1/enrollments/{case.enrollment_id}",
        f"/v1/plans/{case.plan_id}",
        *(f"/v1/assessments/{each}" for each in case.assessments.values()),
    ]


def _nobodys(path: str) -> str:
    """The same path with an id that was never given."""
    parts = path.split("/")
    return "/".join([*parts[:3], str(uuid4()), *parts[4:]])
