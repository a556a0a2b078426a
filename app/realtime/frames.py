"""The frames of `stepwell.v1`: what a client may say, and what it hears.

One model is one frame, told apart by `type` (design, section 6). The same models parse what
arrives, encode what leaves and make `openapi/asyncapi.yaml`. A field that may be absent is
absent when it has nothing to say; every other field is always present.
"""

from collections.abc import Mapping
from enum import StrEnum, unique
from typing import Annotated, Any, Final, Literal, Self, TypeAlias
from uuid import UUID

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StrictInt,
    StringConstraints,
    TypeAdapter,
    ValidationError,
    WithJsonSchema,
    model_validator,
)
from pydantic_core import PydanticCustomError

from app.core import strict_json
from app.core.problems import InvalidJson
from app.domain.roles import RoomRole
from app.models.rooms import EntryKind
from app.schemas.assessments import CrisisResourceRead
from app.schemas.types import Code, Count, Flag, Instant, MessageText, Position

MAX_FRAME_BYTES: Final = 65_536
"""The longest frame that is read (WS-03, WS-04); a longer one closes the socket with 1009."""

POLL_OPTIONS: Final = range(2, 11)


def _is_none(value: object) -> bool:
    return value is None


OMITTED: Final[Any] = Field(default=None, exclude_if=_is_none)

Ref = Annotated[
    str,
    Field(description="Chosen by the client; the answer carries it back."),
    StringConstraints(strict=True, pattern=r"^[A-Za-z0-9_.:-]{1,64}$"),
]
Seq = Annotated[StrictInt, Field(ge=1, lt=2**63, description="A place in a room's log.")]
LastSeq = Annotated[Position, Field(description="The last place already held; 0 for none.")]
Emoji = Annotated[
    str,
    StringConstraints(
        strict=True,
        max_length=16,
        pattern=r"^[\p{Extended_Pictographic}\p{Regional_Indicator}]"
        r"[\p{Extended_Pictographic}\p{Regional_Indicator}\p{Emoji_Modifier}\u{200d}\u{fe0f}]*$",
    ),
    # The pattern speaks of Unicode properties, which few readers of JSON Schema know.
    WithJsonSchema(
        {"type": "string", "maxLength": 16, "description": "One emoji, with its modifiers."}
    ),
]


class Frame(BaseModel):
    """What every frame has in common: nothing unknown, nothing changed after it is made."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class Request(Frame):
    """A frame that is answered by exactly one frame with the same `ref`."""

    ref: Ref
    room_id: UUID


class Subscribe(Request):
    """Follow a room: first what was missed after `after_seq`, then what happens.

    Without `after_seq` nothing is replayed. A second `subscribe` to a room starts anew.
    """

    type: Literal["subscribe"]
    after_seq: LastSeq | None = OMITTED


class Unsubscribe(Request):
    """Stop following a room. No entry of it follows the answer."""

    type: Literal["unsubscribe"]


class Send(Request):
    """Say something in a room, once.

    The same `client_message_id` sent again, on any connection, is answered with the entry that
    it made the first time. A poll is a question on the first line of the body and two to ten
    options, one on each further line.
    """

    type: Literal["send"]
    client_message_id: UUID
    kind: Literal["message", "poll"]
    body: MessageText
    reply_to: Seq | None = OMITTED

    @model_validator(mode="after")
    def _poll_has_options(self) -> Self:
        if self.kind == "poll":
            question, *options = (line.strip() for line in self.body.split("\n"))
            if not question or not all(options) or len(options) not in POLL_OPTIONS:
                raise PydanticCustomError(
                    "poll_options", "A poll is a question and two to ten options, one a line."
                )
        return self


class Edit(Request):
    """Replace the text of one's own message."""

    type: Literal["edit"]
    target_seq: Seq
    body: MessageText


class Retract(Request):
    """Take a message back: its text is no longer shown to anyone."""

    type: Literal["retract"]
    target_seq: Seq


class React(Request):
    """Add a reaction to an entry, or with `on` false take one's own away."""

    type: Literal["react"]
    target_seq: Seq
    reaction: Emoji
    on: Flag


