"""What validation refuses, as pointers and codes.

Pydantic's errors hold the rejected input, and some of its messages repeat it (PHI-14). Only its
error types are taken over, and sentences of our own are put beside them.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

from app.core.problems.base import FieldError
from app.core.problems.standard import Invalid

# Bounds come from the schema; they are the only part of Pydantic's context that is shown.
_BOUNDS: Final = (
    "max_length",
    "min_length",
    "ge",
    "gt",
    "le",
    "lt",
    "max_digits",
    "decimal_places",
)
_SENTENCES: Final = {
    "missing": "This is required.",
    "extra_forbidden": "Nothing of this name is known here.",
    "repeated": "This may be given once only.",
    "unknown_parameter": "No parameter of this name is known here.",
    "string_type": "A text is needed.",
    "string_too_long": "At most {max_length} characters are accepted.",
    "string_too_short": "At least {min_length} characters are needed.",
    "string_pattern_mismatch": "The text does not have the documented form.",
    "int_type": "A whole number is needed.",
    "int_parsing": "A whole number is needed.",
    "float_type": "A number is needed.",
    "bool_type": "Either true or false is needed.",
    "finite_number": "A finite number is needed.",
    "greater_than": "It must be greater than {gt}.",
    "greater_than_equal": "It must be {ge} or more.",
    "less_than": "It must be less than {lt}.",
    "less_than_equal": "It must be {le} or less.",
    "decimal_max_digits": "At most {max_digits} digits are accepted.",
    "decimal_max_places": "At most {decimal_places} decimal places are accepted.",
    "enum": "It must be one of the documented values.",
    "literal_error": "It must be one of the documented values.",
    "union_tag_invalid": "It must be one of the documented kinds.",
    "union_tag_not_found": "Its kind is required.",
    "uuid_parsing": "A UUID is needed.",
    "uuid_type": "A UUID is needed.",
    "list_type": "A list is needed.",
    "too_long": "At most {max_length} items are accepted.",
    "too_short": "At least {min_length} items are needed.",
    "dict_type": "An object is needed.",
    "model_type": "An object is needed.",
    "model_attributes_type": "An object is needed.",
}
_NAME: Final = re.compile(r"[a-z][a-z0-9_-]{0,63}")
_MAX_ERRORS: Final = 50


def explain(sentences: Mapping[str, str]) -> None:
    """Add the sentences of error types that a module of ours has defined."""
    _SENTENCES.update(sentences)


def invalid(errors: Iterable[Mapping[str, Any]], body: object = None) -> Invalid:
    """The problem that a list of Pydantic errors means.

    `body` is what was validated: it tells the names that a client sent from the labels that
    Pydantic adds on its way through a union.
    """
    found = [field_error(error, body) for error in errors]
    return Invalid(errors=found[:_MAX_ERRORS])


def field_error(error: Mapping[str, Any], body: object) -> FieldError:
    """One Pydantic error, without its input, context and message."""
    code = str(error["type"])
    return FieldError(
        _pointer(error["loc"], code, body), code, sentence(code, error.get("ctx", {}))
    )


def sentence(code: str, context: Mapping[str, Any] = MappingProxyType({})) -> str | None:
    """What a person reads beside the code, with the schema's bounds filled in."""
    template = _SENTENCES.get(code)
    if template is None or "{" not in template:
        return template
    return template.format_map({bound: context.get(bound, "?") for bound in _BOUNDS})


def _pointer(loc: Sequence[str | int], code: str, body: object) -> str:
    place, *path = loc or ("body",)
    if place != "body":
        return "/".join([str(place), *(str(part) for part in path[:1] if _is_name(part))])
    return "".join(f"/{part}" for part in _path_in(path, code, body))


def _path_in(path: Sequence[str | int], code: str, body: object) -> Iterable[str | int]:
    """Follow the path through the body, and pass over what is no field or index of it.

    A key that a client made up is as much its input as a value is.
    """
    for position, part in enumerate(path):
        if _is_member(part, body):
            yield part
            body = body[part]  # type: ignore[index]  # a member can be looked up
        elif code == "missing" and position == len(path) - 1:
            yield part


def _is_member(part: str | int, body: object) -> bool:
    if isinstance(body, dict):
        return part in body and _is_name(part)
    return isinstance(body, list) and isinstance(part, int) and 0 <= part < len(body)


def _is_name(part: str | int) -> bool:
    return isinstance(part, str) and _NAME.fullmatch(part) is not None
