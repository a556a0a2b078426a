"""Each field type at its edges (FUZZ-03)."""

import json
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Annotated

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from app.schemas import types
from app.schemas.base import Page, ReadSchema, Schema
from app.schemas.types import (
    Code,
    Count,
    Cursor,
    Date,
    DurationMinutes,
    Email,
    Flag,
    Instant,
    Int4,
    LanguageTag,
    Limit,
    LongText,
    MessageText,
    Name,
    PathNumber,
    Phone,
    Position,
    QueryCount,
    QueryFlag,
    QueryPosition,
    SemanticVersion,
    ShortText,
    Slug,
    StateCode,
    Url,
    Version,
    WallTime,
    ZoneName,
    number,
    text,
)

Tiny = Annotated[str, text(3)]
Optional = Annotated[str, text(3, min_length=0)]
Price = Annotated[Decimal, number(6, 2)]


def noon(year: int = 2026, **fields: int) -> datetime:
    return datetime(year, 3, 1, 12, tzinfo=UTC).replace(**fields)  # type: ignore[arg-type]  # ints only


TAKEN: list[tuple[type[object], object, object]] = [
    (Tiny, "a", "a"),
    (Tiny, "abc", "abc"),
    (Tiny, "a b", "a b"),
    (Tiny, "e\u0301", "é"),
    (Tiny, "\u202e!", "\u202e!"),
    (Optional, "", ""),
    (Optional, " ", " "),
    (ShortText, "x" * 200, "x" * 200),
    (LongText, "a\n\tb", "a\n\tb"),
    (LongText, "x" * 10_000, "x" * 10_000),
    (MessageText, "👩‍👩‍👧", "👩‍👩‍👧"),
    (MessageText, "x" * 4000, "x" * 4000),
    (Name, "Zoë", "Zoë"),
    (Name, "  Ana  ", "Ana"),
    (Name, "x" * 120, "x" * 120),
    (Name, "O'Brien <3", "O'Brien <3"),
    (Slug, "adult-evening-2", "adult-evening-2"),
    (Slug, "a" * 64, "a" * 64),
    (Code, "phq_9", "phq_9"),
    (SemanticVersion, "0.10.2", "0.10.2"),
    (LanguageTag, "en", "en"),
    (LanguageTag, "zh-Hant-TW", "zh-Hant-TW"),
    (Email, "a@b.co", "a@b.co"),
    (Email, "first.last+tag@sub.example.org", "first.last+tag@sub.example.org"),
    (Email, "josé@example.org", "josé@example.org"),
    (Email, "a@xn--bcher-kva.example", "a@xn--bcher-kva.example"),
    (Email, "a" * 64 + "@b.co", "a" * 64 + "@b.co"),
    (Phone, "+15555550100", "+15555550100"),
    (Phone, "+1234567", "+1234567"),
    (Phone, "+" + "1" * 15, "+" + "1" * 15),
    (StateCode, "US-CO", "US-CO"),
    (Cursor, "a-_9", "a-_9"),
    (Cursor, "a" * 1024, "a" * 1024),
    (Url, "https://example.org", "https://example.org"),
    (Url, "https://example.org:8443/a?b=c%20d", "https://example.org:8443/a?b=c%20d"),
    (Url, "https://[2001:db8::1]/", "https://[2001:db8::1]/"),
    (ZoneName, "America/New_York", "America/New_York"),
    (ZoneName, "UTC", "UTC"),
    (Instant, "2026-03-01T12:00:00Z", noon()),
    (Instant, "2026-03-01t12:00:00z", noon()),
    (Instant, "2026-03-01T07:00:00-05:00", noon()),
    (Instant, "2026-03-01T12:00:00.5Z", noon(microsecond=500_000)),
    (Instant, "1900-01-01T00:00:00Z", datetime(1900, 1, 1, tzinfo=UTC)),
    (Instant, "1899-12-31T23:00:00-01:00", datetime(1900, 1, 1, tzinfo=UTC)),
    (Instant, "2200-01-01T00:00:00Z", datetime(2200, 1, 1, tzinfo=UTC)),
    (Instant, noon().astimezone(timezone(timedelta(hours=3))), noon()),
    (Date, "2026-03-01", date(2026, 3, 1)),
    (Date, "2024-02-29", date(2024, 2, 29)),
    (Date, "1900-01-01", date(1900, 1, 1)),
    (Date, "2200-01-01", date(2200, 1, 1)),
    (Date, date(2026, 3, 1), date(2026, 3, 1)),
    (WallTime, "17:00", time(17)),
    (WallTime, "02:30:00", time(2, 30)),
    (WallTime, time(17), time(17)),
    (DurationMinutes, 0, 0),
    (DurationMinutes, 576_000, 576_000),
    (Count, 0, 0),
    (Count, 2**31 - 1, 2**31 - 1),
    (Int4, -(2**31), -(2**31)),
    (Int4, 2**31 - 1, 2**31 - 1),
    (Position, 2**63 - 1, 2**63 - 1),
    (Version, 1, 1),
    (Flag, True, True),
    (Price, "1.50", Decimal("1.50")),
    (Price, 1.25, Decimal("1.25")),
    (Price, 9999, Decimal(9999)),
    (Price, "-9999.99", Decimal("-9999.99")),
    (Price, Decimal("1.5"), Decimal("1.5")),
    (Limit, "1", 1),
    (Limit, "100", 100),
    (Limit, 25, 25),
    (QueryCount, "0", 0),
    (QueryPosition, str(2**63 - 1), 2**63 - 1),
    (PathNumber, "1", 1),
    (PathNumber, str(2**63 - 1), 2**63 - 1),
    (QueryFlag, "true", True),
    (QueryFlag, "false", False),
    (QueryFlag, True, True),
]

