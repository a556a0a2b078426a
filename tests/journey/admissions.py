"""Four ways through an intake: admitted, referred higher, below the program, and deferred.

Three people come to a program for adults, one to a program for substance use. Each way goes over
HTTP as apps would, and prints the recommendation as a table of reasons.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, timedelta
from http import HTTPStatus
from typing import Any, Final

from tests.journey import admission, opening
from tests.journey.admission import Newcomer
from tests.journey.journey import ZONE_NAME, Case, Journey, instant
from tests.journey.people import Answer, Person
from tests.journey.story import say

_INES: Final = Newcomer("ines", "Ines Okafor", "Calm River", "ines@mail.example", "1991-05-02")
_MARCUS: Final = Newcomer(
    "marcus", "Marcus Tran", "Grey Stone", "marcus@mail.example", "1985-01-17"
)
_PETRA: Final = Newcomer("petra", "Petra Novak", "Red Maple", "petra@mail.example", "1979-09-30")
_THEO: Final = Newcomer("theo", "Theo Alvarez", "Tall Pine", "theo@mail.example", "1996-12-11")

_LOCATION: Final = {
    "label": "Home",
    "is_primary": True,
    "address": "12 Cedar Street, Denver",
    "state": admission.STATE,
    "emergency": {
        "police": "+17205550111",
        "fire_and_ambulance": "+17205550112",
        "mobile_crisis": "+17205550113",
        "nearest_department": "St. Anne, 4 Elm Street, Denver",
    },
}
_CONTACT: Final = {
    "name": "Sam",
    "relation": "brother",
    "phone": "+13035550101",
    "distance": "20 minutes",
    "is_release_signed": True,
}
_STAGES: Final = (
    ("screen", "Called back on the day of the referral."),
    ("assess", "No acute concern; the forms are out."),
    ("check_eligibility", "The forms are in."),
    ("ask_consents", "The program fits."),
)
_ALL_CLEAR: Final = {f"q{number}": "no" for number in range(1, 5)}
_ACUTE: Final = {"q1": "yes", "q2": "no", "q3": "yes", "q4": "no", "q5": "yes"}
_WELL: Final = {f"q{number}": 0 for number in range(1, 8)}
_USE: Final = {
    **dict.fromkeys(("q1", "q2", "q3", "q8", "q9", "q10", "q11", "q12", "q13"), 2),
    "q4": 3,
    "q5": 2,
    "q6": 0,
    "q14": 4,
    "q15": 1,
    "q16": 2,
    "q17": 2,
}
_OUTCOMES: Final = {"met": "met", "not_met": "NOT MET", "unknown": "unknown"}


async def decide_about_four(journey: Journey) -> None:
    """Open the two programs, and bring four people to their decision."""
    await opening.found(journey)
    await opening.hire(journey)
    adults = await _open(journey, "adult-evening", "Adult Evening", "admission-default")
    recovery = await _open(journey, "recovery", "Recovery", "admission-substance-use")
    journey.program = adults
    await _admitted(journey)
    await _referred_higher(journey)
    await _below(journey)
    journey.program = recovery
    await _deferred(journey)


async def _open(journey: Journey, slug: str, name: str, policy: str) -> dict[str, Any]:
    program = await journey.administrator.post(
        "/v1/programs",
        {
            "slug": slug,
            "name": name,
            "is_part2": policy == "admission-substance-use",
            "admission_policy": policy,
            "time_zone": ZONE_NAME,
            "opens_on": journey.calendar.begins_at.astimezone(UTC).date().isoformat(),
        },
    )
    journey.story.step(f"Avery opens the program {name}", program.status, f"policy {policy}")
    return dict(program.body)


# The four ways


async def _admitted(journey: Journey) -> None:
    """Everything is asked, everything is met; a payer has authorized it."""
    journey.story.chapter("Ines Okafor: admitted")
    case = await _come(journey, _INES)
    await _move(journey, case, _STAGES[:2])
    await _fill(journey, case, "phq-9", admission.PHQ_9)
    await _fill(journey, case, "gad-7", admission.GAD_7)
    await _fill(journey, case, "rulers", admission.RULERS)
    await _fill(journey, case, "readiness", _checklist(), staff=admission.READINESS_BY_STAFF)
    await _fill(journey, case, "asq", {}, staff=_ALL_CLEAR)
    half = await _present(journey, case)
    missing = [each["code"] for each in half["missing"]]
    journey.story.expect(
        half["verdict"] == "defer_more_info" and "diagnosis_present" in missing,
        f"half an intake suggests {half['verdict']}",
    )
    journey.story.step(
        "Robin asks the policy halfway", half.status, f"missing: {', '.join(missing[:4])}, …"
    )
    await _measure(journey, case)
    await _collect(journey, case, admission.ATTESTATIONS, rating=3)
    await _move(journey, case, _STAGES[2:])
    suggested = await _recommend(journey, case, "admit", "intensive_outpatient")
    begins_on = journey.calendar.begins_at.date()
    decided = await _decide(
        journey,
        case,
        suggested,
        outcome="admit_iop",
        rationale="Moderate symptoms, wants to begin, safe at home.",
        authorization={
            "level_of_care": "intensive_outpatient",
            "payer": "Front Range Health Plan",
            "number": "A-204417",
            "units": 24,
            "unit": "sessions",
            "starts_on": begins_on.isoformat(),
            "ends_on": (begins_on + timedelta(days=84)).isoformat(),
            "next_review_on": (begins_on + timedelta(days=14)).isoformat(),
        },
    )
    path = f"/v1/enrollments/{decided['enrollment_id']}"
    enrollment = await case.person.get(path)
    authorized = await journey.coordinator.get(f"{path}/authorizations")
    journey.story.step(
        "The enrollment has a clinical level, and beside it what the payer authorized",
        enrollment.status,
        f"{enrollment['level_of_care']}; {authorized['items'][0]['units']} sessions",
    )


async def _referred_higher(journey: Journey) -> None:
    """An acute answer opens an alert at once; the suggestion follows, and nobody overrides it."""
    journey.story.chapter("Marcus Tran: referred higher, after an acute answer")
    case = await _come(journey, _MARCUS)
    await _move(journey, case, _STAGES[:1])
    await _fill(journey, case, "asq", {}, staff=_ACUTE)
    await _answer_alert(journey, case)
    suggested = await _recommend(journey, case, "higher_level", "inpatient")
    acute = next(each for each in suggested["criteria"] if each["code"] == "no_acute_alert")
    journey.story.expect(
        acute["outcome"] == "not_met" and len(acute["evidence"]) == 1,
        f"the acute alert is {acute['outcome']}, by {acute['evidence']}",
    )
    refused = await journey.clinician.post(
        f"/v1/intakes/{case.intake_id}/decision",
        {
            "recommendation_id": suggested["id"],
            "outcome": "admit_iop",
            "rationale": "He would rather come here.",
            "override_reason": "His wish.",
        },
        expect=HTTPStatus.CONFLICT,
    )
    journey.story.step("No reason overrides it", refused.status, refused["code"])
    await _decide(
        journey,
        case,
        suggested,
        outcome="refer_inpatient",
        rationale="Present intent with means at hand; accompanied to the emergency department.",
    )


async def _below(journey: Journey) -> None:
    """Symptoms and functioning are below the program; weekly care is suggested."""
    journey.story.chapter("Petra Novak: below the program")
    case = await _come(journey, _PETRA)
    await _move(journey, case, _STAGES[:2])
    await _fill(journey, case, "phq-9", {**_WELL, "q1": 2, "q8": 1, "q9": 0})
    await _fill(journey, case, "gad-7", {**_WELL, "q1": 1})
    await _fill(journey, case, "rulers", admission.RULERS)
    await _fill(journey, case, "readiness", _checklist(), staff=admission.READINESS_BY_STAFF)
    said = {
        **admission.ATTESTATIONS,
        "recent_step_down": False,
        "outpatient_insufficient": False,
    }
    await _collect(journey, case, said, rating=1)
    await _move(journey, case, _STAGES[2:3])
    suggested = await _recommend(journey, case, "outpatient", "outpatient")
    await _decide(
        journey,
        case,
        suggested,
        outcome="refer_outpatient",
        rationale="Mild symptoms, works full time; weekly therapy nearby has room.",
    )


async def _deferred(journey: Journey) -> None:
    """Too much is unknown: nobody is admitted by silence, and nobody is refused by it."""
    journey.story.chapter("Theo Alvarez: deferred, because too much is unknown")
    case = await _come(journey, _THEO)
    record = await journey.clinician.get(f"/v1/participants/{case.participant_id}")
    journey.story.expect(record["sensitivity"] == ["part2"], "the record is not labelled")
    await _move(journey, case, _STAGES[:2])
    await _fill(journey, case, "bam", _USE)
    await _fill(journey, case, "rulers", admission.RULERS)
    suggested = await _recommend(journey, case, "defer_more_info", None)
    decided = await _decide(
        journey,
        case,
        suggested,
        outcome="defer_more_info",
        rationale="Safety, withdrawal and consents have not been asked yet.",
    )
    journey.story.expect(
        decided["state"] == "assessment", f"a deferred intake is {decided['state']}"
    )
    refused = await journey.coordinator.post(
        f"/v1/intakes/{case.intake_id}/transitions",
        {"action": "ask_consents", "reason": "To save time."},
        expect=HTTPStatus.CONFLICT,
    )
    journey.story.step(
        "Dana may not skip a stage",
        refused.status,
        f"possible: {', '.join(refused['possible_states'])}",
    )


# What the ways have in common


async def _come(journey: Journey, newcomer: Newcomer) -> Case:
    with journey.story.summarized():
        case = await admission.refer(journey, newcomer)
        await admission.invite(journey, case)
    journey.story.step(f"Dana refers {newcomer.name}, who signs in on a phone", HTTPStatus.CREATED)
    return case


async def _move(journey: Journey, case: Case, stages: Sequence[tuple[str, str]]) -> None:
    path = f"/v1/intakes/{case.intake_id}/transitions"
    for action, reason in stages:
        moved = await journey.coordinator.post(
            path, {"action": action, "reason": reason}, expect=HTTPStatus.OK
        )
        journey.story.step(f"Dana: {reason}", moved.status, moved["state"])


def _checklist() -> dict[str, object]:
    """The participant's part, without what is measured and what the facts hold."""
    left_out = {"bandwidth_down_mbps", "bandwidth_up_mbps", "primary_location"}
    return {key: value for key, value in admission.READINESS.items() if key not in left_out} | {
        "primary_location": _LOCATION["address"]
    }


