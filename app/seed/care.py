"""From the referral to the plan: how the people of the demonstration came into care."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Final
from uuid import UUID

from sqlalchemy import select

from app import events
from app.core import clock
from app.core.ids import new_id
from app.core.problems import Conflict
from app.domain.alerts import DispositionDecision
from app.domain.intake import DecisionValue
from app.domain.plans import Per
from app.domain.recommendation import default_admission_policy
from app.domain.roles import (
    AccountKind,
    CareTeamRole,
    LevelOfCare,
    ReferralSource,
    RiskLevel,
)
from app.models.alerts import Alert
from app.models.participants import Participant
from app.models.programs import Program
from app.schemas.alerts import AlertNote, DispositionCreate
from app.schemas.assessments import AnswersUpdate, AssessmentCreate
from app.schemas.intakes import DecisionCreate, RecommendationCreate
from app.schemas.participants import CareTeamMemberCreate, ParticipantCreate, ReferralCreate
from app.schemas.plans import PlanContent, PlanCreate, PlanRead, PlanSign
from app.security import seals
from app.security.permissions import Permission
from app.seed.cast import Newcomer, address
from app.seed.organization import HOME_STATE, TIME_ZONE
from app.seed.stage import Stage
from app.services import accounts, alerts, assessments, care_teams, intakes, participants, plans

_PHQ9: Final = tuple(f"q{number}" for number in range(1, 9))
_GAD7: Final = tuple(f"q{number}" for number in range(1, 8))
_READY: Final[Mapping[str, object]] = {
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
    "emergency_contact": "A sister, ten minutes away",
    "emergency_contact_release": True,
    "backup_phone": "+13035550100",
    "reconnect_plan": "The facilitator calls after two minutes.",
}
_READY_BY_STAFF: Final[Mapping[str, object]] = {
    "local_emergency_numbers": "Police, ambulance and the nearest department are on file.",
    "firearms_means_asked": "asked_no",
    "orientation_done": True,
    "is_minor": False,
}
_RULERS: Final[Mapping[str, object]] = {"importance": 8, "confidence": 6, "commitment": 9}


async def refer(stage: Stage, login: str, newcomer: Newcomer, program: Program) -> UUID:
    """Refer somebody, give them a care team and an account; gives their intake's id."""
    coordinator = await stage.act("coordinator", Permission.PARTICIPANT_REFER)
    referral = await participants.refer(
        stage.db,
        coordinator,
        ReferralCreate(
            program_id=program.id,
            source=ReferralSource.OUTPATIENT_PROVIDER,
            reason="Weekly sessions are no longer enough; asks for more support.",
            participant=ParticipantCreate(
                given_name=newcomer.given_name,
                family_name=newcomer.family_name,
                alias=newcomer.alias,
                born_on=newcomer.born_on,
                email=address(login),
                time_zone=TIME_ZONE,
                home_state=HOME_STATE,
            ),
        ),
    )
    coordinator = await stage.act("coordinator", Permission.CARE_TEAM_CHANGE)
    for colleague, role in (
        ("clinician", CareTeamRole.PRIMARY_CLINICIAN),
        ("prescriber", CareTeamRole.PRESCRIBER),
    ):
        member = CareTeamMemberCreate(staff_member_id=stage.staff_member_id(colleague), role=role)
        await care_teams.join_care_team(stage.db, coordinator, referral.participant_id, member)
    await _give_account(stage, login, referral.participant_id)
    return referral.intake_id


async def _give_account(stage: Stage, login: str, participant_id: UUID) -> None:
    db = stage.db
    key = await seals.participant_key(db, participant_id)
    account = await accounts.create_account(db, AccountKind.PARTICIPANT, address(login), key)
    participant = (
        await db.scalars(select(Participant).where(Participant.id == participant_id))
    ).one()
    participant.account_id = account.id
    await stage.introduce(login, account, participant_id=participant_id)
    await events.record(db, "account.activated", account.id, participant_id=participant_id)


async def measure_depression(stage: Stage, login: str, total: int, *, mention: bool) -> None:
    """Have somebody fill in a PHQ-9; a mention of dying opens an alert, which is answered."""
    answers = {**_spread(total - mention, _PHQ9), "q9": int(mention)}
    await _fill_in(stage, login, "phq-9", answers)
    if mention:
        await _answer_alert(stage, stage.participant_id(login))


async def measure_anxiety(stage: Stage, login: str, total: int) -> None:
    """Have somebody fill in a GAD-7."""
    await _fill_in(stage, login, "gad-7", _spread(total, _GAD7))


async def screen(stage: Stage, login: str, newcomer: Newcomer) -> None:
    """Have somebody fill in every form that admission looks at."""
    await measure_depression(stage, login, newcomer.phq9[0], mention=False)
    await measure_anxiety(stage, login, newcomer.gad7[0])
    await _fill_in(stage, login, "rulers", _RULERS)
    await _fill_in(stage, login, "readiness", _READY, by_staff=_READY_BY_STAFF)


async def assign(stage: Stage, login: str, instrument: str) -> UUID:
    """Give somebody a form; gives its id."""
    clinician = await stage.act("clinician", Permission.ASSESSMENT_ASSIGN)
    given = await assessments.assign(
        stage.db,
        clinician,
        AssessmentCreate(
            participant_id=stage.participant_id(login),
            instrument_key=instrument,
            due_at=clock.now() + timedelta(days=3),
        ),
    )
    return given.id


