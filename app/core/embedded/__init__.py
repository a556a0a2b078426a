"""The embedded PostgreSQL: a real server from a wheel, for development and tests.

The wheel's own launcher opens the rights of every parent directory when it runs as root; this
one leaves them alone (`programs`, `places`). The server listens on a Unix socket in a directory
of its own, and runs in a session of its own, so that Ctrl-C in the terminal reaches the API first.
"""

import asyncio
import contextlib
import os
import shutil
import socket
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import asyncpg

from app.core.embedded import places
from app.core.embedded.places import Ownership
from app.core.embedded.programs import EmbeddedUnavailable, Programs, server_user

__all__ = ["EmbeddedServer", "EmbeddedUnavailable", "bootstrap", "start", "temporary"]

_ROLES: Final = Path(__file__).resolve().parents[3] / "deploy" / "roles.sql"
_PATIENCE_SECONDS: Final = 30
_READY: Final = 0  # what pg_isready says; a server that starts or stops answers otherwise
_FIRST_BUILTIN_LOCALE: Final = 17
_ALWAYS: Final = {
    # What a person wrote must not reach the server's log (PHI-11).
    "log_error_verbosity": "terse",
    "log_min_error_statement": "panic",
    "log_parameter_max_length": "0",
    "log_parameter_max_length_on_error": "0",
    "log_statement": "none",
}
_DURABLE: Final = {"fsync": "on", "synchronous_commit": "on"}
_FOR_TESTS: Final = {
    "fsync": "off",
    "full_page_writes": "off",
    "max_wal_senders": "0",
    "synchronous_commit": "off",
    "wal_level": "minimal",
}


@dataclass(frozen=True)
class EmbeddedServer:
    """A running server.

    The process that started it stops it. A server whose starter has died belongs to the next
    process that calls `start`; until then it goes on running.
    """

    data_dir: Path
    socket_dir: Path
    major: int
    was_started_here: bool
    _programs: Programs = field(repr=False)
    _ownership: Ownership | None = field(repr=False)

    @property
    def is_ours(self) -> bool:
        """Whether `stop` stops it: we started it, or took it over from a process that died."""
        return self._ownership is not None and self._ownership.is_held

    def url(self, *, role: str, database: str = "stepwell") -> str:
        """Where a role connects, as SQLAlchemy writes it."""
        return f"postgresql+asyncpg://{role}@/{database}?host={self.socket_dir}"

    def stop(self, mode: str = "fast") -> None:
        """Stop the server and wait until it is gone; does nothing when another process owns it.

        The mode is one of PostgreSQL's: `fast` ends open transactions, `immediate` is a crash.
        """
        if self._ownership is None or not self._ownership.is_held:
            return
        with places.locked(self.data_dir):
            _stop(self._programs, self.data_dir, mode)
            with contextlib.suppress(OSError):  # what a crash left behind is used again
                self.socket_dir.rmdir()
            self._ownership.release()


def start(data_dir: Path, *, major: int = 18, for_tests: bool = False) -> EmbeddedServer:
    """Start the server on a data directory, creating it first; reuse it when it runs already.

    For tests it forgoes durability and is much faster. The `data_dir` of the answer says where
    the data is, which as root may be elsewhere (`places`). Raises EmbeddedUnavailable.
    """
    user = server_user(data_dir.resolve())
    programs = Programs.of(major, user)
    data_dir = places.place(data_dir, user, for_tests=for_tests)
    if for_tests:
        _clear_away(programs)
    with places.locked(data_dir):
        _require_version(data_dir, major)
        running = _find_running(programs, data_dir)
        if running is None:
            socket_dir = _launch(programs, data_dir, major, for_tests=for_tests)
        else:
            socket_dir = running
            _require_durability(data_dir, for_tests=for_tests)
        ownership = Ownership.take(data_dir)
    return EmbeddedServer(data_dir, socket_dir, major, running is None, programs, ownership)


@contextlib.contextmanager
def temporary(*, major: int = 18) -> Iterator[EmbeddedServer]:
    """A bootstrapped server for tests that goes away with its data."""
    with tempfile.TemporaryDirectory(prefix="stepwell-") as directory:
        home = Path(directory)
        if os.geteuid() == 0:
            home.chmod(0o711)  # made a line ago, for the server's user to walk through
        server = start(home / "data", major=major, for_tests=True)
        try:
            bootstrap(server)
            yield server
        finally:
            server.stop()
            places.remove(server.data_dir)


def bootstrap(server: EmbeddedServer, database: str = "stepwell") -> None:
    """Create the database and the roles; running it again, or twice at once, changes nothing."""
    asyncio.run(_bootstrap(server, database))


