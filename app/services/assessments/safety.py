"""What an answer says about somebody's safety, and the alerts that it opens."""

from collections.abc import Iterable, Mapping, Sequence

from sqlalchemy.ext.asyncio import AsyncSession

from app.domain.instruments import Instrument, ItemType
from app.domain.scoring import Answers, AnswerValue, Flag, flags_at_answer
from app.models.alerts import AlertSource
from app.models.assessments import Assessment
from app.services import signals
from app.services.alerts.opening import Concern, open_alert, open_alert_once
from app.services.assessments.answers import earlier_than

Raised = Mapping[str, Sequence[Flag]]
"""The safety flags that each of some answers raises, by item."""


async def judge_answers(
    db: AsyncSession,
    assessment: Assessment,
    instrument: Instrument,
    answers: Answers,
    given: Iterable[str],
) -> Raised:
    """The safety flags that each of the given answers raises."""
    items = list(given)
    safety = {item.id for item in instrument.items if item.safety}
    if safety.isdisjoint(items):
        return dict.fromkeys(items, ())
    earlier = await earlier_than(db, assessment, instrument)
    return {
        item_id: flags_at_answer(
            instrument, item_id, answers, previous=earlier.previous, baseline=earlier.baseline
        )
        for item_id in items
    }


async def open_alerts(
    db: AsyncSession, assessment: Assessment, raised: Raised, changed: Iterable[str]
) -> None:
    """Open what the changed answers raise; an answer that was sent again is no new hit."""
    for item_id in changed:
        for flag in raised[item_id]:
            await open_alert(db, _concern(assessment, flag))


async def hear_words(
    db: AsyncSession,
    assessment: Assessment,
    instrument: Instrument,
    changed: Mapping[str, AnswerValue | None],
) -> bool:
    """Look through the free text among changed answers; says whether it may mean danger."""
    free = {item.id for item in instrument.items if item.type is ItemType.TEXT}
    heard = signals.Heard(assessment.participant_id, AlertSource.ASSESSMENT, assessment.id)
    cards = [
        await signals.hear(db, heard, value)
        for item_id, value in changed.items()
        if item_id in free and isinstance(value, str)
    ]
    return any(cards)


async def open_alerts_once(
    db: AsyncSession, assessment: Assessment, raised: Iterable[Flag]
) -> None:
    """Open what a submitted form raises, unless its answers have raised it before."""
    for flag in raised:
        await open_alert_once(db, _concern(assessment, flag))


def _concern(assessment: Assessment, flag: Flag) -> Concern:
    return Concern(
        participant_id=assessment.participant_id,
        tier=flag.tier,
        code=flag.code,
        source=AlertSource.ASSESSMENT,
        source_id=assessment.id,
    )
