"""Instruments: what ships, what an organization loads and sets, and what it uses."""

import asyncio
import copy
from http import HTTPStatus
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from app.domain.instruments import shipped
from app.domain.roles import StaffRole
from tests.factories import Make, Person, problem_of
from tests.fhir.test_questionnaires import SUPPLEMENT, questionnaire
from tests.routers.assessing import alerts_of, answered, assigned, events_of, submitted, treated

Json = dict[str, Any]

DEFINITION: Json = {
    "key": "team-check",
    "version": "1.0.0",
    "title": "Team check",
    "language": "en-US",
    "license": {
        "position": "Licensed to the organization.",
        "holder": "Example Press",
        "attribution": "Copyright Example Press",
        "evidence_file": "contract-17.pdf",
        "expires_on": "2190-01-01",
    },
    "response_sets": {
        "agree": [{"value": value, "label": str(value)} for value in range(5)],
    },
    "items": [
        {"id": "q1", "text": "Item 1", "set": "agree"},
        {"id": "q2", "text": "Item 2", "set": "agree", "safety": True},
        {"id": "line", "text": "Item 3", "type": "vas", "scored": False, "required": False}
        | {"numeric": {"min": 0, "max": 10, "step": 0.1}},
    ],
    "scores": [
        {
            "id": "total",
            "items": ["q1", "q2"],
            "range": [0, 8],
            "bands": [
                {"min": 0, "max": 3, "code": "low", "label": "Low"},
                {"min": 4, "max": 8, "code": "high", "label": "High"},
            ],
        }
    ],
    "flags": [
        {
            "id": "harm",
            "when": {"item": "q2", "op": ">=", "value": 3},
            "kind": "safety",
            "tier": "urgent",
            "code": "si_endorsed",
        }
    ],
    "settings": [{"at": "/scores/0/bands", "note": "No cut-off was published."}],
}


def definition(**changed: object) -> Json:
    return copy.deepcopy(DEFINITION | changed)


async def administrator(make: Make) -> Person:
    return await make.staff(StaffRole.ADMINISTRATOR)


async def loaded(admin: Person, **changed: object) -> Json:
    answer = await admin.post("/v1/instruments", json={"definition": definition(**changed)})
    assert answer.status_code == HTTPStatus.CREATED, answer.text
    read: Json = answer.json()
    return read


def places(answer: Any) -> list[tuple[str, str]]:  # noqa: ANN401 - a response
    return [(error["pointer"], error["code"]) for error in answer.json()["errors"]]


async def test_the_catalogue_lists_every_instrument_that_ships(make: Make) -> None:
    participant = await make.participant()

    listed = await participant.get("/v1/instruments")

    assert listed.status_code == HTTPStatus.OK
    items = listed.json()["items"]
    assert [item["key"] for item in items] == sorted(shipped())
    assert {item["key"] for item in items if not item["is_assignable"]} == {"audit", "dass-21"}
    assert all(item["condition"] for item in items if not item["is_assignable"])
    assert {item["origin"] for item in items} == {"shipped"}


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


@pytest.mark.parametrize("key", ["readiness", "rulers", "session-check-in"])
async def test_what_is_not_validated_says_so(make: Make, key: str) -> None:
    clinician = await make.staff()

    read = (await clinician.get(f"/v1/instruments/{key}")).json()

    assert read["label"] == "Not a validated instrument."


async def test_an_assessment_says_what_is_not_validated_in_every_answer(make: Make) -> None:
    clinician, participant = await treated(make)
    given = await assigned(clinician, participant, "rulers")
    saved = await answered(participant, given, {"importance": 7})
    done = await submitted(participant, saved)
    listed = (await participant.get("/v1/assessments")).json()["items"]
    read = (await clinician.get(f"/v1/assessments/{given['id']}")).json()
    validated = await assigned(clinician, participant, "gad-7")

    labels = {each["label"] for each in (given, saved, done, read, *listed)}
    assert labels == {"Not a validated instrument."}
    assert validated["label"] is None


