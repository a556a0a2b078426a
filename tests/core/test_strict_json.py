"""The strict reader: what it takes, what it refuses, and what refusing costs."""

import json
import math
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.problems import InvalidJson
from app.core.strict_json import JsonValue, loads

CAP = 1 << 20

ACCEPTED: list[tuple[bytes, JsonValue]] = [
    (b"{}", {}),
    (b"[]", []),
    (b"0", 0),
    (b"-0", 0),
    (b"1", 1),
    (b"null", None),
    (b"true", True),
    (b"false", False),
    (b'""', ""),
    (b'"a"', "a"),
    (b" \t\r\n1 \t\r\n", 1),
    (b'{"a":1}', {"a": 1}),
    (b'{"":1}', {"": 1}),
    (b'{"a":{"a":1}}', {"a": {"a": 1}}),
    (b'[{"a":1},{"a":2}]', [{"a": 1}, {"a": 2}]),
    (b"[1,2]", [1, 2]),
    (b"1.5", 1.5),
    (b"1e3", 1000.0),
    (b"1E+3", 1000.0),
    (b"1e-400", 0.0),
    (b"1.7976931348623157e308", 1.7976931348623157e308),
    (b"9223372036854775807", 2**63 - 1),
    (b"-9223372036854775808", -(2**63)),
    (b'"\\u00e9"', "é"),
    ('"é"'.encode(), "é"),
    (b'"\\ud83d\\ude00"', "😀"),
    ('"😀"'.encode(), "😀"),
    (b'"\\\\u0000"', "\\u0000"),
    (b'"\\\\ud800"', "\\ud800"),
    (b'"\\u0001"', "\x01"),
    (b'"\\n\\t\\r\\b\\f\\/\\\\\\""', '\n\t\r\b\f/\\"'),
    (b'"\x7f"', "\x7f"),
    ('"\ufeff"'.encode(), "\ufeff"),
    ('"\uffff"'.encode(), "\uffff"),
    (b'"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[["', "[" * 36),
    (b'"\\"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[["', '"' + "[" * 36),
    (b"[" * 32 + b"]" * 32, json.loads("[" * 32 + "]" * 32)),
    (b'{"a":' * 32 + b"1" + b"}" * 32, json.loads('{"a":' * 32 + "1" + "}" * 32)),
    (b"[" + b"[],{}," * 2 + b"0]", [[], {}, [], {}, 0]),
    (b"[" + b"[]," * 40 + b"0]", [*[[]] * 40, 0]),
    (b'["\\\\",[[["]"]]]]', ["\\", [[["]"]]]]),
]

REFUSED: list[bytes] = [
    b"",
    b" ",
    b"\xef\xbb\xbf{}",
    b"\xff\xfe{\x00}\x00",
    "{}".encode("utf-16"),
    "{}".encode("utf-16-le"),
    "{}".encode("utf-32"),
    b'"\xff"',
    b'"\xc0\x80"',
    b'"\xed\xa0\x80"',
    b'"\xf4\x90\x80\x80"',
    b'"\xe2\x82"',
    b"NaN",
    b"Infinity",
    b"-Infinity",
    b"[NaN]",
    b'{"a":-Infinity}',
    b"nan",
    b"1e400",
    b"-1e400",
    b"1" + b"0" * 309 + b".0",
    b"0." + b"1" * 600,
    b"9223372036854775808",
    b"-9223372036854775809",
    b"1" * 20,
    b"1" * 5000,
    b"-" + b"1" * 20,
    b"01",
    b"-01",
    b"+1",
    b".5",
    b"5.",
    b"1e",
    b"0x10",
    b"1_000",
    b"--1",
    b"\xef\xbc\x91",
    b'{"a":1,"a":1}',
    b'{"a":1,"\\u0061":2}',
    b'[{"b":{"a":1,"c":2,"a":3}}]',
    b'"\\u0000"',
    b'{"\\u0000":1}',
    b'{"a":["\\u0000"]}',
    b'"\\ud800"',
    b'"\\udc00"',
    b'"\\ude00\\ud83d"',
    b'{"\\ud800":1}',
    b'[{"a":{"b":"\\uDBFF x"}}]',
    b'"\x00"',
    b"\x00",
    b"{}\x00",
    b'"\n"',
    b'"\t"',
    b'"\x1f"',
    b'"\\x41"',
    b'"\\u12"',
    b'"\\u12g4"',
    b'"\\',
    b'"',
    b'"a',
    b"'a'",
    b"{a:1}",
    b'{"a"}',
    b'{"a":}',
    b'{"a":1,}',
    b"[1,]",
    b"[,1]",
    b"[1 2]",
    b"{1:2}",
    b"[",
    b"]",
    b"{",
    b"[}",
    b'{"a":1]',
    b"[]]",
    b"{} {}",
    b"1 2",
    b"// x\n1",
    b"/* x */1",
    b"True",
    b"None",
    b"undefined",
    b"\xc2\xa01",
    b"\x0b1",
    b"\x0c1",
    "\u20281".encode(),
    b"[" * 33 + b"]" * 33,
    b'{"a":' * 33 + b"1" + b"}" * 33,
    b'[{"a":' * 17 + b"1" + b"}]" * 17,
    b"[" * 33,
    b"]" * 40 + b"[" * 40,
    b'"\\u0041' + b"[" * 40,
]


