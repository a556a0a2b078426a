"""The webhooks in the OpenAPI document: what a receiver gets, family by family (WH-01 to WH-04)."""

import json
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID

from app.webhooks.families import FAMILIES
from app.webhooks.payload import TEST, VERIFICATION, Happening, body_of
from app.webhooks.signing import ID_HEADER, SIGNATURE_HEADER, TIMESTAMP_HEADER

Json = dict[str, Any]

TAG: Final = "webhooks"

_ABOUT_A_PARTICIPANT: Final = frozenset(
    {
        "account",
        "alert",
        "assessment",
        "attendance",
        "booking",
        "care_team",
        "connectivity_test",
        "enrollment",
        "intake",
        "participant",
        "plan",
        "referral",
        "sign_in",
    }
)
_ID: Final = UUID("019a8f3e-5c1b-7d20-9b43-5a6f1c2d3e4f")
_AT: Final = datetime(2026, 3, 2, 0, 5, tzinfo=UTC)
_PAIRWISE: Final = "9f1c2ab04d7e6f3805a1b2c3d4e5f607"
_NONCE: Final = "5b1e0c7d2f9a48638e04b6d1a7c3f2e9"
_HEADERS: Final = (
    (
        ID_HEADER,
        "The same for every attempt and replay: what has been seen is not done twice.",
        "msg_019a8f3e5c1b7d209b435a6f1c2d3e4f",
    ),
    (
        TIMESTAMP_HEADER,
        "The second of this attempt. Refuse what is five minutes old.",
        "1772409900",
    ),
    (
        SIGNATURE_HEADER,
        "`v1,` and base64 of HMAC-SHA-256 over `id.timestamp.body`; two while secrets change.",
        "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    ),
)


def webhooks() -> dict[str, Json]:
    """Every webhook, by the subject that it is about."""
    return {
        subject: {"post": _operation(subject, verbs)} for subject, verbs in sorted(FAMILIES.items())
    }


def schemas() -> dict[str, Json]:
    """What the bodies of all webhooks have in common."""
    return {"WebhookData": _DATA}


_DATA: Final[Json] = {
    "title": "WebhookData",
    "description": "What it happened to, by ids alone: read the rest from the API.",
    "type": "object",
    "required": ["id", "resource", "version"],
    "properties": {
        "id": {
            "type": "string",
            "description": "The subject. A person appears under an id that only this endpoint has.",
        },
        "resource": {
            "type": ["string", "null"],
            "description": "Where the subject is read, when it is read at one place.",
        },
        "version": {
            "type": ["integer", "null"],
            "description": "The subject's version afterwards, when it has versions.",
        },
        "participant": {
            "type": "string",
            "description": "The participant whom it concerns, as this endpoint alone knows them.",
        },
        "nonce": {"type": "string", "description": f"Of `{VERIFICATION}`: answer with it."},
    },
}


def _operation(subject: str, verbs: tuple[str, ...]) -> Json:
    types = [f"{subject}.{verb}" for verb in verbs]
    media = {"schema": _body(subject, types), "examples": _examples(subject, types)}
    return {
        "tags": [TAG],
        "operationId": f"receive_{subject}_event",
        "summary": ", ".join(types),
        "description": (
            "Sent to every active endpoint that asked for its type, at least once and in no"
            " promised order. Verify the signature over the octets as they came, answer with a"
            " 2xx within 15 seconds, and work afterwards."
        ),
        "security": [],
        "parameters": [_header(*one) for one in _HEADERS],
        "requestBody": {"required": True, "content": {"application/json": media}},
        "responses": _RESPONSES,
    }


def _header(name: str, description: str, example: str) -> Json:
    return {
        "name": name,
        "in": "header",
        "required": True,
        "description": description,
        "schema": {"type": "string"},
        "example": example,
    }


def _body(subject: str, types: list[str]) -> Json:
    return {
        "type": "object",
        "required": ["type", "timestamp", "data"],
        "properties": {
            "type": {
                "type": "string",
                "pattern": f"^{subject}\\.[a-z_]+$",
                "examples": types,
                "description": "More may come: ignore those that you do not know.",
            },
            "timestamp": {
                "type": "string",
                "format": "date-time",
                "description": "When it happened.",
            },
            "data": {"$ref": "#/components/schemas/WebhookData"},
        },
    }


def _example(subject: str, type_: str, *, nonce: str | None = None) -> Json:
    pairwise = _PAIRWISE if subject in _ABOUT_A_PARTICIPANT else None
    sent = body_of(Happening(type_, subject, _ID, 3, _AT, pairwise), nonce=nonce)
    body: Json = json.loads(sent)
    return body


def _examples(subject: str, types: list[str]) -> Json:
    if VERIFICATION in types:
        summary = "Are you the receiver? Answer 200 with the nonce in the body."
        return {
            "asked": {"summary": summary, "value": _example(subject, VERIFICATION, nonce=_NONCE)},
            "tested": {"summary": "Somebody tries it out.", "value": _example(subject, TEST)},
        }
    return {"happened": {"summary": "It happened.", "value": _example(subject, types[0])}}


_RESPONSES: Final[Json] = {
    "2XX": {"description": "Taken. Any other answer is tried again, for three days."},
    "410": {"description": "The receiver is gone: the endpoint is disabled."},
}
