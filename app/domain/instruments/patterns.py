"""Patterns of texts, matched in linear time.

An operator writes them and a participant's answer meets them: by an engine that backtracks, a
careless pattern would hold up everybody (the engine is Rust's, which Pydantic brings).
"""

from functools import lru_cache

from pydantic_core import SchemaError, SchemaValidator, ValidationError, core_schema


@lru_cache(maxsize=256)
def _validator(pattern: str) -> SchemaValidator:
    whole = f"^(?:{pattern})$"
    return SchemaValidator(core_schema.str_schema(pattern=whole, regex_engine="rust-regex"))


def is_pattern(pattern: str) -> bool:
    """Say whether a pattern can be used."""
    try:
        _validator(pattern)
    except SchemaError:
        return False
    return True


def matches(pattern: str, text: str) -> bool:
    """Say whether a text matches a pattern as a whole."""
    try:
        _validator(pattern).validate_python(text)
    except ValidationError:
        return False
    return True
