"""Assessments: an instrument is given to a participant, answered, scored, and kept as it was.

Answers are sealed under the participant's key. Scores are plain, so that they can be compared
and charted. A safety concern opens an alert in the transaction of the answer that raised it.
"""

from app.services.assessments.answering import (
    AssessmentExpired,
    AssessmentSubmitted,
    InstrumentReplaced,
    save_answers,
    submit,
)
from app.services.assessments.assigning import assign
from app.services.assessments.reading import list_assessments, read_assessment

__all__ = [
    "AssessmentExpired",
    "AssessmentSubmitted",
    "InstrumentReplaced",
    "assign",
    "list_assessments",
    "read_assessment",
    "save_answers",
    "submit",
]
