import json
from contextlib import nullcontext, suppress
from datetime import timedelta, timezone
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from app.domain.roles import RoomRole
from app.realtime.frames import (
    MAX_FRAME_BYTES,
    Ack,
    Author,
    BadFrame,
    Error,
    Nack,
    Presence,
    Send,
    Unsubscribed,
    encode,
    parse,
)
from app.realtime.streams import LogEntry, Outgoing
from tests.realtime.making import AT, MEMBER, ROOM, entry, send_text, text_of

GOOD: list[tuple[str, dict[str, object]]] = [
    ("subscribe", {"ref": "1", "room_id": ROOM}),
    ("subscribe", {"ref": "1", "room_id": ROOM, "after_seq": 0}),
    ("unsubscribe", {"ref": "1", "room_id": ROOM}),
    ("edit", {"ref": "1", "room_id": ROOM, "target_seq": 4, "body": "line\n\tline"}),
    ("retract", {"ref": "1", "room_id": ROOM, "target_seq": 4}),
    ("react", {"ref": "1", "room_id": ROOM, "target_seq": 4, "reaction": "👍🏽", "on": True}),
    ("react", {"ref": "1", "room_id": ROOM, "target_seq": 4, "reaction": "❤️", "on": False}),
    ("pin", {"ref": "1", "room_id": ROOM, "target_seq": 4, "on": True}),
    ("raise_hand", {"ref": "1", "room_id": ROOM, "on": True}),
    ("vote", {"ref": "1", "room_id": ROOM, "target_seq": 4, "option": 0}),
    ("mark_read", {"ref": "1", "room_id": ROOM, "seq": 4}),
    ("typing", {"room_id": ROOM}),
    ("ping", {}),
    ("ping", {"n": 7}),
    ("reauthenticate", {"ref": "1", "ticket": "a" * 43}),
]


@pytest.mark.parametrize(("kind", "members"), GOOD)
def test_every_frame_of_the_table_is_understood(kind: str, members: dict[str, object]) -> None:
    assert parse(text_of(kind, **members)).type == kind


@pytest.mark.parametrize(("kind", "members"), GOOD)
def test_a_frame_with_an_unknown_field_is_not_half_understood(
    kind: str, members: dict[str, object]
) -> None:
    with pytest.raises(BadFrame):
        parse(text_of(kind, **members, colour="green"))


@pytest.mark.parametrize(
    "raw",
    [
        "",
        "null",
        "[]",
        "7",
        "{}",
        '{"type":"ping"',
        '{"type":"ping","type":"ping"}',
        '{"type":"ping","n":NaN}',
        '{"type":"ping","n":1e2}',
        '{"type":"ping","n":true}',
        '{"type":"ping","n":"1"}',
        '{"type":"ping","n":-1}',
        '{"type":"PING"}',
        '{"type":["ping"]}',
        '{"type":"\ud800"}',
        '{"type":"entry"}',
        "[" * 50_000,
        text_of("subscribe", ref="1", room_id="lobby"),
        text_of("subscribe", ref="1", room_id=ROOM, after_seq=-1),
        text_of("subscribe", ref="1", room_id=ROOM, after_seq=2**63),
        text_of("subscribe", ref="", room_id=ROOM),
        text_of("subscribe", ref="a b", room_id=ROOM),
        text_of("subscribe", ref="a" * 65, room_id=ROOM),
        text_of("subscribe", ref=1, room_id=ROOM),
        text_of("retract", ref="1", room_id=ROOM, target_seq=0),
        text_of("react", ref="1", room_id=ROOM, target_seq=1, reaction="ok", on=True),
        text_of("react", ref="1", room_id=ROOM, target_seq=1, reaction="\u200d", on=True),
        text_of("raise_hand", ref="1", room_id=ROOM, on=1),
        text_of("vote", ref="1", room_id=ROOM, target_seq=1, option=10),
        text_of("reauthenticate", ref="1", ticket="a.b"),
        send_text(body=""),
        send_text(body=" \n\t"),
        send_text(body="\u0000"),
        send_text(body="bell \u0007"),
        send_text(body="x" * 4_001),
        send_text(kind="membership"),
        send_text(client_message_id="1"),
    ],
)
def test_ws_04_a_frame_that_says_nothing_we_know_is_a_bad_frame(raw: str) -> None:
    with pytest.raises(BadFrame) as caught:
        parse(raw)
    assert caught.value.code == "bad_frame"


def test_ws_04_a_bad_frame_keeps_its_ref_and_shows_no_value() -> None:
    with pytest.raises(BadFrame) as caught:
        parse(send_text(ref="s-17", body=["I want to disappear"]))
    assert caught.value.ref == "s-17"
    assert caught.value.detail == "string_type: body"


