"""What a webhook says: that something happened to something, by ids alone (WH-01).

Whoever receives it reads the rest from the API with a token of its own, where the read is
decided and recorded. A participant appears under an id that only this endpoint knows them by,
so that two receivers cannot put their knowledge together.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from app.core import clock

VERIFICATION: Final = "endpoint.verification"
TEST: Final = "endpoint.tested"
_PERSONS: Final = frozenset({"participant", "account"})
_RESOURCES: Final[Mapping[str, str]] = {
    "alert": "alerts",
    "assessment": "assessments",
    "endpoint": "webhooks",
    "enrollment": "enrollments",
    "group": "groups",
    "intake": "intakes",
    "plan": "plans",
    "program": "programs",
    "room": "rooms",
    "series": "series",
    "session": "sessions",
    "staff": "staff",
}


@dataclass(frozen=True, slots=True)
class Happening:
    """An event, as far as a receiver may hear of it."""

    type: str
    subject: str
    subject_id: UUID
    version: int | None
    at: datetime
    pairwise_participant: str | None
    """The participant as this endpoint knows them; None when the event concerns none."""


def body_of(happening: Happening, *, nonce: str | None = None) -> bytes:
    """The exact octets that are signed and sent; `nonce` is for the endpoint's verification."""
    stands_for_a_person = (
        happening.subject in _PERSONS and happening.pairwise_participant is not None
    )
    path = _RESOURCES.get(happening.subject)
    data: dict[str, Any] = {
        "id": happening.pairwise_participant if stands_for_a_person else str(happening.subject_id),
        "resource": None if path is None else f"/v1/{path}/{happening.subject_id}",
        "version": happening.version,
    }
    if happening.pairwise_participant is not None:
        data["participant"] = happening.pairwise_participant
    if nonce is not None:
        data["nonce"] = nonce
    document = {"type": happening.type, "timestamp": clock.render(happening.at), "data": data}
    return json.dumps(document, separators=(",", ":")).encode("ascii")
