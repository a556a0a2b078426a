"""Frames and entries for the protocol's tests; a test names only what it is about."""

import json
from datetime import UTC, datetime
from functools import cache
from typing import Any
from uuid import UUID, uuid4

from jsonschema import (  # type: ignore[import-untyped]  # it publishes no types
    Draft202012Validator,
)

from app.domain.roles import RoomRole
from app.models.rooms import EntryKind
from app.realtime import asyncapi
from app.realtime.frames import Author, Entry
from app.realtime.protocol import Connection
from app.realtime.streams import LogEntry

AT = datetime(2026, 3, 1, 17, 0, tzinfo=UTC)
ROOM = UUID(int=1)
MEMBER = UUID(int=100)
OTHER = UUID(int=101)


def text_of(kind: str, /, **members: object) -> str:
    """Write a frame as a client writes it."""
    return json.dumps({"type": kind, **members}, default=str)


def send_text(**members: object) -> str:
    return text_of(
        "send",
        **{
            "ref": "s",
            "room_id": ROOM,
            "client_message_id": uuid4(),
            "kind": "message",
            "body": "hello",
            **members,
        },
    )


def entry(
    seq: int,
    *,
    room_id: UUID = ROOM,
    author_id: UUID | None = OTHER,
    body: str | None = "hello",
    client_message_id: UUID | None = None,
) -> Entry:
    author = None
    if author_id is not None:
        author = Author(member_id=author_id, alias="Heron", role=RoomRole.PARTICIPANT)
    return Entry(
        room_id=room_id,
        seq=seq,
        entry_id=UUID(int=seq),
        kind=EntryKind.MESSAGE,
        author=author,
        body=body,
        reply_to=None,
        target_seq=None,
        at=AT,
        client_message_id=client_message_id,
    )


def log(*seqs: int, room_id: UUID = ROOM, body: str = "hello") -> list[LogEntry]:
    return [LogEntry.of(entry(seq, room_id=room_id, body=body)) for seq in seqs]


@cache
def _validator(kind: str) -> Draft202012Validator:
    contract = asyncapi.document()
    payload = contract["components"]["messages"][kind]["payload"]
    return Draft202012Validator({**payload, "components": contract["components"]})


def assert_fits(frame: dict[str, Any]) -> None:
    """WS-05: a frame is as the published contract says."""
    _validator(frame["type"]).validate(frame)


def written(connection: Connection) -> list[dict[str, Any]]:
    """Write everything that waits, and show it as a client reads it."""
    frames = []
    while (outgoing := connection.pop()) is not None:
        frame = json.loads(outgoing.text)
        assert_fits(frame)
        frames.append(frame)
    return frames


def seen(connection: Connection) -> list[str]:
    """Write everything that waits, in short: `entry 4`, `caught_up 7`, `pong`."""
    return [
        f"{frame['type']} {frame['seq']}" if "seq" in frame else str(frame["type"])
        for frame in written(connection)
    ]