def test_the_name_of_an_invented_field_is_not_repeated() -> None:
    with pytest.raises(BadFrame) as caught:
        parse('{"type":"ping","my name is Ada":1}')
    assert "Ada" not in caught.value.detail


@pytest.mark.parametrize(
    ("body", "fits"),
    [
        ("Tea or coffee?\ntea\ncoffee", True),
        ("Tea or coffee?\ntea", False),
        ("Tea or coffee?", False),
        ("\ntea\ncoffee", False),
        ("Tea or coffee?\ntea\n\ncoffee", False),
        ("How many?\n" + "\n".join("0123456789"), True),
        ("How many?\n" + "\n".join("0123456789a"), False),
    ],
)
def test_a_poll_is_a_question_and_two_to_ten_options(body: str, *, fits: bool) -> None:
    refused = nullcontext() if fits else pytest.raises(BadFrame)
    with refused as caught:
        parse(send_text(kind="poll", body=body))
    assert caught is None or caught.value.detail.startswith("poll_options")


def test_text_is_read_in_its_normal_form() -> None:
    frame = parse(send_text(body="cafe\u0301"))
    assert isinstance(frame, Send)
    assert frame.body == "caf\u00e9"


@given(st.text())
def test_ws_04_no_text_does_more_than_be_a_bad_frame(raw: str) -> None:
    with pytest.raises(BadFrame):
        parse(raw)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.sampled_from(GOOD), st.data())
def test_ws_04_no_value_in_any_field_does_more_than_be_a_bad_frame(
    good: tuple[str, dict[str, object]], data: st.DataObject
) -> None:
    kind, members = good
    field = data.draw(st.sampled_from(["type", *members]))
    raw = json.dumps(
        {"type": kind, **members, field: data.draw(json_values)}, default=str, ensure_ascii=False
    )
    with suppress(BadFrame):
        assert parse(raw).type == kind


def test_a_frame_that_is_too_long_is_not_read() -> None:
    with pytest.raises(BadFrame):
        parse(b'{"type":"ping"' + b" " * MAX_FRAME_BYTES + b"}")


def test_what_has_nothing_to_say_is_absent_and_the_rest_is_present() -> None:
    assert json.loads(encode(Nack(ref="1", code="not_found"))) == {
        "type": "nack",
        "ref": "1",
        "code": "not_found",
    }
    assert json.loads(encode(Error(code="bad_frame", detail="")))["detail"] == ""
    assert json.loads(encode(Unsubscribed(room_id=ROOM))).keys() == {"type", "room_id"}
    assert json.loads(encode(Ack(ref="1"))) == {
        "type": "ack",
        "ref": "1",
        "room_id": None,
        "seq": None,
        "message_id": None,
        "sent_at": None,
        "duplicate": False,
    }


def test_instants_are_sent_in_utc() -> None:
    ack = Ack(ref="1", sent_at=AT.astimezone(timezone(timedelta(hours=-7))))
    assert json.loads(encode(ack))["sent_at"] == "2026-03-01T17:00:00Z"


@given(
    st.text(alphabet=st.characters(codec="utf-8")),
    st.uuids(),
    st.none() | st.uuids(),
)
def test_an_entry_is_encoded_once_and_completed_for_its_author(
    body: str, author_id: UUID, client_message_id: UUID | None
) -> None:
    frame = entry(4, author_id=author_id, body=body, client_message_id=client_message_id)
    once = LogEntry.of(frame)

    assert once.for_author.text == encode(frame)
    assert "client_message_id" not in json.loads(once.for_room.text)
    for outgoing in (once.for_room, once.for_author):
        assert outgoing.size == len(outgoing.text.encode())
        assert outgoing.room_id == ROOM


def test_an_entry_holds_what_the_design_names() -> None:
    shown: dict[str, Any] = json.loads(encode(entry(4, client_message_id=uuid4())))
    assert list(shown) == [
        "type",
        "room_id",
        "seq",
        "entry_id",
        "kind",
        "author",
        "body",
        "reply_to",
        "target_seq",
        "at",
        "client_message_id",
    ]
    assert shown["author"].keys() == {"member_id", "alias", "role"}


def test_only_what_a_subscriber_may_see_is_bound_to_its_room() -> None:
    author = Author(member_id=MEMBER, alias="Heron", role=RoomRole.HOST)
    presence = Outgoing.of(Presence(room_id=ROOM, member=author, state="typing"))
    assert presence.room_id == ROOM
    assert Outgoing.of(Ack(ref="1", room_id=ROOM)).room_id is None
    assert Outgoing.of(Unsubscribed(room_id=ROOM)).room_id is None


def test_a_frame_that_we_make_wrongly_is_not_sent() -> None:
    with pytest.raises(ValidationError):
        Nack(ref="1", code="Not A Code")
