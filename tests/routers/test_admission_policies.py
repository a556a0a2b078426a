import copy
import json
from collections.abc import Callable
from datetime import timedelta
from http import HTTPStatus
from importlib import resources
from typing import Any

import pytest

from app.core import clock
from app.domain.roles import StaffRole
from app.schemas.programs import AdmissionPolicyCreate
from tests.factories import Make, problem_of
from tests.routers.admission import ADMITTING, open_intake, recommended, screened
from tests.routers.test_intake_facts import outcomes, present

Document = dict[str, Any]


def shipped(key: str) -> Document:
    text = (resources.files("app") / "rules" / f"{key}.json").read_text(encoding="utf-8")
    document: Document = json.loads(text)
    return document


def own(**changes: object) -> Document:
    """A policy of a program's own, in force since the beginning of the year."""
    return {**shipped("admission-default"), "key": "own", "version": "2.0.0", **changes}


async def test_a_program_admits_by_its_own_policy_from_its_day_on(make: Make) -> None:
    administrator = await make.staff(StaffRole.ADMINISTRATOR)
    program = await make.program()
    clinician, participant, intake = await open_intake(make, program=program)
    await screened(clinician, participant)
    path = f"/v1/programs/{program.id}/admission-policies"
    later = str((clock.now() + timedelta(days=30)).date())
    strict = own()
    # A mark that the participant's PHQ-9 of 16 and GAD-7 of 14 do not reach.
    for threshold in strict["severity"]["any_of"]:
        threshold["value"] = 20

    future = await administrator.post(path, json={"document": own(effective_from=later)})
    before = await recommended(clinician, intake, **ADMITTING)
    loaded = await administrator.post(path, json={"document": {**strict, "version": "2.1.0"}})
    after = await recommended(clinician, intake, **ADMITTING)

    assert future.status_code == loaded.status_code == HTTPStatus.CREATED, loaded.text
    assert before["recommendation"]["policy"] == "admission-default"
    assert before["recommendation"]["verdict"] == "admit"
    suggestion = after["recommendation"]
    assert (suggestion["policy"], suggestion["policy_version"]) == ("own", "2.1.0")
    assert suggestion["verdict"] == "outpatient"
    found = (await clinician.get(path)).json()["items"]
    assert [each["policy_version"] for each in found] == ["2.0.0", "2.1.0"]


def _instrument(document: Document) -> None:
    document["severity"]["any_of"][2]["instrument"] = "phq-10"


def _score(document: Document) -> None:
    document["severity"]["any_of"][0]["score"] = "grand_total"


def _safety(document: Document) -> None:
    document["safety"] = ["gad-7"]


def _gate(document: Document) -> None:
    document["gates"][0]["code"] = "has_a_car"


def _twice(document: Document) -> None:
    document["attestations"][1]["code"] = document["attestations"][0]["code"]


def _level(document: Document) -> None:
    document["level_of_care"] = "residential"


def _form(document: Document) -> None:
    del document["attestations"][0]["reason"]


@pytest.mark.parametrize(
    ("spoil", "pointer", "code"),
    [
        (_instrument, "/document/severity/any_of/2/instrument", "unknown_instrument"),
        (_score, "/document/severity/any_of/0/score", "unknown_score"),
        (_safety, "/document/safety/0", "no_safety_item"),
        (_gate, "/document/gates/0/code", "unknown_code"),
        (_twice, "/document/attestations/1", "repeated"),
        (_level, "/document/level_of_care", "not_the_programs"),
        (_form, "/document/attestations/0/reason", "missing"),
    ],
)
async def test_a_policy_with_a_mistake_is_refused_whole_with_its_place(
    make: Make, spoil: Callable[[Document], None], pointer: str, code: str
) -> None:
    administrator = await make.staff(StaffRole.ADMINISTRATOR)
    program = await make.program()
    path = f"/v1/programs/{program.id}/admission-policies"
    document = copy.deepcopy(own())
    spoil(document)

    refused = await administrator.post(path, json={"document": document})

    assert refused.status_code == HTTPStatus.UNPROCESSABLE_ENTITY, refused.text
    assert [(each["pointer"], each["code"]) for each in refused.json()["errors"]] == [
        (pointer, code)
    ]
    assert (await administrator.get(path)).json()["items"] == []


async def test_a_policy_never_changes_and_only_an_administrator_loads_one(make: Make) -> None:
    administrator, clinician = await make.staff(StaffRole.ADMINISTRATOR), await make.staff()
    program = await make.program()
    path = f"/v1/programs/{program.id}/admission-policies"
    await administrator.post(path, json={"document": own()})

    again = await administrator.post(path, json={"document": own()})
    other = await clinician.post(path, json={"document": own(version="2.0.1")})

    assert problem_of(again) == "admission-policy-version-taken"
    assert other.status_code == HTTPStatus.FORBIDDEN


async def test_a_substance_use_program_asks_for_its_own_forms_and_consent(make: Make) -> None:
    administrator = await make.staff(StaffRole.ADMINISTRATOR)
    opened = await administrator.post(
        "/v1/programs",
        json={
            "slug": "recovery",
            "name": "Recovery",
            "is_part2": True,
            "admission_policy": "admission-substance-use",
            "time_zone": "America/Denver",
            "opens_on": "2026-01-05",
        },
    )
    clinician = await make.staff()
    participant = await make.participant(team=[clinician])
    referral = await participant.post(
        f"/v1/participants/{participant.participant_id}/referrals",
        json={"program_id": opened.json()["id"]},
    )

    read = await present(clinician, referral.json()["intake_id"])

    assert read["policy"] == "admission-substance-use"
    assert {"part2_consent_signed", "overdose_risk_unmanaged"} <= outcomes(read).keys()
    assert "withdrawal_risk" in {
        each["code"] for each in read["missing"] if not each["is_overridable"]
    }


async def test_the_policy_of_the_documentation_is_taken(make: Make) -> None:
    administrator = await make.staff(StaffRole.ADMINISTRATOR)
    program = await make.program()
    examples: Any = AdmissionPolicyCreate.model_config["json_schema_extra"]

    loaded = await administrator.post(
        f"/v1/programs/{program.id}/admission-policies", json=examples["examples"][0]
    )

    assert loaded.status_code == HTTPStatus.CREATED, loaded.text
