"""Events as they are read in order."""

from typing import Annotated
from uuid import UUID

from pydantic import ConfigDict, Field

from app.schemas.base import ReadSchema
from app.schemas.types import Instant


class EventRead(ReadSchema):
    """Something that happened: ids, a type and a time. What it is about is read from the API."""

    position: Annotated[int, Field(description="Its place in the feed, without gaps, forever.")]
    id: UUID
    type: str
    subject: Annotated[str, Field(description="What kind of thing `subject_id` names.")]
    subject_id: UUID
    version: Annotated[
        int | None, Field(description="The subject's version afterwards, when it has versions.")
    ]
    actor_id: Annotated[UUID | None, Field(description="The account that did it, if one did.")]
    at: Instant


class EventFeed(ReadSchema):
    """What happened after a position, in order."""

    items: list[EventRead]
    next_after: Annotated[
        int, Field(description="Give it back as `after` to read on, now or later.")
    ]
    has_more: Annotated[bool, Field(description="Whether more can be read at once.")]

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "items": [
                        {
                            "position": 42,
                            "id": "019a8f3e-5c1b-7d20-9b43-5a6f1c2d3e4f",
                            "type": "plan.signed",
                            "subject": "plan",
                            "subject_id": "019a8f3e-5c1b-7d20-9b43-5a6f1c2d3e50",
                            "version": 3,
                            "actor_id": "019a8f3e-5c1b-7d20-9b43-5a6f1c2d3e51",
                            "at": "2026-03-02T00:05:00Z",
                        }
                    ],
                    "next_after": 42,
                    "has_more": False,
                }
            ]
        }
    )
