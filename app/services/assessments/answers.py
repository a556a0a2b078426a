"""Answers between the database, where they are sealed, and the rules, which read them plain."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Final
from uuid import UUID

from sqlalchemy import Select, select
from sqlalchemy.dialects.postgresql import distinct_on
from sqlalchemy.ext.asyncio import AsyncSession

from app.domain.instruments import Instrument
from app.domain.instruments.expressions import RECENT
from app.domain.scoring import (
    Administration,
    Answers,
    AnswerValue,
    check_answer,
    looks_at_recent_forms,
    score,
)
from app.models.assessments import Answer, Assessment, AssessmentState
from app.security import seals

TABLE: Final = "answer"


@dataclass(frozen=True, slots=True)
class Earlier:
    """The administrations that a new one is held against; None when there is none.

    `recent` are the last ones, newest first, for an instrument that is held against their mean.
    """

    previous: Administration | None
    baseline: Administration | None
    recent: Sequence[Administration] = ()


def sealed_value(key: seals.DataKey, answer_id: UUID, value: AnswerValue | None) -> bytes:
    """One answer as its cell holds it. An answer that was taken back is a sealed null."""
    written = str(value) if isinstance(value, Decimal) else json.dumps(value)
    return key.seal(seals.Cell(TABLE, "value", answer_id), written)


def opened_value(keys: seals.Keys, answer_id: UUID, blob: bytes) -> AnswerValue | None:
    """The answer in a cell, with the digits that were sent."""
    written = keys.unseal(seals.Cell(TABLE, "value", answer_id), blob)
    value: AnswerValue | None = json.loads(written, parse_float=Decimal)
    return value


async def rows_of(db: AsyncSession, assessment_id: UUID) -> Mapping[str, Answer]:
    """The stored answers of an assessment, by item."""
    rows = await db.scalars(select(Answer).where(Answer.assessment_id == assessment_id))
    return {row.item_id: row for row in rows}


async def opened_rows(db: AsyncSession, rows: Iterable[Answer]) -> Answers:
    """The answers in these rows, by item."""
    found = list(rows)
    keys = await seals.keys_for(db, (row.value for row in found))
    return {row.item_id: opened_value(keys, row.id, row.value) for row in found}


async def earlier_than(
    db: AsyncSession,
    assessment: Assessment,
    instrument: Instrument,
    *,
    before: datetime | None = None,
) -> Earlier:
    """The last and the first submitted administration of the same instrument to the participant.

    Both are scored anew by the definition at hand, so that the two sides of a change are
    measured alike; an answer that it no longer offers counts as blank. What was corrected does
    not count. `before` is when the assessment was taken, if that was not now.
    """
    submitted = select(Assessment.id).where(
        Assessment.participant_id == assessment.participant_id,
        Assessment.instrument_key == assessment.instrument_key,
        Assessment.state == AssessmentState.SUBMITTED,
        Assessment.corrected_by_id.is_(None),
        Assessment.id.not_in([assessment.id, assessment.corrects_id or assessment.id]),
    )
    if before is not None:
        submitted = submitted.where(Assessment.taken_at < before)
    newest_first = submitted.order_by(Assessment.taken_at.desc(), Assessment.id.desc())
    oldest_first = submitted.order_by(Assessment.taken_at, Assessment.id)
    first = await _administrations(db, oldest_first.limit(1), instrument)
    wanted = RECENT if looks_at_recent_forms(instrument) else 1
    last = await _administrations(db, newest_first.limit(wanted), instrument)
    return Earlier(
        previous=last[0] if last else None, baseline=first[0] if first else None, recent=last
    )


async def latest_submitted(
    db: AsyncSession, participant_id: UUID, instrument_keys: Sequence[str]
) -> Mapping[str, Assessment]:
    """The participant's last submitted assessment of each instrument that has one."""
    rows = await db.scalars(
        select(Assessment)
        .ext(distinct_on(Assessment.instrument_key))
        .where(
            Assessment.participant_id == participant_id,
            Assessment.instrument_key.in_(instrument_keys),
            Assessment.state == AssessmentState.SUBMITTED,
            Assessment.corrected_by_id.is_(None),
        )
        .order_by(Assessment.instrument_key, Assessment.taken_at.desc(), Assessment.id.desc())
    )
    return {row.instrument_key: row for row in rows}


def offered(instrument: Instrument, answers: Answers) -> Answers:
    """The answers that the definition knows."""
    return {
        item_id: value
        for item_id, value in answers.items()
        if check_answer(instrument, item_id, value) is None
    }


async def _administrations(
    db: AsyncSession, which: Select[UUID], instrument: Instrument
) -> Sequence[Administration]:
    found: list[Administration] = []
    for assessment_id in await db.scalars(which):
        rows = await rows_of(db, assessment_id)
        answers = offered(instrument, await opened_rows(db, rows.values()))
        found.append(Administration(answers, score(instrument, answers)))
    return found
