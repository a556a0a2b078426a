"""What a hub keeps of each socket and of each room, and how many sockets there may be."""

import asyncio
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final, TypeVar
from uuid import UUID

from app.core.problems import ServiceBusy, TooManyRequests
from app.realtime.frames import Author
from app.realtime.protocol import CloseCode, Connection
from app.security.principal import Principal

LINES_OF_ADDRESS: Final = 50
_RETRY: Final = {"Retry-After": "5"}
V = TypeVar("V")


class Places:
    """The places for sockets in a process, and those of each address (WS-03)."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._taken = 0
        self._by_address: Counter[str] = Counter()

    @contextmanager
    def taken(self, address: str) -> Iterator[None]:
        """Hold a place. Raises ServiceBusy or TooManyRequests when there is none."""
        if self._taken >= self._most:
            raise ServiceBusy(headers=_RETRY)
        if self._by_address[address] >= LINES_OF_ADDRESS:
            raise TooManyRequests(headers=_RETRY)
        self._taken += 1
        self._by_address[address] += 1
        try:
            yield
        finally:
            self._taken -= 1
            self._by_address[address] -= 1
            if not self._by_address[address]:
                del self._by_address[address]


@dataclass(eq=False, slots=True)
class Line:
    """One socket as the hub knows it: whose it is, what it owes, and how its writer is roused."""

    principal: Principal
    connection: Connection
    roused: asyncio.Event = field(default_factory=asyncio.Event)
    members: dict[UUID, UUID] = field(default_factory=dict)
    """Of each room that the line follows, the membership that lets it."""

    presences: dict[UUID, UUID] = field(default_factory=dict)

    def rouse(self) -> None:
        """Let the writer look at what is to be sent."""
        self.roused.set()

    def close(self, code: CloseCode, *, discard: bool = False) -> None:
        """Let the writer close the socket, after what waits or, with `discard`, at once."""
        self.connection.close(code, discard=discard)
        self.rouse()


@dataclass(eq=False, slots=True)
class Feed:
    """A room that somebody here follows or waits for, and how far its log was read here."""

    organization_id: UUID
    room_id: UUID
    lines: set[Line] = field(default_factory=set)
    waiters: dict[asyncio.Event, int] = field(default_factory=dict)
    authors: dict[UUID, Author] = field(default_factory=dict)
    seq: int | None = None
    noticed: int = 0
    is_reading: bool = False

    @property
    def is_wanted(self) -> bool:
        """Whether anybody here still asks for the room."""
        return bool(self.lines or self.waiters)

    @property
    def is_behind(self) -> bool:
        """Whether the log holds more than was read here."""
        return bool(self.lines) and self.seq is not None and self.seq < self.noticed


def grouped(pairs: Iterable[tuple[UUID, V]]) -> dict[UUID, list[V]]:
    """What belongs to each key, in the order in which it came."""
    groups: dict[UUID, list[V]] = {}
    for key, value in pairs:
        groups.setdefault(key, []).append(value)
    return groups
