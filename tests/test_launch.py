"""`stepwell serve` from nothing: one command, an API that answers, and nothing left behind."""

import asyncio
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from http import HTTPStatus
from pathlib import Path

import pytest
from httpx import AsyncClient
from pydantic import HttpUrl, SecretStr

from app import launch
from app.core import embedded
from app.seed.cast import address
from app.settings import Misconfigured, Mode, Settings
from tests.processes import free_port

PATIENCE = 60


class Served:
    """A running `stepwell serve`, and what it has said so far."""

    def __init__(self, process: asyncio.subprocess.Process, port: int) -> None:
        self.process = process
        self.url = f"http://127.0.0.1:{port}"
        self._lines: list[str] = []
        self._heard = asyncio.Condition()
        self._listening = asyncio.create_task(self._listen())

    async def until_said(self, words: str, times: int = 1) -> str:
        """Wait for the line that has these words, and give it."""

        def lines() -> list[str]:
            return [line for line in self._lines if words in line]

        async with asyncio.timeout(PATIENCE), self._heard:
            await self._heard.wait_for(lambda: len(lines()) >= times or self._listening.done())
        assert len(lines()) >= times, "\n".join(self._lines)
        return lines()[times - 1]

    async def until_ended(self) -> int:
        async with asyncio.timeout(PATIENCE):
            await self._listening
            return await self.process.wait()

    async def _listen(self) -> None:
        assert self.process.stdout is not None
        async for raw in self.process.stdout:
            async with self._heard:
                self._lines.append(raw.decode().rstrip())
                self._heard.notify_all()
        async with self._heard:
            self._heard.notify_all()


@pytest.fixture(scope="module")
def home() -> Iterator[Path]:
    """A data directory that the database's user can reach; every test leaves nothing running."""
    with tempfile.TemporaryDirectory(prefix="stepwell-launch-") as directory:
        home = Path(directory)
        home.chmod(0o711)
        yield home
        shutil.rmtree(home / "postgres", ignore_errors=True)


@asynccontextmanager
async def serving(home: Path) -> AsyncIterator[Served]:
    port = free_port()
    environment = {k: v for k, v in os.environ.items() if not k.startswith("STEPWELL_")}
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "app",
        "serve",
        env={
            **environment,
            "STEPWELL_DATA_DIR": str(home),
            "STEPWELL_PORT": str(port),
            "STEPWELL_PUBLIC_URL": f"http://127.0.0.1:{port}",
        },
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    served = Served(process, port)
    try:
        yield served
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
        await served.until_ended()


def living() -> dict[int, tuple[int, str]]:
    """Every process that lives: its parent, and how it was started."""
    listed = subprocess.run(
        ["/bin/ps", "-A", "-o", "pid=,ppid=,stat=,args="],
        capture_output=True,
        text=True,
        check=True,
    )
    rows = (line.split(None, 3) for line in listed.stdout.splitlines())
    return {int(row[0]): (int(row[1]), row[3]) for row in rows if not row[2].startswith("Z")}


def worker_of(served: Served) -> int:
    [pid] = [
        pid
        for pid, (parent, command) in living().items()
        if parent == served.process.pid and command.endswith("-m app worker")
    ]
    return pid


def postmaster_of(home: Path) -> int:
    return int((home / "postgres" / "postmaster.pid").read_text().split("\n", 1)[0])


async def test_one_command_serves_and_ctrl_c_leaves_nothing(home: Path) -> None:
    async with serving(home) as served:
        command = shlex.split(await served.until_said("  curl -H"))
        await served.until_said("worker_started")
        async with AsyncClient(trust_env=False) as client:
            header, _, value = command[2].partition(": ")
            answer = await client.get(command[3], headers={header: value})
            ready = await client.get(f"{served.url}/readyz")
            documentation = await client.get(f"{served.url}/docs")
        started = {worker_of(served), postmaster_of(home)}

        served.process.send_signal(signal.SIGINT)
        status = await served.until_ended()

    assert answer.status_code == ready.status_code == documentation.status_code == HTTPStatus.OK
    assert len(answer.json()["items"]) == 10
    assert status == 0
    assert started.isdisjoint(living())


async def test_tokens_are_made_while_it_serves_and_sigterm_leaves_nothing(home: Path) -> None:
    async with serving(home) as served:
        await served.until_said("  curl -H")
        settings = Settings(data_dir=home, public_url=HttpUrl(served.url))
        tokens = await launch.development_token(settings, address("administrator"))
        started = {postmaster_of(home)}
        await served.until_said("worker_started")
        started.add(worker_of(served))

        served.process.send_signal(signal.SIGTERM)
        status = await served.until_ended()

    assert "access_token" in tokens
    assert status == 0
    assert started.isdisjoint(living())


async def test_rel_06_a_dead_worker_is_begun_again_and_an_orphaned_one_ends(home: Path) -> None:
    async with serving(home) as served:
        await served.until_said("worker_started")
        first = worker_of(served)
        os.kill(first, signal.SIGKILL)
        await served.until_said("worker_started", times=2)
        second = worker_of(served)

        served.process.kill()
        # The worker holds the same output: it ends when the worker has.
        await served.until_ended()
        remaining = living()

    assert first != second
    assert second not in remaining
    # The database goes on until the next start takes it over.
    survivor = postmaster_of(home)
    assert survivor in remaining
    async with serving(home) as served:
        await served.until_said("  curl -H")
        assert postmaster_of(home) == survivor
    assert survivor not in living()


async def test_no_database_runs_is_a_sentence(home: Path) -> None:
    with pytest.raises(Misconfigured, match="start `stepwell serve`"):
        launch.database_url(Settings(data_dir=home))


async def test_production_needs_a_database_of_its_own(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path, mode=Mode.PRODUCTION)

    with pytest.raises(Misconfigured, match="STEPWELL_DATABASE_URL"):
        launch.serve(settings)


async def test_nobody_gets_a_token_for_an_unknown_address(
    server: embedded.EmbeddedServer, settings: Settings
) -> None:
    url = SecretStr(server.url(role="stepwell_api"))
    known = settings.model_copy(update={"database_url": url})

    with pytest.raises(Misconfigured, match="No account"):
        await launch.development_token(known, "nobody@example.org")
