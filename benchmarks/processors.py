"""What the operating system knows about processors: who used them, and who else did.

Wall-clock time on a shared machine says as much about the neighbours as about the server.
Processor time is counted per process, so a ratio of two of them survives a noisy afternoon.
"""

import os
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

TICKS_PER_SECOND: Final = os.sysconf("SC_CLK_TCK")
_PROC: Final = Path("/proc")


@dataclass(frozen=True, slots=True)
class Layout:
    """Which processor each party keeps to."""

    server: int
    database: int
    client: int


def lay_out(available: Sequence[int]) -> Layout:
    """Give the server a processor of its own while there are two, and everybody one from three."""
    if not available:
        raise ValueError("No processor is available.")
    server, *rest = sorted(available)
    if not rest:
        return Layout(server, server, server)
    return Layout(server, rest[0], rest[-1])


@dataclass(frozen=True, slots=True)
class ProcessTimes:
    """A line of `/proc/<pid>/stat`: what a process and the children it has reaped have used."""

    pid: int
    parent: int
    ticks: int


def parse_stat(line: str) -> ProcessTimes:
    """Read a line of `/proc/<pid>/stat` (proc_pid_stat(5): fields 4 and 14 to 17)."""
    # The command's name stands in parentheses, and may contain spaces and parentheses itself.
    head, _, tail = line.rpartition(")")
    fields = tail.split()
    return ProcessTimes(
        pid=int(head.split(" ", 1)[0]),
        parent=int(fields[1]),
        ticks=sum(int(field) for field in fields[11:15]),
    )


def tree_ticks(processes: Iterable[ProcessTimes], root: int) -> int:
    """Add up a process and everything below it.

    A child that was reaped in the meantime is counted by its parent, so the sum only grows.
    """
    children: dict[int, list[ProcessTimes]] = {}
    total = 0
    for process in processes:
        children.setdefault(process.parent, []).append(process)
        if process.pid == root:
            total += process.ticks
    below = [root]
    while below:
        for child in children.get(below.pop(), ()):
            total += child.ticks
            below.append(child.pid)
    return total


def parse_busy(line: str) -> int:
    """Read the first line of `/proc/stat`: ticks in which a processor was not free for us.

    Stolen time counts, since another machine's work slows ours; time waiting for a disk does not.
    """
    user, nice, system, _idle, _waiting, irq, softirq, steal = map(int, line.split()[1:9])
    return user + nice + system + irq + softirq + steal


def processes() -> list[ProcessTimes]:
    """Every process that can be read now."""
    found = []
    for entry in _PROC.iterdir():
        if not entry.name.isdigit():
            continue
        try:
            line = (entry / "stat").read_text()
        except (FileNotFoundError, ProcessLookupError):
            continue  # It ended between the listing and the reading.
        found.append(parse_stat(line))
    return found


def tree_pids(root: int) -> list[int]:
    """A process and everything below it, parents first."""
    everyone = processes()
    tree = [root]
    for parent in tree:
        tree.extend(process.pid for process in everyone if process.parent == parent)
    return tree


def resident_mebibytes(root: int) -> float:
    """Resident memory of a process tree; pages that its processes share are counted in each."""
    pages = 0
    for pid in tree_pids(root):
        try:
            pages += int((_PROC / str(pid) / "statm").read_text().split()[1])
        except (FileNotFoundError, ProcessLookupError):
            continue
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


@dataclass(frozen=True, slots=True)
class Usage:
    """What was used between two moments, in seconds; `others` is in processors kept busy."""

    elapsed: float
    server: float
    database: float
    client: float
    others: float


class Meter:
    """Counts from the moment it is made."""

    def __init__(self, *, server: int, database: int) -> None:
        self._server, self._database = server, database
        self._before = self._counts()

    def read(self) -> Usage:
        """What has been used since then."""
        elapsed, busy, server, database, client = (
            after - before for after, before in zip(self._counts(), self._before, strict=True)
        )
        others = max(0.0, busy - server - database - client) / elapsed
        return Usage(elapsed, server, database, client, others)

    def _counts(self) -> tuple[float, float, float, float, float]:
        everyone = processes()
        with (_PROC / "stat").open() as stat:
            busy = parse_busy(stat.readline())
        return (
            time.perf_counter(),
            busy / TICKS_PER_SECOND,
            tree_ticks(everyone, self._server) / TICKS_PER_SECOND,
            tree_ticks(everyone, self._database) / TICKS_PER_SECOND,
            time.process_time(),
        )
