"""Instruments as they cross the wire: what a form needs to ask, and what must be shown with it.

Flags and gates stay behind the API: which answer raises a concern is no part of the question.
"""

from datetime import date
from decimal import Decimal
from enum import StrEnum, unique
from typing import Annotated, Final, Literal

from pydantic import ConfigDict, Field, JsonValue, PlainSerializer
from pydantic.config import JsonDict

from app.domain.instruments import Direction, Informant, ItemType, Method
from app.schemas.base import Page, ReadSchema, Schema
from app.schemas.types import Flag, SemanticVersion, ShortText, text


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
    "origin": "shipped",
    "is_assignable": True,
    "condition": None,
    "license_expires_on": None,
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
    "placeholders": [],
    "time_frame": None,
    "minimum_age": None,
    "maximum_age": None,
    "items": [
        {
            "id": "confidence",
            "number": None,
            "stem": None,
            "text": "How confident are you that you could make that change?",
            "type": "integer",
            "options": [],
            "minimum": 0,
            "maximum": 10,
            "step": None,
            "unit": None,
            "minimum_label": None,
            "maximum_label": None,
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
            "label": None,
            "method": "sum",
            "minimum": 0,
            "maximum": 10,
            "direction": "higher_better",
            "read_by": None,
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
    number: Annotated[str | None, Field(description="As the form prints it.")]
    stem: Annotated[str | None, Field(description="What goes before the text.")]
    text: str
    type: ItemType
    options: Annotated[list[OptionRead], Field(description="Of a `choice`; else empty.")]
    minimum: Number | None
    maximum: Number | None
    step: Annotated[Number | None, Field(description="The distance of two values, from the least.")]
    unit: str | None
    minimum_label: str | None
    maximum_label: str | None
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
    """A score that the instrument yields.

    One whose `method` is `algorithm` names a class by its band; its number is no amount.
    """

    code: str
    label: str | None
    method: Method
    minimum: Number
    maximum: Number
    direction: Direction
    read_by: Annotated[
        str | None,
        Field(
            description="An attribute of the person on which the bands depend; those shown are"
            " for whoever's attribute is not known."
        ),
    ]
    bands: list[BandRead]
    loinc: str | None


@unique
class Origin(StrEnum):
    """Where a version comes from: it ships, or the organization loaded or adapted it."""

    SHIPPED = "shipped"
    LOADED = "loaded"
    ADAPTED = "adapted"


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
    origin: Origin
    is_assignable: bool
    condition: Annotated[
        str | None, Field(description="What must be accepted before the instrument is used.")
    ]
    license_expires_on: date | None


class InstrumentPage(Page[InstrumentSummary]):
    """The catalogue."""


class InstrumentRead(InstrumentSummary):
    """One version of a questionnaire."""

    model_config = ConfigDict(json_schema_extra={"examples": [_INSTRUMENT]})

    license: LicenseRead
    instruction: str
    stem: str
    placeholders: Annotated[
        list[str],
        Field(description="Blanks such as `{{therapist}}` that whoever shows the text fills in."),
    ]
    time_frame: Annotated[
        str | None, Field(description="How far the questions look back, as an ISO 8601 duration.")
    ]
    minimum_age: int | None
    maximum_age: int | None
    items: list[ItemRead]
    scores: list[ScoreDefinitionRead]
    loinc: str | None


@unique
class DefinitionFormat(StrEnum):
    """In which format a definition is written: ours, or FHIR R4."""

    STEPWELL = "stepwell"
    FHIR_R4 = "fhir_r4"


Document = Annotated[dict[str, JsonValue], Field(max_length=64)]
"""A JSON object in a format of its own, which is judged as a whole by whoever reads it."""

_DEFINITION: Final[JsonDict] = {
    "key": "team-check",
    "version": "1.0.0",
    "title": "Team check",
    "language": "en-US",
    "is_validated": False,
    "license": {
        "position": "Written by the organization.",
        "holder": "Example Clinic",
        "attribution": "Example Clinic. Not a validated instrument.",
        "evidence_file": "authors-statement.pdf",
    },
    "response_sets": {"agree": [{"value": 0, "label": "No"}, {"value": 1, "label": "Partly"}]},
    "items": [{"id": "q1", "text": "The team worked well together.", "set": "agree"}],
    "scores": [{"id": "total", "items": ["q1"], "range": [0, 1], "direction": "higher_better"}],
}


class InstrumentLoad(Schema):
    """A definition to publish.

    In our format it is whole. A FHIR R4 Questionnaire says what is asked; the `supplement` adds
    in our format what it cannot say: scores, flags, the license and its evidence.
    """

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"format": "stepwell", "definition": _DEFINITION}]}
    )

    format: DefinitionFormat = DefinitionFormat.STEPWELL
    definition: Document
    supplement: Annotated[
        Document | None, Field(description="Beside a Questionnaire only; it has the last word.")
    ] = None


class SettingChange(Schema):
    """One figure or text that the organization decides, and on what ground."""

    at: Annotated[str, text(200), Field(description="Its JSON pointer in the definition.")]
    value: JsonValue
    source: ShortText


class InstrumentAdapt(Schema):
    """A new version in which the organization has set what no source settles."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "version": "1.1.0",
                    "settings": [
                        {
                            "at": "/scores/0/missing",
                            "value": {"max": 1, "policy": "prorate"},
                            "source": "Clinical director, 2026-03-01",
                        }
                    ],
                }
            ]
        }
    )

    version: SemanticVersion
    settings: Annotated[list[SettingChange], Field(min_length=1, max_length=50)]


class InstrumentSwitchOn(Schema):
    """The decision to use an instrument, in the version whose condition was read."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"version": "1.0.0", "accepts_condition": True}]}
    )

    version: SemanticVersion
    accepts_condition: Annotated[
        Flag, Field(description="Whether you accept the `condition` of the instrument, if any.")
    ] = False


class SettingRead(ReadSchema):
    """What the organization may set in a definition, and what is doubtful about it."""

    at: str
    note: str


class InstrumentDefinitionRead(ReadSchema):
    """One version as it is written: for those who decide what the organization uses."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "key": "team-check",
                    "version": "1.0.0",
                    "origin": "loaded",
                    "definition": _DEFINITION,
                    "settings": [],
                }
            ]
        }
    )

    key: str
    version: str
    origin: Origin
    definition: Annotated[
        dict[str, JsonValue], Field(description="In the format of `POST /v1/instruments`.")
    ]
    settings: list[SettingRead]
