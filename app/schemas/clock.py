"""The organization's clock, and how a development organization moves it."""

from typing import Annotated, Self

from pydantic import ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from app.core.problems.validation import explain
from app.schemas.base import ReadSchema, Schema
from app.schemas.types import Instant

MAX_ADVANCE_MINUTES = 366 * 24 * 60

explain({"one_of": "Exactly one of the documented fields is needed."})


class ClockMove(Schema):
    """Where the clock goes: to an instant, onward by minutes, or back to the real time."""

    now: Annotated[Instant | None, Field(description="Not before the real time.")] = None
    advance: Annotated[
        int | None,
        Field(strict=True, ge=1, le=MAX_ADVANCE_MINUTES, description="Minutes onward."),
    ] = None
    reset: Annotated[
        bool, Field(strict=True, description="Back to the real time, from wherever it is.")
    ] = False

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"advance": 1440}, {"now": "2027-01-04T17:00:00Z"}, {"reset": True}]
        }
    )

    @model_validator(mode="after")
    def _is_one_move(self) -> Self:
        if (self.now is not None) + (self.advance is not None) + self.reset != 1:
            raise PydanticCustomError("one_of", "exactly one is needed")
        return self


class ClockRead(ReadSchema):
    """What time it is for the organization, and for everybody else."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "now": "2026-03-09T17:00:00Z",
                    "wall": "2026-03-02T17:00:00Z",
                    "offset_seconds": 604800,
                    "is_movable": True,
                }
            ]
        }
    )

    now: Annotated[Instant, Field(description="The time that every rule of the clinic goes by.")]
    wall: Annotated[Instant, Field(description="The real time; tokens and sign-ins go by it.")]
    offset_seconds: float
    is_movable: Annotated[bool, Field(description="Whether this is a development organization.")]
