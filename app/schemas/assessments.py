"""Assessments as they cross the wire: what was asked, answered and computed."""

from datetime import date
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
from app.domain.alerts import Tier
from app.domain.crisis import ContactMode
from app.domain.instruments import FlagKind
from app.domain.measurement import Occasion
from app.domain.scoring import ChangeClass
from app.models.assessments import AssessmentState, EntryMode
from app.schemas.base import Page, ReadSchema, Schema
from app.schemas.instruments import Number
from app.schemas.types import Code, Flag, Instant, LongText, SemanticVersion, Slug

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
    "battery_id": None,
    "program_id": _ID.format(7),
    "occasion": "weekly",
    "occasion_on": "2026-03-02",
    "opens_at": "2026-03-01T07:00:00Z",
    "due_at": "2026-03-03T03:00:00Z",
    "expires_at": "2026-03-05T07:00:00Z",
    "submitted_at": "2026-03-02T16:20:00Z",
    "taken_at": "2026-03-02T16:20:00Z",
    "revision": 1,
    "corrects_id": None,
    "corrected_by_id": None,
    "created_at": "2026-02-27T18:00:00Z",
    "updated_at": "2026-03-02T16:20:00Z",
}
_GIVEN: Final[JsonDict] = {
    **_ASSESSMENT,
    "version": 1,
    "battery_id": _ID.format(9),
    "program_id": None,
    "occasion": None,
    "occasion_on": None,
    "state": "assigned",
    "submitted_at": None,
    "taken_at": None,
}
_SCORE: Final[JsonDict] = {
    "id": _ID.format(3),
    "code": "total",
    "value": 8,
    "band": "mild",
    "is_prorated": False,
    "missing": 0,
    "change": None,
    "change_from_previous": None,
    "scored_at": "2026-03-02T16:20:00Z",
}
_ANSWERED: Final[JsonDict] = {
    **_ASSESSMENT,
    "answers": [
        {
            "item_id": "q1",
            "value": 2,
            "answered_at": "2026-03-02T16:18:00Z",
            "answered_by": _ID.format(8),
            "entered_as": "self",
        }
    ],
    "result": "shown",
    "scores": [_SCORE],
    "flags": [],
    "submitted_by": _ID.format(8),
    "correction_reason": None,
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


OpensAt = Annotated[
    Instant | None, Field(description="Before this instant nothing can be answered.")
]
ExpiresAt = Annotated[
    Instant | None, Field(description="After this instant nothing can be answered.")
]


class AssessmentCreate(Schema):
    """Which instrument is given to whom, and by when."""

    participant_id: UUID
    instrument_key: Slug
    opens_at: OpensAt = None
    due_at: Instant | None = None
    expires_at: ExpiresAt = None

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


class BatteryCreate(Schema):
    """Which instruments are given together, to whom, and by when."""

    participant_id: UUID
    instrument_keys: Annotated[
        list[Slug], Field(min_length=1, max_length=20, json_schema_extra={"uniqueItems": True})
    ]
    opens_at: OpensAt = None
    due_at: Instant | None = None
    expires_at: ExpiresAt = None

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "participant_id": "019a7f3e-4c1b-7d52-9e64-2b8f0c6a1d35",
                    "instrument_keys": ["phq-9", "gad-7"],
                    "due_at": "2030-03-02T17:00:00Z",
                    "expires_at": "2030-03-09T17:00:00Z",
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
    instrument_version: Annotated[
        SemanticVersion | None,
        Field(description="The version that the person was shown; refused if it is another one."),
    ] = None
    entered_as: Annotated[
        EntryMode | None,
        Field(description="Staff enter from an interview unless they say that it was paper."),
    ] = None

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"answers": [{"item_id": "q1", "value": 2}, {"item_id": "q2", "value": 1}]}
            ]
        }
    )


class CorrectionCreate(AnswersUpdate):
    """What a submitted form should have said, and why; the other answers are taken over."""

    reason: Annotated[LongText, Field(description="Why the form is corrected. It is sealed.")]

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "answers": [{"item_id": "q2", "value": 2}],
                    "reason": "Entered in the wrong row of the paper form.",
                }
            ]
        }
    )


class AnswerRead(ReadSchema):
    """What was answered to one item, and through whom it came in."""

    item_id: str
    value: bool | int | Number | str
    answered_at: Instant
    answered_by: Annotated[UUID, Field(description="The account of whoever entered it.")]
    entered_as: EntryMode


class ChangeRead(ReadSchema):
    """How a score has moved since an earlier one; positive improvement is for the better.

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
    change: Annotated[ChangeRead | None, Field(description="Since the first administration.")]
    change_from_previous: Annotated[
        ChangeRead | None, Field(description="Since the administration before this one.")
    ]
    scored_at: Instant


class FlagRead(ReadSchema):
    """Why somebody should look. It names items, never answers."""

    id: str
    code: str
    kind: FlagKind
    tier: Tier
    item_ids: list[str]


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
    battery_id: Annotated[UUID | None, Field(description="Shared by what is given together.")]
    program_id: Annotated[UUID | None, Field(description="The program whose calendar asks it.")]
    occasion: Occasion | None
    occasion_on: date | None
    opens_at: Instant | None
    due_at: Instant | None
    expires_at: Instant | None
    submitted_at: Instant | None
    taken_at: Annotated[
        Instant | None,
        Field(description="When it was filled in; a correction keeps that of what it corrects."),
    ]
    revision: int
    corrects_id: UUID | None
    corrected_by_id: Annotated[
        UUID | None, Field(description="The revision that counts instead of this one.")
    ]
    created_at: Instant
    updated_at: Instant


class AssessmentPage(Page[AssessmentSummary]):
    """A page of assessments."""


class BatteryRead(ReadSchema):
    """What was given together."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"id": _ID.format(9), "items": [_GIVEN]}]}
    )

    id: UUID
    items: list[AssessmentSummary]


class AssessmentRead(AssessmentSummary):
    """One administration, with its answers and what was computed from them."""

    model_config = ConfigDict(json_schema_extra={"examples": [_ANSWERED]})

    answers: list[AnswerRead]
    result: ResultState
    scores: Annotated[list[ScoreRead], Field(description="Empty unless the result is `shown`.")]
    flags: Annotated[list[FlagRead], Field(description="For staff; empty for the participant.")]
    submitted_by: UUID | None
    correction_reason: Annotated[str | None, Field(description="For staff.")]


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
