"""The PostgreSQL of the measurements: the embedded one, durable, on one processor."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from app.core import embedded
from benchmarks.driver import connect
from benchmarks.processors import tree_pids


@dataclass(frozen=True)
class Postgres:
    """A running server; `pid` is the root of all its backends."""

    server: embedded.EmbeddedServer
    pid: int

    def url(self, database: str) -> str:
        """Where SQLAlchemy finds a database, as the superuser."""
        return self.server.url(role="postgres", database=database)

    async def create(self, database: str) -> None:
        """Create an empty database."""
        admin = await connect(self.url("postgres"))
        try:
            await admin.execute(f'create database "{database}"')
        finally:
            await admin.close()

    async def settle(self, database: str) -> None:
        """Do now what the server would otherwise do in the middle of a measurement."""
        admin = await connect(self.url(database))
        try:
            await admin.execute("vacuum (analyze)")
            await admin.execute("checkpoint")
        finally:
            await admin.close()


@contextmanager
def postgres(*, processor: int) -> Iterator[Postgres]:
    """A server that lives as long as the measurement, and whose data go with it."""
    with tempfile.TemporaryDirectory(prefix="stepwell-bench-") as directory:
        # PostgreSQL refuses to be root, so somebody else may have to pass through.
        Path(directory).chmod(0o711)
        server = embedded.start(Path(directory) / "data")
        try:
            pid = int((server.data_dir / "postmaster.pid").read_text().split("\n", 1)[0])
            for member in tree_pids(pid):
                os.sched_setaffinity(member, {processor})
            yield Postgres(server, pid)
        finally:
            server.stop()
            # As root it may be elsewhere than in our directory.
            shutil.rmtree(server.data_dir)
