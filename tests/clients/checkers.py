"""What must hold of live rooms after any run (security reference, 8.4: I1 to I4).

Each checker reads the log as the database holds it and what clients showed, and answers with the
violations it found, in words that name ids and sequence numbers only. Nothing found is `[]`.
They know nothing of the server: the facts come from the ledger and the database.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

Room = str
Member = str


@dataclass(frozen=True, slots=True)
class Logged:
    """One row of a room's log."""

    room_id: Room
    seq: int
    entry_id: str


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """A message whose `ack` reached its sender."""

    room_id: Room
    seq: int
    entry_id: str


@dataclass(frozen=True, slots=True)
class Membership:
    """That a member was in a room, from one entry to another; both ends included."""

    room_id: Room
    member_id: Member
    from_seq: int
    until_seq: int | None = None

    def covers(self, seq: int) -> bool:
        """Whether the member may see the entry."""
        return self.from_seq <= seq and (self.until_seq is None or seq <= self.until_seq)


@dataclass(frozen=True, slots=True)
class Display:
    """What one device showed of one room, in the order in which it did.

    It began after `began_after`. `stayed` says that it was connected at the end, or resumed, so
    that it must have reached the head of what it may see.
    """

    room_id: Room
    member_id: Member
    began_after: int
    shown: tuple[tuple[int, str], ...]
    stayed: bool = True


def i1_acknowledged_is_kept_and_reached(
    log: Sequence[Logged],
    acknowledged: Iterable[Acknowledged],
    displays: Sequence[Display],
    memberships: Sequence[Membership],
) -> list[str]:
    """I1: each acknowledged message is in its log once, and on each screen that should have it."""
    rows = Counter((row.room_id, row.seq, row.entry_id) for row in log)
    copies = Counter((row.room_id, row.entry_id) for row in log)
    violations = []
    for ack in acknowledged:
        if rows[ack.room_id, ack.seq, ack.entry_id] != 1:
            violations.append(f"acknowledged {_name(ack)} is not in the log as acknowledged")
        elif copies[ack.room_id, ack.entry_id] != 1:
            violations.append(f"acknowledged {_name(ack)} is in the log more than once")
        violations += [
            f"acknowledged {_name(ack)} did not reach {display.member_id}"
            for display in displays
            if _is_owed(display, ack, memberships) and (ack.seq, ack.entry_id) not in display.shown
        ]
    return violations


def i2_sequences_have_no_gaps(log: Iterable[Logged]) -> list[str]:
    """I2: the sequence of each room is 1 to n."""
    seqs: dict[Room, list[int]] = {}
    for row in log:
        seqs.setdefault(row.room_id, []).append(row.seq)
    return [
        f"room {room_id} does not count from 1 to {len(found)}"
        for room_id, found in seqs.items()
        if sorted(found) != list(range(1, len(found) + 1))
    ]


def i3_screens_show_an_interval(log: Iterable[Logged], displays: Iterable[Display]) -> list[str]:
    """I3: what each client showed is an interval of the log, in order, none missing, none twice."""
    entries = {(row.room_id, row.seq): row.entry_id for row in log}
    return [
        f"{display.member_id} showed {seq} where {expected} of room {display.room_id} was next"
        for display in displays
        for expected, (seq, entry_id) in enumerate(display.shown, start=display.began_after + 1)
        if seq != expected or entries.get((display.room_id, seq)) != entry_id
    ]


def i4_nobody_sees_beyond_their_membership(
    displays: Iterable[Display], memberships: Sequence[Membership]
) -> list[str]:
    """I4: no client got an entry outside its membership."""
    return [
        f"{display.member_id} showed {seq} of room {display.room_id} outside of a membership"
        for display in displays
        for seq, _ in display.shown
        if not any(own.covers(seq) for own in _own(display, memberships))
    ]


def check_rooms(
    log: Sequence[Logged],
    acknowledged: Sequence[Acknowledged],
    displays: Sequence[Display],
    memberships: Sequence[Membership],
) -> list[str]:
    """Apply I1 to I4 to one run."""
    return [
        *i1_acknowledged_is_kept_and_reached(log, acknowledged, displays, memberships),
        *i2_sequences_have_no_gaps(log),
        *i3_screens_show_an_interval(log, displays),
        *i4_nobody_sees_beyond_their_membership(displays, memberships),
    ]


def _name(ack: Acknowledged) -> str:
    return f"{ack.entry_id} ({ack.seq} of room {ack.room_id})"


def _own(display: Display, memberships: Iterable[Membership]) -> Iterator[Membership]:
    for membership in memberships:
        if (membership.room_id, membership.member_id) == (display.room_id, display.member_id):
            yield membership


def _is_owed(display: Display, ack: Acknowledged, memberships: Iterable[Membership]) -> bool:
    return (
        display.stayed
        and display.room_id == ack.room_id
        and ack.seq > display.began_after
        and any(own.covers(ack.seq) for own in _own(display, memberships))
    )
