"""From a referral to an admission: forms on a phone, a suggestion that explains itself, a human."""

from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final

from tests.journey.journey import ZONE_NAME, Case, Journey
from tests.journey.people import PHONE, Answer, Person

STATE: Final = "US-CO"
PHQ_9: Final = {f"q{number}": 2 for number in range(1, 9)} | {"q9": 0}
GAD_7: Final = {f"q{number}": 2 for number in range(1, 8)}
RULERS: Final = {"importance": 8, "confidence": 6, "commitment": 9}
READINESS: Final[Mapping[str, object]] = {
    "device_camera_mic": True,
    "screen_size": "phone",
    "bandwidth_down_mbps": 24.5,
    "bandwidth_up_mbps": 6.2,
    "data_plan_ok": True,
    "private_space": "mostly",
    "headphones": True,
    "home_is_safe": "yes",
    "primary_location": "12 Cedar Street, Denver",
    "state_of_location": STATE,
    "emergency_contact": "Sam, brother, twenty minutes away",
    "emergency_contact_release": True,
    "backup_phone": "+13035550100",
    "reconnect_plan": "The facilitator calls after two minutes.",
}
READINESS_BY_STAFF: Final[Mapping[str, object]] = {
    "local_emergency_numbers": "Police, ambulance and the nearest department are on file.",
    "firearms_means_asked": "asked_no",
    "orientation_done": True,
    "is_minor": False,
}
_FORMS: Final[Mapping[str, Mapping[str, object]]] = {
    "phq-9": PHQ_9,
    "gad-7": GAD_7,
    "rulers": RULERS,
    "readiness": READINESS,
}
TITLES: Final = {
    "phq-9": "PHQ-9",
    "gad-7": "GAD-7",
    "rulers": "readiness rulers",
    "readiness": "readiness checklist",
}
ATTESTATIONS: Final[Mapping[str, bool]] = {
    "diagnosis_present": True,
    "can_benefit": True,
    "safe_between_sessions": True,
    "violence_risk": False,
    "withdrawal_risk": False,
    "psychosis_or_mania_untreated": False,
    "cognitive_or_delirium": False,
    "medical_instability": False,
    "agrees_to_attendance": True,
    "legal_only": False,
    "consents_signed": True,
    "no_safe_place": False,
    "license_gap": False,
}


@dataclass(frozen=True, slots=True)
class Newcomer:
    """Somebody who is referred."""

    key: str
    name: str
    alias: str
    email: str
    born_on: str


_JORDAN: Final = Newcomer(
    "jordan", "Jordan Reed", "Blue Heron", "jordan@mail.example", "1994-03-09"
)
_CASEY: Final = Newcomer(
    "casey", "Casey Lindholm", "Quiet Fern", "casey@mail.example", "1988-11-21"
)


async def admit_jordan(journey: Journey) -> None:
    """The way of the participant whose journey it is, step by step."""
    journey.story.chapter("A participant is referred, answers, and is admitted")
    await _admit(journey, _JORDAN)


async def admit_casey(journey: Journey) -> None:
    """The same way for somebody else in the same program."""
    with journey.story.summarized():
        await _admit(journey, _CASEY)
    journey.story.step("Casey Lindholm goes the same way into the same program", telling="admitted")


async def _admit(journey: Journey, newcomer: Newcomer) -> None:
    case = await refer(journey, newcomer)
    await invite(journey, case)
    early = await _recommend(journey, case, {})
    journey.story.expect(
        early["recommendation"]["verdict"] == "defer_more_info",
        "a policy that knows nothing suggested something",
    )
    unknown = _outcomes(early)["unknown"]
    journey.story.step(
        "Robin asks the policy too early", early.status, f"defer_more_info: {unknown} unknown"
    )
    for key in _FORMS:
        await _fill_in(journey, case, key)
    await _decide(journey, case)


async def refer(journey: Journey, newcomer: Newcomer) -> Case:
    given_name, _, family_name = newcomer.name.partition(" ")
    referral = await journey.coordinator.post(
        "/v1/referrals",
        {
            "program_id": journey.program["id"],
            "source": "outpatient_provider",
            "reason": "Weekly sessions are no longer enough.",
            "participant": {
                "given_name": given_name,
                "family_name": family_name,
                "alias": newcomer.alias,
                "born_on": newcomer.born_on,
                "email": newcomer.email,
                "time_zone": ZONE_NAME,
                "home_state": STATE,
            },
        },
    )
    journey.story.step(
        f"Dana refers {newcomer.name} to the program", referral.status, "an intake is open"
    )
    participant_id = referral["participant_id"]
    path = f"/v1/participants/{participant_id}"
    hidden = await journey.clinician.get(path, expect=HTTPStatus.NOT_FOUND)
    journey.story.step("Robin is not related to them, and sees nobody", hidden.status)
    joined = await journey.coordinator.post(
        f"{path}/care-team",
        {
            "staff_member_id": journey.clinician.me["staff_member_id"],
            "role": "primary_clinician",
        },
    )
    record = await journey.clinician.get(path)
    journey.story.expect(record["alias"] == newcomer.alias, "the record is somebody else's")
    journey.story.step(
        "Dana puts Robin into the care team; Robin reads the record", joined.status, joined["role"]
    )
    person = journey.introduce(newcomer.name, newcomer.email, PHONE)
    case = Case(person, newcomer.alias, participant_id, referral["intake_id"])
    journey.cases[newcomer.key] = case
    return case


