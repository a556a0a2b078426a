"""The contract of the live protocol: `openapi/asyncapi.yaml`, made from the frames themselves.

`document` builds an AsyncAPI 3.0 document from the models that parse and encode, so it cannot
say anything else than they do; `render` writes it as YAML for people to read.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from inspect import getdoc
from typing import Any, Final, get_args
from uuid import UUID

from pydantic.json_schema import JsonSchemaMode, models_json_schema

from app.domain.roles import RoomRole
from app.models.rooms import EntryKind
from app.realtime import frames
from app.realtime.frames import MAX_FRAME_BYTES, Frame, Outcome
from app.realtime.limits import FRAME_BURST, FRAMES_PER_SECOND, SENDS_PER_SECOND
from app.realtime.protocol import CloseCode
from app.realtime.streams import MAX_REPLAY

Document = dict[str, Any]

CHANNEL: Final = "#/channels/realtime"
_ROOM: Final = UUID("0198c0de-0000-7000-8000-000000000001")
_ENTRY: Final = UUID("0198c0de-0000-7000-8000-000000000002")
_MESSAGE: Final = UUID("0198c0de-0000-7000-8000-000000000003")
_EVENT: Final = UUID("0198c0de-0000-7000-8000-000000000004")
_SESSION: Final = UUID("0198c0de-0000-7000-8000-000000000005")
_AT: Final = datetime(2026, 3, 2, 23, 30, tzinfo=UTC)
_AUTHOR: Final = frames.Author(
    member_id=UUID("0198c0de-0000-7000-8000-000000000006"),
    alias="Heron",
    role=RoomRole.PARTICIPANT,
)

CLIENT_EXAMPLES: Final[tuple[Frame, ...]] = (
    frames.Subscribe(type="subscribe", ref="1", room_id=_ROOM, after_seq=41),
    frames.Unsubscribe(type="unsubscribe", ref="2", room_id=_ROOM),
    frames.Send(
        type="send",
        ref="3",
        room_id=_ROOM,
        client_message_id=_MESSAGE,
        kind="message",
        body="The breathing exercise helped on the bus.",
        reply_to=40,
    ),
    frames.Edit(
        type="edit",
        ref="4",
        room_id=_ROOM,
        target_seq=42,
        body="The breathing exercise helped on the train.",
    ),
    frames.Retract(type="retract", ref="5", room_id=_ROOM, target_seq=42),
    frames.React(type="react", ref="6", room_id=_ROOM, target_seq=40, reaction="👍", on=True),
    frames.Pin(type="pin", ref="7", room_id=_ROOM, target_seq=40, on=True),
    frames.RaiseHand(type="raise_hand", ref="8", room_id=_ROOM, on=True),
    frames.Vote(type="vote", ref="9", room_id=_ROOM, target_seq=39, option=1),
    frames.MarkRead(type="mark_read", ref="10", room_id=_ROOM, seq=42),
    frames.Typing(type="typing", room_id=_ROOM),
    frames.Ping(type="ping", n=7),
    frames.Reauthenticate(
        type="reauthenticate", ref="11", ticket="GxP3mUq0Tn8sVYl5zK1cRw7bJd2hAe9fXoNi4kQtB6M"
    ),
)
SERVER_EXAMPLES: Final[tuple[Frame, ...]] = (
    frames.Subscribed(
        ref="1",
        room_id=_ROOM,
        role=RoomRole.PARTICIPANT,
        head_seq=42,
        outcome=Outcome.REPLAYED,
    ),
    frames.Entry(
        room_id=_ROOM,
        seq=42,
        entry_id=_ENTRY,
        kind=EntryKind.MESSAGE,
        author=_AUTHOR,
        body="The breathing exercise helped on the bus.",
        reply_to=40,
        target_seq=None,
        at=_AT,
        client_message_id=_MESSAGE,
    ),
    frames.CaughtUp(room_id=_ROOM, seq=42),
    frames.Ack(ref="3", room_id=_ROOM, seq=42, message_id=_ENTRY, sent_at=_AT, duplicate=False),
    frames.Nack(ref="3", code="rate_limited", retry_after=1),
    frames.Presence(room_id=_ROOM, member=_AUTHOR, state="typing"),
    frames.Pong(n=7),
    frames.ReauthenticationRequired(by=_AT),
    frames.Event(
        position=9_041,
        event=frames.Happening(
            id=_EVENT,
            type="session.rescheduled",
            subject="session",
            subject_id=_SESSION,
            subject_version=3,
            at=_AT,
        ),
    ),
    frames.Drain(reconnect_in_ms=1_250),
    frames.Error(ref="4", code="bad_frame", detail="missing: body"),
    frames.Unsubscribed(ref="2", room_id=_ROOM),
)
ANSWERS: Final[Mapping[str, tuple[str, ...]]] = {
    "subscribe": ("subscribed", "nack"),
    "unsubscribe": ("unsubscribed", "nack"),
    "typing": (),
    "ping": ("pong",),
}
"""What answers a request; any other is answered by `ack` or `nack`."""

UNASKED: Final = (
    "entry",
    "caught_up",
    "presence",
    "event",
    "reauthentication_required",
    "drain",
    "error",
    "unsubscribed",
)

_ABOUT: Final = f"""\
One socket per device carries all of a person's rooms.

