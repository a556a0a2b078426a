"""Workers that begin at once: a process that has imported everything, and is forked for each.

`stepwell worker` spends most of its first seconds on imports. What is forked here runs the same
code as a process of its own, with its own id, and dies like one.
"""

import asyncio
import json
import os
import signal
import sys
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

from app import worker
from app.core import embedded
from app.settings import Settings
from tests.processes import ROOT, inherited

PATIENCE: Final = 30
_ONE_MORE: Final = b"one more\n"


class Nursery:
    """Where workers come from."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._waiting: deque[int] = deque()
        self._alive: set[int] = set()

    async def start(self) -> int:
        """Start a worker, wait until it works, and give its process id."""
        assert self._process.stdin is not None
        self._process.stdin.write(_ONE_MORE)
        pid: int = (await self._until("forked"))["pid"]
        self._alive.add(pid)
        await self._until("worker_started")
        return pid

    def kill(self, pid: int) -> None:
        """End one without a word of warning."""
        self._alive.remove(pid)
        os.kill(pid, signal.SIGKILL)

    async def close(self) -> None:
        """End every worker that still lives, and the nursery."""
        for pid in list(self._alive):
            self.kill(pid)
        self._process.kill()
        await self._process.communicate()

    async def _until(self, event: str) -> dict[str, Any]:
        """Read on until somebody says this."""
        assert self._process.stdout is not None
        async with asyncio.timeout(PATIENCE):
            async for line in self._process.stdout:
                said: dict[str, Any] = json.loads(line)
                if said["event"] == event:
                    return said
        raise AssertionError(f"the nursery ended before {event}")


@asynccontextmanager
async def nursery(server: embedded.EmbeddedServer, settings: Settings) -> AsyncIterator[Nursery]:
    """Workers of one database, which may speak to receivers on this machine."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        __name__,
        cwd=ROOT,
        env={
            **inherited(),
            "STEPWELL_WORKER_DATABASE_URL": server.url(role="stepwell_worker"),
            "STEPWELL_DATA_DIR": str(settings.data_dir),
            "STEPWELL_ALLOW_LOCAL_WEBHOOKS": "true",
        },
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    opened = Nursery(process)
    try:
        yield opened
    finally:
        await opened.close()


def main() -> None:
    """Fork a worker for each line that comes in."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for them
    for _ in iter(sys.stdin.buffer.readline, b""):
        if os.fork() == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            sys.stdout.write(json.dumps({"event": "forked", "pid": os.getpid()}) + "\n")
            sys.stdout.flush()
            asyncio.run(worker.run(Settings()))
            os._exit(0)


if __name__ == "__main__":
    main()
