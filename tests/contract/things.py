"""How the objects of the world come to be, and what a valid request says of them."""

import hashlib
import itertools
from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from http import HTTPStatus
from typing import Any, Final
from uuid import UUID
from zoneinfo import ZoneInfo

from httpx import Response
from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncSession

from app.core import clock
from app.core.ids import new_id
from app.domain.roles import CareTeamRole
from app.models.connectivity import ConnectivityTest
from app.models.participants import CareTeamMember
from app.models.rooms import RoomMember
from app.models.webhooks import DeliveryState, EndpointState, WebhookDelivery, WebhookEndpoint
from tests.contract.operations import Operation
from tests.contract.people import Circle, slots_of
from tests.factories import Person
from tests.routers.admission import (
    ADMITTING,
    decided,
    licensed_in,
    open_intake,
    recommended,
    screened,
)
from tests.routers.assessing import answered, assigned, submitted
from tests.routers.signing_in import PASSWORD

Json = dict[str, Any]


async def _new(person: Person, path: str, body: object = None) -> str:
    """Post, and answer with the id of what was made."""
    return str((await _post(person, path, body))["id"])


async def _post(person: Person, path: str, body: object = None) -> Json:
    return _made(await person.post(path, json=body) if body else await person.post(path))


def _made(answer: Response) -> Json:
    assert answer.status_code in {HTTPStatus.OK, HTTPStatus.CREATED}, (
        f"{answer.request.method} {answer.request.url.path}: {answer.text}"
    )
    made: Json = answer.json()
    return made


async def _program(circle: Circle) -> str:
    body = {
        "slug": f"evening-{new_id().hex[-8:]}",
        "name": "Adult Evening",
        "hours_per_week": 9,
        "time_zone": "America/Denver",
        "opens_on": "2026-01-05",
    }
    return await _new(circle.clinic.administrator, "/v1/programs", body)


async def _track(circle: Circle) -> str:
    path = f"/v1/programs/{circle.things['program_id']}/tracks"
    body = {"slug": "sud", "name": "Recovery"}
    return await _new(circle.clinic.administrator, path, body)


async def _newcomer(circle: Circle) -> str:
    """Somebody who was referred, has an address and no account, in the same care team."""
    body = {
        "program_id": circle.things["program_id"],
        "source": "self",
        "participant": {
            "given_name": "Ari",
            "family_name": "Stone",
            "email": f"{new_id().hex}@example.org",
            "time_zone": "America/Denver",
        },
    }
    referral = await _post(circle.clinic.coordinator, "/v1/referrals", body)
    async with circle.clinic.make.transaction() as db:
        for person in circle.team:
            db.add(_relation(UUID(referral["participant_id"]), person))
    return str(referral["participant_id"])


def _relation(participant_id: UUID, person: Person) -> CareTeamMember:
    return CareTeamMember(
        id=new_id(),
        participant_id=participant_id,
        staff_member_id=person.staff_member_id,
        role=CareTeamRole.CLINICIAN,
        started_at=clock.now(),
    )


async def _invited_staff_member(circle: Circle) -> str:
    body = {"name": "Sam Wells", "email": f"{new_id().hex}@example.org", "roles": ["clinician"]}
    return await _new(circle.clinic.administrator, "/v1/staff", body)


async def _care_team_member(circle: Circle) -> str:
    path = f"/v1/participants/{circle.participant.participant_id}/care-team"
    found = _made(await circle.clinician.get(path))["items"]
    mine = str(circle.clinician.staff_member_id)
    return next(str(one["id"]) for one in found if one["staff_member_id"] == mine)


async def _group(circle: Circle) -> str:
    body = {
        "program_id": circle.things["program_id"],
        "name": "Tuesday Skills",
        "kind": "skill_building",
        "capacity": 10,
    }
    group = await _post(circle.clinic.coordinator, "/v1/groups", body)
    for leader in circle.leaders:
        body = {"staff_member_id": str(leader.staff_member_id)}
        await _post(circle.clinic.coordinator, f"/v1/groups/{group['id']}/facilitators", body)
    return str(group["id"])


async def _group_member(circle: Circle) -> str:
    path = f"/v1/groups/{circle.things['group_id']}/members"
    body = {"participant_id": str(circle.participant.participant_id)}
    return await _new(circle.clinic.coordinator, path, body)


async def _facilitator(circle: Circle) -> str:
    path = f"/v1/groups/{circle.things['group_id']}/facilitators"
    body = {"staff_member_id": str(circle.clinician.staff_member_id)}
    return await _new(circle.clinic.coordinator, path, body)


