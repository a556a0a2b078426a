"""The types of every field that a client may send (FUZZ-03).

Request models take their fields from here, so that a hostile value is refused at the edge of the
system, with a pointer and a code, and never met by a driver or a column. Raw `str`, `int`,
`float`, `Decimal`, `datetime`, `date` and `dict` have no place in a request model.

Types that read text (instants, dates, paging numbers) also accept the value itself, because the
same types render what comes out of the database.
"""

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from decimal import Decimal
from functools import cache
from typing import Annotated, Any, Final
from urllib.parse import urlsplit
from uuid import UUID
from zoneinfo import available_timezones

from annotated_types import GroupedMetadata
from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    Strict,
    StringConstraints,
    WithJsonSchema,
)
from pydantic_core import PydanticCustomError
from typing_extensions import override

from app.core.problems.validation import explain

EARLIEST: Final = datetime(1900, 1, 1, tzinfo=UTC)
LATEST: Final = datetime(2200, 1, 1, tzinfo=UTC)
DEFAULT_LIMIT: Final = 25
MAX_LIMIT: Final = 100
MAX_DURATION_MINUTES: Final = 400 * 24 * 60

_INT4_MAX: Final = 2**31 - 1
_INT8_MAX: Final = 2**63 - 1

# Codes that this module adds to Pydantic's, with the sentence a client reads.
REFUSALS: Final = {
    "blank": "Something other than white space is needed.",
    "control_character": "Control characters are not accepted.",
    "bidi_control": "Characters that change the direction of writing are not accepted in names.",
    "unknown_zone": "An IANA time zone name is needed, such as America/New_York.",
    "instant_format": "An RFC 3339 instant with a zone is needed, such as 2026-03-01T17:00:00Z.",
    "instant_range": "Instants lie between the years 1900 and 2200.",
    "date_format": "A date is needed, such as 2026-03-01.",
    "date_range": "Dates lie between the years 1900 and 2200.",
    "time_format": "A time of day is needed, such as 17:00.",
    "integer_format": "A whole number in decimal digits is needed.",
    "decimal_format": "A number in plain decimal notation is needed.",
    "boolean_format": "Either true or false is needed.",
    "url_format": "An https URL without credentials and fragment is needed.",
}
explain(REFUSALS)


def _refuse(code: str) -> PydanticCustomError:
    # The code comes from the table above, so no message can hold what a client sent.
    return PydanticCustomError(code, REFUSALS[code])


# Text

_CONTROLS: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_CONTROLS_BUT_LINES: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_BIDI: Final = re.compile("[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")


@dataclass(frozen=True, slots=True)
class _Text(GroupedMetadata):
    """Length, normal form and forbidden characters of one text."""

    max_length: int
    min_length: int
    multiline: bool
    name: bool

    @override
    def __iter__(self) -> Iterator[object]:
        yield StringConstraints(
            min_length=self.min_length,
            max_length=self.max_length,
            strip_whitespace=self.name,
        )
        yield AfterValidator(self.check)

    def check(self, value: str) -> str:
        """Return the text in NFC, which may be longer than what was sent."""
        if not value.isascii():
            value = unicodedata.normalize("NFC", value)
            if len(value) > self.max_length:
                raise PydanticCustomError(
                    "string_too_long",
                    "String should have at most {max_length} characters",
                    {"max_length": self.max_length},
                )
        if (_CONTROLS_BUT_LINES if self.multiline else _CONTROLS).search(value):
            raise _refuse("control_character")
        if self.name and _BIDI.search(value):
            raise _refuse("bidi_control")
        if self.min_length and (not value or value.isspace()):
            raise _refuse("blank")
        return value


def text(max_length: int, *, min_length: int = 1, multiline: bool = False) -> _Text:
    """Bound plain text.

    A field says `Annotated[str, text(80)]`. Text is kept in NFC; text that arrives in NFC is
    stored and returned as it came. Control characters are refused, but for line feeds and tabs
    when `multiline` (API-14). With a `min_length`, white space alone is not text.
    """
    return _Text(max_length, min_length, multiline, name=False)


def name(max_length: int) -> _Text:
    """Bound what something is called: one line, trimmed, and read in one direction (API-14)."""
    return _Text(max_length, min_length=1, multiline=False, name=True)


