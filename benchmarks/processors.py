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
_HAS_SCHEDSTAT: Final = (_PROC / "self" / "schedstat").exists()


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
    """What a process has used, and what the children have used that it has reaped, in seconds."""

    pid: int
    parent: int
    own: float
    reaped: float


def parse_stat(stat: str, schedstat: str) -> ProcessTimes:
    """Read `/proc/<pid>/stat` (proc_pid_stat(5): fields 4 and 14 to 17) and `schedstat`.

    `stat` counts all threads, but rounds each process down to ticks, and a pool of mostly idle
    backends loses a good part of its time that way. `schedstat` has nanoseconds, but of the first
    thread only, and is empty where the kernel keeps none. Both say too little, never too much:
    the larger one is nearer to the truth.
    """
    # The command's name stands in parentheses, and may contain spaces and parentheses itself.
    head, _, tail = stat.rpartition(")")
    fields = tail.split()
    user, system, reaped_user, reaped_system = (int(field) for field in fields[11:15])
    nanoseconds = int(schedstat.partition(" ")[0]) if schedstat else 0
    return ProcessTimes(
        pid=int(head.partition(" ")[0]),
        parent=int(fields[1]),
        own=max((user + system) / TICKS_PER_SECOND, nanoseconds / 1e9),
        reaped=(reaped_user + reaped_system) / TICKS_PER_SECOND,
    )


def tree_seconds(processes: Iterable[ProcessTimes], root: int) -> float:
    """Add up a process and everything below it.

    A child that was reaped in the meantime is counted by its parent, so nothing is forgotten.
    """
    children: dict[int, list[ProcessTimes]] = {}
    tree = []
    for process in processes:
        children.setdefault(process.parent, []).append(process)
        if process.pid == root:
            tree.append(process)
    for process in tree:
        tree.extend(children.get(process.pid, ()))
    return sum(process.own + process.reaped for process in tree)


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
            found.append(parse_stat((entry / "stat").read_text(), _schedstat(entry)))
        except (FileNotFoundError, ProcessLookupError):
            continue  # It ended between the listing and the reading.
    return found


def _schedstat(entry: Path) -> str:
    return (entry / "schedstat").read_text() if _HAS_SCHEDSTAT else ""


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
            tree_seconds(everyone, self._server),
            tree_seconds(everyone, self._database),
            time.process_time(),
        )