async def invite(journey: Journey, case: Case) -> None:
    person = case.person
    invited = await journey.coordinator.post(f"/v1/participants/{case.participant_id}/invitations")
    journey.story.step(f"Dana invites {person.given_name}", invited.status, "good for a week")
    accepted = await person.accept(invited["token"])
    me = await person.sign_in()
    journey.story.expect(
        me["participant_id"] == case.participant_id, f"{person.name} signed in as somebody else"
    )
    journey.story.step(
        f"{person.given_name} chooses a password on a phone, and signs in", accepted.status
    )


async def _fill_in(journey: Journey, case: Case, key: str) -> None:
    """The participant answers on a phone: a few items at a time, then submits."""
    person = case.person
    given = await journey.coordinator.post(
        "/v1/assessments", {"participant_id": case.participant_id, "instrument_key": key}
    )
    case.assessments[key] = given["id"]
    form = (await person.get(f"/v1/instruments/{key}")).body
    items = {item["id"] for item in form["items"]}
    answers = _FORMS[key]
    journey.story.expect(answers.keys() <= items, f"{key} does not ask what was answered")
    path = f"/v1/assessments/{given['id']}"
    version = given["version"]
    for screen in screens(answers):
        saved = await answer(person, path, screen, version)
        version = saved["version"]
    if key == "readiness":
        await answer(journey.clinician, path, READINESS_BY_STAFF, version)
    submitted = await person.post(f"{path}/submit", expect=HTTPStatus.OK)
    journey.story.expect(submitted["state"] == "submitted", f"{key} was not submitted")
    journey.story.step(
        f"{person.given_name} answers the {TITLES[key]}, a screen at a time, and submits",
        submitted.status,
        await _result(journey, case, key),
    )


async def answer(person: Person, path: str, answers: Mapping[str, object], version: int) -> Answer:
    changes = [{"item_id": item, "value": value} for item, value in answers.items()]
    return await person.patch(f"{path}/answers", {"answers": changes}, version)


async def _result(journey: Journey, case: Case, key: str) -> str:
    """What the clinician reads of it. Scores are known, because the answers are."""
    read = await journey.clinician.get(f"/v1/assessments/{case.assessments[key]}")
    scores = read["scores"]
    case.evidence[key] = {read["id"], *(score["id"] for score in scores)}
    expected = {"phq-9": 16, "gad-7": 14}.get(key)
    if expected is not None:
        values = [score["value"] for score in scores]
        journey.story.expect(expected in values, f"{key} scored {values}, not {expected}")
    banded = [score for score in scores if score["band"] is not None]
    return ", ".join(f"{each['code']} {each['value']} ({each['band']})" for each in banded)


async def _recommend(journey: Journey, case: Case, body: dict[str, Any]) -> Answer:
    path = f"/v1/intakes/{case.intake_id}/recommend"
    return await journey.clinician.post(path, body, expect=HTTPStatus.OK)


async def _decide(journey: Journey, case: Case) -> None:
    story, given_name = journey.story, case.person.given_name
    suggested = await _recommend(
        journey,
        case,
        {
            "attestations": [
                {"code": code, "holds": holds} for code, holds in ATTESTATIONS.items()
            ],
            "functional_ratings": [{"domain": "work_or_school", "rating": 3}],
        },
    )
    recommendation = suggested["recommendation"]
    _expect_reasons(journey, recommendation, case)
    story.step(
        "Robin adds what only a clinician can say, and asks again",
        suggested.status,
        f"{recommendation['verdict']}: {_outcomes(suggested)['met']} criteria met",
    )
    strongest = next(
        each for each in recommendation["criteria"] if each["evidence"] and each["outcome"] == "met"
    )
    story.step(
        "The suggestion says why, criterion by criterion",
        telling=f"{strongest['code']}: {strongest['reason']}",
    )
    decision = {
        "recommendation_id": recommendation["id"],
        "outcome": "admit_iop",
        "rationale": "Moderate symptoms, wants to begin, safe at home.",
    }
    path = f"/v1/intakes/{case.intake_id}/decision"
    refused = await journey.coordinator.post(path, decision, expect=HTTPStatus.FORBIDDEN)
    story.step("Dana may not decide: a licensed human does", refused.status, refused["code"])
    decided = await journey.clinician.post(path, decision, expect=HTTPStatus.OK)
    case.enrollment_id = decided["enrollment_id"]
    enrollment = await case.person.get(f"/v1/enrollments/{case.enrollment_id}")
    story.step(
        f"Robin admits {given_name}; both the suggestion and the decision are kept",
        decided.status,
        f"{enrollment['level_of_care']} from {enrollment['started_on']}",
    )


def _expect_reasons(journey: Journey, recommendation: Mapping[str, Any], case: Case) -> None:
    criteria = recommendation["criteria"]
    open_ = [f"{each['code']} {each['outcome']}" for each in criteria if each["outcome"] != "met"]
    verdict = recommendation["verdict"]
    journey.story.expect(verdict == "admit", f"the policy suggests {verdict}, because of {open_}")
    journey.story.expect(all(each["reason"] for each in criteria), "a criterion has no reason")
    cited = {source for each in criteria for source in each["evidence"]}
    unused = [key for key, ids in case.evidence.items() if not ids & cited]
    journey.story.expect(not unused, f"no reason is judged by {unused}")


def _outcomes(answer: Answer) -> dict[str, int]:
    outcomes = [each["outcome"] for each in answer["recommendation"]["criteria"]]
    return {outcome: outcomes.count(outcome) for outcome in ("met", "not_met", "unknown")}


def screens(answers: Mapping[str, object], size: int = 3) -> list[dict[str, object]]:
    """The items as a small screen shows them."""
    items = list(answers.items())
    return [dict(items[start : start + size]) for start in range(0, len(items), size)]