async def test_bands_that_depend_on_the_person_say_on_what(make: Make) -> None:
    clinician = await make.staff()

    (total,) = (await clinician.get("/v1/instruments/audit-c")).json()["scores"]

    assert total["read_by"] == "sex_at_birth"
    assert [band["minimum"] for band in total["bands"]] == [0, 3]


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


@pytest.mark.parametrize("key", sorted(shipped()))
async def test_which_answer_raises_a_concern_is_not_told(make: Make, key: str) -> None:
    participant = await make.participant()

    read = await participant.get(f"/v1/instruments/{key}")

    assert read.status_code == HTTPStatus.OK
    assert read.json().keys().isdisjoint({"flags", "settings", "definition"})
    assert not any(flag.code in read.text for flag in shipped()[key].flags)


async def test_a_known_version_is_not_sent_again(make: Make) -> None:
    participant = await make.participant()
    first = await participant.get("/v1/instruments/gad-7")

    again = await participant.get(
        "/v1/instruments/gad-7", headers={"If-None-Match": first.headers["ETag"]}
    )

    assert first.headers["ETag"] == '"1.0.0-on"'
    assert again.status_code == HTTPStatus.NOT_MODIFIED
    assert again.content == b""


async def test_an_unknown_instrument_does_not_exist(make: Make) -> None:
    admin = await administrator(make)

    answers = [
        await admin.get("/v1/instruments/phq-99"),
        await admin.get("/v1/instruments/phq-99/definition"),
        await admin.get("/v1/instruments/phq-9/definition?version=9.0.0"),
        await admin.post("/v1/instruments/phq-99/switch-off"),
        await admin.post("/v1/instruments/phq-99/switch-on", json={"version": "1.0.0"}),
    ]

    assert [problem_of(answer) for answer in answers] == ["not-found"] * 5


# Loading


async def test_a_loaded_instrument_is_asked_scored_and_flagged(make: Make) -> None:
    clinician, participant = await treated(make)
    admin = await administrator(make)
    published = await loaded(admin)

    read = (await participant.get("/v1/instruments/team-check")).json()
    assessment = await assigned(clinician, participant, "team-check")
    saved = await answered(participant, assessment, {"q1": 2, "q2": 3, "line": 4.2})
    done = await submitted(clinician, saved)

    assert (published["origin"], published["definition"]["key"]) == ("loaded", "team-check")
    assert (read["origin"], read["is_assignable"]) == ("loaded", True)
    assert read["license_expires_on"] == "2190-01-01"
    assert [item["step"] for item in read["items"]] == [None, None, 0.1]
    assert saved["crisis_resources"]
    assert (done["scores"][0]["value"], done["scores"][0]["band"]) == (5, "high")


async def test_an_answer_between_two_steps_is_refused(make: Make) -> None:
    clinician, participant = await treated(make)
    await loaded(await administrator(make))
    assessment = await assigned(clinician, participant, "team-check")

    refused = await participant.patch(
        f"/v1/assessments/{assessment['id']}/answers",
        json={"answers": [{"item_id": "line", "value": 4.25}]},
        headers={"If-Match": '"1"'},
    )

    assert places(refused) == [("/answers/0/value", "off_the_scale")]


async def test_a_questionnaire_is_loaded_with_what_it_cannot_say(make: Make) -> None:
    admin = await administrator(make)

    answer = await admin.post(
        "/v1/instruments",
        json={"format": "fhir_r4", "definition": questionnaire(), "supplement": SUPPLEMENT},
    )

    assert answer.status_code == HTTPStatus.CREATED
    assert answer.headers["Location"] == "/v1/instruments/two-questions"
    assert answer.json()["version"] == "2.1.0"
    read = (await admin.get("/v1/instruments/two-questions")).json()
    assert read["license"]["attribution"] == "Copyright Example Press"