async def _fill(
    journey: Journey,
    case: Case,
    key: str,
    answers: Mapping[str, object],
    *,
    staff: Mapping[str, object] | None = None,
) -> None:
    """Give a form, have it answered by the participant and by the clinician, and submit it."""
    given = await journey.coordinator.post(
        "/v1/assessments", {"participant_id": case.participant_id, "instrument_key": key}
    )
    path, version = f"/v1/assessments/{given['id']}", given["version"]
    for screen in admission.screens(answers):
        version = (await admission.answer(case.person, path, screen, version))["version"]
    if staff is not None:
        await admission.answer(journey.clinician, path, staff, version)
    submitter: Person = case.person if answers else journey.clinician
    submitted = await submitter.post(f"{path}/submit", expect=HTTPStatus.OK)
    case.assessments[key] = given["id"]
    journey.story.step(f"{submitter.given_name} answers and submits {key}", submitted.status)


async def _measure(journey: Journey, case: Case) -> None:
    """The phone exchanges measured bodies with the server."""
    last = await case.person.post("/v1/connectivity-tests")
    while last["next"] != "done":
        last = await case.person.post(
            f"/v1/connectivity-tests/{last['id']}/exchanges",
            {"token": last["token"], "payload": "x" * last["send_characters"]},
            expect=HTTPStatus.OK,
        )
    figures = last["figures"]
    journey.story.expect(float(figures["down_mbps"]) > 0, "nothing was measured")
    journey.story.step(
        f"{case.person.given_name}'s phone measures its connection", last.status, "figures kept"
    )


