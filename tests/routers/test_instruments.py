from http import HTTPStatus

from app.domain.instruments import shipped
from tests.factories import Make, problem_of


async def test_the_catalogue_lists_every_instrument_that_ships(make: Make) -> None:
    participant = await make.participant()

    listed = await participant.get("/v1/instruments")

    assert listed.status_code == HTTPStatus.OK
    assert [item["key"] for item in listed.json()["items"]] == [
        key for key, instrument in shipped().items() if instrument.ship == "yes"
    ]


async def test_an_instrument_carries_its_wording_and_its_license(make: Make) -> None:
    clinician = await make.staff()

    read = (await clinician.get("/v1/instruments/phq-9")).json()

    ninth = next(item for item in read["items"] if item["id"] == "q9")
    assert ninth["text"].startswith("Thoughts that you would be better off dead")
    assert [option["value"] for option in ninth["options"]] == [0, 1, 2, 3]
    assert "No permission required" in read["license"]["attribution"]
    assert read["license"]["notices"]
    assert read["is_validated"] is True
    assert read["label"] is None
    assert read["scores"][0]["bands"][-1] == {
        "code": "severe",
        "label": "Severe",
        "minimum": 20,
        "maximum": 27,
    }


async def test_what_is_not_validated_says_so(make: Make) -> None:
    clinician = await make.staff()

    read = (await clinician.get("/v1/instruments/readiness")).json()

    assert read["label"] == "Not a validated instrument."


async def test_a_form_learns_when_an_item_is_asked_and_by_whom_it_is_answered(make: Make) -> None:
    clinician = await make.staff()

    items = (await clinician.get("/v1/instruments/readiness")).json()["items"]

    by_id = {item["id"]: item for item in items}
    assert by_id["minor_adult_name"]["visible_when"] == {
        "item": "is_minor",
        "op": "==",
        "value": True,
    }
    assert by_id["private_space"]["visible_when"] is None
    assert by_id["orientation_done"]["answered_by"] == "facilitator"
    assert by_id["bandwidth_down_mbps"]["maximum"] == 100_000


async def test_which_answer_raises_a_concern_is_not_told(make: Make) -> None:
    participant = await make.participant()

    read = await participant.get("/v1/instruments/phq-9")

    assert "flags" not in read.json()
    assert "si_endorsed" not in read.text


async def test_a_known_version_is_not_sent_again(make: Make) -> None:
    participant = await make.participant()
    first = await participant.get("/v1/instruments/gad-7")

    again = await participant.get(
        "/v1/instruments/gad-7", headers={"If-None-Match": first.headers["ETag"]}
    )

    assert first.headers["ETag"] == '"1.0.0"'
    assert again.status_code == HTTPStatus.NOT_MODIFIED
    assert again.content == b""


async def test_an_unknown_instrument_does_not_exist(make: Make) -> None:
    participant = await make.participant()

    unknown = await participant.get("/v1/instruments/phq-99")

    assert unknown.status_code == HTTPStatus.NOT_FOUND
    assert problem_of(unknown) == "not-found"