async def _assessment(circle: Circle) -> str:
    return str((await assigned(circle.clinician, circle.participant))["id"])


async def _submitted_assessment(circle: Circle) -> str:
    assessment = await assigned(circle.clinician, circle.participant)
    saved = await answered(circle.participant, assessment, {"q1": 1})
    return str((await submitted(circle.participant, saved))["id"])


_DISPOSITION: Final = {
    "assessment": "Structured interview by phone.",
    "risk": "low",
    "rationale": "Passive thoughts, no plan or intent.",
    "protective_factors": "Lives with a sister.",
    "is_means_safety_discussed": True,
    "is_safety_plan_reviewed": True,
    "decision": "increase_contact",
    "told": "The supervisor, as part of treatment.",
    "next_check_due_at": "2030-03-03T17:00:00Z",
}


def _alert_after(*verbs: str) -> Callable[[Circle], Awaitable[str]]:
    """An alert to which these steps have happened."""

    async def maker(circle: Circle) -> str:
        assessment = await assigned(circle.clinician, circle.participant)
        await answered(circle.participant, assessment, {"q9": 1})
        path = f"/v1/alerts?participant_id={circle.participant.participant_id}&limit=100"
        found = _made(await circle.clinician.get(path))["items"]
        alert_id = next(str(one["id"]) for one in found if one["source_id"] == assessment["id"])
        for verb in verbs:
            body = _DISPOSITION if verb == "disposition" else {"note": None}
            await _post(circle.clinician, f"/v1/alerts/{alert_id}/{verb}", body)
        return alert_id

    return maker


async def _webhook(circle: Circle) -> str:
    body = {"url": "https://receiver.example.org/stepwell", "event_types": ["*"]}
    return await _new(circle.clinic.administrator, "/v1/webhooks", body)


async def _disabled_webhook(circle: Circle) -> str:
    webhook_id = await _webhook(circle)
    await _post(circle.clinic.administrator, f"/v1/webhooks/{webhook_id}/disable")
    return webhook_id


async def _active_webhook(circle: Circle) -> str:
    webhook_id = await _webhook(circle)
    async with circle.clinic.make.transaction() as db:
        await db.execute(
            update(WebhookEndpoint)
            .where(WebhookEndpoint.id == UUID(webhook_id))
            .values(state=EndpointState.ACTIVE)
        )
    return webhook_id


async def _delivery(circle: Circle) -> str:
    """The first delivery of the webhook, given up, so that it can be sent again."""
    webhook_id = circle.things["webhook_id"]
    path = f"/v1/webhooks/{webhook_id}/deliveries"
    delivery_id = _made(await circle.clinic.administrator.get(path))["items"][0]["id"]
    async with circle.clinic.make.transaction() as db:
        await _give_up(db, UUID(delivery_id))
    return str(delivery_id)


async def _give_up(db: AsyncSession, delivery_id: UUID) -> None:
    await db.execute(
        update(WebhookDelivery)
        .where(WebhookDelivery.id == delivery_id)
        .values(state=DeliveryState.DEAD)
    )


async def _invitation_token(circle: Circle) -> str:
    path = f"/v1/participants/{circle.things['invite_participant.participant_id']}/invitations"
    return str((await _post(circle.team[0], path))["token"])


async def _open_intake(circle: Circle) -> str:
    _, _, intake_id = await open_intake(
        circle.clinic.make, circle.clinician, participant=circle.participant
    )
    return intake_id


async def _screened_intake(circle: Circle) -> str:
    """An open intake of a participant who has submitted every form that admission looks at."""
    await screened(circle.clinician, circle.participant)
    return await _open_intake(circle)


async def _recommended_intake(circle: Circle) -> str:
    intake_id = await _open_intake(circle)
    async with circle.clinic.make.transaction() as db:
        db.add_all(licensed_in(person, "US-CO") for person in circle.team)
    await recommended(circle.clinician, intake_id, **ADMITTING)
    return intake_id


async def _recommendation(circle: Circle) -> str:
    path = f"/v1/intakes/{circle.things['decide_intake.intake_id']}"
    return str(_made(await circle.clinician.get(path))["recommendation"]["id"])


async def _enrollment(circle: Circle) -> str:
    intake_id = await _recommended_intake(circle)
    decision = {"outcome": "admit_iop", "rationale": "Moderate symptoms; wants to begin."}
    return str((await decided(circle.clinician, intake_id, **decision))["enrollment_id"])


