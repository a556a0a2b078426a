"""What tests of intakes and enrollments have in common: the way from a referral to a decision."""

from collections.abc import Mapping
from datetime import date
from http import HTTPStatus
from typing import Any, Final

from app.core import clock
from app.core.ids import new_id
from app.domain.intake import IntakeState
from app.domain.recommendation import default_admission_policy
from app.domain.roles import AuthorizationKind, ReferralSource
from app.models.intakes import Intake, Referral
from app.models.programs import Program
from app.models.staff import StaffAuthorization
from tests.factories import Make, Person
from tests.routers.assessing import GAD7, PHQ9, answered, assigned, submitted
from tests.tracer import repeated

ADMITTING: Final[Mapping[str, Any]] = {
    "attestations": [
        {"code": rule.code, "holds": rule.expects}
        for rule in default_admission_policy().attestations
    ],
    "functional_ratings": [{"domain": "work_or_school", "rating": 3}],
}
READY: Final[Mapping[str, object]] = {
    "device_camera_mic": True,
    "screen_size": "computer",
    "bandwidth_down_mbps": 50,
    "bandwidth_up_mbps": 10,
    "data_plan_ok": True,
    "private_space": "always",
    "headphones": True,
    "home_is_safe": "yes",
    "primary_location": "12 Cedar Street, Denver",
    "state_of_location": "US-CO",
    "emergency_contact": "Sam, brother, 20 minutes away",
    "emergency_contact_release": True,
    "backup_phone": "+13035550100",
    "reconnect_plan": "The facilitator calls after two minutes.",
}
READY_BY_STAFF: Final[Mapping[str, object]] = {
    "local_emergency_numbers": "Police, ambulance and the nearest department are on file.",
    "firearms_means_asked": "asked_no",
    "orientation_done": True,
    "is_minor": False,
}
RULERS: Final[Mapping[str, object]] = {"importance": 8, "confidence": 6, "commitment": 9}


def licensed_in(person: Person, state: str) -> StaffAuthorization:
    """That somebody may treat people who are in a state."""
    return StaffAuthorization(
        id=new_id(),
        staff_member_id=person.staff_member_id,
        state=state,
        kind=AuthorizationKind.FULL_LICENSE,
        starts_on=date(2026, 1, 1),
        ends_on=None,
    )


@repeated
async def open_intake(
    make: Make,
    clinician: Person | None = None,
    *,
    participant: Person | None = None,
    program: Program | None = None,
) -> tuple[Person, Person, str]:
    """A staff member, a participant in their care, and the id of an open intake."""
    clinician = clinician or await make.staff()
    participant = participant or await make.participant(team=[clinician])
    program = program or await make.program()
    now = clock.now()
    referral = Referral(
        id=new_id(),
        participant_id=participant.participant_id,
        program_id=program.id,
        source=ReferralSource.SELF,
        referred_by=clinician.account_id,
        created_at=now,
    )
    intake = Intake(
        id=new_id(),
        referral_id=referral.id,
        participant_id=participant.participant_id,
        program_id=program.id,
        state=IntakeState.REFERRED,
        created_at=now,
        updated_at=now,
    )
    async with make.transaction() as db:
        db.add(licensed_in(clinician, "US-CO"))
        db.add(referral)
        await db.flush()
        db.add(intake)
    return clinician, participant, str(intake.id)


@repeated
async def screened(clinician: Person, participant: Person, *, worth: int = 2) -> dict[str, str]:
    """Submit every form that admission looks at; gives their ids by instrument."""
    forms: dict[str, Mapping[str, object]] = {
        "phq-9": dict.fromkeys(PHQ9, worth) | {"q9": 0},
        "gad-7": dict.fromkeys(GAD7, worth),
        "rulers": RULERS,
        "readiness": READY,
    }
    ids: dict[str, str] = {}
    for key, answers in forms.items():
        given = await assigned(clinician, participant, key)
        saved = await answered(participant, given, answers)
        if key == "readiness":
            saved = await answered(clinician, saved, READY_BY_STAFF)
        await submitted(participant, saved)
        ids[key] = str(given["id"])
    return ids


async def recommended(person: Person, intake: str, **body: object) -> dict[str, Any]:
    """Ask what the policy suggests."""
    answer = await person.post(f"/v1/intakes/{intake}/recommend", json=body)
    assert answer.status_code == HTTPStatus.OK, answer.text
    read: dict[str, Any] = answer.json()
    return read


async def decided(person: Person, intake: str, **body: object) -> dict[str, Any]:
    """Answer the latest recommendation."""
    suggestion = (await person.get(f"/v1/intakes/{intake}")).json()["recommendation"]
    answer = await person.post(
        f"/v1/intakes/{intake}/decision", json={"recommendation_id": suggestion["id"], **body}
    )
    assert answer.status_code == HTTPStatus.OK, answer.text
    read: dict[str, Any] = answer.json()
    return read


@repeated
async def admitted(make: Make) -> tuple[Person, Person, str]:
    """A licensed clinician, a participant in their care, and the id of a new enrollment."""
    clinician, participant, intake = await open_intake(make)
    await screened(clinician, participant)
    await recommended(clinician, intake, **ADMITTING)
    read = await decided(
        clinician, intake, outcome="admit_iop", rationale="Moderate symptoms; wants to begin."
    )
    return clinician, participant, str(read["enrollment_id"])
