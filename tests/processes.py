"""Processes of our own, as an operator starts them: real servers on loopback, and workers.

They share the test database and the test run's keys, so that a token of one is good at all of
them. Each is stopped by its own process id when the block that started it is left.
"""

import asyncio
import os
import signal
import socket
import sys
from collections import deque
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Final, Self

from httpx import AsyncClient

from app.core import embedded
from app.settings import Settings

ROOT: Final = Path(__file__).resolve().parent.parent
ANNOUNCEMENT: Final = "Stepwell serves"
ANNOUNCEMENTS: Final = {"serve": ANNOUNCEMENT, "worker": '"event":"worker_started"'}
START_SECONDS: Final = 90
STOP_SECONDS: Final = 25
KEPT_LINES: Final = 500


class DidNotStart(Exception):
    """A process ended, or said nothing, before it served."""


class ApiProcess:
    """One `stepwell serve` against a given database; or a worker, with its probes."""

    def __init__(self, process: asyncio.subprocess.Process, port: int, announcement: str) -> None:
        self.port = port
        self._announcement = announcement
        self.lines: deque[str] = deque(maxlen=KEPT_LINES)
        self._process = process
        self._started = asyncio.Event()
        self._spoke = asyncio.Condition()
        self._reading = asyncio.create_task(self._read())

    @property
    def pid(self) -> int:
        """The process's id."""
        return self._process.pid

    @property
    def url(self) -> str:
        """Where it serves HTTP."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def socket_url(self) -> str:
        """Where it carries live connections."""
        return f"ws://127.0.0.1:{self.port}/v1/realtime"

    def client(self, token: str | None = None) -> AsyncClient:
        """A client of this process, signed in with a token."""
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        return AsyncClient(base_url=self.url, headers=headers, trust_env=False)

    async def until_ready(self) -> None:
        """Wait until it serves, and check that it says so itself. Raises DidNotStart."""
        started = asyncio.create_task(self._started.wait())
        try:
            async with asyncio.timeout(START_SECONDS):
                await asyncio.wait([started, self._reading], return_when=asyncio.FIRST_COMPLETED)
        except TimeoutError:
            raise DidNotStart("\n".join(self.lines)) from None
        finally:
            started.cancel()
        if not self._started.is_set():
            raise DidNotStart("\n".join(self.lines))
        async with self.client() as client:
            answer = await client.get("/readyz")
        answer.raise_for_status()

    async def until_said(self, words: str) -> Self:
        """Wait until it writes a line with these words, and give the process itself."""
        async with self._spoke:
            await self._spoke.wait_for(lambda: any(words in line for line in self.lines))
        return self

    def send_signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        self._process.send_signal(number)

    async def until_ended(self) -> int:
        """Wait until it has ended, and give its exit status."""
        async with asyncio.timeout(STOP_SECONDS):
            status = await self._process.wait()
            await self._reading
        return status

    async def stop(self) -> None:
        """End it in order if it still runs, and by force if it does not end."""
        if self._process.returncode is None:
            self.send_signal(signal.SIGTERM)
            try:
                await self.until_ended()
            except TimeoutError:
                self._process.kill()
        await self._process.wait()
        await self._reading

    async def _read(self) -> None:
        """Keep the last lines that it writes, and notice when it serves."""
        stream = self._process.stdout
        if stream is None:
            raise DidNotStart("the process has no output")
        async for line in stream:
            text = line.decode().rstrip()
            self.lines.append(text)
            if self._announcement in text:
                self._started.set()
            async with self._spoke:
                self._spoke.notify_all()


@asynccontextmanager
async def api_processes(
    server: embedded.EmbeddedServer, settings: Settings, count: int = 1, **changed: str
) -> AsyncIterator[list[ApiProcess]]:
    """`count` API processes on free ports; `changed` names settings as in `pool_size="4"`."""
    environment = {
        **inherited(),
        "STEPWELL_DATABASE_URL": server.url(role="stepwell_api"),
        "STEPWELL_DATA_DIR": str(settings.data_dir),
        **{f"STEPWELL_{name.upper()}": value for name, value in changed.items()},
    }
    async with AsyncExitStack() as stack:
        processes = []
        for _ in range(count):
            process = await _start(environment, "serve", "STEPWELL_PORT")
            stack.push_async_callback(process.stop)
            processes.append(process)
        for process in processes:
            await process.until_ready()
        yield processes


@asynccontextmanager
async def worker_process(
    server: embedded.EmbeddedServer, settings: Settings, **changed: str
) -> AsyncIterator[ApiProcess]:
    """A worker whose probes answer on a free port; `changed` as above."""
    environment = {
        **inherited(),
        "STEPWELL_WORKER_DATABASE_URL": server.url(role="stepwell_worker"),
        "STEPWELL_DATA_DIR": str(settings.data_dir),
        **{f"STEPWELL_{name.upper()}": value for name, value in changed.items()},
    }
    process = await _start(environment, "worker", "STEPWELL_WORKER_METRICS_PORT")
    try:
        await process.until_ready()
        yield process
    finally:
        await process.stop()


async def _start(environment: Mapping[str, str], command: str, port_variable: str) -> ApiProcess:
    port = free_port()
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "app",
        command,
        cwd=ROOT,
        env={**environment, port_variable: str(port)},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    return ApiProcess(process, port, ANNOUNCEMENTS[command])


def free_port() -> int:
    """A port on loopback that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def inherited() -> dict[str, str]:
    """Our environment without settings of ours: a test decides them all."""
    return {name: value for name, value in os.environ.items() if not name.startswith("STEPWELL_")}