async def _draft(circle: Circle) -> str:
    body = {"enrollment_id": await _enrollment(circle), "content": plan_content(circle)}
    return await _new(circle.clinician, "/v1/plans", body)


async def _proposal(circle: Circle) -> str:
    plan_id = await _draft(circle)
    return await _new(circle.clinician, f"/v1/plans/{plan_id}/propose")


async def _agreement(circle: Circle) -> str:
    plan_id = await _proposal(circle)
    body = {"content_digest": await _digest_of(circle, plan_id)}
    for signer in (circle.participant, circle.clinician):
        await _post(signer, f"/v1/plans/{plan_id}/sign", body)
    return plan_id


async def _digest(circle: Circle) -> str:
    return await _digest_of(circle, circle.things["plan_id"])


async def _digest_of(circle: Circle, plan_id: str) -> str:
    return str(_made(await circle.clinician.get(f"/v1/plans/{plan_id}"))["content_digest"])


def plan_content(circle: Circle) -> Json:
    """A plan that lacks nothing."""
    problem_id, review_on = str(new_id()), str((clock.now() + timedelta(days=14)).date())
    measure = {"kind": "instrument", "name": "PHQ-9", "op": "<", "target": "10"}
    objective = {"text": "PHQ-9 below 10.", "measure": measure, "target_on": review_on}
    intervention = {
        "modality": "group therapy",
        "minutes": 90,
        "count": 3,
        "per": "week",
        "weeks": 8,
        "responsible_id": str(circle.clinician.staff_member_id),
    }
    goal = {
        "problem_id": problem_id,
        "statement": "I want to enjoy cooking again.",
        "objectives": [objective],
        "interventions": [intervention],
    }
    return {
        "level_of_care": "intensive_outpatient",
        "hours_per_week": "9.0",
        "diagnoses": [{"icd10cm": "F33.1", "name": "Major depressive disorder"}],
        "problems": [{"id": problem_id, "statement": "Low mood since spring."}],
        "goals": [goal],
        "safety_plan": "Calls the line, then the sister.",
        "discharge_criteria": "PHQ-9 below 10 on two visits.",
        "review_on": review_on,
    }


async def _series(circle: Circle) -> str:
    """One session that is about to start, with everybody of the group."""
    zone = "America/Denver"
    starts_at = clock.now().astimezone(ZoneInfo(zone)) + timedelta(minutes=5)
    body = {
        "group_id": circle.things["group_id"],
        "title": "Tuesday Skills",
        "kind": "skill_building",
        "modality": "video",
        "local_start": f"{starts_at:%Y-%m-%dT%H:%M}",
        "time_zone": zone,
        "duration_minutes": 90,
    }
    return await _new(circle.clinic.coordinator, "/v1/series", body)


async def _session(circle: Circle) -> str:
    found = _made(await circle.clinic.coordinator.get("/v1/sessions?limit=100"))["items"]
    series_id = circle.things["series_id"]
    return next(str(one["id"]) for one in found if one["series_id"] == series_id)


async def _room_member(circle: Circle) -> UUID:
    async with circle.clinic.make.transaction() as db:
        query = select(RoomMember.id).where(
            RoomMember.room_id == UUID(circle.things["room_id"]),
            RoomMember.participant_id == circle.participant.participant_id,
            RoomMember.left_at.is_(None),
        )
        return (await db.scalars(query)).one()


async def _room(circle: Circle) -> str:
    path = f"/v1/groups/{circle.things['group_id']}"
    return str(_made(await circle.clinic.coordinator.get(path))["room_id"])


async def _participant_id(circle: Circle) -> UUID | None:
    return circle.participant.participant_id


async def _sign_in_id(circle: Circle) -> UUID | None:
    return circle.participant.sign_in_id


async def _staff_member_id(circle: Circle) -> UUID | None:
    return circle.clinician.staff_member_id


async def _spare_id(circle: Circle) -> UUID | None:
    return circle.spare.staff_member_id


async def _supervisor_id(circle: Circle) -> UUID | None:
    return circle.clinic.supervisor.staff_member_id


async def _connectivity_test(circle: Circle) -> str:
    return str((await _post(circle.participant, "/v1/connectivity-tests"))["id"])


async def _test_token(circle: Circle) -> str:
    """A token that the test takes; each answer of a test gives another."""
    token = "of-the-last-answer"  # noqa: S105 (nobody else was given it)
    async with circle.clinic.make.transaction() as db:
        await db.execute(
            update(ConnectivityTest)
            .where(ConnectivityTest.id == UUID(circle.things["test_id"]))
            .values(token_digest=hashlib.sha256(token.encode()).digest())
        )
    return token


