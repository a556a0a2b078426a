"""A server under measurement: started on one processor, awaited, paused, and always stopped."""

import asyncio
import os
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import IO, Final

from benchmarks.load import ask, request_bytes

_PATIENCE_TO_START: Final = 60.0
_PATIENCE_TO_STOP: Final = 10.0
_PAUSE_BETWEEN_KNOCKS: Final = 0.01


class ServerFailed(Exception):
    """A server ended, or was not ready in time; the message carries the end of its output."""


@dataclass(frozen=True)
class Command:
    """How a server is started: its arguments, and what it adds to our environment."""

    arguments: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)


class Server:
    """A process of our own, in a session of its own, so that Ctrl-C reaches us first."""

    def __init__(self, command: Command, *, port: int, processor: int) -> None:
        self.port = port
        self.spawned_at = time.perf_counter()
        self._output: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115  # stop() closes it
        self._process = subprocess.Popen(
            command.arguments,
            env={**os.environ, **command.environment},
            stdin=subprocess.DEVNULL,
            stdout=self._output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            # In the child and before exec, so that no thread starts elsewhere.
            preexec_fn=lambda: os.sched_setaffinity(0, {processor}),  # noqa: PLW1509  # we start no threads
        )

    @property
    def pid(self) -> int:
        """The root of its process tree."""
        return self._process.pid

    async def ready(self, path: str) -> float:
        """Wait until it answers 200, and say how many seconds after the start that was."""
        knock = request_bytes("GET", path)
        while True:
            if self._process.poll() is not None:
                raise ServerFailed(f"It ended with {self._process.returncode}.\n{self.output()}")
            waited = time.perf_counter() - self.spawned_at
            try:
                async with asyncio.timeout(_PATIENCE_TO_START - waited):
                    answer = await ask(self.port, knock)
            except TimeoutError:
                raise ServerFailed(f"Not ready in {waited:.0f} s.\n{self.output()}") from None
            except (ConnectionError, asyncio.IncompleteReadError):
                answer = None  # It does not listen yet.
            if answer is not None and answer.status == HTTPStatus.OK:
                return time.perf_counter() - self.spawned_at
            await asyncio.sleep(_PAUSE_BETWEEN_KNOCKS)

    def pause(self) -> None:
        """Stop its clocks and timers, so that it costs nothing while another is measured."""
        os.killpg(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """Let it run again."""
        os.killpg(self.pid, signal.SIGCONT)

    def stop(self) -> None:
        """Ask it to end; end it, and all that it started in its session, when it does not."""
        if self._process.poll() is None:
            self.resume()
            self._process.terminate()
            try:
                self._process.wait(_PATIENCE_TO_STOP)
            except subprocess.TimeoutExpired:
                os.killpg(self.pid, signal.SIGKILL)
                self._process.wait()
        self._output.close()

    def output(self) -> str:
        """The end of what it has printed."""
        self._output.seek(0)
        return self._output.read().decode(errors="replace")[-2000:]


@asynccontextmanager
async def serving(
    command: Command, *, port: int, processor: int, ready_path: str
) -> AsyncIterator[Server]:
    """A server that is ready. It is stopped at the end, whatever the end is."""
    server = Server(command, port=port, processor=processor)
    try:
        await server.ready(ready_path)
        yield server
    finally:
        server.stop()


def free_port() -> int:
    """A loopback port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