async def _collect(journey: Journey, case: Case, said: Mapping[str, bool], *, rating: int) -> None:
    path = f"/v1/intakes/{case.intake_id}/facts"
    before = await journey.clinician.get(path)
    saved = await journey.clinician.put(
        path,
        {
            "functional_ratings": [
                {"domain": domain, "rating": rating}
                for domain in ("work_or_school", "home", "social", "self_care")
            ],
            "attestations": [{"code": code, "holds": holds} for code, holds in said.items()],
            "history": {"presenting": "Low mood since spring."},
            "commitment": {"decided_by": "self", "availability": "Evenings from five."},
            "locations": [_LOCATION],
            "emergency_contact": _CONTACT,
            "accommodations": {"needs_captions": True},
        },
        before["version"],
    )
    journey.story.step("Robin writes down what only a clinician can say", saved.status)


async def _answer_alert(journey: Journey, case: Case) -> None:
    robin = journey.clinician
    found = await robin.get(f"/v1/alerts?participant_id={case.participant_id}")
    acute = [each for each in found["items"] if each["tier"] == "acute"]
    journey.story.expect(len(acute) == 1, f"{len(acute)} acute alerts are open")
    path = f"/v1/alerts/{acute[0]['id']}"
    for verb, note in (("acknowledge", "Calling now."), ("assess", None)):
        await robin.post(f"{path}/{verb}", {"note": note}, expect=HTTPStatus.OK)
    now = instant((await robin.get("/v1/clock"))["now"])
    answered = await robin.post(
        f"{path}/disposition",
        {
            "assessment": "Interview by phone, 25 minutes; stayed on the line.",
            "risk": "high",
            "rationale": "Present intent with means at hand.",
            "protective_factors": "Lives with a partner who is at home.",
            "is_means_safety_discussed": True,
            "is_safety_plan_reviewed": True,
            "decision": "emergency_evaluation",
            "told": "The partner and the supervisor.",
            "next_check_due_at": (now + timedelta(hours=4)).isoformat(),
        },
        expect=HTTPStatus.OK,
    )
    journey.story.step(
        "Robin acknowledges the alert, assesses and dispositions it",
        answered.status,
        answered["state"],
    )


