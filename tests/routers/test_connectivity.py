import asyncio
from datetime import timedelta
from http import HTTPStatus
from typing import Any
from uuid import UUID

from httpx import Response
from sqlalchemy import update

from app.core import clock
from app.domain.connectivity import BODY_BYTES, PER_HOUR, PROBES
from app.models.connectivity import ConnectivityTest
from tests.factories import Make, Person, problem_of
from tests.routers.admission import ADMITTING, open_intake, recommended, screened
from tests.routers.assessing import accesses, events_of

PATH = "/v1/connectivity-tests"


async def begun(person: Person) -> dict[str, Any]:
    answer = await person.post(PATH)
    assert answer.status_code == HTTPStatus.CREATED, answer.text
    read: dict[str, Any] = answer.json()
    return read


async def exchanged(person: Person, last: dict[str, Any], **body: object) -> Response:
    payload = "x" * last["send_characters"]
    return await person.post(
        f"{PATH}/{last['id']}/exchanges",
        json={"token": last["token"], "payload": payload, **body},
    )


async def measured_by(person: Person) -> dict[str, Any]:
    """A whole test, as a client runs it."""
    last = await begun(person)
    while last["next"] != "done":
        answer = await exchanged(person, last)
        assert answer.status_code == HTTPStatus.OK, answer.text
        last = answer.json()
    return last


async def test_a_test_measures_round_trips_and_a_body_each_way(make: Make) -> None:
    clinician = await make.staff()
    participant = await make.participant(team=[clinician])
    last = await begun(participant)
    steps, bodies = [last["next"]], []
    while last["next"] != "done":
        last = (await exchanged(participant, last)).json()
        steps.append(last["next"])
        bodies.append(len(last["payload"]))

    assert steps == ["probe"] * PROBES + ["confirm", "upload", "done"]
    assert bodies == [0] * (PROBES - 1) + [BODY_BYTES, 0, 0]
    assert float(last["figures"]["down_mbps"]) > 0
    [read] = (await clinician.get(f"{PATH}?participant_id={participant.participant_id}")).json()[
        "items"
    ]
    assert (read["id"], read["step"], read["figures"]) == (last["id"], "done", last["figures"])
    assert await events_of(make, last["id"]) == ["connectivity_test.finished"]
    assert [verb for verb, _ in await accesses(make, participant, "connectivity_test")] == [
        "C",
        "U",
        "R",
    ]


async def test_an_answer_that_did_not_arrive_whole_measures_nothing(make: Make) -> None:
    participant = await make.participant()
    last = await begun(participant)

    refused = await exchanged(participant, last, token="made-up")  # noqa: S106 (nobody was given it)
    taken = await exchanged(participant, last)
    again = await exchanged(participant, last)

    assert problem_of(refused) == problem_of(again) == "answer-not-received"
    assert taken.status_code == HTTPStatus.OK


async def test_a_body_has_the_length_that_was_asked_for(make: Make) -> None:
    participant = await make.participant()
    last = await begun(participant)

    refused = await exchanged(participant, last, payload="x")
    too_long = await exchanged(participant, last, payload="x" * (BODY_BYTES + 1))

    assert refused.json()["errors"][0]["pointer"] == "/payload"
    assert too_long.status_code == HTTPStatus.UNPROCESSABLE_ENTITY


async def test_tests_are_limited_by_the_hour_also_at_one_moment(make: Make) -> None:
    participant = await make.participant()

    answers = await asyncio.gather(*(participant.post(PATH) for _ in range(PER_HOUR + 2)))

    refused = [each for each in answers if each.status_code == HTTPStatus.TOO_MANY_REQUESTS]
    assert len(refused) == 2
    assert problem_of(refused[0]) == "too-many-connectivity-tests"
    assert 0 < int(refused[0].headers["Retry-After"]) <= 3601


async def test_a_test_ends_after_two_minutes_and_when_it_is_done(make: Make) -> None:
    participant = await make.participant()
    done = await measured_by(participant)
    late = await begun(participant)
    async with make.transaction() as db:
        await db.execute(
            update(ConnectivityTest)
            .where(ConnectivityTest.id == UUID(late["id"]))
            .values(expires_at=clock.wall() - timedelta(seconds=1))
        )

    answers = [await exchanged(participant, each) for each in (done, late)]

    assert {problem_of(each) for each in answers} == {"connectivity-test-over"}


async def test_nobody_goes_on_with_anothers_test_and_staff_begin_none(make: Make) -> None:
    clinician = await make.staff()
    participant = await make.participant(team=[clinician])
    other = await make.participant(team=[clinician])
    last = await begun(participant)

    alien = await exchanged(other, last)
    own = (await other.get(PATH)).json()["items"]

    assert alien.status_code == HTTPStatus.NOT_FOUND
    assert own == []
    assert (await clinician.post(PATH)).status_code == HTTPStatus.FORBIDDEN


async def test_readiness_goes_by_what_was_measured(make: Make) -> None:
    clinician, participant, intake = await open_intake(make)
    await screened(clinician, participant)
    done = await measured_by(participant)
    # A slow way up, as the server measured it, against the 10 Mbit/s that the form says.
    async with make.transaction() as db:
        await db.execute(
            update(ConnectivityTest)
            .where(ConnectivityTest.id == UUID(done["id"]))
            .values(round_trips=[0] * PROBES, download=20_000, upload=20_000_000)
        )

    read = await recommended(clinician, intake, **ADMITTING)

    by_code = {each["code"]: each for each in read["recommendation"]["criteria"]}
    assert by_code["bandwidth_up_mbps"]["outcome"] == "not_met"
    assert by_code["bandwidth_up_mbps"]["evidence"] == [done["id"]]
    assert by_code["bandwidth_down_mbps"]["outcome"] == "met"
    assert read["recommendation"]["axes"]["virtual_ability"] == "able_with_support"