class Pin(Request):
    """Pin an entry for the room, or with `on` false unpin it."""

    type: Literal["pin"]
    target_seq: Seq
    on: Flag


class RaiseHand(Request):
    """Raise one's hand, or with `on` false lower it."""

    type: Literal["raise_hand"]
    on: Flag


class Vote(Request):
    """Choose one option of a poll, counted from 0; a later vote replaces an earlier one."""

    type: Literal["vote"]
    target_seq: Seq
    option: Annotated[StrictInt, Field(ge=0, lt=POLL_OPTIONS.stop - 1)]


class MarkRead(Request):
    """Say how far one has read. Nobody else is told: the answer is an `ack`, without an entry."""

    type: Literal["mark_read"]
    seq: Seq


class Typing(Frame):
    """Show the others that one is writing, for a few seconds. Not stored, not answered."""

    type: Literal["typing"]
    room_id: UUID


class Ping(Frame):
    """Ask whether the server hears."""

    type: Literal["ping"]
    n: Count = 0


class Reauthenticate(Frame):
    """Go on with a fresh ticket, on the same connection (WS-15)."""

    type: Literal["reauthenticate"]
    ref: Ref
    ticket: Annotated[
        str, StringConstraints(strict=True, pattern=r"^[A-Za-z0-9_-]{1,128}$"), Field(repr=False)
    ]


RoomWrite: TypeAlias = Send | Edit | Retract | React | Pin | RaiseHand | Vote
"""What leaves an entry in a room's log."""

ClientFrame: TypeAlias = Annotated[
    Subscribe | Unsubscribe | RoomWrite | MarkRead | Typing | Ping | Reauthenticate,
    Field(discriminator="type"),
]


@unique
class Outcome(StrEnum):
    """What a subscription does about the entries that the client has missed."""

    CURRENT = "current"
    REPLAYED = "replayed"
    RESET = "reset"


class Author(Frame):
    """A member as the room knows them; participants appear by alias only."""

    member_id: UUID
    alias: str
    role: RoomRole


class Subscribed(Frame):
    """A subscription stands.

    `current`: nothing is missing, entries follow from `head_seq` + 1. `replayed`: entries follow
    from `after_seq` + 1. `reset`: what is missing is not replayed (too much, or not in this
    membership); load it by REST up to `head_seq`, entries follow from `head_seq` + 1.
    """

    type: Literal["subscribed"] = "subscribed"
    ref: Ref
    room_id: UUID
    role: RoomRole
    head_seq: LastSeq
    outcome: Outcome


class Entry(Frame):
    """One entry of a room's log, in sequence: `seq` is one more than the entry's before.

    The body of a reaction is the emoji, or null when it is taken away; of a pin `on` or `off`;
    of a hand `raised` or `lowered`; of a vote the counts so far in the order of the options,
    separated by spaces, with no author; of a membership `joined` or `left`; of the rest the
    text. `target_seq` is the entry that an edit, retraction, reaction, pin or vote is about.
    `client_message_id` is there for the author's own devices only.
    """

    type: Literal["entry"] = "entry"
    room_id: UUID
    seq: Seq
    entry_id: UUID
    kind: EntryKind
    author: Author | None
    body: str | None
    reply_to: Seq | None
    target_seq: Seq | None
    at: Instant
    # Last, so that a room's one encoding is completed for the author by an append.
    client_message_id: UUID | None = OMITTED


class CaughtUp(Frame):
    """Every entry up to `seq` has been sent; what follows is live."""

    type: Literal["caught_up"] = "caught_up"
    room_id: UUID
    seq: LastSeq


class Ack(Frame):
    """Done, and durable.

    `seq`, `message_id` and `sent_at` name the entry that was made, and are null where a request
    makes none. `duplicate` says that the entry had been made before. `crisis_resources` come to
    an author whose text may mean danger, to be shown at once, and to nobody else.
    """

    type: Literal["ack"] = "ack"
    ref: Ref
    room_id: UUID | None = None
    seq: Seq | None = None
    message_id: UUID | None = None
    sent_at: Instant | None = None
    duplicate: bool = False
    crisis_resources: list[CrisisResourceRead] | None = OMITTED


