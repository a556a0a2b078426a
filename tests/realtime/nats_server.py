"""As much of a NATS server as the bus speaks, so that its tests need no binary.

It knows INFO, CONNECT, PING, SUB, UNSUB and PUB of the client protocol, delivers at most once,
and can be killed with everybody connected, like the real one.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

_INFO: Final = (
    b'INFO {"server_id":"test","version":"2.10.0","proto":1,"max_payload":1048576,'
    b'"headers":false}\r\n'
)


@dataclass(eq=False)
class _Client:
    writer: asyncio.StreamWriter
    subjects: dict[str, str] = field(default_factory=dict)


class NatsServer:
    """A server on loopback that keeps nothing."""

    def __init__(self, port: int) -> None:
        self.url = f"nats://127.0.0.1:{port}"
        self._port = port
        self._clients: set[_Client] = set()
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self._port)

    async def kill(self) -> None:
        """Hang up on everybody, and listen no longer."""
        if self._server is not None:
            self._server.close()
            for client in self._clients:
                client.writer.transport.abort()
            await self._server.wait_closed()
            self._server = None

    def subscriptions(self, subject: str) -> int:
        """How many clients listen on a subject."""
        return sum(subject in client.subjects.values() for client in self._clients)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        client = _Client(writer)
        self._clients.add(client)
        try:
            writer.write(_INFO)
            while line := await reader.readline():
                await self._obey(client, line.decode().split(), reader)
        except ConnectionError:
            pass  # that is how clients of a killed server end
        finally:
            self._clients.discard(client)
            writer.close()

    async def _obey(self, client: _Client, words: list[str], reader: asyncio.StreamReader) -> None:
        match words:
            case ["PING"]:
                client.writer.write(b"PONG\r\n")
            case ["SUB", subject, sid]:
                client.subjects[sid] = subject
            case ["UNSUB", sid, *_]:
                client.subjects.pop(sid, None)
            case ["PUB", subject, size]:
                self._deliver(subject, (await reader.readexactly(int(size) + 2))[:-2])
            case _:
                pass  # CONNECT and PONG ask for nothing

    def _deliver(self, subject: str, payload: bytes) -> None:
        for client in self._clients:
            for sid, wanted in client.subjects.items():
                if wanted == subject:
                    head = f"MSG {subject} {sid} {len(payload)}\r\n".encode()
                    client.writer.write(head + payload + b"\r\n")


@asynccontextmanager
async def nats_server(port: int) -> AsyncIterator[NatsServer]:
    """A server that runs until the block is left."""
    server = NatsServer(port)
    await server.start()
    try:
        yield server
    finally:
        await server.kill()