REFUSED: list[tuple[type[object], object, str]] = [
    (Tiny, "", "string_too_short"),
    (Tiny, "abcd", "string_too_long"),
    (Tiny, "   ", "blank"),
    (Tiny, "\u2003", "blank"),
    (Tiny, "\u0958\u0958", "string_too_long"),
    (Tiny, "a\x00", "control_character"),
    (Tiny, "a\n", "control_character"),
    (Tiny, "a\t", "control_character"),
    (Tiny, "a\x7f", "control_character"),
    (Tiny, "a\x85", "control_character"),
    (Tiny, "a\u2028", "control_character"),
    (Tiny, "\ud800", "string_unicode"),
    (Tiny, 1, "string_type"),
    (Tiny, True, "string_type"),
    (Tiny, None, "string_type"),
    (Tiny, ["a"], "string_type"),
    (ShortText, "x" * 201, "string_too_long"),
    (LongText, "x" * 10_001, "string_too_long"),
    (LongText, "a\r\n", "control_character"),
    (LongText, "a\x0b", "control_character"),
    (LongText, "a\x1b[31m", "control_character"),
    (LongText, "a\x9b", "control_character"),
    (MessageText, "x" * 4001, "string_too_long"),
    (Name, "", "string_too_short"),
    (Name, "x" * 121, "string_too_long"),
    (Name, "a\nb", "control_character"),
    (Name, "\u202eanA", "bidi_control"),
    (Name, "a\u200fb", "bidi_control"),
    (Name, "a\u2066b", "bidi_control"),
    (Name, "a\u061cb", "bidi_control"),
    (Slug, "", "string_pattern_mismatch"),
    (Slug, "A", "string_pattern_mismatch"),
    (Slug, "a--b", "string_pattern_mismatch"),
    (Slug, "a\n", "string_pattern_mismatch"),
    (Slug, "a" * 65, "string_too_long"),
    (Code, "9a", "string_pattern_mismatch"),
    (Code, "a-b", "string_pattern_mismatch"),
    (SemanticVersion, "01.0.0", "string_pattern_mismatch"),
    (SemanticVersion, "1.0", "string_pattern_mismatch"),
    (LanguageTag, "english", "string_pattern_mismatch"),
    (Email, "a", "string_pattern_mismatch"),
    (Email, "@b.co", "string_pattern_mismatch"),
    (Email, "a@b", "string_pattern_mismatch"),
    (Email, "a@-b.co", "string_pattern_mismatch"),
    (Email, "a@b.co\n", "string_pattern_mismatch"),
    (Email, "a b@c.co", "string_pattern_mismatch"),
    (Email, "a@b@c.co", "string_pattern_mismatch"),
    (Email, "a\r\nBcc:x@b.co", "string_pattern_mismatch"),
    (Email, "a\u202e@b.co", "string_pattern_mismatch"),
    (Email, "a" * 65 + "@b.co", "string_pattern_mismatch"),
    (Email, "a@" + "b" * 62 + ("." + "c" * 62) * 3 + ".com", "string_too_long"),
    (Phone, "15555550100", "string_pattern_mismatch"),
    (Phone, "+0123456789", "string_pattern_mismatch"),
    (Phone, "+123456", "string_pattern_mismatch"),
    (Phone, "+" + "1" * 16, "string_pattern_mismatch"),
    (Phone, "+1 555 555 0100", "string_pattern_mismatch"),
    (Phone, "+1\u0663\u0664\u0665\u0666\u0667\u0668\u0669", "string_pattern_mismatch"),
    (StateCode, "CO", "string_pattern_mismatch"),
    (Cursor, "", "string_too_short"),
    (Cursor, "a" * 1025, "string_too_long"),
    (Cursor, "a=", "string_pattern_mismatch"),
    (Url, "http://example.org", "url_format"),
    (Url, "https://", "url_format"),
    (Url, "https://user@example.org", "url_format"),
    (Url, "https://example.org/#a", "url_format"),
    (Url, "https://example.org#", "url_format"),
    (Url, "https://example.org:0", "url_format"),
    (Url, "https://example.org:99999", "url_format"),
    (Url, "https://[::1", "url_format"),
    (Url, "https://example.org/a b", "string_pattern_mismatch"),
    (Url, "https://example.org/\r\nX: y", "string_pattern_mismatch"),
    (Url, "https://exämple.org", "string_pattern_mismatch"),
    (Url, "javascript:alert(1)", "url_format"),
    (Url, "https://" + "a" * 2041, "string_too_long"),
    (ZoneName, "Mars/Olympus", "unknown_zone"),
    (ZoneName, "../../etc/passwd", "unknown_zone"),
    (ZoneName, "/etc/localtime", "unknown_zone"),
    (ZoneName, "", "unknown_zone"),
    (ZoneName, "america/new_york", "unknown_zone"),
    (ZoneName, "A" * 65, "string_too_long"),
    (Instant, "2026-03-01T12:00:00", "instant_format"),
    (Instant, "2026-03-01", "instant_format"),
    (Instant, "2026-03-01 12:00:00Z", "instant_format"),
    (Instant, "1767225600", "instant_format"),
    (Instant, 1767225600, "instant_format"),
    (Instant, 1.5, "instant_format"),
    (Instant, True, "instant_format"),
    (Instant, None, "instant_format"),
    (Instant, "2026-03-01T24:00:00Z", "instant_format"),
    (Instant, "2026-03-01T23:59:60Z", "instant_format"),
    (Instant, "2026-02-29T12:00:00Z", "instant_format"),
    (Instant, "2026-03-01T12:00:00+24:00", "instant_format"),
    (Instant, "2026-03-01T12:00:00.1234567Z", "instant_format"),
    (Instant, "2026-03-01T12:00:00Z\n", "instant_format"),
    (Instant, "٢٠٢٦-03-01T12:00:00Z", "instant_format"),
    (Instant, "2026-W09-7T12:00:00Z", "instant_format"),
    (Instant, "1899-12-31T23:59:59Z", "instant_range"),
    (Instant, "1900-01-01T00:00:00+00:01", "instant_range"),
    (Instant, "2200-01-01T00:00:00.000001Z", "instant_range"),
    (Instant, "0001-01-01T00:00:00+14:00", "instant_range"),
    (Instant, "9999-12-31T23:59:59-12:00", "instant_range"),
    (Instant, noon().replace(tzinfo=None), "instant_format"),
    (Date, "2026-3-1", "date_format"),
    (Date, "2026-02-30", "date_format"),
    (Date, "20260301", "date_format"),
    (Date, "2026-03-01T00:00:00Z", "date_format"),
    (Date, 20000, "date_format"),
    (Date, noon(), "date_format"),
    (Date, "1899-12-31", "date_range"),
    (Date, "2200-01-02", "date_range"),
    (WallTime, "24:00", "time_format"),
    (WallTime, "17", "time_format"),
    (WallTime, "17:00Z", "time_format"),
    (WallTime, "17:60", "time_format"),
    (WallTime, 61200, "time_format"),
    (WallTime, time(17, tzinfo=UTC), "time_format"),
    (DurationMinutes, -1, "greater_than_equal"),
    (DurationMinutes, 576_001, "less_than_equal"),
    (DurationMinutes, 1.5, "int_type"),
    (Count, -1, "greater_than_equal"),
    (Count, 2**31, "less_than_equal"),
    (Count, True, "int_type"),
    (Count, 1.0, "int_type"),
    (Count, "1", "int_type"),
    (Count, 10**30, "less_than_equal"),
    (Int4, -(2**31) - 1, "greater_than_equal"),
    (Int4, 2**31, "less_than_equal"),
    (Position, 2**63, "less_than_equal"),
    (Position, -1, "greater_than_equal"),
    (Version, 0, "greater_than_equal"),
    (Version, 2**31, "less_than_equal"),
    (Flag, 1, "bool_type"),
    (Flag, "true", "bool_type"),
    (Price, "1.234", "decimal_max_places"),
    (Price, "10000.00", "decimal_whole_digits"),
    (Price, "NaN", "decimal_format"),
    (Price, "Infinity", "decimal_format"),
    (Price, "1e2", "decimal_format"),
    (Price, "1_0", "decimal_format"),
    (Price, " 1", "decimal_format"),
    (Price, "٣", "decimal_format"),
    (Price, True, "decimal_format"),
    (Price, float("nan"), "finite_number"),
    (Price, float("inf"), "finite_number"),
    (Limit, "0", "greater_than_equal"),
    (Limit, "101", "less_than_equal"),
    (Limit, "-1", "greater_than_equal"),
    (Limit, str(2**63), "less_than_equal"),
    (Limit, "1" * 30, "integer_format"),
    (Limit, "1_0", "integer_format"),
    (Limit, "1.0", "integer_format"),
    (Limit, "+1", "integer_format"),
    (Limit, " 1", "integer_format"),
    (Limit, "01", "integer_format"),
    (Limit, "٣", "integer_format"),
    (Limit, "", "integer_format"),
    (Limit, True, "integer_format"),
    (Limit, 1.0, "integer_format"),
    (QueryCount, str(2**31), "less_than_equal"),
    (QueryPosition, str(2**63), "less_than_equal"),
    (PathNumber, "0", "greater_than_equal"),
    (PathNumber, str(2**63), "less_than_equal"),
    (QueryFlag, "1", "boolean_format"),
    (QueryFlag, "True", "boolean_format"),
    (QueryFlag, [], "boolean_format"),
]