ShortText = Annotated[str, text(200)]
LongText = Annotated[str, text(10_000, multiline=True)]
MessageText = Annotated[str, text(4_000, multiline=True)]
Name = Annotated[str, name(120)]

Slug = Annotated[str, StringConstraints(max_length=64, pattern=r"^[a-z0-9]+(?:-[a-z0-9]+)*$")]
Code = Annotated[str, StringConstraints(max_length=64, pattern=r"^[a-z][a-z0-9]*(?:_[a-z0-9]+)*$")]
SemanticVersion = Annotated[
    str,
    StringConstraints(
        max_length=32, pattern=r"^(?:0|[1-9][0-9]*)\.(?:0|[1-9][0-9]*)\.(?:0|[1-9][0-9]*)$"
    ),
]
LanguageTag = Annotated[
    str, StringConstraints(max_length=35, pattern=r"^[A-Za-z]{2,3}(?:-[A-Za-z0-9]{2,8})*$")
]
Email = Annotated[
    str,
    StringConstraints(
        max_length=254,
        pattern=(
            r"^[\p{L}\p{M}\p{N}.!#$%&'*+/=?^_`{|}~-]{1,64}"
            r"@(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)+"
            r"(?:[A-Za-z]{2,63}|xn--[A-Za-z0-9-]{1,59})$"
        ),
    ),
    AfterValidator(_Text(254, 3, multiline=False, name=True).check),
    WithJsonSchema({"type": "string", "format": "email", "maxLength": 254}),
]
Phone = Annotated[
    str,
    StringConstraints(pattern=r"^\+[1-9][0-9]{6,14}$"),
    Field(
        description="E.164: a plus sign, the country code, the number.", examples=["+15555550100"]
    ),
]
StateCode = Annotated[
    str,
    StringConstraints(pattern=r"^[A-Z]{2}-[A-Z0-9]{1,3}$"),
    Field(description="ISO 3166-2: the state that somebody is in.", examples=["US-CO"]),
]
Cursor = Annotated[
    str,
    StringConstraints(min_length=1, max_length=1024, pattern=r"^[A-Za-z0-9_-]+$"),
    Field(description="`next_cursor` of the page before; opaque."),
]


def _https_url(value: str) -> str:
    try:
        parts = urlsplit(value)
        port = parts.port
    except ValueError:
        raise _refuse("url_format") from None
    plain = parts.scheme == "https" and parts.hostname and parts.username is None
    if not plain or "#" in value or port == 0:
        raise _refuse("url_format")
    return value


Url = Annotated[
    str,
    # Printable ASCII without what a URL never holds: nothing can be smuggled into a header.
    StringConstraints(max_length=2048, pattern=r"^[!$%&'()*+,./0-9:;=?@A-Z\[\]_a-z~#-]+$"),
    AfterValidator(_https_url),
    WithJsonSchema({"type": "string", "format": "uri", "maxLength": 2048}),
]


# Zones, instants, dates, durations


@cache
def _zones() -> frozenset[str]:
    return frozenset(available_timezones())


def _known_zone(value: str) -> str:
    if value not in _zones():
        raise _refuse("unknown_zone")
    return value


ZoneName = Annotated[
    str,
    StringConstraints(max_length=64),
    AfterValidator(_known_zone),
    Field(description="IANA time zone.", examples=["America/New_York"]),
]

_INSTANT: Final = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,6})?"
    r"(?:[Zz]|[+-][0-9]{2}:[0-9]{2})"
)
_DATE: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_TIME: Final = re.compile(r"[0-9]{2}:[0-9]{2}(?::[0-9]{2})?")


def _instant(value: object) -> datetime:
    if isinstance(value, str) and _INSTANT.fullmatch(value):
        try:
            value = datetime.fromisoformat(value.upper())
        except ValueError:
            raise _refuse("instant_format") from None
    if not isinstance(value, datetime) or value.tzinfo is None:
        raise _refuse("instant_format")
    try:
        instant = value.astimezone(UTC)
    except OverflowError:
        raise _refuse("instant_range") from None
    if not EARLIEST <= instant <= LATEST:
        raise _refuse("instant_range")
    return instant


