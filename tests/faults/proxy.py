"""Between the application and its database: a wire that can be cut at the worst moment.

It listens on a Unix socket in a directory of its own, where a URL's `host` may point, and
passes bytes to the real server until it is told otherwise. Everything that it does is counted,
so that a test can tell that its fault has happened.
"""

import asyncio
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Final

from app.core.embedded import EmbeddedServer

_SOCKET: Final = ".s.PGSQL.5432"
_CHUNK: Final = 65_536


class DatabaseProxy:
    """Forwards every connection of one directory to one server."""

    def __init__(self, directory: Path, server: EmbeddedServer) -> None:
        self.directory = directory
        self.cuts = 0
        self._upstream = server.socket_dir / _SOCKET
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._cut_after: bytes | None = None
        self._cut_before: bytes | None = None
        self._connections: set[asyncio.Task[None]] = set()

    def url(self, *, role: str) -> str:
        """Where a role connects through this proxy."""
        return f"postgresql+asyncpg://{role}@/stepwell?host={self.directory}"

    def hold(self) -> None:
        """Become a black hole: connections are accepted and stay open, and nothing passes."""
        self._flowing.clear()

    def release(self) -> None:
        """Let everything pass again, also what was held."""
        self._flowing.set()

    def cut_after(self, statement: bytes) -> None:
        """Lose the answer to the next statement with these words, and the connection with it.

        The server has done what it was asked; whoever asked does not learn it.
        """
        self._cut_after = statement.lower()

    def cut_before(self, statement: bytes) -> None:
        """Lose the next statement with these words on its way, and the connection with it."""
        self._cut_before = statement.lower()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Carry one connection until either end closes it."""
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        try:
            server_reader, server_writer = await asyncio.open_unix_connection(self._upstream)
            await self._carry(reader, writer, server_reader, server_writer)
        except asyncio.CancelledError:
            return  # the proxy is being closed
        finally:
            self._connections.discard(task)
            writer.close()

    async def close(self) -> None:
        """Hang up on everybody."""
        connections = list(self._connections)
        for connection in connections:
            connection.cancel()
        await asyncio.gather(*connections, return_exceptions=True)

    async def _carry(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        server_reader: asyncio.StreamReader,
        server_writer: asyncio.StreamWriter,
    ) -> None:
        answer_is_lost = asyncio.Event()
        ways = {
            asyncio.create_task(self._ask(reader, server_writer, answer_is_lost)),
            asyncio.create_task(self._answer(server_reader, writer, answer_is_lost)),
        }
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            server_writer.close()

    async def _ask(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        answer_is_lost: asyncio.Event,
    ) -> None:
        """From the application to the server."""
        with suppress(ConnectionError):
            while data := await reader.read(_CHUNK):
                await self._flowing.wait()
                if self._cut_before is not None and self._cut_before in data.lower():
                    self._cut_before = None
                    self.cuts += 1
                    return
                if self._cut_after is not None and self._cut_after in data.lower():
                    self._cut_after = None
                    answer_is_lost.set()
                writer.write(data)
                await writer.drain()

    async def _answer(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        answer_is_lost: asyncio.Event,
    ) -> None:
        """From the server to the application, unless this answer is the one to lose."""
        with suppress(ConnectionError):
            while data := await reader.read(_CHUNK):
                await self._flowing.wait()
                if answer_is_lost.is_set():
                    self.cuts += 1
                    return
                writer.write(data)
                await writer.drain()


@asynccontextmanager
async def database_proxy(server: EmbeddedServer) -> AsyncIterator[DatabaseProxy]:
    """A proxy before a server, which passes everything until it is told otherwise."""
    with tempfile.TemporaryDirectory(prefix="stepwell-proxy-") as directory:
        place = Path(directory)
        proxy = DatabaseProxy(place, server)
        listener = await asyncio.start_unix_server(proxy.serve, place / _SOCKET)
        try:
            yield proxy
        finally:
            listener.close()
            await proxy.close()