@pytest.mark.parametrize(("kind", "given_value", "kept"), TAKEN)
def test_fuzz_03_takes(kind: type[object], given_value: object, kept: object) -> None:
    value = TypeAdapter(kind).validate_python(given_value)
    assert value == kept
    assert type(value) is type(kept)


@pytest.mark.parametrize(("kind", "given_value", "code"), REFUSED)
def test_fuzz_03_refuses(kind: type[object], given_value: object, code: str) -> None:
    with pytest.raises(ValidationError) as refused:
        TypeAdapter(kind).validate_python(given_value)
    assert [error["type"] for error in refused.value.errors()] == [code]


def test_every_refusal_of_our_own_is_tried() -> None:
    assert set(types.REFUSALS) <= {code for _, _, code in REFUSED}


@given(st.text())
def test_fuzz_03_any_text_is_kept_as_nfc_or_refused(value: str) -> None:
    try:
        kept = TypeAdapter(LongText).validate_python(value)
    except ValidationError:
        return
    assert TypeAdapter(LongText).validate_python(kept) == kept
    kept.encode("utf-8")


@given(st.one_of(st.text(), st.integers(), st.floats(), st.none(), st.booleans(), st.datetimes()))
def test_fuzz_03_any_value_is_an_instant_in_utc_or_refused(value: object) -> None:
    try:
        kept = TypeAdapter(Instant).validate_python(value)
    except ValidationError:
        return
    assert kept.utcoffset() == timedelta(0)