async def test_every_mistake_is_named_with_its_place_and_nothing_is_stored(make: Make) -> None:
    admin = await administrator(make)
    wrong = definition(loinc="93243-5")
    wrong["scores"][0]["items"][1] = "q9"
    wrong["scores"][0]["bands"][1]["min"] = 5
    wrong["items"][0]["visible_when"] = {"answered": "q1"}

    refused = await admin.post("/v1/instruments", json={"definition": wrong})

    assert refused.status_code == HTTPStatus.UNPROCESSABLE_ENTITY
    assert {
        ("/definition/scores/0/items/1", "unknown_item"),
        ("/definition/scores/0/bands/1", "gap_between_bands"),
        ("/definition/items/0/visible_when", "visibility_cycle"),
        ("/definition/loinc", "invalid_loinc"),
        ("/definition/license/notices", "loinc_notice_missing"),
    } <= set(places(refused))
    unknown = await admin.get("/v1/instruments/team-check")
    assert unknown.status_code == HTTPStatus.NOT_FOUND


async def test_the_places_of_a_questionnaire_are_its_own(make: Make) -> None:
    admin = await administrator(make)
    source = questionnaire()
    source["item"][2]["type"] = "attachment"

    refused = await admin.post(
        "/v1/instruments",
        json={"format": "fhir_r4", "definition": source, "supplement": SUPPLEMENT},
    )
    without_evidence = await admin.post(
        "/v1/instruments",
        json={
            "format": "fhir_r4",
            "definition": questionnaire(),
            "supplement": SUPPLEMENT | {"license": {}},
        },
    )

    assert places(refused) == [("/definition/item/2/type", "type_not_supported")]
    assert places(without_evidence) == [
        ("/supplement/license/evidence_file", "license_evidence_missing")
    ]


@pytest.mark.parametrize(
    ("license_", "fault"),
    [
        (
            {"evidence_file": None},
            ("/definition/license/evidence_file", "license_evidence_missing"),
        ),
        ({"expires_on": "2020-01-01"}, ("/definition/license/expires_on", "license_expired")),
    ],
)
async def test_what_belongs_to_others_is_loaded_with_evidence_only(
    make: Make, license_: Json, fault: tuple[str, str]
) -> None:
    admin = await administrator(make)
    terms = definition()["license"] | license_

    refused = await admin.post("/v1/instruments", json={"definition": definition(license=terms)})

    assert places(refused) == [fault]


async def test_a_published_version_is_never_edited(make: Make) -> None:
    admin = await administrator(make)
    await loaded(admin)

    again = await admin.post("/v1/instruments", json={"definition": definition(title="Other")})
    older = await admin.post("/v1/instruments", json={"definition": definition(version="0.9.0")})
    await loaded(admin, version="1.10.0")
    between = await admin.post("/v1/instruments", json={"definition": definition(version="1.9.0")})
    of_ours = await admin.post("/v1/instruments", json={"definition": definition(key="phq-9")})

    assert problem_of(again) == "instrument-version-taken"
    assert problem_of(older) == "instrument-version-not-newer"
    assert problem_of(between) == "instrument-version-not-newer"
    assert between.json()["present_version"] == "1.10.0"
    assert problem_of(of_ours) == "instrument-key-taken"
    read = (await admin.get("/v1/instruments/team-check/definition?version=1.0.0")).json()
    assert read["definition"]["title"] == "Team check"


async def test_the_database_itself_refuses_to_change_a_version(make: Make) -> None:
    await loaded(await administrator(make))

    with pytest.raises(DBAPIError):
        async with make.transaction() as db:
            await db.execute(text("update instrument_version set instrument_version = '2.0.0'"))


async def test_the_same_version_twice_at_one_moment_is_published_once(make: Make) -> None:
    admin = await administrator(make)
    body = {"definition": definition()}

    answers = await asyncio.gather(*(admin.post("/v1/instruments", json=body) for _ in range(3)))

    statuses = sorted(answer.status_code for answer in answers)
    assert statuses == [HTTPStatus.CREATED, HTTPStatus.CONFLICT, HTTPStatus.CONFLICT]


async def test_a_form_keeps_the_version_with_which_it_was_given(make: Make) -> None:
    clinician, participant = await treated(make)
    admin = await administrator(make)
    await loaded(admin)
    assessment = await assigned(clinician, participant, "team-check")
    newer = definition()["scores"][0] | {"bands": []}
    await loaded(admin, version="2.0.0", scores=[newer], settings=[])

    done = await submitted(participant, await answered(participant, assessment, {"q1": 4, "q2": 0}))
    next_one = await assigned(clinician, participant, "team-check")

    shown = (await clinician.get(f"/v1/assessments/{done['id']}")).json()
    assert (shown["instrument_version"], shown["scores"][0]["band"]) == ("1.0.0", "high")
    assert next_one["instrument_version"] == "2.0.0"


