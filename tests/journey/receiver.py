"""An integrator's receiver of webhooks, as the published library makes it.

It listens on loopback, checks each signature with `standardwebhooks`, proves itself when it is
asked to, and keeps what it was sent.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Final

from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from tests.journey.story import Surprise

_VERIFICATION: Final = "endpoint.verification"
_LONGEST_BODY: Final = 65_536


@dataclass(slots=True)
class Receiver:
    """What arrived: by id, in the order of its first arrival."""

    port: int = 0
    received: dict[str, dict[str, Any]] = field(default_factory=dict)
    raw: list[str] = field(default_factory=list)
    forged: int = 0
    verifications: int = 0
    _secret: str = ""
    _trusts: asyncio.Event = field(default_factory=asyncio.Event)
    _arrived: asyncio.Condition = field(default_factory=asyncio.Condition)

    @property
    def url(self) -> str:
        """What is registered."""
        return f"http://127.0.0.1:{self.port}/stepwell"

    def trust(self, secret: str) -> None:
        """Learn the secret that the registration was answered with."""
        self._secret = secret
        self._trusts.set()

    async def until_received(self, owed: Mapping[str, str], patience: float) -> None:
        """Wait until all of these have arrived: types by id. Raises Surprise."""
        try:
            async with asyncio.timeout(patience), self._arrived:
                await self._arrived.wait_for(lambda: owed.keys() <= self.received.keys())
        except TimeoutError:
            missing = [type_ for id_, type_ in owed.items() if id_ not in self.received]
            raise Surprise(f"of {len(owed)} webhooks these did not arrive: {missing}") from None

    async def answer(self, headers: dict[str, str], body: bytes) -> tuple[int, bytes]:
        """Take one delivery: a status and a body."""
        await self._trusts.wait()  # the first one may be faster than the registration's answer
        try:
            document = Webhook(self._secret).verify(body, headers)
        except WebhookVerificationError:
            self.forged += 1
            return 401, b""
        self.raw.append(body.decode())
        if document["type"] == _VERIFICATION:
            self.verifications += 1
            return 200, json.dumps({"nonce": document["data"]["nonce"]}).encode()
        async with self._arrived:
            self.received.setdefault(headers["webhook-id"], document)
            self._arrived.notify_all()
        return 204, b""

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection, which carries one request."""
        # Whoever hangs up in the middle sends it again.
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            lines = (line.partition(":") for line in head.split("\r\n")[1:] if line)
            headers = {name.lower(): value.strip() for name, _, value in lines}
            length = min(int(headers.get("content-length", "0")), _LONGEST_BODY)
            status, body = await self.answer(headers, await reader.readexactly(length))
            writer.write(
                f"HTTP/1.1 {status} Said\r\nContent-Type: application/json\r\n"
                f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode()
                + body
            )
            await writer.drain()
        writer.close()


@asynccontextmanager
async def listening() -> AsyncIterator[Receiver]:
    """Listen until the block is left."""
    receiver = Receiver()
    server = await asyncio.start_server(receiver.handle, "127.0.0.1", 0)
    receiver.port = server.sockets[0].getsockname()[1]
    try:
        yield receiver
    finally:
        server.close()
        await server.wait_closed()
