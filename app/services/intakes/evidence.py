"""What is known of a participant when somebody asks for a recommendation.

Only what was submitted counts, the latest of each instrument. What nobody has asked stays
unknown, and the policy never takes unknown for met.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Final
from uuid import UUID
from zoneinfo import ZoneInfo

from sqlalchemy import or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.core import clock
from app.domain.alerts import AlertState, Tier
from app.domain.instruments import AnswerValue, Instrument, is_asked
from app.domain.readiness import PriorCare, gates, has_stepped_down
from app.domain.recommendation import (
    READINESS,
    AdmissionPolicy,
    IntakeInputs,
    ScoreInput,
    instruments_of,
)
from app.domain.roles import StaffRole
from app.domain.scoring import Answers
from app.models.accounts import Account, AccountState
from app.models.alerts import Alert
from app.models.assessments import Assessment, Score
from app.models.intakes import Intake
from app.models.participants import Participant
from app.models.staff import StaffAuthorization, StaffMember
from app.schemas.intake_facts import Attestation, FunctionalRating, IntakeFacts
from app.services import instruments
from app.services.assessments.answers import latest_submitted, offered, opened_rows, rows_of
from app.services.connectivity import latest_measured

_LICENSE_GAP: Final = "license_gap"
_STEP_DOWN: Final = "recent_step_down"
_MOST_CLINICIANS: Final = 100
_ENDED: Final = (AlertState.CLOSED, AlertState.FALSE_POSITIVE, AlertState.DUPLICATE)


@dataclass(frozen=True, slots=True)
class Said:
    """What a clinician adds while asking; `evidence` is the record that keeps it."""

    attestations: Sequence[Attestation]
    functional_ratings: Sequence[FunctionalRating]
    evidence: UUID


@dataclass(frozen=True, slots=True)
class Collected:
    """Everything that a recommendation rests on, and who could treat the participant there."""

    inputs: IntakeInputs
    state: str | None
    clinicians: Sequence[StaffAuthorization]


async def collect(
    db: AsyncSession,
    policy: AdmissionPolicy,
    intake: Intake,
    facts: IntakeFacts,
    said: Said | None = None,
) -> Collected:
    """Everything that a recommendation about the participant rests on, with the records' ids.

    What the records show (places, contacts, measured speeds, licenses) goes before what anybody
    says of it; of two statements, the later one counts.
    """
    participant = (
        await db.scalars(select(Participant).where(Participant.id == intake.participant_id))
    ).one()
    latest = await latest_submitted(db, participant.id, sorted(instruments_of(policy)))
    checklist = latest.get(READINESS)
    today = clock.now().astimezone(ZoneInfo(participant.time_zone)).date()
    shown, shown_by = await _shown(db, intake, facts)
    instrument, answered = await _checklist(db, checklist)
    answers = {**answered, **shown}
    state = _state_of(answers, participant)
    clinicians = await _available(db, state, today)
    statements = _statements(policy, intake, facts, said, today)
    licensed, licensed_by = _license_gap(state, clinicians)
    acute = await _acute_alerts(db, participant.id)
    inputs = IntakeInputs(
        scores=await _scores(db, list(latest.values())),
        gates=() if instrument is None else gates(instrument, answers),
        has_acute_alert=True if acute else await _nothing_acute(db, policy, latest),
        functional_ratings=statements.ratings,
        attestations={**statements.attestations, _LICENSE_GAP: licensed},
        alert_evidence=tuple(map(str, acute)),
        readiness_evidence=() if checklist is None else (str(checklist.id),),
        rating_evidence=statements.evidence,
        gate_evidence=shown_by,
        attestation_evidence={_LICENSE_GAP: licensed_by},
    )
    return Collected(inputs, state, clinicians)


@dataclass(frozen=True, slots=True)
class _Statements:
    attestations: Mapping[str, bool]
    ratings: Mapping[str, int]
    evidence: tuple[str, ...]


def _statements(
    policy: AdmissionPolicy, intake: Intake, facts: IntakeFacts, said: Said | None, today: date
) -> _Statements:
    """What clinicians say, and what the history shows where they say nothing."""
    prior = facts.history.prior_treatment
    stepped_down = has_stepped_down(
        None if prior is None else [PriorCare(each.level_of_care, each.ended_on) for each in prior],
        policy.level_of_care,
        today,
    )
    attestations = {} if stepped_down is None else {_STEP_DOWN: stepped_down}
    attestations |= {each.code: each.holds for each in facts.attestations}
    ratings = {each.domain: each.rating for each in facts.functional_ratings}
    evidence = (str(intake.id),) if attestations or ratings else ()
    if said is not None and (said.attestations or said.functional_ratings):
        attestations |= {each.code: each.holds for each in said.attestations}
        ratings |= {each.domain: each.rating for each in said.functional_ratings}
        evidence = (*evidence, str(said.evidence))
    return _Statements(attestations, ratings, evidence)


async def _shown(
    db: AsyncSession, intake: Intake, facts: IntakeFacts
) -> tuple[dict[str, AnswerValue | None], dict[str, tuple[str, ...]]]:
    """What the records show of the checklist's items, each with the record."""
    shown: dict[str, AnswerValue | None] = {}
    if facts.primary is not None:
        shown["primary_location"] = facts.primary.address
        shown["state_of_location"] = facts.primary.state
        if facts.primary.emergency is not None:
            shown["local_emergency_numbers"] = facts.primary.emergency.police
    if facts.emergency_contact is not None:
        shown["emergency_contact"] = facts.emergency_contact.name
        if facts.emergency_contact.is_release_signed is not None:
            shown["emergency_contact_release"] = facts.emergency_contact.is_release_signed
    evidence: dict[str, tuple[str, ...]] = dict.fromkeys(shown, (str(intake.id),))
    measured = await latest_measured(db, intake.participant_id)
    if measured is not None:
        shown["bandwidth_down_mbps"] = measured.figures.down_mbps
        shown["bandwidth_up_mbps"] = measured.figures.up_mbps
        speeds = ("bandwidth_down_mbps", "bandwidth_up_mbps")
        evidence |= dict.fromkeys(speeds, (str(measured.id),))
    return shown, evidence