@given(st.datetimes(datetime(1900, 1, 2), datetime(2199, 12, 30), timezones=st.timezones()))  # noqa: DTZ001  # bounds are naive
def test_an_instant_survives_the_wire(instant: datetime) -> None:
    class Entry(ReadSchema):
        at: Instant

    sent = Entry(at=instant).model_dump_json()
    assert sent.endswith('Z"}')
    assert Entry.model_validate(json.loads(sent)).at == instant.astimezone(UTC)


# The base


class Shelf(ReadSchema):
    litres: Count
    at: Instant


class ShelfCreate(Schema):
    litres: Count = 5


def test_a_request_refuses_what_it_does_not_know() -> None:
    with pytest.raises(ValidationError):
        ShelfCreate.model_validate({"litres": 1, "liters": 2})


def test_a_read_is_made_from_a_row_and_renders_utc() -> None:
    class Row:
        litres = 3
        at = noon().astimezone(timezone(timedelta(hours=-5)))

    assert Shelf.model_validate(Row()).model_dump_json() == (
        '{"litres":3,"at":"2026-03-01T12:00:00Z"}'
    )


def test_a_schema_is_frozen() -> None:
    shelf, field = ShelfCreate(), "litres"
    with pytest.raises(ValidationError):
        setattr(shelf, field, 6)


def test_phi_14_an_error_hides_its_input() -> None:
    with pytest.raises(ValidationError) as refused:
        ShelfCreate.model_validate({"litres": "canary"})
    assert "canary" not in str(refused.value)


def test_a_page_shows_both_of_its_fields() -> None:
    page = Page[Shelf](items=[Shelf(litres=1, at=noon())], next_cursor=None)
    assert set(page.model_dump()) == {"items", "next_cursor"}
    schema = Page[Shelf].model_json_schema(mode="serialization")
    assert schema["required"] == ["items", "next_cursor"]
    assert "additionalProperties" not in schema