async def test_one_organization_does_not_see_what_another_has_loaded(
    make: Make,
) -> None:
    await loaded(await administrator(make))
    stranger = await administrator(await Make.organization(make.app, make.runtime))

    assert (await stranger.get("/v1/instruments/team-check")).status_code == HTTPStatus.NOT_FOUND
    keys = [item["key"] for item in (await stranger.get("/v1/instruments")).json()["items"]]
    assert "team-check" not in keys
    await loaded(stranger)


async def test_an_expired_license_ends_the_use(make: Make) -> None:
    clinician, participant = await treated(make)
    admin = await administrator(make)
    await loaded(admin)
    async with make.transaction() as db:
        await db.execute(
            text("update organization set clock_offset = interval '170 years'"),
        )

    refused = await clinician.post(
        "/v1/assessments",
        json={
            "participant_id": str(participant.participant_id),
            "instrument_key": "team-check",
        },
    )

    assert problem_of(refused) == "instrument-unavailable"


async def test_a_drop_of_alliance_opens_an_alert_after_three_forms(make: Make) -> None:
    clinician, participant = await treated(make)

    for alliance in (3, 3, 4, 2):
        given = await assigned(clinician, participant, "session-check-in")
        form = dict.fromkeys(("bond", "goal", "task", "take_part", "useful", "tech"), alliance)
        await submitted(participant, await answered(participant, given, form))
        codes = {alert["code"] for alert in await alerts_of(clinician, participant)}
        assert ("alliance_drop" in codes) is (alliance == 2)


# Settings


def setting(value: object, at: str = "/scores/0/cutoffs/0/value") -> Json:
    return {"at": at, "value": value, "source": "Clinical director, 2026-03-01"}


async def test_what_no_source_settles_the_organization_sets_as_a_new_version(make: Make) -> None:
    clinician, participant = await treated(make)
    admin = await administrator(make)
    before = (await admin.get("/v1/instruments/pcl-5/definition")).json()
    assert "/scores/0/cutoffs/0/value" in {s["at"] for s in before["settings"]}

    answer = await admin.post(
        "/v1/instruments/pcl-5/adaptations", json={"version": "1.1.0", "settings": [setting(34)]}
    )

    assert answer.status_code == HTTPStatus.CREATED, answer.text
    adapted = answer.json()
    assert adapted["origin"] == "adapted"
    assert adapted["definition"]["scores"][0]["cutoffs"][0]["value"] == 34
    assert adapted["definition"]["items"] == before["definition"]["items"]
    notes = {s["at"]: s["note"] for s in adapted["settings"]}
    assert notes["/scores/0/cutoffs/0/value"] == (
        "Set by the organization: Clinical director, 2026-03-01"
    )
    given = await assigned(clinician, participant, "pcl-5")
    assert given["instrument_version"] == "1.1.0"
    assert shipped()["pcl-5"].scores[0].cutoffs[0].value == 33


@pytest.mark.parametrize(
    ("chosen", "fault"),
    [
        ([setting("Other words", "/items/0/text")], ("/settings/0/at", "not_a_setting")),
        ([setting(34), setting(35)], ("/settings/1/at", "repeated")),
        ([setting(99)], ("/settings/0/value", "cutoff_out_of_range")),
        ([setting("many")], ("/settings/0/value", "int_type")),
        (
            [setting({"max": 20, "policy": "prorate"}, "/scores/0/missing")],
            ("/settings/0/value/max", "nothing_need_be_answered"),
        ),
    ],
)
async def test_only_settings_are_set_and_only_to_what_makes_sense(
    make: Make, chosen: list[Json], fault: tuple[str, str]
) -> None:
    admin = await administrator(make)

    refused = await admin.post(
        "/v1/instruments/pcl-5/adaptations", json={"version": "1.1.0", "settings": chosen}
    )

    assert refused.status_code == HTTPStatus.UNPROCESSABLE_ENTITY
    assert fault in places(refused)


