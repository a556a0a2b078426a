"""The one reader of JSON that strangers send: bodies, frames, tokens, cursors (FUZZ-02).

It accepts RFC 8259 with limits, and nothing more: strict UTF-8 without a byte order mark, at most
`max_depth` levels, no key twice in one object, integers that fit in 64 bits, finite floats, and
no U+0000 or lone surrogate, which PostgreSQL and UTF-8 cannot hold. Where readers differ is where
one component understands a request that another one did not check.
"""

import math
import re
from json import JSONDecodeError, JSONDecoder
from typing import Final, NoReturn, TypeAlias

from app.core.problems import InvalidJson

JsonValue: TypeAlias = bool | int | float | str | list["JsonValue"] | dict[str, "JsonValue"] | None

MAX_DEPTH: Final = 32
_INT_MIN: Final = -(2**63)
_INT_MAX: Final = 2**63 - 1
_MAX_INT_TEXT: Final = 20  # a sign and 19 digits
_MAX_FLOAT_TEXT: Final = 512  # a longer one says no more, and costs more to read

# A string that nobody closes runs to the end: starting again at each of its quotes would make the
# scan quadratic. The quantifiers are possessive, as there is nothing to go back for.
_STRING: Final = re.compile(rb'"[^"\\]*+(?:\\(?:.|\Z)[^"\\]*+)*+(?:"|\Z)', re.DOTALL)
_BRACKETS: Final = bytes.maketrans(b"[]{}", b"()()")
_NOT_BRACKETS: Final = bytes(set(range(256)) - set(b"[]{}"))
_UNSTORABLE: Final = re.compile("[\x00\ud800-\udfff]")


class _RefusedError(ValueError):
    """Valid by the grammar, and not accepted here."""


def _unique(pairs: list[tuple[str, JsonValue]]) -> dict[str, JsonValue]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise _RefusedError("A key appears twice in one object.")
    return members


def _integer(text: str) -> int:
    if len(text) <= _MAX_INT_TEXT and _INT_MIN <= (value := int(text)) <= _INT_MAX:
        return value
    raise _RefusedError("An integer does not fit in 64 bits.")


def _float(text: str) -> float:
    if len(text) <= _MAX_FLOAT_TEXT and math.isfinite(value := float(text)):
        return value
    raise _RefusedError("A number is too large or too long.")


def _constant(_name: str) -> NoReturn:
    raise _RefusedError("NaN and Infinity are not JSON.")


_decoder: Final = JSONDecoder(
    object_pairs_hook=_unique, parse_int=_integer, parse_float=_float, parse_constant=_constant
)


def loads(raw: bytes, *, max_bytes: int, max_depth: int = MAX_DEPTH) -> JsonValue:
    """Read one JSON document.

    Raises InvalidJson, whose detail names the rule that was broken and repeats nothing.
    """
    if len(raw) > max_bytes:
        raise InvalidJson("The document is too large.")
    if raw.count(b"[") + raw.count(b"{") > max_depth and _deeper_than(raw, max_depth):
        raise InvalidJson("The document is nested too deeply.")
    try:
        value: JsonValue = _decoder.decode(str(raw, "utf-8"))
    except UnicodeDecodeError:
        raise InvalidJson("The document is not UTF-8.") from None
    except JSONDecodeError:
        raise InvalidJson("The document breaks the grammar of JSON.") from None
    except _RefusedError as refused:
        raise InvalidJson(str(refused)) from None
    # Unescaped, neither can get past the decoder.
    if b"\\u" in raw and _holds_unstorable(value):
        raise InvalidJson("A text holds U+0000 or half of a surrogate pair.")
    return value


def _deeper_than(raw: bytes, max_depth: int) -> bool:
    """Count the levels before anything is parsed.

    Outside strings, each round removes the innermost pairs everywhere, which makes the document
    shallower by one level. What does not vanish is too deep, or no JSON.
    """
    brackets = _STRING.sub(b"", raw).translate(_BRACKETS, _NOT_BRACKETS)
    for _ in range(max_depth):
        shallower = brackets.replace(b"()", b"")
        if len(shallower) == len(brackets):
            break
        brackets = shallower
    return bool(brackets)


def _holds_unstorable(value: JsonValue) -> bool:
    if isinstance(value, str):
        return _UNSTORABLE.search(value) is not None
    if isinstance(value, list):
        return any(map(_holds_unstorable, value))
    if isinstance(value, dict):
        return any(map(_holds_unstorable, value)) or any(map(_holds_unstorable, value.values()))
    return False
