"""The service as an operator runs it: commands, two API processes and a worker.

Each process is a child with a session of its own, so that Ctrl-C in the terminal reaches the
journey alone, which then ends what it has started, by its own process id.
"""

import asyncio
import os
import signal
import socket
import sys
from asyncio.subprocess import PIPE, STDOUT, Process
from collections import deque
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Self

from tests.journey.databases import Database
from tests.journey.story import Surprise

ROOT: Final = Path(__file__).resolve().parents[2]
API_SERVES: Final = "Stepwell serves"
WORKER_WORKS: Final = "worker_started"
_PATIENCE_SECONDS: Final = 60
_GRACE_SECONDS: Final = 25
_LAST_LINES: Final = 60


@dataclass
class Child:
    """A running process, and everything that it has said."""

    name: str
    process: Process
    ready: asyncio.Event = field(default_factory=asyncio.Event)
    lines: list[str] = field(default_factory=list)
    _listening: asyncio.Task[None] | None = None

    @classmethod
    async def start(
        cls, name: str, command: str, environment: Mapping[str, str], *, ready: str
    ) -> Self:
        """Start `python -m app <command>`, and wait until it says that it is ready."""
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "app", command),
            cwd=ROOT,
            env=environment,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=PIPE,
            stderr=STDOUT,
            start_new_session=True,
        )
        child = cls(name, process)
        child._listening = asyncio.create_task(child._listen(ready))
        return child

    async def until_ready(self) -> None:
        """Wait until it can be used. Raises Surprise when it ends instead."""
        waits = [asyncio.create_task(each) for each in (self.ready.wait(), self.process.wait())]
        try:
            await asyncio.wait(
                waits, timeout=_PATIENCE_SECONDS, return_when=asyncio.FIRST_COMPLETED
            )
        finally:
            for wait in waits:
                wait.cancel()
        if not self.ready.is_set():
            raise Surprise(f"{self.name} did not start (exit status {self.process.returncode})")

    async def stop(self) -> None:
        """End it in order, and by force when it does not end."""
        with suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGTERM)
        try:
            await asyncio.wait_for(self.process.wait(), _GRACE_SECONDS)
        except TimeoutError:
            self.process.kill()
            await self.process.wait()
        if self._listening is not None:
            await self._listening

    def last_words(self) -> Sequence[str]:
        """The end of what it said."""
        return deque(self.lines, maxlen=_LAST_LINES)

    async def _listen(self, ready: str) -> None:
        if self.process.stdout is None:
            raise Surprise(f"{self.name} cannot be heard")
        async for raw in self.process.stdout:
            line = raw.decode(errors="replace").rstrip()
            self.lines.append(line)
            if ready in line:
                self.ready.set()


@dataclass(frozen=True)
class Service:
    """Two API processes and a worker over one database."""

    database: Database
    environment: Mapping[str, str]
    addresses: Sequence[str]
    children: list[Child]

    def address(self, number: int) -> str:
        """Where one of the API processes listens."""
        return self.addresses[number % len(self.addresses)]

    def socket_address(self, number: int) -> str:
        """Where the same process takes live connections."""
        return self.address(number).replace("http", "ws", 1) + "/v1/realtime"

    async def operator(self, *arguments: str) -> str:
        """Run one of the operator's commands, and give what it prints. Raises Surprise."""
        return await run_command(self.environment, *arguments)


@asynccontextmanager
async def running(
    database: Database, data_dir: Path, children: list[Child]
) -> AsyncIterator[Service]:
    """Lay the schema, and let the service run until the block is left.

    What was started is put into `children` at once, so that it can be heard when something fails.
    """
    ports = _free_ports(2)
    addresses = [f"http://127.0.0.1:{port}" for port in ports]
    environment = _environment(database, data_dir, addresses[0])
    service = Service(database, environment, addresses, children)
    await service.operator("migrate")
    await service.operator("check")
    async with AsyncExitStack() as stack:
        for number, port in enumerate(ports, 1):
            own = {**environment, "STEPWELL_PORT": str(port)}
            child = await Child.start(f"api {number}", "serve", own, ready=API_SERVES)
            stack.push_async_callback(child.stop)
            service.children.append(child)
        worker = await Child.start("worker", "worker", environment, ready=WORKER_WORKS)
        stack.push_async_callback(worker.stop)
        service.children.append(worker)
        for child in service.children:
            await child.until_ready()
        yield service


async def run_command(environment: Mapping[str, str], *arguments: str) -> str:
    """Run `python -m app` to its end, and give what it prints. Raises Surprise."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "app", *arguments),
        cwd=ROOT,
        env=environment,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=PIPE,
        stderr=PIPE,
        start_new_session=True,
    )
    try:
        said, complained = await asyncio.wait_for(process.communicate(), _PATIENCE_SECONDS)
    except BaseException:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()
        raise
    if process.returncode:
        raise Surprise(f"stepwell {arguments[0]} failed: {complained.decode(errors='replace')}")
    return said.decode()


def _environment(database: Database, data_dir: Path, public_url: str) -> dict[str, str]:
    ours = {name: value for name, value in os.environ.items() if not name.startswith("STEPWELL_")}
    return {
        **ours,
        "PYTHONUNBUFFERED": "1",
        "STEPWELL_DATA_DIR": str(data_dir),
        "STEPWELL_PUBLIC_URL": public_url,
        "STEPWELL_DATABASE_URL": database.url("stepwell_api"),
        "STEPWELL_WORKER_DATABASE_URL": database.url("stepwell_worker"),
        "STEPWELL_MIGRATE_DATABASE_URL": database.url("stepwell_migrate"),
        "STEPWELL_ALLOW_LOCAL_WEBHOOKS": "true",
        "STEPWELL_PARENT_PID": str(os.getpid()),
    }


def _free_ports(count: int) -> list[int]:
    """Ports that nobody listens on; all are held until all are found, so that they differ."""
    with ExitStack() as stack:
        held = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in held:
            each.bind(("127.0.0.1", 0))
        return [int(each.getsockname()[1]) for each in held]
