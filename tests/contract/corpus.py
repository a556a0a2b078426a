"""What a hostile client puts into a field: each with a name, written as JSON or as text (FUZZ-10).

Every text holds `TELLTALE`, so that an answer that repeats it gives itself away (PHI-14). Names of
fields hold a space as well: a plain name that is unknown may stand in a pointer, nothing else.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Final

TELLTALE: Final = "zq7x"


@dataclass(frozen=True)
class Hostile:
    """One value, as the bytes that stand in a JSON document."""

    name: str
    json: bytes

    @property
    def text(self) -> bytes:
        """The same value where everything is text: in a query or a path."""
        try:
            value = json.loads(self.json)
        except ValueError:
            return self.json
        if isinstance(value, str):
            return value.encode("utf-8", "surrogatepass")
        return self.json


_SENTENCES: Final = (
    "' or 1=1 --", '"; drop table participant; --', "1) union select null --", "%' or '%'='",
    "\\'; select pg_sleep(5); --", "$$; copy participant to program 'id' $$", "{{7*7}}", "${7*7}",
    "#{7*7}", "<%= 7*7 %>", "${jndi:ldap://127.0.0.1/a}", "*)(uid=*))(|(uid=*", "| id", "; id",
    "`id`", "$(id)", "&& id", "../../../../etc/passwd", "..\\..\\windows\\win.ini",
    "/etc/passwd\u2024", "file:///etc/passwd", "http://169.254.169.254/latest/meta-data",
    "//example.org", "<script>x</script>", "<img src=x onerror=x>", "javascript:x", "<!--", "]]>",
    "<!DOCTYPE x [<!ENTITY e SYSTEM 'file:///'>]>", "=cmd|' /C calc'!A0", "+1+1", "@sum(1)",
    "-1+1", "%s%s%s%n", "{0.__class__}", "%(name)s", "\r\nSet-Cookie: a=b", "\nX-Injected: yes",
    "\r\n\r\nHTTP/1.1 200 OK", "a\tb", "a\u0085b", "a\u2028b", "null", "undefined", "true",
    "None", "NaN", "Infinity", "-0", "0x10", "1_000", "1e3", "٣", "①", "½",
)  # fmt: skip
_CHARACTERS: Final = {
    "zero byte": "\u0000",
    "escape": "\u001b[31m",
    "backspace": "\b\b",
    "delete": "\u007f",
    "bell": "\u0007",
    "right-to-left override": "\u202e",
    "left-to-right isolate": "\u2066",
    "zero width": "\u200b\u200c\u200d\ufeff",
    "soft hyphen": "\u00ad",
    "combining flood": "e" + "\u0301" * 400,
    "emoji family": "\U0001f468\u200d\U0001f469\u200d\U0001f467",
    "flag": "\U0001f1fa\U0001f1f8",
    "unassigned": "\U000e0fff",
    "private use": "\ue000",
    "noncharacter": "\ufffe\uffff",
    "ligature that grows": "\ufdfa" * 40,
    "decomposed": "A\u030a",
    "turkish i": "\u0130\u0131",
    "sharp s": "\u1e9e",
    "fullwidth": "\uff21\uff22",
    "homoglyph": "\u0430dmin",
    "interlinear": "\ufff9\ufffa\ufffb",
    "tag characters": "\U000e0041\U000e0042",
    "white space only": " \u00a0\u3000",
}
_RAW: Final = {
    "lone high surrogate": rb'"\ud800 zq7x"',
    "lone low surrogate": rb'"zq7x \udfff"',
    "swapped surrogates": rb'"\udc00\ud800zq7x"',
    "escaped zero": rb'"zq7x\u0000"',
    "not a number": b"NaN",
    "infinity": b"Infinity",
    "minus infinity": b"-Infinity",
    "too large a float": b"1e400",
    "too small a float": b"1e-400",
    "large float": b"1.7976931348623157e308",
    "four thousand digits": b"9" * 4_000,
    "four thousand decimals": b"0." + b"1" * 4_000,
    "leading zero": b"007",
    "leading plus": b"+1",
    "hexadecimal": b"0x1F",
    "bare dot": b".5",
    "minus zero": b"-0",
    "float that is whole": b"1.0",
    "exponent": b"1e3",
    "repeated key": b'{"a":1,"a":2}',
    "prototype": b'{"__proto__":{"zq7x x":1}}',
    "constructor": b'{"constructor":{"prototype":{"zq7x x":1}}}',
    "operator object": b'{"$ne":null,"$gt":"zq7x"}',
    "empty key": b'{"":"zq7x"}',
    "surrogate key": rb'{"\ud800zq7x x":1}',
    "zero key": rb'{"\u0000zq7x x":1}',
    "deep array": b"[" * 31 + b"]" * 31,
    "deeper array": b"[" * 500 + b"]" * 500,
    "deep object": b'{"a":' * 40 + b"1" + b"}" * 40,
    "unclosed": b'"zq7x',
    "trailing comma": b'["zq7x",]',
    "single quotes": b"'zq7x'",
    "comment": b'/* zq7x */ "a"',
    "invalid utf-8": b'"zq7x\xff\xfe"',
    "overlong utf-8": b'"zq7x\xc0\xaf"',
    "utf-8 surrogate": b'"zq7x\xed\xa0\x80"',
    "cut utf-8": b'"zq7x\xe2\x82"',
    "raw control": b'"zq7x\x01"',
    "raw line feed": b'"zq7x\n"',
    "byte order mark": b'\xef\xbb\xbf"zq7x"',
}
_NUMBERS: Final = (
    0, -1, 1, 2**15, 2**31 - 1, 2**31, -(2**31), -(2**31) - 1, 2**32, 2**53, 2**53 + 1,
    2**63 - 1, 2**63, -(2**63), -(2**63) - 1, 2**64, 10**18, 10**19, 10**30, 0.1, -0.5, 1e15, 1e21,
)  # fmt: skip
_MOMENTS: Final = (
    "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-12:00", "0000-01-01T00:00:00Z",
    "1969-12-31T23:59:59Z", "2016-12-31T23:59:60Z", "2026-03-01T24:00:00Z", "2026-02-30T00:00:00Z",
    "2025-02-29", "2026-13-01", "2026-00-10", "10000-01-01", "-0001-01-01", "2026-03-08T02:30:00",
    "2026-11-01T01:30", "2026-03-01T17:00:00+25:00", "2026-03-01T17:00:00.1234567890Z", "1e9",
    "1772323200", "2026-W10-1", "2026-060", "20260301", "P1Y", "now", "tomorrow",
    "2026-03-01T17:00:00Z\u0000",
)  # fmt: skip
_IDS: Final = (
    "00000000-0000-0000-0000-000000000000", "ffffffff-ffff-ffff-ffff-ffffffffffff",
    "{01a20c9d-0000-7000-8000-000000000000}", "urn:uuid:01a20c9d-0000-7000-8000-000000000000",
    "01a20c9d000070008000000000000000", "01a20c9d-0000-7000-8000-00000000000g",
    "01a20c9d-0000-7000-8000-0000000000000", "'01a20c9d-0000-7000-8000-000000000000'",
)  # fmt: skip
_SHAPES: Final[tuple[object, ...]] = (
    None,
    True,
    False,
    "",
    " ",
    [],
    {},
    [[]],
    [None],
    [{}],
    {"a": {}},
    [1] * 2_000,
)


def _values() -> Iterator[tuple[str, object]]:
    yield from ((f"sentence {text!r}", f"{TELLTALE}{text}") for text in _SENTENCES)
    yield from ((name, f"{TELLTALE}{text}") for name, text in _CHARACTERS.items())
    yield from ((f"number {number}", number) for number in _NUMBERS)
    yield from ((f"number {number} as text", str(number)) for number in _NUMBERS[:6])
    yield from ((f"moment {moment!r}", moment) for moment in _MOMENTS)
    yield from ((f"id {text}", text) for text in _IDS)
    yield from ((f"shape {str(shape)[:20]}", shape) for shape in _SHAPES)
    for length in (121, 201, 256, 4_001, 10_001, 70_000):
        yield f"{length} characters", (TELLTALE + "a" * length)[:length]
    yield "many keys", {f"{TELLTALE} {number}": number for number in range(500)}
    yield "many items", [TELLTALE] * 1_500


CORPUS: Final = tuple(
    chain(
        (Hostile(name, json.dumps(value).encode()) for name, value in _values()),
        (Hostile(name, raw) for name, raw in _RAW.items()),
    )
)
