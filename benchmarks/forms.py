"""Forms that were filled in and wait to be submitted, and scoring by itself."""

import time
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Final
from uuid import UUID

import asyncpg

from app.core import clock
from app.core.ids import new_id
from app.domain.instruments import shipped
from app.domain.scoring import score
from app.security.sealing import Cell, DataKey

PHQ9: Final = shipped()["phq-9"]
_ITEMS: Final = [item.id for item in PHQ9.items if item.scored]
_SAFETY: Final = next(item.id for item in PHQ9.items if item.safety)
_SAFETY_EVERY: Final = 10
"""One form in so many raises a flag and opens an alert."""

_SCORINGS: Final = 2_000


async def fill_in_forms(
    connection: asyncpg.Connection,
    organization_id: UUID,
    account_id: UUID,
    owners: Sequence[tuple[UUID, DataKey]],
    count: int,
) -> Sequence[UUID]:
    """Let participants, in turn, have answered every item of a PHQ-9; gives the forms' ids."""
    now = clock.wall() - timedelta(minutes=1)
    forms, answers, ids = [], [], []
    for number in range(count):
        participant_id, key = owners[number % len(owners)]
        form_id = new_id()
        ids.append(form_id)
        forms.append(
            (
                *(organization_id, form_id, participant_id, PHQ9.key, PHQ9.version),
                *(True, False, "in_progress", account_id, 1, 1, now, now),
            )
        )
        for item_id in _ITEMS:
            answer_id = new_id()
            worth = int(item_id != _SAFETY or number % _SAFETY_EVERY == 0)
            sealed = key.seal(Cell("answer", "value", answer_id), str(worth))
            answers.append(
                (organization_id, answer_id, form_id, item_id, sealed, account_id, "self", now)
            )
    await connection.copy_records_to_table("assessment", records=forms, columns=_FORM)
    await connection.copy_records_to_table("answer", records=answers, columns=_ANSWER)
    return ids


_FORM: Final = (
    *("organization_id", "id", "participant_id", "instrument_key", "instrument_version"),
    *(
        "is_validated",
        "is_for_staff",
        "state",
        "assigned_by",
        "revision",
        "version",
        "created_at",
        "updated_at",
    ),
)
_ANSWER: Final = (
    *("organization_id", "id", "assessment_id", "item_id", "value", "answered_by"),
    *("entered_as", "answered_at"),
)


def score_form() -> float:
    """Microseconds of processor time for scoring one filled-in PHQ-9."""
    answers = dict.fromkeys(_ITEMS, 2)
    return _microseconds(lambda: score(PHQ9, answers))


def add_form() -> float:
    """Microseconds for the least that scoring could be: nine numbers, added, and a band."""
    answers: Mapping[str, int] = dict.fromkeys(_ITEMS, 2)
    bands = PHQ9.scores[0].bands
    return _microseconds(
        lambda: next(band for band in reversed(bands) if band.min <= sum(answers.values()))
    )


def _microseconds(work: Callable[[], object]) -> float:
    began = time.process_time()
    for _ in range(_SCORINGS):
        work()
    return (time.process_time() - began) / _SCORINGS * 1e6