def test_fuzz_02_the_tables_are_large_enough() -> None:
    assert len(ACCEPTED) + len(REFUSED) >= 80


@pytest.mark.parametrize(("raw", "value"), ACCEPTED)
def test_fuzz_02_takes(raw: bytes, value: JsonValue) -> None:
    assert loads(raw, max_bytes=CAP) == value


@pytest.mark.parametrize("raw", REFUSED)
def test_fuzz_02_refuses(raw: bytes) -> None:
    with pytest.raises(InvalidJson):
        loads(raw, max_bytes=CAP)


def test_fuzz_02_integers_stay_integers_and_booleans_booleans() -> None:
    assert [type(v) for v in loads(b"[1,1.0,true]", max_bytes=CAP)] == [int, float, bool]  # type: ignore[union-attr]  # an array


def test_fuzz_02_the_size_cap_is_inclusive() -> None:
    assert loads(b'"abcd"', max_bytes=6) == "abcd"
    with pytest.raises(InvalidJson):
        loads(b'"abcd"', max_bytes=5)


def test_fuzz_02_a_refusal_repeats_nothing() -> None:
    canary = "hunter2hunter2"
    for raw in (
        f'{{"{canary}":1,"{canary}":2}}',
        f'"{canary}',
        f'"{canary}\\ud800"',
        f"[{canary}]",
    ):
        with pytest.raises(InvalidJson) as refusal:
            loads(raw.encode(), max_bytes=CAP)
        assert canary not in str(refusal.value.body("r"))
        assert refusal.value.__cause__ is None


@pytest.mark.parametrize(
    "hostile",
    [
        b"[" * 10_000_000,
        b"[" * 40 + b'"' + b'\\"' * 500_000,
        b"[" * 40 + b'"' + b'\\"' * 500_000 + b"\\",
        b"1" * 1_000_000,
        b"0." + b"1" * 1_000_000,
    ],
    ids=["10 MB of [", "open string of quotes", "open string, open escape", "integer", "float"],
)
def test_fuzz_02_hostile_documents_are_cheap(hostile: bytes) -> None:
    def cost() -> float:
        started = time.process_time()
        with pytest.raises(InvalidJson):
            loads(hostile, max_bytes=20 << 20)
        return time.process_time() - started

    assert min(cost() for _ in range(3)) < 0.1  # 0.05 s on a quiet machine; no other order of cost


# The reference: what the standard library reads, walked slowly with the same limits.


def _reference_accepts(raw: bytes) -> bool:
    def members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len({key for key, _ in pairs}) != len(pairs):
            raise ValueError
        return dict(pairs)

    def constant(_: str) -> None:
        raise ValueError

    try:
        text = raw.decode("utf-8")
        value = json.loads(text, object_pairs_hook=members, parse_constant=constant)
    except (ValueError, RecursionError):
        return False
    return not text.startswith("\ufeff") and _within(value, 0)


def _within(value: object, depth: int) -> bool:
    match value:
        case bool() | None:
            return True
        case int():
            return -(2**63) <= value < 2**63
        case float():
            return math.isfinite(value)
        case str():
            return "\x00" not in value and not any("\ud800" <= c <= "\udfff" for c in value)
        case list():
            return depth < 32 and all(_within(item, depth + 1) for item in value)
        case dict():
            return depth < 32 and all(
                _within(k, depth + 1) and _within(v, depth + 1) for k, v in value.items()
            )
        case _:
            raise AssertionError(value)


texts = st.text(st.characters(exclude_categories=()), max_size=6)
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**64), 2**64)
    | st.floats()
    | texts
    | st.sampled_from(["[[{", "}]\\", '"', "\x00", "\ud800"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=20,
)


@st.composite
def documents(draw: st.DrawFn) -> bytes:
    """JSON, sometimes wrapped deeply, sometimes with bytes changed."""
    depth = draw(st.integers(0, 34))
    document = json.dumps(draw(values), ensure_ascii=draw(st.booleans()))
    raw = ("[" * depth + document + "]" * depth).encode("utf-8", "surrogatepass")
    for _ in range(draw(st.integers(0, 2))):
        at = draw(st.integers(0, len(raw)))
        raw = (
            raw[:at]
            + draw(st.sampled_from([b'"', b"[", b"\\", b",", b"\xff", b"", b"0"]))
            + raw[at + 1 :]
        )
    return raw


@given(documents())
def test_fuzz_02_accepts_exactly_what_the_grammar_with_these_limits_accepts(raw: bytes) -> None:
    try:
        value = loads(raw, max_bytes=CAP)
    except InvalidJson:
        assert not _reference_accepts(raw)
    else:
        assert _reference_accepts(raw)
        assert value == json.loads(raw)


@given(
    st.binary(max_size=40) | st.text(alphabet='[]{}",:\\u0d81e-. tn', max_size=30).map(str.encode)
)
def test_fuzz_02_any_bytes_are_read_or_refused(raw: bytes) -> None:
    try:
        loads(raw, max_bytes=CAP)
    except InvalidJson:
        assert not _reference_accepts(raw)
    else:
        assert _reference_accepts(raw)
