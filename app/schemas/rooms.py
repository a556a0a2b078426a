"""Rooms as they cross the wire by REST. Entries look as they do on the socket."""

from typing import Annotated, Final, Literal
from uuid import UUID

from pydantic import Field

from app.domain.roles import RoomKind, RoomRole
from app.realtime.frames import Entry, Seq
from app.schemas.assessments import CrisisResourceRead
from app.schemas.base import Page, ReadSchema, Schema
from app.schemas.types import Instant, MessageText

TICKET_SECONDS: Final = 30


class RoomRead(ReadSchema):
    """A room that the caller is in, and how far they have read."""

    id: UUID
    kind: RoomKind
    name: str
    group_id: UUID | None
    session_id: UUID | None
    member_id: Annotated[UUID, Field(description="The caller, as this room knows them.")]
    role: RoomRole
    first_seq: Annotated[int, Field(description="The first entry that the caller may see.")]
    head_seq: Annotated[int, Field(description="The last entry there is; 0 for none.")]
    read_seq: int
    opens_at: Instant | None
    closes_at: Instant | None


class RoomPage(Page[RoomRead]):
    """A page of rooms."""


class RoomMemberRead(ReadSchema):
    """Somebody who is in the room now."""

    id: UUID
    alias: str
    role: RoomRole
    joined_at: Instant
    participant_id: Annotated[
        UUID | None, Field(description="For staff who lead the room only, as is `name`.")
    ]
    name: str | None


class RoomMemberPage(Page[RoomMemberRead]):
    """A page of members."""


class EntryPage(ReadSchema):
    """A stretch of a room's log, in sequence."""

    items: list[Entry]
    head_seq: Annotated[
        int, Field(description="The last entry there is; read on until you hold it.")
    ]


class EntryCreate(Schema):
    """Something said. The same `client_message_id` sent again is answered with the same entry."""

    client_message_id: Annotated[UUID, Field(examples=["01a20c72-9ac9-768d-ac7a-d9abca78da7c"])]
    kind: Literal["message"] = "message"
    body: Annotated[
        MessageText, Field(examples=["I tried the breathing exercise twice this week."])
    ]
    reply_to: Seq | None = None


class EntryPosted(ReadSchema):
    """What was said stands in the log. `duplicate` says that it stood there before."""

    seq: int
    entry_id: UUID
    sent_at: Instant
    duplicate: bool
    crisis_resources: Annotated[
        list[CrisisResourceRead],
        Field(
            description="To be shown to the author at once when there are any. None is no sign "
            "of safety: what is written here is not watched as it comes."
        ),
    ]


class TicketRead(ReadSchema):
    """Leave to open one connection, once."""

    ticket: Annotated[
        str,
        Field(
            repr=False,
            description="Offer `stepwell.v1, stepwell.ticket.<ticket>` as subprotocols.",
        ),
    ]
    expires_in: Annotated[int, Field(description="Seconds.")]
