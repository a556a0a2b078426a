"""Score an instrument, measure change, and say when a human should look.

Scoring is a pure function of the definition's version and the answers.
Sources: the clinical reference, section 1.1; reliable change after Jacobson and
Truax (1991).
"""

from app.domain.instruments import AnswerValue
from app.domain.scoring.answers import Answers, check_answer, unanswered
from app.domain.scoring.change import Change, ChangeClass, changes
from app.domain.scoring.flags import (
    SAFETY_ITEM_UNANSWERED,
    Flag,
    flags,
    flags_at_answer,
    looks_at_recent_forms,
)
from app.domain.scoring.scores import Administration, Score, score

__all__ = [
    "SAFETY_ITEM_UNANSWERED",
    "Administration",
    "AnswerValue",
    "Answers",
    "Change",
    "ChangeClass",
    "Flag",
    "Score",
    "changes",
    "check_answer",
    "flags",
    "flags_at_answer",
    "looks_at_recent_forms",
    "score",
    "unanswered",
]
