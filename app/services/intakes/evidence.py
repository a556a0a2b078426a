"""What is known of a participant when somebody asks for a recommendation.

Only what was submitted counts, the latest of each instrument. What nobody has asked stays
unknown, and the policy never takes unknown for met.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from app.domain.alerts import AlertState, Tier
from app.domain.readiness import GateResult, gates
from app.domain.recommendation import AdmissionPolicy, IntakeInputs, ScoreInput
from app.models.alerts import Alert
from app.models.assessments import Assessment, Score
from app.services import instruments
from app.services.assessments.answers import latest_submitted, offered, opened_rows, rows_of

_READINESS: Final = "readiness"
_RULERS: Final = "rulers"
_ENDED: Final = (AlertState.CLOSED, AlertState.FALSE_POSITIVE, AlertState.DUPLICATE)


@dataclass(frozen=True, slots=True)
class Statements:
    """What a clinician says beyond the forms; `evidence` is the record that keeps it."""

    attestations: Mapping[str, bool]
    functional_ratings: Mapping[str, int]
    evidence: UUID


async def collect(
    db: AsyncSession, policy: AdmissionPolicy, participant_id: UUID, statements: Statements
) -> IntakeInputs:
    """Everything that a recommendation about the participant rests on, with the records' ids."""
    symptoms = {criterion.instrument for criterion in policy.severity.any_of}
    latest = await latest_submitted(db, participant_id, sorted(symptoms | {_READINESS, _RULERS}))
    checklist = latest.get(_READINESS)
    acute = await _acute_alerts(db, participant_id)
    said = (str(statements.evidence),)
    return IntakeInputs(
        scores=await _scores(db, list(latest.values())),
        gates=() if checklist is None else await _gates(db, checklist),
        has_acute_alert=True if acute else await _nothing_acute(db, symptoms, latest),
        functional_ratings=statements.functional_ratings,
        attestations=statements.attestations,
        alert_evidence=tuple(map(str, acute)),
        readiness_evidence=() if checklist is None else (str(checklist.id),),
        rating_evidence=said if statements.attestations or statements.functional_ratings else (),
    )


async def _scores(db: AsyncSession, assessments: Sequence[Assessment]) -> Sequence[ScoreInput]:
    rows = await db.scalars(
        select(Score)
        .where(Score.assessment_id.in_([assessment.id for assessment in assessments]))
        .order_by(Score.id)
    )
    return [ScoreInput(row.instrument_key, row.code, row.value, str(row.id)) for row in rows]


async def _gates(db: AsyncSession, checklist: Assessment) -> Sequence[GateResult]:
    """The gates of the checklist; none, and so all unknown, under a definition no longer kept."""
    instrument = await instruments.find_instrument(
        db, checklist.instrument_key, checklist.instrument_version
    )
    if instrument is None:
        return ()
    rows = await rows_of(db, checklist.id)
    return gates(instrument, offered(instrument, await opened_rows(db, rows.values())))


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
    db: AsyncSession, symptoms: set[str], latest: Mapping[str, Assessment]
) -> bool | None:
    """Without an acute alert: False if the participant was asked about safety, else unknown.

    Asked means that every safety item of a symptom form has an answer.
    """
    for key in sorted(symptoms & latest.keys()):
        instrument = await instruments.find_instrument(db, key, latest[key].instrument_version)
        safety = [item.id for item in instrument.items if item.safety] if instrument else []
        if not safety:
            continue
        rows = await rows_of(db, latest[key].id)
        answers = await opened_rows(db, rows.values())
        if all(answers.get(item_id) is not None for item_id in safety):
            return False
    return None
