"""From a room's log to one reader: encoded once for everyone, sent in sequence to each.

A socket holds a `RoomStream` for each room that it follows (`protocol.Connection`); REST long
polling needs one stream and nothing else.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Self
from uuid import UUID

from app.realtime.frames import CaughtUp, Entry, Outcome, Presence, ServerFrame, encode

PAGE: Final = 200
"""Entries read from the log at once (WS-09)."""

MAX_REPLAY: Final = 5_000
"""Entries behind which a client reloads by REST instead (WS-10)."""


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A frame on its way out, encoded once for everyone who gets it.

    `size` is in octets. `room_id` marks what only a subscriber of the room may see, so that
    nothing of it leaves after the subscription has ended.
    """

    text: str
    size: int
    room_id: UUID | None = None

    @classmethod
    def of(cls, frame: ServerFrame) -> Self:
        """Encode a frame."""
        room_id = frame.room_id if isinstance(frame, Entry | Presence | CaughtUp) else None
        return cls._sized(encode(frame), room_id)

    @classmethod
    def _sized(cls, text: str, room_id: UUID | None) -> Self:
        size = len(text) if text.isascii() else len(text.encode())
        return cls(text, size, room_id)

    def with_client_message_id(self, client_message_id: UUID) -> Self:
        """Complete an entry for its author's own devices, without encoding it again."""
        text = f'{self.text[:-1]},"client_message_id":"{client_message_id}"}}'
        return self._sized(text, self.room_id)


@dataclass(frozen=True, slots=True)
class LogEntry:
    """One entry of a room's log, encoded once for a whole room."""

    room_id: UUID
    seq: int
    author_id: UUID | None
    for_room: Outgoing
    for_author: Outgoing

    @classmethod
    def of(cls, entry: Entry) -> Self:
        """Encode an entry for its room, and for its author."""
        for_room = for_author = Outgoing.of(entry.model_copy(update={"client_message_id": None}))
        if entry.client_message_id is not None:
            for_author = for_room.with_client_message_id(entry.client_message_id)
        author_id = entry.author.member_id if entry.author else None
        return cls(entry.room_id, entry.seq, author_id, for_room, for_author)


@dataclass(frozen=True, slots=True, eq=False)
class Fetch:
    """A page of a room's log to be read: up to `limit` entries after `after_seq`, in sequence.

    `head_seq` is what was known of the log when it was asked for.
    """

    room_id: UUID
    after_seq: int
    head_seq: int
    limit: int = PAGE


class RoomStream:
    """One member's way along one room's log: every entry once, in sequence, from where it began."""

    __slots__ = ("head_seq", "member_id", "room_id", "sent_seq")

    def __init__(self, room_id: UUID, member_id: UUID, *, after_seq: int, head_seq: int) -> None:
        self.room_id, self.member_id = room_id, member_id
        self.sent_seq, self.head_seq = after_seq, head_seq

    @property
    def is_behind(self) -> bool:
        """Whether the log is known to hold more than was sent, so that a fetch is wanted."""
        return self.sent_seq < self.head_seq

    def notice(self, seq: int) -> None:
        """Hear that the log holds an entry, without seeing it."""
        self.head_seq = max(self.head_seq, seq)

    def offer(self, entry: LogEntry) -> Outgoing | None:
        """Give the frame to send, if the entry is the next one.

        An earlier one was sent before. A later one shows that something was lost: it is
        remembered as a hint, and comes back with the page that fills the gap.
        """
        self.notice(entry.seq)
        if entry.seq != self.sent_seq + 1:
            return None
        self.sent_seq = entry.seq
        return entry.for_author if entry.author_id == self.member_id else entry.for_room

    def fetch(self) -> Fetch:
        """Ask for the page that is wanted next."""
        return Fetch(self.room_id, self.sent_seq, self.head_seq)

    def page(self, fetch: Fetch, entries: Sequence[LogEntry]) -> Iterator[Outgoing]:
        """Give the frames to send, now that a page was read.

        Whoever stops early has sent what it took; the rest is asked for again.
        """
        for entry in entries:
            outgoing = self.offer(entry)
            if outgoing is not None:
                yield outgoing
        # A head that the log does not bear out would be asked for forever; whoever compares
        # heads (WS-11) will say it again if it is true.
        if self.sent_seq == fetch.after_seq and self.head_seq == fetch.head_seq:
            self.head_seq = self.sent_seq


def start_of(after_seq: int | None, *, head_seq: int, first_seq: int) -> tuple[Outcome, int]:
    """Say what a subscription does about missed entries, and after which seq it sends.

    `first_seq` is the first entry that may be sent at all: where the membership begins, or the
    archive ends. A client that is behind it, too far behind the head (WS-10), or ahead of the
    head, holds a history that cannot be completed from here.
    """
    if after_seq is None or after_seq == head_seq:
        return Outcome.CURRENT, head_seq
    if first_seq - 1 <= after_seq < head_seq and head_seq - after_seq <= MAX_REPLAY:
        return Outcome.REPLAYED, after_seq
    return Outcome.RESET, head_seq