class Nack(Frame):
    """Not done. `retry_after`, in seconds, says that the same request may succeed later."""

    type: Literal["nack"] = "nack"
    ref: Ref
    code: Code
    retry_after: Count | None = OMITTED


class Presence(Frame):
    """Somebody came, writes or went, as far as is known. Never the reason for a decision."""

    type: Literal["presence"] = "presence"
    room_id: UUID
    member: Author
    state: Literal["present", "typing", "absent"]


class Pong(Frame):
    """The server hears; `n` is the ping's."""

    type: Literal["pong"] = "pong"
    n: Count


class ReauthenticationRequired(Frame):
    """Send `reauthenticate` before this instant, or the connection closes with 4401."""

    type: Literal["reauthentication_required"] = "reauthentication_required"
    by: Instant


class Happening(Frame):
    """Something that happened: ids, a type and a time, never a story (design, section 5)."""

    id: UUID
    type: str
    subject: str
    subject_id: UUID
    subject_version: int | None
    at: Instant


class Event(Frame):
    """An event that concerns the person; `position` is the cursor of `GET /v1/events`."""

    type: Literal["event"] = "event"
    position: Seq
    event: Happening


class Drain(Frame):
    """The server is about to restart: connect again after this long. Nothing is lost."""

    type: Literal["drain"] = "drain"
    reconnect_in_ms: Count


class Error(Frame):
    """A frame could not be understood or was one too many; it has changed nothing."""

    type: Literal["error"] = "error"
    ref: Ref | None = OMITTED
    code: Code
    detail: str


class Unsubscribed(Frame):
    """No entry of the room follows. `code` says why when the client did not ask for it."""

    type: Literal["unsubscribed"] = "unsubscribed"
    ref: Ref | None = OMITTED
    room_id: UUID
    code: Code | None = OMITTED


ServerFrame: TypeAlias = Annotated[
    Subscribed
    | Entry
    | CaughtUp
    | Ack
    | Nack
    | Presence
    | Pong
    | ReauthenticationRequired
    | Event
    | Drain
    | Error
    | Unsubscribed,
    Field(discriminator="type"),
]


class BadFrame(Exception):  # the word of WS-04, and of the client that reads it
    """A frame that says nothing we know. `detail` names fields and rules, never a value."""

    def __init__(self, code: str, ref: str | None = None, *, detail: str = "") -> None:
        super().__init__(code)
        self.code = code
        self.ref = ref
        self.detail = detail


_CLIENT_FRAMES: Final[TypeAdapter[ClientFrame]] = TypeAdapter(ClientFrame)
_REFS: Final[TypeAdapter[str]] = TypeAdapter(Ref)


def parse(raw: str | bytes) -> ClientFrame:
    """Read one text frame.

    Raises BadFrame, with the frame's `ref` where one can be read, so that the client knows which
    of its requests was not understood.
    """
    try:
        document = strict_json.loads(octets(raw), max_bytes=MAX_FRAME_BYTES)
    except InvalidJson:
        raise BadFrame("bad_frame", detail="The frame is not JSON as we read it.") from None
    try:
        return _CLIENT_FRAMES.validate_python(document)
    except ValidationError as error:
        raise BadFrame("bad_frame", _ref_of(document), detail=_reason(error)) from None


def octets(raw: str | bytes) -> bytes:
    """Give a frame's text as it crossed the wire."""
    if isinstance(raw, bytes):
        return raw
    # A lone surrogate is let through to the reader, which refuses it like any other bad octet.
    return raw.encode("utf-8", "surrogatepass")


def _ref_of(document: object) -> str | None:
    if not isinstance(document, Mapping):
        return None
    try:
        return _REFS.validate_python(document.get("ref"))
    except ValidationError:
        return None


def _reason(error: ValidationError) -> str:
    """Name the first broken rule and its field, unless the client made that name up."""
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    field = first["loc"][-1] if first["loc"] else "frame"
    rule = first["type"]
    return f"{rule}: {field}" if rule != "extra_forbidden" else rule


def encode(frame: ServerFrame) -> str:
    """Write a frame as it goes over the wire."""
    return frame.model_dump_json()
