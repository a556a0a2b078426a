"""Assessments: an instrument is given to a participant, answered, scored, and kept as it was.

Answers are sealed under the participant's key. Scores are plain, so that they can be compared
and charted. A safety concern opens an alert in the transaction of the answer that raised it.
"""

from app.services.assessments.accepting import (
    AssessmentExpired,
    AssessmentNotOpen,
    AssessmentSubmitted,
    InstrumentReplaced,
    InstrumentVersionDiffers,
    ItemNotAsked,
)
from app.services.assessments.answering import save_answers
from app.services.assessments.assigning import assign, assign_battery
from app.services.assessments.correcting import (
    AssessmentCorrected,
    AssessmentNotSubmitted,
    correct,
)
from app.services.assessments.reading import list_assessments, read_assessment
from app.services.assessments.scheduling import expire_due, give_due
from app.services.assessments.submitting import submit

__all__ = [
    "AssessmentCorrected",
    "AssessmentExpired",
    "AssessmentNotOpen",
    "AssessmentNotSubmitted",
    "AssessmentSubmitted",
    "InstrumentReplaced",
    "InstrumentVersionDiffers",
    "ItemNotAsked",
    "assign",
    "assign_battery",
    "correct",
    "expire_due",
    "give_due",
    "list_assessments",
    "read_assessment",
    "save_answers",
    "submit",
]
