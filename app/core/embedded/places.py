"""Where the data is, who may start or stop there, and who owns what runs there.

Beside the data directory `data` live `data.lock` (one start or stop at a time), `data.owner`
(held by the process that stops the server; the kernel lets go of it when that process dies) and
`data.socket`.

As root, the server's user may be unable to reach the directory that was asked for. The data is
then kept below `/var/lib/stepwell`, and a symbolic link stands where it was asked for: who removes
the link begins anew, as everywhere else. Data of tests whose link is gone is cleared away by the
next tests.
"""

import contextlib
import fcntl
import os
import pwd
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from app.core.embedded.programs import EmbeddedUnavailable, can_reach, make_directories, mark

SOCKET_NAME: Final = ".s.PGSQL.5432"
_SOCKET_PATH_LIMIT: Final = 100  # bytes; the address of a Unix socket holds 104 on some systems
_ELSEWHERE: Final = Path("/var/lib/stepwell")
_OF_TESTS: Final = "tests-"


def place(asked: Path, user: pwd.struct_passwd, *, for_tests: bool) -> Path:
    """Where the server's user can reach its data, without opening anybody's directory to it."""
    data_dir = asked.resolve()
    nearest = next(parent for parent in data_dir.parents if parent.exists())
    if can_reach(user, nearest):
        make_directories(data_dir.parent)
        return data_dir
    data_dir.parent.mkdir(parents=True, exist_ok=True)
    with locked(data_dir):
        return data_dir.resolve() if data_dir.is_symlink() else _elsewhere(data_dir, for_tests)


def _elsewhere(data_dir: Path, for_tests: bool) -> Path:  # noqa: FBT001 (passed on, by one caller)
    make_directories(_ELSEWHERE)
    home = Path(tempfile.mkdtemp(prefix=_OF_TESTS if for_tests else "", dir=_ELSEWHERE))
    home.chmod(0o755)
    try:
        data_dir.symlink_to(home / "data")
    except FileExistsError:
        home.rmdir()
        raise EmbeddedUnavailable(
            f"{data_dir} is there, and the user who runs PostgreSQL cannot reach it:"
            " remove it, or choose another directory."
        ) from None
    (home / "origin").write_text(str(data_dir))
    return home / "data"


def abandoned() -> list[Path]:
    """Data of tests that nobody can find any more, because its link is gone; root's business."""
    if os.geteuid() != 0:
        return []
    origins = _ELSEWHERE.glob(f"{_OF_TESTS}*/origin")
    return [o.with_name("data") for o in origins if not Path(o.read_text()).is_symlink()]


def remove(data_dir: Path) -> None:
    """Remove a place elsewhere, with all that lives beside the data."""
    if data_dir.parent.parent == _ELSEWHERE:
        shutil.rmtree(data_dir.parent)


def socket_dir_of(data_dir: Path) -> Path:
    """Beside the data when that is short enough for a socket's address, else below `/tmp`."""
    beside = data_dir.with_name(f"{data_dir.name}.socket")
    if len(os.fsencode(beside / SOCKET_NAME)) <= _SOCKET_PATH_LIMIT and "'" not in str(beside):
        return beside
    return Path("/tmp") / f"stepwell-{os.geteuid()}-{mark(data_dir)}"  # noqa: S108 (`own` checks it)


@contextlib.contextmanager
def locked(data_dir: Path) -> Iterator[None]:
    """One start or stop at a time on a data directory."""
    handle = _open_beside(data_dir, "lock")
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


class Ownership:
    """Who stops the server: whoever holds the lock on `data.owner`, until they die."""

    def __init__(self, handle: int) -> None:
        self._handle = handle
        self.is_held = True

    @classmethod
    def take(cls, data_dir: Path) -> "Ownership | None":
        """Take it when nobody who lives has it."""
        handle = _open_beside(data_dir, "owner")
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(handle)
            return None
        return cls(handle)

    def release(self) -> None:
        """Let it go, for the next to take."""
        self.is_held = False
        os.close(self._handle)


def _open_beside(data_dir: Path, suffix: str) -> int:
    # Read-only: whoever made the file, everybody who may use the data can lock it.
    path = data_dir.with_name(f"{data_dir.name}.{suffix}")
    return os.open(path, os.O_RDONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