def _date(value: object) -> date:
    if isinstance(value, str) and _DATE.fullmatch(value):
        try:
            value = date.fromisoformat(value)
        except ValueError:
            raise _refuse("date_format") from None
    if not isinstance(value, date) or isinstance(value, datetime):
        raise _refuse("date_format")
    if not EARLIEST.date() <= value <= LATEST.date():
        raise _refuse("date_range")
    return value


def _wall_time(value: object) -> time:
    if isinstance(value, str) and _TIME.fullmatch(value):
        try:
            value = time.fromisoformat(value)
        except ValueError:
            raise _refuse("time_format") from None
    if not isinstance(value, time) or value.tzinfo is not None:
        raise _refuse("time_format")
    return value


Instant = Annotated[
    datetime,
    # Pydantic alone would read numbers, and digits in a string, as Unix time.
    BeforeValidator(_instant, json_schema_input_type=datetime),
    Field(description="RFC 3339, kept in UTC.", examples=["2026-03-01T22:00:00Z"]),
]
Date = Annotated[date, BeforeValidator(_date, json_schema_input_type=date)]
WallTime = Annotated[
    time,
    BeforeValidator(_wall_time, json_schema_input_type=time),
    Field(description="Local time of day, without a zone.", examples=["17:00"]),
    WithJsonSchema({"type": "string", "pattern": r"^[0-9]{2}:[0-9]{2}(:[0-9]{2})?$"}),
]
DurationMinutes = Annotated[int, Strict(), Field(ge=0, le=MAX_DURATION_MINUTES)]


# Numbers, in bodies: strict, within the column

Count = Annotated[int, Strict(), Field(ge=0, le=_INT4_MAX)]
Int4 = Annotated[int, Strict(), Field(ge=-_INT4_MAX - 1, le=_INT4_MAX)]
Position = Annotated[int, Strict(), Field(ge=0, le=_INT8_MAX)]
Version = Annotated[int, Strict(), Field(ge=1, le=_INT4_MAX)]
Flag = Annotated[bool, Strict()]
Id = UUID

_DECIMAL: Final = re.compile(r"-?[0-9]{1,30}(?:\.[0-9]{1,30})?")


def _decimal(value: object) -> object:
    if isinstance(value, bool) or (isinstance(value, str) and not _DECIMAL.fullmatch(value)):
        raise _refuse("decimal_format")
    return value


@dataclass(frozen=True, slots=True)
class _Number(GroupedMetadata):
    """How many digits a decimal has, as its column has them."""

    max_digits: int
    decimal_places: int

    @override
    def __iter__(self) -> Iterator[object]:
        yield Field(
            max_digits=self.max_digits, decimal_places=self.decimal_places, allow_inf_nan=False
        )
        yield BeforeValidator(_decimal, json_schema_input_type=Decimal)


def number(max_digits: int, decimal_places: int) -> _Number:
    """Fit an exact number into its `numeric` column.

    A field says `Annotated[Decimal, number(8, 2)]`. The number arrives as a JSON number or as a
    string in plain notation, and is finite.
    """
    return _Number(max_digits, decimal_places)


# Numbers and flags in queries and paths, where everything arrives as text

_INTEGER: Final = re.compile(r"0|-?[1-9][0-9]{0,18}")


def _query_integer(value: Any) -> object:  # noqa: ANN401  # whatever a query may hold
    if isinstance(value, str):
        if not _INTEGER.fullmatch(value):
            raise _refuse("integer_format")
        return int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise _refuse("integer_format")
    return value


def _query_flag(value: Any) -> object:  # noqa: ANN401  # whatever a query may hold
    if isinstance(value, bool):
        return value
    if value not in ("true", "false"):  # a query may hold what has no hash
        raise _refuse("boolean_format")
    return value == "true"


_FROM_QUERY: Final = BeforeValidator(_query_integer, json_schema_input_type=int)

Limit = Annotated[
    int, _FROM_QUERY, Field(ge=1, le=MAX_LIMIT, description="The most items that a page may hold.")
]
QueryCount = Annotated[int, _FROM_QUERY, Field(ge=0, le=_INT4_MAX)]
QueryPosition = Annotated[int, _FROM_QUERY, Field(ge=0, le=_INT8_MAX)]
PathNumber = Annotated[int, _FROM_QUERY, Field(ge=1, le=_INT8_MAX)]
QueryFlag = Annotated[bool, BeforeValidator(_query_flag, json_schema_input_type=bool)]