def _state_of(answers: Answers, participant: Participant) -> str | None:
    """Where somebody usually is: as the records or the checklist say, or else at home."""
    state = answers.get("state_of_location")
    return state if isinstance(state, str) else participant.home_state


async def _available(
    db: AsyncSession, state: str | None, today: date
) -> Sequence[StaffAuthorization]:
    """By what right licensed clinicians who can sign in may treat somebody there today."""
    if state is None:
        return ()
    roles = [StaffRole.CLINICIAN.value, StaffRole.PRESCRIBER.value]
    return (
        await db.scalars(
            select(StaffAuthorization)
            .join(StaffMember, StaffMember.id == StaffAuthorization.staff_member_id)
            .join(Account, Account.id == StaffMember.account_id)
            .where(
                StaffAuthorization.state == state,
                StaffAuthorization.starts_on <= today,
                or_(StaffAuthorization.ends_on.is_(None), StaffAuthorization.ends_on >= today),
                StaffMember.is_independently_licensed,
                StaffMember.roles.overlap(roles),
                Account.state == AccountState.ACTIVE,
            )
            .order_by(StaffAuthorization.id)
            .limit(_MOST_CLINICIANS)
        )
    ).all()


def _license_gap(
    state: str | None, clinicians: Sequence[StaffAuthorization]
) -> tuple[bool | None, tuple[str, ...]]:
    """Whether nobody may treat the participant where they are; unknown with the place."""
    if state is None:
        return None, ()
    return not clinicians, tuple(str(each.id) for each in clinicians)


async def _checklist(
    db: AsyncSession, checklist: Assessment | None
) -> tuple[Instrument | None, Answers]:
    """The checklist's definition, and what was answered; a definition no longer kept is None."""
    if checklist is None:
        return await instruments.find_instrument(db, READINESS), {}
    instrument = await instruments.find_instrument(
        db, checklist.instrument_key, checklist.instrument_version
    )
    if instrument is None:
        return None, {}
    rows = await rows_of(db, checklist.id)
    return instrument, offered(instrument, await opened_rows(db, rows.values()))


async def _scores(db: AsyncSession, assessments: Sequence[Assessment]) -> Sequence[ScoreInput]:
    rows = await db.scalars(
        select(Score)
        .where(Score.assessment_id.in_([assessment.id for assessment in assessments]))
        .order_by(Score.id)
    )
    return [ScoreInput(row.instrument_key, row.code, row.value, str(row.id)) for row in rows]


async def _acute_alerts(db: AsyncSession, participant_id: UUID) -> Sequence[UUID]:
    """The acute alerts that nobody has brought to an end, answered in writing or not."""
    return (
        await db.scalars(
            select(Alert.id)
            .where(
                Alert.participant_id == participant_id,
                Alert.tier == Tier.ACUTE,
                Alert.state.not_in(_ENDED),
            )
            .order_by(Alert.id)
        )
    ).all()


async def _nothing_acute(
    db: AsyncSession, policy: AdmissionPolicy, latest: Mapping[str, Assessment]
) -> bool | None:
    """Without an acute alert: False if the participant was asked about safety, else unknown.

    Asked means that every safety item of one of the policy's safety forms has an answer, but for
    those that earlier answers leave out.
    """
    for key in sorted({*policy.safety} & latest.keys()):
        instrument = await instruments.find_instrument(db, key, latest[key].instrument_version)
        if instrument is None:
            continue
        rows = await rows_of(db, latest[key].id)
        answers = await opened_rows(db, rows.values())
        is_put = is_asked(instrument, answers)
        safety = [
            item.id for item in instrument.items if item.safety and is_put[item.id] is not False
        ]
        if safety and all(answers.get(item_id) is not None for item_id in safety):
            return False
    return None
