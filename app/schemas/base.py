"""The base of every schema.

Requests refuse what they do not know, so that a misspelt field is an error and not a silence.
Reads ignore it and describe no closed world, so that a field may be added without breaking a
client. Neither repeats its input in an error.
"""

from typing import Generic, TypeVar

from pydantic import BaseModel, ConfigDict, Field

Item = TypeVar("Item")


class Schema(BaseModel):
    """A body or a set of query parameters that a client sends.

    Fields take their types from `app.schemas.types`, whose scalars are strict: `true` is no
    integer, `"1"` is no number, a Unix timestamp is no instant (FUZZ-03).
    """

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        hide_input_in_errors=True,
        allow_inf_nan=False,
        # A number must not become text behind the client's back, nor the reverse.
        coerce_numbers_to_str=False,
        # A default is sent like any other value: clients see every field as present.
        json_schema_serialization_defaults_required=True,
    )


class ReadSchema(Schema):
    """A representation that a client reads, made from a row or from plain values."""

    model_config = ConfigDict(extra="ignore", from_attributes=True)


class Page(ReadSchema, Generic[Item]):
    """One page of a list, in the order of the list."""

    items: list[Item]
    next_cursor: str | None = Field(
        description="Give it back as `cursor` to read on; null on the last page."
    )
