"""Instruments as they cross the wire: what a form needs to ask, and what must be shown with it.

Flags and gates stay behind the API: which answer raises a concern is no part of the question.
"""

from decimal import Decimal
from typing import Annotated, Final, Literal

from pydantic import ConfigDict, Field, JsonValue, PlainSerializer
from pydantic.config import JsonDict

from app.domain.instruments import Direction, ItemType
from app.domain.instruments.definitions import Informant
from app.schemas.base import Page, ReadSchema


def _plain(value: Decimal) -> int | float:
    return int(value) if value == value.to_integral_value() else float(value)


_SUMMARY: Final[JsonDict] = {
    "key": "rulers",
    "version": "1.0.0",
    "title": "Readiness rulers",
    "language": "en-US",
    "is_validated": False,
    "label": "Not a validated instrument.",
    "informant": "self",
    "audience_result": "participant_after_review",
}
_INSTRUMENT: Final[JsonDict] = {
    **_SUMMARY,
    "license": {
        "position": "Written for this project; the project's license applies.",
        "holder": "The Stepwell authors",
        "attribution": "Written for Stepwell. Not a validated instrument.",
        "notices": ["Not a validated instrument."],
    },
    "instruction": "Choose a number from 0 (not at all) to 10 (completely).",
    "stem": "",
    "time_frame": None,
    "minimum_age": None,
    "maximum_age": None,
    "items": [
        {
            "id": "confidence",
            "text": "How confident are you that you could make that change?",
            "type": "integer",
            "options": [],
            "minimum": 0,
            "maximum": 10,
            "unit": None,
            "max_length": 2000,
            "pattern": None,
            "is_required": True,
            "answered_by": "self",
            "visible_when": None,
            "loinc": None,
        }
    ],
    "scores": [
        {
            "code": "confidence_ruler",
            "minimum": 0,
            "maximum": 10,
            "direction": "higher_better",
            "bands": [{"code": "action", "label": "Action", "minimum": 9, "maximum": 10}],
            "loinc": None,
        }
    ],
    "loinc": None,
}
Number = Annotated[Decimal, PlainSerializer(_plain, return_type=int | float)]
"""An exact figure, which leaves as a JSON number: 12, not "12.0000"."""


class LicenseRead(ReadSchema):
    """On what terms the wording is used. `attribution` and `notices` must be shown with it."""

    position: str
    holder: str
    attribution: str
    notices: list[str]


class OptionRead(ReadSchema):
    """One answer that an item offers; `value` is what is sent back."""

    value: int | str
    label: str
    loinc: str | None


class ItemRead(ReadSchema):
    """One question, and what an answer to it may be."""

    id: str
    text: str
    type: ItemType
    options: Annotated[list[OptionRead], Field(description="Of a `choice`; else empty.")]
    minimum: Number | None
    maximum: Number | None
    unit: str | None
    max_length: int
    pattern: str | None
    is_required: bool
    answered_by: Informant
    visible_when: Annotated[
        JsonValue,
        Field(description="A condition such as `{item, op, value}`; null means always."),
    ]
    loinc: str | None


class BandRead(ReadSchema):
    """A named stretch of a score, ends included."""

    code: str
    label: str
    minimum: Number
    maximum: Number


class ScoreDefinitionRead(ReadSchema):
    """A score that the instrument yields."""

    code: str
    minimum: Number
    maximum: Number
    direction: Direction
    bands: list[BandRead]
    loinc: str | None


class InstrumentSummary(ReadSchema):
    """As much of an instrument as a list needs."""

    model_config = ConfigDict(json_schema_extra={"examples": [_SUMMARY]})

    key: str
    version: str
    title: str
    language: str
    is_validated: bool
    label: Annotated[
        str | None, Field(description="To be shown with every use; null when nothing must be.")
    ]
    informant: Informant
    audience_result: Literal["clinician_only", "participant_after_review", "participant_immediate"]


class InstrumentPage(Page[InstrumentSummary]):
    """The catalogue."""


class InstrumentRead(InstrumentSummary):
    """One version of a questionnaire."""

    model_config = ConfigDict(json_schema_extra={"examples": [_INSTRUMENT]})

    license: LicenseRead
    instruction: str
    stem: str
    time_frame: Annotated[
        str | None, Field(description="How far the questions look back, as an ISO 8601 duration.")
    ]
    minimum_age: int | None
    maximum_age: int | None
    items: list[ItemRead]
    scores: list[ScoreDefinitionRead]
    loinc: str | None