async def _present(journey: Journey, case: Case) -> Answer:
    return await journey.clinician.get(f"/v1/intakes/{case.intake_id}/recommendation")


async def _recommend(
    journey: Journey, case: Case, verdict: str, level: str | None
) -> dict[str, Any]:
    """Store the recommendation, hold it to what is expected, and print its reasons."""
    preview = await _present(journey, case)
    read = await journey.clinician.post(
        f"/v1/intakes/{case.intake_id}/recommend", {}, expect=HTTPStatus.OK
    )
    suggestion: dict[str, Any] = read["recommendation"]
    given_name = case.person.given_name
    for each in (preview, suggestion):
        journey.story.expect(
            (each["verdict"], each["suggested_level"]) == (verdict, level),
            f"for {given_name} the policy suggests {each['verdict']}, {each['suggested_level']}:"
            f" {_open_criteria(each['criteria'])}",
        )
    journey.story.expect(
        all(each["reason"] and each["source"] for each in suggestion["criteria"]),
        "a criterion has no reason or no source",
    )
    journey.story.step(f"The policy suggests for {given_name}", read.status, verdict)
    _print_table(suggestion)
    return suggestion


def _open_criteria(criteria: Sequence[Mapping[str, Any]]) -> list[str]:
    return [f"{each['code']} {each['outcome']}" for each in criteria if each["outcome"] != "met"]


def _print_table(suggestion: Mapping[str, Any]) -> None:
    axes = ", ".join(f"{name} {value}" for name, value in suggestion["axes"].items())
    say(f"      Suggested: {suggestion['verdict']} (level: {suggestion['suggested_level']})")
    say(f"      By {suggestion['policy']} {suggestion['policy_version']}: {axes}")
    for each in suggestion["criteria"]:
        rests = "required" if each["is_required"] else "shown"
        if not each["is_overridable"]:
            rests = "no override"
        say(
            f"      {each['axis']:<16}{_OUTCOMES[each['outcome']]:<9}{rests:<13}"
            f"{each['code']:<30}{each['reason']}"
        )


async def _decide(
    journey: Journey, case: Case, suggestion: Mapping[str, Any], **said: object
) -> Answer:
    path = f"/v1/intakes/{case.intake_id}/decision"
    body = {"recommendation_id": suggestion["id"], **said}
    refused = await journey.coordinator.post(path, body, expect=HTTPStatus.FORBIDDEN)
    decided = await journey.clinician.post(path, body, expect=HTTPStatus.OK)
    decision = decided["decision"]
    journey.story.expect(
        decision["agrees_with_recommendation"] is True and decision["outcome"] == said["outcome"],
        f"the decision is {decision['outcome']}",
    )
    journey.story.step(
        f"Robin decides, which Dana may not ({refused.status})",
        decided.status,
        f"{decision['outcome']}; the intake is {decided['state']}",
    )
    return decided
