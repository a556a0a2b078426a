"""Assessments as they cross the wire: what was asked, answered and computed."""

from decimal import Decimal
from enum import StrEnum, unique
from typing import Annotated, Final
from uuid import UUID

from pydantic import (
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    WithJsonSchema,
)
from pydantic.config import JsonDict

from app.core.problems.validation import explain
from app.domain.crisis import ContactMode
from app.domain.scoring import ChangeClass
from app.models.assessments import AssessmentState
from app.schemas.base import Page, ReadSchema, Schema
from app.schemas.instruments import Number
from app.schemas.types import Code, Flag, Instant, LongText, Slug

explain({"answer_type": "A number, a text, true or false, or null is needed."})


_ID: Final = "019a7f3e-4c1b-7d52-9e64-2b8f0c6a1d{:02x}"
_ASSESSMENT: Final[JsonDict] = {
    "id": _ID.format(1),
    "version": 4,
    "participant_id": _ID.format(2),
    "instrument_key": "gad-7",
    "instrument_version": "1.0.0",
    "label": None,
    "state": "submitted",
    "due_at": "2026-03-02T17:00:00Z",
    "expires_at": None,
    "submitted_at": "2026-03-02T16:20:00Z",
    "created_at": "2026-02-27T18:00:00Z",
    "updated_at": "2026-03-02T16:20:00Z",
}
_SCORE: Final[JsonDict] = {
    "id": _ID.format(3),
    "code": "total",
    "value": 8,
    "band": "mild",
    "is_prorated": False,
    "missing": 0,
    "change": None,
    "scored_at": "2026-03-02T16:20:00Z",
}
_ANSWERED: Final[JsonDict] = {
    **_ASSESSMENT,
    "answers": [{"item_id": "q1", "value": 2, "answered_at": "2026-03-02T16:18:00Z"}],
    "result": "shown",
    "scores": [_SCORE],
}
_LIFELINE: Final[JsonDict] = {
    "key": "988",
    "name": "988 Suicide & Crisis Lifeline",
    "text": "Free and confidential, day and night.",
    "is_always_open": True,
    "contacts": [{"mode": "call", "to": "988", "body": None, "label": None}],
}


def _kind(value: object) -> str | None:
    """Name the JSON type of an answer. `True` is an `int` in Python, and so is asked first."""
    kinds = {bool: "boolean", int: "integer", float: "decimal", Decimal: "decimal", str: "text"}
    return kinds.get(type(value))


def _exactly(value: object) -> object:
    # The digits that were sent, not the binary fraction nearest to them.
    return Decimal(str(value)) if isinstance(value, float) else value


AnswerInput = Annotated[
    Annotated[Flag, Tag("boolean")]
    | Annotated[int, Field(strict=True, ge=-(2**63), le=2**63 - 1), Tag("integer")]
    | Annotated[Decimal, BeforeValidator(_exactly), Tag("decimal")]
    | Annotated[LongText, Tag("text")],
    Discriminator(
        _kind,
        custom_error_type="answer_type",
        custom_error_message="A number, a text, true or false, or null is needed.",
    ),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "boolean"},
                {"type": "number"},
                {"type": "string", "minLength": 1, "maxLength": 10_000},
            ]
        }
    ),
]
"""One answer, in the JSON type of its item; nothing is converted behind the client's back."""


@unique
class ResultState(StrEnum):
    """Whether scores are shown.

    `withheld` means that the instrument's result is for staff, or for the participant only once
    it has been talked about.
    """

    PENDING = "pending"
    SHOWN = "shown"
    WITHHELD = "withheld"


class AssessmentCreate(Schema):
    """Which instrument is given to whom, and by when."""

    participant_id: UUID
    instrument_key: Slug
    due_at: Instant | None = None
    expires_at: Annotated[
        Instant | None, Field(description="After this instant nothing can be answered.")
    ] = None

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "participant_id": "019a7f3e-4c1b-7d52-9e64-2b8f0c6a1d35",
                    "instrument_key": "phq-9",
                    "due_at": "2026-03-02T17:00:00Z",
                    "expires_at": "2026-03-09T17:00:00Z",
                }
            ]
        }
    )


class AnswerChange(Schema):
    """The answer to one item; null takes an earlier answer back."""

    item_id: Code
    value: AnswerInput | None


class AnswersUpdate(Schema):
    """Answers, as many or as few as there are; items that are not named stay as they are."""

    answers: Annotated[list[AnswerChange], Field(min_length=1, max_length=200)]

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"answers": [{"item_id": "q1", "value": 2}, {"item_id": "q2", "value": 1}]}
            ]
        }
    )


class AnswerRead(ReadSchema):
    """What was answered to one item."""

    item_id: str
    value: bool | int | Number | str
    answered_at: Instant


class ChangeRead(ReadSchema):
    """How a score has moved since the first administration; positive improvement is for the better.

    What cannot be said is null: a baseline of 0 cannot halve, a figure may not be published.
    """

    baseline: Number
    current: Number
    improvement: Number
    percent: Number | None
    change_class: ChangeClass
    is_important: bool | None
    is_response: bool | None
    is_remission: bool | None
    was_case: bool | None
    is_case: bool | None
    reliable_points: Number
    sources: dict[str, str]


class ScoreRead(ReadSchema):
    """A computed result. Without a value, too many items were blank."""

    id: UUID
    code: str
    value: Number | None
    band: str | None
    is_prorated: bool
    missing: Annotated[int, Field(description="How many of its items were blank.")]
    change: ChangeRead | None
    scored_at: Instant


class AssessmentSummary(ReadSchema):
    """One administration of an instrument, as much of it as a list needs."""

    model_config = ConfigDict(json_schema_extra={"examples": [_ASSESSMENT]})

    id: UUID
    version: int
    participant_id: UUID
    instrument_key: str
    instrument_version: str
    label: Annotated[
        str | None, Field(description="To be shown with the form and with every score of it.")
    ]
    state: AssessmentState
    due_at: Instant | None
    expires_at: Instant | None
    submitted_at: Instant | None
    created_at: Instant
    updated_at: Instant


class AssessmentPage(Page[AssessmentSummary]):
    """A page of assessments."""


class AssessmentRead(AssessmentSummary):
    """One administration, with its answers and what was computed from them."""

    model_config = ConfigDict(json_schema_extra={"examples": [_ANSWERED]})

    answers: list[AnswerRead]
    result: ResultState
    scores: Annotated[list[ScoreRead], Field(description="Empty unless the result is `shown`.")]


class CrisisContactRead(ReadSchema):
    """One way to reach a service."""

    mode: ContactMode
    to: str
    body: Annotated[str | None, Field(description="What to write in a text.")]
    label: str | None


class CrisisResourceRead(ReadSchema):
    """A service that answers at once. It is for the person themselves."""

    key: str
    name: str
    text: str
    is_always_open: bool
    contacts: list[CrisisContactRead]


class AssessmentSaved(AssessmentRead):
    """An assessment after answers were saved, with help when one of them asks for it."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{**_ANSWERED, "crisis_resources": [_LIFELINE]}]}
    )

    crisis_resources: Annotated[
        list[CrisisResourceRead],
        Field(description="To be shown at once when there are any."),
    ]
