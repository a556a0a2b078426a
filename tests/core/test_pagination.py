"""Cursors go on where they stopped, and nowhere else."""

import base64
from datetime import UTC, date, datetime, timedelta
from urllib.parse import parse_qs
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.pagination import CursorCodec, Key, Listing, filters_digest, next_link, page
from app.core.problems import InvalidCursor

CODEC = CursorCodec(b"k" * 32)
ORGANIZATION = UUID("01a20c72-9ac9-768d-ac7a-d9abca78da7c")
LISTING = Listing("/v1/participants", ORGANIZATION, filters_digest({"state": "active"}))

keys = (
    st.uuids()
    | st.datetimes(datetime(1900, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001  # bounds are naive
    | st.dates()
    | st.integers(-(2**63), 2**63 - 1)
    | st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=50)
)


@given(st.lists(keys, max_size=4).map(tuple))
def test_a_cursor_keeps_its_values_and_their_types(values: tuple[Key, ...]) -> None:
    read = CODEC.decode(LISTING, CODEC.encode(LISTING, values))
    assert read == values
    assert [type(value) for value in read] == [type(value) for value in values]


def test_a_cursor_is_a_word_for_a_url() -> None:
    cursor = CODEC.encode(LISTING, (datetime.now(UTC), uuid4()))
    assert cursor.replace("-", "a").replace("_", "a").isalnum()


@pytest.mark.parametrize(
    "other",
    [
        Listing("/v1/staff", ORGANIZATION, LISTING.filters),
        Listing(LISTING.route, uuid4(), LISTING.filters),
        Listing(LISTING.route, ORGANIZATION, filters_digest({"state": "ended"})),
        Listing(LISTING.route, ORGANIZATION),
        Listing(LISTING.route + LISTING.filters, ORGANIZATION),
    ],
)
def test_api_05_a_cursor_of_another_list_is_refused(other: Listing) -> None:
    with pytest.raises(InvalidCursor):
        CODEC.decode(other, CODEC.encode(LISTING, (1,)))


def test_api_05_a_cursor_of_another_key_is_refused() -> None:
    with pytest.raises(InvalidCursor):
        CODEC.decode(LISTING, CursorCodec(b"x" * 32).encode(LISTING, (1,)))


def test_api_05_every_changed_bit_is_refused() -> None:
    cursor = CODEC.encode(LISTING, (7, date(2026, 3, 1)))
    raw = bytearray(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    for bit in range(len(raw) * 8):
        raw[bit // 8] ^= 1 << bit % 8
        forged = base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
        raw[bit // 8] ^= 1 << bit % 8
        with pytest.raises(InvalidCursor):
            CODEC.decode(LISTING, forged)


@pytest.mark.parametrize(
    "forged", ["", "a", "AAAA", "=", "a b", "é", "a" * 1025, "\x00", "++++", "🙂"]
)
def test_api_05_what_was_never_a_cursor_is_refused(forged: str) -> None:
    with pytest.raises(InvalidCursor):
        CODEC.decode(LISTING, forged)


@pytest.mark.parametrize(
    "payload",
    [
        b"{}",
        b"1",
        b"[1]",
        b'[["x",1]]',
        b'[["u","z"]]',
        b'[["t",9223372036854775807]]',
        b"[",
        b"[[]]",
    ],
)
def test_a_cursor_of_another_release_is_refused_and_no_error(payload: bytes) -> None:
    signed = CODEC._mac(LISTING, payload) + payload  # noqa: SLF001  # what another release would sign
    with pytest.raises(InvalidCursor):
        CODEC.decode(LISTING, base64.urlsafe_b64encode(signed).rstrip(b"=").decode())


@given(st.text())
def test_api_05_any_text_is_refused(forged: str) -> None:
    with pytest.raises(InvalidCursor):
        CODEC.decode(LISTING, forged)


def test_a_short_key_is_refused() -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        CursorCodec(b"short")


@given(st.lists(st.integers(-(2**63), 2**63 - 1), unique=True).map(sorted), st.integers(1, 7))
def test_api_05_a_full_walk_is_the_table(table: list[int], limit: int) -> None:
    walked: list[int] = []
    cursor: str | None = None
    while True:
        after = CODEC.decode(LISTING, cursor)[0] if cursor else None
        found = [row for row in table if after is None or row > after][: limit + 1]  # type: ignore[operator]  # an int
        cut = page(found, limit, lambda row: (row,))
        walked += cut.items
        if cut.last is None:
            break
        cursor = CODEC.encode(LISTING, cut.last)
    assert walked == table


def test_a_page_with_exactly_its_limit_is_the_last() -> None:
    assert page([1, 2], 2, lambda row: (row,)).last is None
    assert page([1, 2, 3], 2, lambda row: (row,)).last == (2,)


def test_the_next_link_keeps_the_filters() -> None:
    link = next_link("/v1/staff", {"limit": 2, "state": None, "kind": "a&b"}, "c-_1")
    target, relation = link.split("; ")
    assert relation == 'rel="next"'
    path, query = target.strip("<>").split("?")
    assert path == "/v1/staff"
    assert parse_qs(query) == {"limit": ["2"], "kind": ["a&b"], "cursor": ["c-_1"]}


def test_filters_have_one_name_in_any_order() -> None:
    assert filters_digest({"a": 1, "b": 2}) == filters_digest({"b": 2, "a": 1, "c": None})
    assert filters_digest({"a": "1,b=2"}) != filters_digest({"a": 1, "b": 2})
    assert not filters_digest({})


def test_neighbouring_microseconds_are_different_places() -> None:
    at = datetime(2199, 12, 31, 23, 59, 59, 999_998, tzinfo=UTC)
    first = CODEC.decode(LISTING, CODEC.encode(LISTING, (at,)))
    second = CODEC.decode(LISTING, CODEC.encode(LISTING, (at + timedelta(microseconds=1),)))
    assert first < second