async def _fill_in(
    stage: Stage,
    login: str,
    instrument: str,
    answers: Mapping[str, object],
    *,
    by_staff: Mapping[str, object] | None = None,
) -> None:
    assessment_id = await assign(stage, login, instrument)
    version = 1
    for who, given in ((login, answers), ("clinician", by_staff)):
        if given is not None:
            person = await stage.act(who, Permission.ASSESSMENT_ANSWER)
            saved = await assessments.save_answers(
                stage.db, person, assessment_id, _answers(given), version
            )
            if isinstance(saved, Conflict):
                raise saved
            version = saved.version
    person = await stage.act(login, Permission.ASSESSMENT_ANSWER)
    await assessments.submit(stage.db, person, assessment_id)


def _answers(given: Mapping[str, object]) -> AnswersUpdate:
    return AnswersUpdate.model_validate(
        {"answers": [{"item_id": item, "value": value} for item, value in given.items()]}
    )


def _spread(total: int, items: Sequence[str]) -> dict[str, object]:
    """A total, as evenly over the items as whole numbers allow."""
    each, rest = divmod(total, len(items))
    return {item: each + (place < rest) for place, item in enumerate(items)}


async def _answer_alert(stage: Stage, participant_id: UUID) -> None:
    """Acknowledge, assess, answer and close what the form has opened, as the clinician would."""
    db = stage.db
    alert_ids = (
        await db.scalars(select(Alert.id).where(Alert.participant_id == participant_id))
    ).all()
    for alert_id in alert_ids:
        clinician = await stage.act("clinician", Permission.ALERT_HANDLE)
        await alerts.acknowledge(db, clinician, alert_id, AlertNote(note="Calling now."))
        await alerts.assess(db, clinician, alert_id, AlertNote())
        await alerts.disposition(
            db,
            clinician,
            alert_id,
            DispositionCreate(
                assessment="Structured interview by phone, 20 minutes.",
                risk=RiskLevel.LOW,
                rationale="Passive thoughts without plan, means or intent.",
                protective_factors="Lives with a brother; wants to finish the program.",
                is_means_safety_discussed=True,
                is_safety_plan_reviewed=True,
                decision=DispositionDecision.INCREASE_CONTACT,
                told="The supervisor, as part of treatment.",
                next_check_due_at=clock.now() + timedelta(days=1),
            ),
        )
        await alerts.close(db, clinician, alert_id, AlertNote(note="Seen the next day; stable."))


async def recommend(stage: Stage, intake_id: UUID) -> UUID:
    """Ask what the policy suggests; gives the suggestion's id."""
    clinician = await stage.act("clinician", Permission.INTAKE_RECOMMEND)
    statements = [
        {"code": rule.code, "holds": rule.expects}
        for rule in default_admission_policy().attestations
    ]
    intake = await intakes.recommend(
        stage.db,
        clinician,
        intake_id,
        RecommendationCreate.model_validate(
            {
                "attestations": statements,
                "functional_ratings": [{"domain": "work_or_school", "rating": 3}],
            }
        ),
    )
    if intake.recommendation is None:
        raise LookupError(intake_id)
    return intake.recommendation.id


async def admit(stage: Stage, intake_id: UUID) -> UUID:
    """Decide for admission; gives the enrollment's id."""
    recommendation_id = await recommend(stage, intake_id)
    clinician = await stage.act("clinician", Permission.INTAKE_DECIDE)
    intake = await intakes.decide(
        stage.db,
        clinician,
        intake_id,
        DecisionCreate(
            recommendation_id=recommendation_id,
            outcome=DecisionValue.ADMIT_IOP,
            rationale="Moderate symptoms, wants to begin, safe at home.",
        ),
    )
    if intake.enrollment_id is None:
        raise LookupError(intake_id)
    return intake.enrollment_id


async def propose_plan(stage: Stage, enrollment_id: UUID) -> PlanRead:
    """Draft a plan and put it before the participant."""
    clinician = await stage.act("clinician", Permission.PLAN_DRAFT)
    plan = await plans.draft_plan(
        stage.db,
        clinician,
        PlanCreate(enrollment_id=enrollment_id, content=_content(stage)),
    )
    return await plans.propose_plan(stage.db, clinician, plan.id)


async def sign_plan(stage: Stage, login: str, plan: PlanRead) -> None:
    """Have both sides sign: the plan is in force."""
    for signer in (login, "clinician"):
        person = await stage.act(signer, Permission.PLAN_SIGN)
        signature = PlanSign(content_digest=plan.content_digest)
        await plans.sign_plan(stage.db, person, plan.id, signature)


def _content(stage: Stage) -> PlanContent:
    review_on = (clock.now() + timedelta(days=14)).date()
    problem_id = str(new_id())
    return PlanContent.model_validate(
        {
            "level_of_care": LevelOfCare.INTENSIVE_OUTPATIENT,
            "hours_per_week": "9",
            "diagnoses": [
                {"icd10cm": "F33.1", "name": "Major depressive disorder, recurrent, moderate"}
            ],
            "strengths": "Asks for help early.",
            "preferences": "Evenings, because of work.",
            "problems": [
                {"id": problem_id, "statement": "Low mood and little drive since spring."}
            ],
            "goals": [
                {
                    "problem_id": problem_id,
                    "statement": "I want to enjoy cooking for my friends again.",
                    "objectives": [
                        {
                            "text": "PHQ-9 below 10.",
                            "measure": {
                                "kind": "instrument",
                                "name": "PHQ-9",
                                "op": "<",
                                "target": "10",
                            },
                            "target_on": review_on.isoformat(),
                        }
                    ],
                    "interventions": [
                        {
                            "modality": "group therapy",
                            "description": "Skills group, three evenings a week",
                            "minutes": 180,
                            "count": 3,
                            "per": Per.WEEK,
                            "weeks": 8,
                            "responsible_id": str(stage.staff_member_id("clinician")),
                        }
                    ],
                }
            ],
            "discharge_criteria": "PHQ-9 below 10 on two visits.",
            "review_on": review_on.isoformat(),
        }
    )
