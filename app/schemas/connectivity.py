"""Connectivity tests as they cross the wire."""

from decimal import Decimal
from typing import Annotated, Final
from uuid import UUID

from pydantic import ConfigDict, Field
from pydantic.config import JsonDict

from app.domain.connectivity import BODY_BYTES, TestStep
from app.schemas.base import Page, ReadSchema, Schema
from app.schemas.types import Instant, text

_ID: Final = "019a7f3e-4c1b-7d52-9e64-2b8f0c6a1d{:02x}"
_TOKEN: Final = "Zk3v9Q1xT0uJm2aB7cDe5w"  # noqa: S105 (an example)
_FIGURES: Final[JsonDict] = {
    "down_mbps": "24.11",
    "up_mbps": "6.02",
    "round_trip_ms": "38.4",
    "jitter_ms": "3.1",
}


class ExchangeCreate(Schema):
    """The next request of a test: the token of the last answer, and a body when one is asked."""

    token: Annotated[str, text(64)]
    payload: Annotated[
        str,
        text(BODY_BYTES, min_length=0),
        Field(description="As many characters as `send_characters` asked for, of any kind."),
    ] = ""

    model_config = ConfigDict(json_schema_extra={"examples": [{"token": _TOKEN, "payload": ""}]})


class FiguresRead(ReadSchema):
    """Megabits a second each way, and milliseconds of the way and its unevenness."""

    down_mbps: Decimal
    up_mbps: Decimal
    round_trip_ms: Decimal
    jitter_ms: Decimal


class ExchangeRead(ReadSchema):
    """What the client does next: give the token back at once, with a body when one is asked."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "id": _ID.format(1),
                    "next": "upload",
                    "send_characters": BODY_BYTES,
                    "expires_at": "2026-03-02T00:07:00Z",
                    "figures": None,
                    "payload": "",
                    "token": _TOKEN,
                }
            ]
        }
    )

    id: UUID
    next: TestStep
    send_characters: int
    expires_at: Instant
    figures: Annotated[FiguresRead | None, Field(description="When the test is done.")]
    payload: Annotated[str, Field(description="Long before `confirm`, and of no meaning.")]
    token: str


class ConnectivityTestRead(ReadSchema):
    """A test and what it showed, by the server's clock."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "id": _ID.format(1),
                    "version": 8,
                    "participant_id": _ID.format(2),
                    "step": "done",
                    "figures": _FIGURES,
                    "created_at": "2026-03-02T00:05:00Z",
                    "finished_at": "2026-03-02T00:05:02Z",
                }
            ]
        }
    )

    id: UUID
    version: int
    participant_id: UUID
    step: TestStep
    figures: FiguresRead | None
    created_at: Instant
    finished_at: Instant | None


class ConnectivityTestPage(Page[ConnectivityTestRead]):
    """A page of connectivity tests."""
