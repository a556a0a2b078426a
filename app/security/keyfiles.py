"""Key files: written so that a reader finds the old or the new, and so that a crash loses neither.

Only their owner may read them. Whoever turns keys as the superuser leaves them to the owner of
their directory, or the service could not read its own.
"""

import fcntl
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, TypeAlias

Signature: TypeAlias = tuple[tuple[int, int, int] | None, ...]

REREAD_SECONDS: Final = 5.0
"""How long a running process may take to notice what was changed on disk (AUTH-09, PHI-05)."""

_SUPERUSER: Final = 0


class Busy(Exception):
    """Somebody else is turning these keys."""


def signature(*paths: Path) -> Signature:
    """What changes when one of the files is written anew; take it before reading them."""
    return tuple(map(_stamp, paths))


def write_new(path: Path, content: bytes) -> None:
    """Write a file that is not there yet. Raises FileExistsError."""
    _write(path, content)
    _settle(path.parent)


def write_over(path: Path, content: bytes) -> None:
    """Write a file at once, whether or not it is there."""
    fresh = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    _write(fresh, content)
    move(fresh, path)


def move(path: Path, to: Path) -> None:
    """Put a file in another's place, at once."""
    path.replace(to)
    _settle(to.parent)


def remove(path: Path) -> None:
    """Take a file away, if it is there."""
    path.unlink(missing_ok=True)
    _settle(path.parent)


@contextmanager
def turning(directory: Path) -> Iterator[None]:
    """Keep others from turning the keys of a directory meanwhile. Raises Busy."""
    held = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Busy from None
        yield
    finally:
        os.close(held)


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return status.st_mtime_ns, status.st_ino, status.st_size


def _write(path: Path, content: bytes) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        if os.geteuid() == _SUPERUSER:
            owner = path.parent.stat()
            os.fchown(file.fileno(), owner.st_uid, owner.st_gid)
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _settle(directory: Path) -> None:
    """Make the names of a directory outlast a crash, as `fsync` makes contents."""
    held = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(held)
    finally:
        os.close(held)