Connect: ask `POST /v1/realtime/tickets` for a ticket, which opens one connection within thirty
seconds, and offer the subprotocols `stepwell.v1, stepwell.ticket.<ticket>`. The server selects
`stepwell.v1`. A token or ticket in the URL is refused. What is wrong is said before the handshake
is accepted, as an RFC 9457 problem.

Frames are JSON objects in text, at most {MAX_FRAME_BYTES} octets, told apart by `type`. A field
that is not required is absent when it has nothing to say. Ignore types and fields of the server
that you do not know.

Entries: each room is a log, and `seq` counts its entries without gaps. Ignore an entry whose
`seq` you have; when one is missing before it, or after the connection was lost, subscribe again
with `after_seq`. A client more than {MAX_REPLAY} entries behind is told `reset`: it reloads by
REST.

Messages: an `ack` means that the message is durable. Send one that was not answered again, with
the same `client_message_id`, on any connection: it is never posted twice.

Limits: {FRAMES_PER_SECOND} frames a second, {FRAME_BURST} at once; in one room
{SENDS_PER_SECOND} messages a second. More is answered with `rate_limited`; thirty seconds of
more, or five bad frames within a minute, close the connection."""

_CLOSE_CODES: Final[Mapping[CloseCode, str]] = {
    CloseCode.NORMAL: "The client has said goodbye.",
    CloseCode.BINARY: "A binary frame was sent; frames are text.",
    CloseCode.POLICY: "Too many bad frames, or too many frames for too long.",
    CloseCode.TOO_BIG: "A frame was too long.",
    CloseCode.RESTART: "The server restarts: connect again as `drain` said.",
    CloseCode.AUTHENTICATION: "The sign-in has ended, or `reauthenticate` did not come in time.",
    CloseCode.AUTHORIZATION: "The person may no longer use live rooms.",
    CloseCode.REPLACED: "The same person opened one connection too many; this was the oldest.",
    CloseCode.SLOW_CONSUMER: "Too much was waiting to be read: connect again and resume.",
    CloseCode.RATE: "Connections were opened too fast: wait before the next.",
}


def document() -> Document:
    """Build the AsyncAPI document."""
    examples = {_type_of(frame): frame for frame in (*CLIENT_EXAMPLES, *SERVER_EXAMPLES)}
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Stepwell live rooms",
            "version": "1.0.0",
            "description": _ABOUT,
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": "application/json",
        "servers": {
            "stepwell": {
                "host": "{host}",
                "protocol": "wss",
                "variables": {"host": {"default": "localhost:8000"}},
            }
        },
        "channels": {
            "realtime": {
                "address": "/v1/realtime",
                "description": "The connection of one device.",
                "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in examples},
                "bindings": {"ws": {"method": "GET", "headers": _handshake_headers()}},
                "x-close-codes": {
                    str(int(code)): {"reason": code.reason, "description": _CLOSE_CODES[code]}
                    for code in CloseCode
                },
            }
        },
        "operations": _operations(),
        "components": {
            "messages": {name: _message(name, frame) for name, frame in examples.items()},
            "schemas": _schemas(),
        },
    }


def _type_of(frame: Frame) -> str:
    kind = type(frame).model_fields["type"]
    name: str = get_args(kind.annotation)[0]
    return name


def _handshake_headers() -> Document:
    offered = {
        "type": "string",
        "pattern": r"^stepwell\.v1, ?stepwell\.ticket\.[A-Za-z0-9_-]+$",
    }
    return {
        "type": "object",
        "required": ["Sec-WebSocket-Protocol"],
        "properties": {"Sec-WebSocket-Protocol": offered},
    }


def _operations() -> Document:
    """What the server takes, each with its answers, and what it sends without being asked."""
    operations = {}
    for frame in CLIENT_EXAMPLES:
        name = _type_of(frame)
        operation = {"action": "receive", **_over_the_channel([name])}
        answers = ANSWERS.get(name, ("ack", "nack"))
        if answers:
            operation["reply"] = _over_the_channel(answers)
        operations[name] = operation
    operations["unasked"] = {"action": "send", **_over_the_channel(UNASKED)}
    return operations


def _over_the_channel(names: Iterable[str]) -> Document:
    return {
        "channel": {"$ref": CHANNEL},
        "messages": [{"$ref": f"{CHANNEL}/messages/{name}"} for name in names],
    }


def _message(name: str, example: Frame) -> Document:
    summary, _, rest = (getdoc(type(example)) or "").partition("\n\n")
    message: Document = {"name": name, "summary": " ".join(summary.split())}
    if rest:
        message["description"] = rest
    if "ref" in type(example).model_fields:
        message["correlationId"] = {"location": "$message.payload#/ref"}
    message["payload"] = {"$ref": f"#/components/schemas/{type(example).__name__}"}
    message["examples"] = [{"payload": example.model_dump(mode="json")}]
    return message


def _schemas() -> Document:
    """Give the JSON Schema of each frame, and of what frames are made of."""
    modes: tuple[tuple[tuple[Frame, ...], JsonSchemaMode], ...] = (
        (CLIENT_EXAMPLES, "validation"),
        (SERVER_EXAMPLES, "serialization"),
    )
    inputs = [(type(frame), mode) for examples, mode in modes for frame in examples]
    _, found = models_json_schema(inputs, ref_template="#/components/schemas/{model}")
    schemas: Document = found["$defs"]
    for schema in schemas.values():
        _tidy(schema)
    for model, mode in inputs:
        _without_null(schemas[model.__name__], model)
        if mode == "serialization":
            _require_all(schemas[model.__name__], model)
    for name in schemas.keys() - {type(frame).__name__ for frame in CLIENT_EXAMPLES}:
        # What we send may grow, and a client that was made from this must not mind.
        schemas[name].pop("additionalProperties", None)
    return dict(sorted(schemas.items()))


def _tidy(schema: Document) -> None:
    """Leave out what repeats: titles made from names, descriptions that the message carries."""
    schema.pop("title", None)
    schema.pop("description", None)
    for field in schema.get("properties", {}).values():
        field.pop("title", None)


def _may_be_absent(model: type[Frame]) -> Iterator[str]:
    return (name for name, field in model.model_fields.items() if field.exclude_if is not None)


def _without_null(schema: Document, model: type[Frame]) -> None:
    """Say of a field that may be absent what it is when it is there: it is never null."""
    for name in _may_be_absent(model):
        shown = schema["properties"][name]
        (kept,) = (one for one in shown.pop("anyOf") if one != {"type": "null"})
        shown.pop("default")
        shown.update(kept)


def _require_all(schema: Document, model: type[Frame]) -> None:
    """Say of what we send that every field is there, but for those that may be absent."""
    optional = set(_may_be_absent(model))
    schema["required"] = [name for name in schema["properties"] if name not in optional]
    for field in schema["properties"].values():
        field.pop("default", None)


# YAML: mappings, lists and scalars in block style, which is all that a contract needs

_PLAIN: Final = re.compile(r"[A-Za-z$][A-Za-z0-9_$./-]*(?: [A-Za-z0-9_$./-]+)*")
# What some readers take for something else than a word (YAML 1.1, booleans and null).
_NOT_WORDS: Final = frozenset({"y", "n", "yes", "no", "on", "off", "true", "false", "null"})


def render() -> str:
    """Write the document as YAML, with a final line feed."""
    lines = ["# Made from app/realtime/frames.py by `make openapi`.", *_yaml(document())]
    return "\n".join(lines) + "\n"


def _yaml(value: object, indent: str = "") -> Iterator[str]:
    match value:
        case dict() if value:
            for key, inner in value.items():
                yield from _yaml_item(f"{indent}{_scalar(key)}:", inner, f"{indent}  ")
        case list() if value:
            for inner in value:
                first, *rest = _yaml(inner, f"{indent}  ")
                yield f"{indent}- {first.removeprefix(f'{indent}  ')}"
                yield from rest
        case _:
            yield indent + _scalar(value)


def _yaml_item(key: str, value: object, indent: str) -> Iterator[str]:
    if isinstance(value, str) and "\n" in value:
        yield f"{key} |-"
        yield from (f"{indent}{line}".rstrip() for line in value.split("\n"))
    elif isinstance(value, dict | list) and value:
        yield key
        yield from _yaml(value, indent)
    else:
        yield f"{key} {_scalar(value)}"


def _scalar(value: object) -> str:
    if isinstance(value, str) and _PLAIN.fullmatch(value) and value.lower() not in _NOT_WORDS:
        return value
    # A JSON scalar, and an empty JSON collection, mean the same in YAML.
    return json.dumps(value, ensure_ascii=False)