async def _bootstrap(server: EmbeddedServer, database: str) -> None:
    host = str(server.socket_dir)
    outer = await asyncpg.connect(host=host, user="postgres", database="postgres")
    try:
        # Roles belong to all databases of the server: two that change one at once would fail.
        await outer.execute("select pg_advisory_lock(hashtext('stepwell.bootstrap'))")
        found = "select true from pg_database where datname = $1"
        if not await outer.fetchval(found, database):
            await outer.execute(f'create database "{database}"')
        inner = await asyncpg.connect(host=host, user="postgres", database=database)
        try:
            await inner.execute(_ROLES.read_text(encoding="utf-8"))
        finally:
            await inner.close()
    finally:
        await outer.close()


def _clear_away(programs: Programs) -> None:
    """Stop and remove what tests that were killed have left behind."""
    for data_dir in places.abandoned():
        with contextlib.suppress(FileNotFoundError):  # others clear away as well
            ownership = Ownership.take(data_dir)
            if ownership is not None:
                _stop(programs, data_dir, "immediate")
                places.remove(data_dir)
                ownership.release()


def _require_version(data_dir: Path, major: int) -> None:
    version = data_dir / "PG_VERSION"
    if version.exists() and (found := version.read_text().strip()) != str(major):
        raise EmbeddedUnavailable(
            f"{data_dir} was made by PostgreSQL {found}, and {major} was asked for:"
            f" set STEPWELL_EMBEDDED_MAJOR={found}, or choose another directory."
        )


def _require_durability(data_dir: Path, *, for_tests: bool) -> None:
    """A server that was started for tests may lose what it acknowledged: never serve on it."""
    if not for_tests and "fsync=off" in (data_dir / "postmaster.opts").read_text():
        raise EmbeddedUnavailable(f"The server that runs on {data_dir} was started for tests.")


def _find_running(programs: Programs, data_dir: Path) -> Path | None:
    """The socket directory of the server that runs on this data; waits while it starts or stops.

    A pid file outlives a crash, and its process id may since belong to anybody: only a server
    that listens where the file says is one.
    """
    try:
        lines = (data_dir / "postmaster.pid").read_text().splitlines()
    except FileNotFoundError:
        return None
    pid, socket_dir = (int(lines[0]), Path(lines[4])) if len(lines) > 4 else (0, data_dir)
    if not _is_alive(pid):
        return None
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while _is_listening(socket_dir):
        if programs.status("pg_isready", "-q", "-h", socket_dir) == _READY:
            return socket_dir
        if time.monotonic() > deadline:
            raise EmbeddedUnavailable(f"The server on {data_dir} (process {pid}) does not answer.")
        time.sleep(0.1)
    if _is_alive(pid):  # somebody else by now, whom PostgreSQL would take for a server
        (data_dir / "postmaster.pid").unlink(missing_ok=True)
        (socket_dir / f"{places.SOCKET_NAME}.lock").unlink(missing_ok=True)
    return None


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _is_listening(socket_dir: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(1)
        try:
            probe.connect(str(socket_dir / places.SOCKET_NAME))
        except (ConnectionRefusedError, FileNotFoundError, NotADirectoryError):
            return False
        except TimeoutError:
            return True  # so busy that it does not even accept
    return True


def _launch(programs: Programs, data_dir: Path, major: int, *, for_tests: bool) -> Path:
    if not (data_dir / "PG_VERSION").exists():
        _initialize(programs, data_dir, major, for_tests=for_tests)
    socket_dir = places.socket_dir_of(data_dir)
    programs.own(socket_dir)
    settings = {**_ALWAYS, **(_FOR_TESTS if for_tests else _DURABLE)}
    options = " ".join(f"-c {name}={value}" for name, value in settings.items())
    # fmt: off
    programs.run(
        "pg_ctl", "-D", data_dir, "-l", data_dir / "server.log", "-w", "-t", _PATIENCE_SECONDS,
        "-o", f"-h '' -k '{socket_dir}' {options}", "start",
    )
    # fmt: on
    return socket_dir


def _stop(programs: Programs, data_dir: Path, mode: str) -> None:
    if _find_running(programs, data_dir) is not None:
        programs.run("pg_ctl", "-D", data_dir, "-m", mode, "-w", "stop")


def _initialize(programs: Programs, data_dir: Path, major: int, *, for_tests: bool) -> None:
    """Create the cluster beside its place and move it there, so that it is whole or absent."""
    if data_dir.exists() and any(data_dir.iterdir()):
        raise EmbeddedUnavailable(f"{data_dir} is not empty, and not a database.")
    fresh = data_dir.with_name(f"{data_dir.name}.new")
    if fresh.exists():
        shutil.rmtree(fresh)
    programs.own(fresh)
    # A fixed locale sorts alike on every machine. Version 16 has no locales of its own.
    builtin = ("--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8")
    locale = builtin if major >= _FIRST_BUILTIN_LOCALE else ("--locale=C.UTF-8",)
    sync = ("--no-sync",) if for_tests else ()
    # fmt: off
    programs.run(
        "initdb", "-D", fresh, "-U", "postgres", "--auth=trust", "--encoding=UTF8",
        "--no-instructions", *locale, *sync,
    )
    # fmt: on
    fresh.rename(data_dir)
