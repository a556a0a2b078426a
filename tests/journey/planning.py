"""A plan with two goals: drafted, found incomplete, completed, proposed and signed by both."""

from datetime import timedelta
from http import HTTPStatus
from typing import Any, Final
from uuid import uuid4

from tests.journey.journey import ZONE, Case, Journey
from tests.journey.people import Person

STATEMENT: Final = "I want to enjoy cooking for my sister again."
_PROBLEMS: Final = ("Low mood since spring.", "Worry keeps me awake.")


async def agree(journey: Journey) -> None:
    """Robin drafts, Jordan and Robin sign what they have read; then it never changes."""
    journey.story.chapter("A plan is drafted, and signed by both")
    case, robin = journey.jordan, journey.clinician
    content = _content(journey)
    await _draft(journey, case, content)
    await _complete(journey, case, content)
    await _sign(journey, case)
    path = f"/v1/plans/{case.plan_id}"
    version = (await robin.get(path))["version"]
    refused = await robin.patch(path, {"content": content}, version, expect=HTTPStatus.CONFLICT)
    journey.story.step(
        "Nobody changes a signed plan, not even Robin", refused.status, refused["code"]
    )


async def _draft(journey: Journey, case: Case, content: dict[str, Any]) -> None:
    """A first draft whose second goal cannot be measured is refused, with the place."""
    lacking = {**content, "goals": [content["goals"][0], {**content["goals"][1], "objectives": []}]}
    drafted = await journey.clinician.post(
        "/v1/plans", {"enrollment_id": case.enrollment_id, "content": lacking}
    )
    case.plan_id = drafted["id"]
    journey.story.step(
        "Robin drafts a plan with two goals", drafted.status, f"version {drafted['number']}"
    )
    refused = await journey.clinician.post(
        f"/v1/plans/{case.plan_id}/propose", expect=HTTPStatus.UNPROCESSABLE_ENTITY
    )
    gaps = [(error["pointer"], error["code"]) for error in refused["errors"]]
    journey.story.expect(
        gaps == [("/content/goals/1/objectives", "objective_missing")], f"the gaps are {gaps}"
    )
    journey.story.step(
        "It is not complete: a goal cannot be measured", refused.status, " ".join(gaps[0])
    )
    hidden = await case.person.get(f"/v1/plans/{case.plan_id}", expect=HTTPStatus.NOT_FOUND)
    journey.story.step("Jordan does not see a draft yet", hidden.status)


async def _complete(journey: Journey, case: Case, content: dict[str, Any]) -> None:
    robin, path = journey.clinician, f"/v1/plans/{case.plan_id}"
    version = (await robin.get(path))["version"]
    await robin.patch(path, {"content": content}, version)
    stale = await robin.patch(
        path, {"content": content}, version, expect=HTTPStatus.PRECONDITION_FAILED
    )
    journey.story.step("Robin completes it; a stale copy does not win", stale.status, stale["code"])
    proposed = await robin.post(f"{path}/propose", expect=HTTPStatus.OK)
    journey.story.step("Robin proposes it", proposed.status, proposed["state"])


async def _sign(journey: Journey, case: Case) -> None:
    jordan, robin = case.person, journey.clinician
    path = f"/v1/plans/{case.plan_id}"
    blind = await jordan.post(
        f"{path}/sign", {"content_digest": "0" * 64}, expect=HTTPStatus.CONFLICT
    )
    journey.story.step("Nobody signs what they have not read", blind.status, blind["code"])
    state = await _read_and_sign(jordan, path)
    journey.story.expect(state == "proposed", f"one signature made the plan {state}")
    journey.story.step("Jordan reads the plan and signs it", 200, "still proposed")
    state = await _read_and_sign(robin, path)
    journey.story.expect(state == "active", f"two signatures left the plan {state}")
    plan = await jordan.get(path)
    roles = sorted(signature["role"] for signature in plan["signatures"])
    journey.story.expect(roles == ["clinician", "participant"], f"signed by {roles}")
    statements = [goal["statement"] for goal in plan["content"]["goals"]]
    journey.story.expect(STATEMENT in statements, "the plan does not say what was agreed to")
    journey.story.step(
        "Robin reads it and signs it: the plan is in force",
        plan.status,
        f"{plan['state']}, {len(statements)} goals, signed by {' and '.join(roles)}",
    )


async def _read_and_sign(person: Person, path: str) -> str:
    digest = (await person.get(path))["content_digest"]
    signed = await person.post(f"{path}/sign", {"content_digest": digest}, expect=HTTPStatus.OK)
    state: str = signed["state"]
    return state


def _content(journey: Journey) -> dict[str, Any]:
    today = journey.calendar.begins_at.astimezone(ZONE).date()
    problems = [{"id": str(uuid4()), "statement": statement} for statement in _PROBLEMS]
    return {
        "level_of_care": "intensive_outpatient",
        "hours_per_week": "9",
        "diagnoses": [{"icd10cm": "F33.1", "name": "Recurrent depression, moderate"}],
        "strengths": "Asks for help early.",
        "preferences": "Evenings, and no calls at work.",
        "problems": problems,
        "goals": [
            _goal(journey, problems[0]["id"], STATEMENT, "PHQ-9"),
            _goal(journey, problems[1]["id"], "I want to sleep through the night.", "GAD-7"),
        ],
        "discharge_criteria": "PHQ-9 and GAD-7 below 10 on two visits.",
        "review_on": (today + timedelta(days=14)).isoformat(),
    }


def _goal(journey: Journey, problem_id: str, statement: str, instrument: str) -> dict[str, Any]:
    target_on = journey.calendar.begins_at.astimezone(ZONE).date() + timedelta(days=56)
    return {
        "id": str(uuid4()),
        "problem_id": problem_id,
        "statement": statement,
        "objectives": [
            {
                "text": f"{instrument} below 10.",
                "measure": {"kind": "instrument", "name": instrument, "op": "<", "target": "10"},
                "target_on": target_on.isoformat(),
            }
        ],
        "interventions": [
            {
                "modality": "group therapy",
                "description": "Skills group",
                "minutes": 90,
                "count": 3,
                "per": "week",
                "weeks": 8,
                "responsible_id": journey.clinician.me["staff_member_id"],
            }
        ],
    }