async def _instrument(_: Circle) -> str:
    return "phq-9"


MAKERS: Final[Mapping[str, Callable[[Circle], Awaitable[object]]]] = {
    "participant_id": _participant_id,
    "sign_in_id": _sign_in_id,
    "staff_member_id": _staff_member_id,
    "supervisor_id": _supervisor_id,
    "join_care_team.staff_member_id": _spare_id,
    "begin_facilitation.staff_member_id": _spare_id,
    "invite_staff_member_again.staff_member_id": _invited_staff_member,
    "program_id": _program,
    "track_id": _track,
    "invite_participant.participant_id": _newcomer,
    "join_group.participant_id": _newcomer,
    "refer_participant_again.program_id": _program,
    "/v1/participants/{participant_id}/care-team/{member_id}": _care_team_member,
    "group_id": _group,
    "/v1/groups/{group_id}/members/{member_id}": _group_member,
    "facilitator_id": _facilitator,
    "room_id": _room,
    "series_id": _series,
    "session_id": _session,
    "/v1/rooms/{room_id}/members/{member_id}": _room_member,
    "intake_id": _screened_intake,
    "decide_intake.intake_id": _recommended_intake,
    "recommendation_id": _recommendation,
    "enrollment_id": _enrollment,
    "update_plan.plan_id": _draft,
    "propose_plan.plan_id": _draft,
    "plan_id": _proposal,
    "revise_plan.plan_id": _agreement,
    "sign_plan.content_digest": _digest,
    "correct_assessment.assessment_id": _submitted_assessment,
    "assessment_id": _assessment,
    "alert_id": _alert_after(),
    "assess_alert.alert_id": _alert_after("acknowledge"),
    "disposition_alert.alert_id": _alert_after("acknowledge", "assess"),
    "close_alert.alert_id": _alert_after("acknowledge", "assess", "disposition"),
    "webhook_id": _webhook,
    "enable_webhook.webhook_id": _disabled_webhook,
    "send_test_webhook.webhook_id": _active_webhook,
    "delivery_id": _delivery,
    "test_id": _connectivity_test,
    "exchange_bodies.token": _test_token,
    "key": _instrument,
    "accept_invitation.token": _invitation_token,
}
"""How the object of each slot comes to be, in an order in which each finds what it needs."""


MADE_FOR_THE_LEFT: Final = frozenset(
    {
        "participant_id",
        "staff_member_id",
        "join_care_team.staff_member_id",
        "/v1/participants/{participant_id}/care-team/{member_id}",
        "alert_id",
        "assess_alert.alert_id",
        "disposition_alert.alert_id",
        "close_alert.alert_id",
    }
)
"""What there is of a participant whom nobody attends: what the policy opens to others."""


def body_for(operation: Operation, circle: Circle) -> Any:  # noqa: ANN401 (JSON)
    """A valid body: the document's example, with the circle's ids in it; None without a body."""
    body = operation.example()
    if not isinstance(body, dict):
        return body
    for slot in slots_of(operation):
        if slot.place == "body" and body.get(slot.name) is not None:
            body[slot.name] = circle.thing(slot)
    return {**body, **_own_words(operation, circle)}


def _own_words(operation: Operation, circle: Circle) -> Json:
    """What an example cannot know: a secret that was given out, what time it is."""
    match operation.id:
        case "accept_invitation":
            return {"token": circle.things["accept_invitation.token"]}
        case "exchange_bodies":
            return {"token": circle.things["exchange_bodies.token"]}
        case "load_admission_policy":
            document = operation.example()["document"]
            return {"document": {**document, "version": f"1.{next(_NUMBERS)}.0"}}
        case "sign_plan":
            return {"content_digest": circle.things["sign_plan.content_digest"]}
        case _:
            return _WORDS.get(operation.id, {})


_NUMBERS: Final = itertools.count(1)
_WORDS: Final[Mapping[str, Json]] = {
    "assign_assessment": {"due_at": None, "expires_at": None},
    "change_password": {"current_password": PASSWORD},
    "create_series": {"local_start": "2030-03-05T17:00", "excluded": []},
    "decide_intake": {"starts_on": None},
    # What a clinician alone may state is left out, so that the policy table decides.
    "recommend_intake": {"attestations": [], "functional_ratings": []},
    "put_intake_facts": {"attestations": [], "functional_ratings": []},
}
