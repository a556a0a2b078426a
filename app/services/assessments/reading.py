"""Assessments, read: by those who treat the participant, and by the participant themselves.

A participant sees what they may answer, and scores only where the instrument's result is for
them. What staff alone may answer, staff alone sees.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import cache
from typing import Any, Final
from uuid import UUID

import asyncpg
from sqlalchemy import Uuid, bindparam, or_, select
from sqlalchemy.dialects.postgresql import TIMESTAMP
from sqlalchemy.ext.asyncio import AsyncSession

from app.core import clock
from app.core.database import Handle, Lane, Query, in_lane
from app.core.problems import NotFound
from app.domain.instruments import Instrument
from app.domain.instruments.definitions import Informant
from app.models.assessments import Answer, Assessment, AssessmentState, EntryMode, Score
from app.schemas.assessments import (
    AnswerRead,
    AssessmentRead,
    AssessmentSummary,
    FlagRead,
    ResultState,
    ScoreRead,
)
from app.security import audit, seals
from app.security.access import participants_visible_to, reach_parameters, visible_participants
from app.security.permissions import Permission
from app.security.principal import Principal, Reach
from app.services import instruments
from app.services.assessments.answers import opened_value
from app.services.instruments.describing import NOT_VALIDATED

TABLE: Final = "assessment"
_COLUMNS: Final = (
    Assessment.id,
    Assessment.version,
    Assessment.participant_id,
    Assessment.instrument_key,
    Assessment.instrument_version,
    Assessment.is_validated,
    Assessment.state,
    Assessment.battery_id,
    Assessment.program_id,
    Assessment.occasion,
    Assessment.occasion_on,
    Assessment.opens_at,
    Assessment.due_at,
    Assessment.expires_at,
    Assessment.submitted_at,
    Assessment.taken_at,
    Assessment.revision,
    Assessment.corrects_id,
    Assessment.corrected_by_id,
    Assessment.created_at,
    Assessment.updated_at,
)
_DETAILS: Final = (
    *_COLUMNS,
    Assessment.submitted_by,
    Assessment.flags,
    Assessment.correction_reason,
)
_NOW: Final = bindparam("now", type_=TIMESTAMP(timezone=True))
_ANSWERS: Final = Query(
    select(
        Answer.id,
        Answer.item_id,
        Answer.value,
        Answer.answered_at,
        Answer.answered_by,
        Answer.entered_as,
    )
    .where(Answer.assessment_id == bindparam("assessment_id", type_=Uuid))
    .order_by(Answer.id)
)
_SCORES: Final = Query(
    select(
        Score.id,
        Score.code,
        Score.value,
        Score.band,
        Score.is_prorated,
        Score.missing,
        Score.change,
        Score.change_from_previous,
        Score.scored_at,
    )
    .where(Score.assessment_id == bindparam("assessment_id", type_=Uuid))
    .order_by(Score.id)
)


@cache
def _one(reach: Reach) -> Query:
    statement = select(*_DETAILS).where(
        Assessment.id == bindparam("id"), visible_participants(Assessment.participant_id, reach)
    )
    return audit.read_one(statement, Permission.ASSESSMENT_READ, TABLE)


@cache
def _page(reach: Reach, *, of_one: bool, is_due: bool, is_own: bool) -> Query:
    statement = (
        select(*_COLUMNS)
        .where(
            Assessment.id > bindparam("after", type_=Uuid),
            visible_participants(Assessment.participant_id, reach),
        )
        .order_by(Assessment.id)
        .limit(bindparam("limit"))
    )
    if of_one:
        statement = statement.where(Assessment.participant_id == bindparam("participant_id"))
    if is_due:
        statement = statement.where(
            or_(
                Assessment.state == AssessmentState.ASSIGNED,
                Assessment.state == AssessmentState.IN_PROGRESS,
            ),
            or_(Assessment.opens_at.is_(None), Assessment.opens_at <= _NOW),
            or_(Assessment.expires_at.is_(None), Assessment.expires_at > _NOW),
        )
    if is_due and is_own:
        statement = statement.where(~Assessment.is_for_staff)
    return audit.read_many(statement, Permission.ASSESSMENT_LIST, TABLE)


async def read_assessment(lane: Lane, principal: Principal, assessment_id: UUID) -> AssessmentRead:
    """One assessment with its answers and scores. Raises NotFound."""
    row = await lane.one(_one(principal.reach), id=assessment_id, **reach_parameters(principal))
    if row is None:
        raise NotFound
    return await composed(lane, principal, dict(row))


async def list_assessments(  # noqa: PLR0913 (whose, which, and which page of them)
    lane: Lane,
    principal: Principal,
    participant_id: UUID | None,
    *,
    is_due: bool,
    after: UUID,
    limit: int,
) -> Sequence[AssessmentSummary]:
    """The assessments that the caller may see, of one participant or of all, by id.

    With `is_due`, those that can be answered at this moment; for a participant, by themselves.
    """
    rows = await lane.all(
        _page(
            principal.reach,
            of_one=participant_id is not None,
            is_due=is_due,
            is_own=not principal.is_staff,
        ),
        after=after,
        limit=limit + 1,
        participant_id=participant_id,
        **reach_parameters(principal),
    )
    now = clock.now()
    return [summary(dict(row), now) for row in rows]


async def get_assessment(
    db: AsyncSession, principal: Principal, assessment_id: UUID, *, lock: bool = False
) -> Assessment:
    """Load an assessment the caller may see; one they may not see does not exist."""
    query = select(Assessment).where(
        Assessment.id == assessment_id,
        participants_visible_to(principal, Assessment.participant_id),
    )
    if lock:
        query = query.with_for_update(key_share=True)
    assessment = await db.scalar(query)
    if assessment is None:
        raise NotFound
    return assessment


def columns(assessment: Assessment) -> dict[str, Any]:
    """A loaded assessment, as a lane would have read it."""
    return {column.key: getattr(assessment, column.key) for column in _COLUMNS}


def details(assessment: Assessment) -> dict[str, Any]:
    """A loaded assessment with everything but its answers and scores."""
    return {column.key: getattr(assessment, column.key) for column in _DETAILS}


def summary(row: Mapping[str, Any], now: datetime) -> AssessmentSummary:
    """An assessment as a list shows it, in the state that it has by now."""
    state = present_state(AssessmentState(row["state"]), row["expires_at"], now)
    label = None if row["is_validated"] else NOT_VALIDATED
    return AssessmentSummary.model_validate({**row, "state": state, "label": label})


def present_state(
    state: AssessmentState, expires_at: datetime | None, now: datetime
) -> AssessmentState:
    """Where an assessment stands: what was not submitted in time is expired, by the clock alone."""
    if state is not AssessmentState.SUBMITTED and expires_at is not None and expires_at <= now:
        return AssessmentState.EXPIRED
    return state


def informant_of(instrument: Instrument, item_id: str) -> Informant | None:
    """Who answers an item; None for an item that the definition does not have."""
    item = instrument.item(item_id)
    return None if item is None else item.answered_by or instrument.informant


def is_for_staff(instrument: Instrument) -> bool:
    """Whether staff alone answer an instrument: an interview, say, or what was observed."""
    return all(
        (item.answered_by or instrument.informant) is not Informant.SELF
        for item in instrument.items
    )


async def composed(handle: Handle, principal: Principal, row: Mapping[str, Any]) -> AssessmentRead:
    """An assessment with as much of its answers and scores as the caller may see."""
    lane = await in_lane(handle)
    instrument = await instruments.find_instrument(
        lane, row["instrument_key"], row["instrument_version"]
    )
    shown = summary(row, clock.now())
    result = _result(shown.state, principal, instrument)
    answers = await lane.all(_ANSWERS, assessment_id=shown.id)
    scores = await lane.all(_SCORES, assessment_id=shown.id) if result is ResultState.SHOWN else []
    reason = row["correction_reason"] if principal.is_staff else None
    keys = await seals.keys_for(lane, [reason, *(answer["value"] for answer in answers)])
    return AssessmentRead(
        **dict(shown),
        answers=[
            read
            for answer in answers
            if _may_see(principal, instrument, answer["item_id"])
            and (read := _answer_read(keys, answer)) is not None
        ],
        result=result,
        scores=[ScoreRead.model_validate(dict(score)) for score in scores],
        flags=_flags(row["flags"]) if principal.is_staff else [],
        submitted_by=row["submitted_by"],
        correction_reason=None if reason is None else _reason(keys, row),
    )


def _reason(keys: seals.Keys, row: Mapping[str, Any]) -> str | None:
    return seals.opened(keys, TABLE, row, "correction_reason")["correction_reason"]


def _flags(kept: Sequence[Mapping[str, Any]] | None) -> list[FlagRead]:
    return [FlagRead.model_validate(flag) for flag in kept or ()]


def is_result_shown(principal: Principal, instrument: Instrument | None) -> bool:
    """Whether the scores of an instrument are for the caller.

    A definition that is no longer kept cannot say that its result is the participant's.
    """
    return principal.is_staff or (
        instrument is not None and instrument.audience_result == "participant_immediate"
    )


def _result(
    state: AssessmentState, principal: Principal, instrument: Instrument | None
) -> ResultState:
    if state is not AssessmentState.SUBMITTED:
        return ResultState.PENDING
    is_shown = is_result_shown(principal, instrument)
    return ResultState.SHOWN if is_shown else ResultState.WITHHELD


def _may_see(principal: Principal, instrument: Instrument | None, item_id: str) -> bool:
    if principal.is_staff:
        return True
    return instrument is not None and informant_of(instrument, item_id) is Informant.SELF


def _answer_read(keys: seals.Keys, row: asyncpg.Record) -> AnswerRead | None:
    value = opened_value(keys, row["id"], row["value"])
    if value is None:
        return None
    return AnswerRead(
        item_id=row["item_id"],
        value=value,
        answered_at=row["answered_at"],
        answered_by=row["answered_by"],
        entered_as=EntryMode(row["entered_as"]),
    )