async def test_an_adaptation_is_newer_than_what_it_adapts(make: Make) -> None:
    admin = await administrator(make)

    same = await admin.post(
        "/v1/instruments/pcl-5/adaptations", json={"version": "1.0.0", "settings": [setting(34)]}
    )
    older = await admin.post(
        "/v1/instruments/pcl-5/adaptations", json={"version": "0.1.0", "settings": [setting(34)]}
    )

    assert problem_of(same) == "instrument-version-taken"
    assert problem_of(older) == "instrument-version-not-newer"


# Switching


async def test_what_ships_on_a_condition_is_off_until_somebody_accepts_it(make: Make) -> None:
    clinician, participant = await treated(make)
    admin = await administrator(make)
    body = {"participant_id": str(participant.participant_id), "instrument_key": "dass-21"}
    off = await clinician.post("/v1/assessments", json=body)

    silent = await admin.post("/v1/instruments/dass-21/switch-on", json={"version": "1.0.0"})
    accepted = await admin.post(
        "/v1/instruments/dass-21/switch-on", json={"version": "1.0.0", "accepts_condition": True}
    )
    on = await clinician.post("/v1/assessments", json=body)

    assert problem_of(off) == "instrument-unavailable"
    assert problem_of(silent) == "condition-not-accepted"
    assert silent.json()["condition"] == shipped()["dass-21"].license.condition
    assert accepted.json()["is_assignable"] is True
    assert on.status_code == HTTPStatus.CREATED
    async with make.transaction() as db:
        row = (await db.execute(text("select * from instrument_switch"))).one()
    assert row.accepted_condition == shipped()["dass-21"].license.condition
    assert row.switched_by == admin.account_id
    assert await events_of(make, str(row.id)) == ["instrument.switched_on"]


async def test_a_condition_is_accepted_in_the_version_that_was_read(make: Make) -> None:
    admin = await administrator(make)

    stale = await admin.post(
        "/v1/instruments/audit/switch-on", json={"version": "0.9.0", "accepts_condition": True}
    )

    assert problem_of(stale) == "instrument-version-changed"
    assert stale.json()["present_version"] == "1.0.0"


async def test_whatever_is_not_used_is_switched_off_and_on_again(make: Make) -> None:
    clinician, participant = await treated(make)
    admin = await administrator(make)
    given = await assigned(clinician, participant, "socrates-8a")
    body = {"participant_id": str(participant.participant_id), "instrument_key": "socrates-8a"}

    off = await admin.post("/v1/instruments/socrates-8a/switch-off")
    refused = await clinician.post("/v1/assessments", json=body)
    still = await answered(participant, given, {"q1": 5})
    on = await admin.post("/v1/instruments/socrates-8a/switch-on", json={"version": "1.0.0"})

    assert off.json()["is_assignable"] is False
    assert problem_of(refused) == "instrument-unavailable"
    assert still["state"] == "in_progress"
    assert on.json()["is_assignable"] is True


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("", {"definition": DEFINITION}),
        ("/pcl-5/adaptations", {"version": "1.1.0", "settings": [setting(34)]}),
        ("/dass-21/switch-on", {"version": "1.0.0", "accepts_condition": True}),
        ("/phq-9/switch-off", None),
    ],
)
async def test_only_administrators_decide_what_is_asked(
    make: Make, path: str, body: Json | None
) -> None:
    clinician, participant = await treated(make)

    answers = [
        await person.post(f"/v1/instruments{path}", json=body)
        for person in (clinician, participant)
    ]
    definition_read = await clinician.get("/v1/instruments/phq-9/definition")

    assert [answer.status_code for answer in answers] == [HTTPStatus.FORBIDDEN] * 2
    assert definition_read.status_code == HTTPStatus.FORBIDDEN


async def test_loading_is_an_event_and_is_on_record(make: Make) -> None:
    admin = await administrator(make)
    await loaded(admin)

    async with make.transaction() as db:
        row = (await db.execute(text("select id from instrument_version"))).one()
    assert await events_of(make, str(row.id)) == ["instrument.loaded"]
