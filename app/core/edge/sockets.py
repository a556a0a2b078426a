"""One WebSocket: the edge checks its handshake, and answers for a handler that fails."""

from typing import Final

from starlette.types import Message, Receive, Scope, Send

from app.core.edge.requests import Head
from app.core.edge.responses import Decoration, Headers, headers_of
from app.core.problems import Problem, render
from app.core.problems.handlers import close_code

_DENIAL: Final = "websocket.http.response"


class Socket:
    """What has been said on a WebSocket so far."""

    __slots__ = ("_decoration", "_head", "_receive", "_send", "is_accepted", "is_over", "is_taken")

    def __init__(self, decoration: Decoration, head: Head, receive: Receive, send: Send) -> None:
        self.is_taken = False
        self.is_accepted = False
        self.is_over = False
        self._decoration = decoration
        self._head = head
        self._receive = receive
        self._send = send

    async def receive(self) -> Message:
        """Take what the client says, the handshake first."""
        self.is_taken = True
        return await self._receive()

    async def send(self, message: Message) -> None:
        """Pass a message on, and decorate the answer to a refused handshake."""
        kind = message["type"]
        if kind == "websocket.accept":
            self.is_accepted = True
        elif kind == "websocket.close":
            self.is_over = True
        elif kind == f"{_DENIAL}.start":
            self.is_over = True
            headers: Headers = list(message.get("headers", ()))
            self._decoration.apply(headers, self._head.request_id, self._head.origin)
            message = {**message, "headers": headers}
        await self._send(message)

    async def refuse(self, problem: Problem, scope: Scope) -> None:
        """Deny the handshake with a problem, or close what is open with a code, never without."""
        if self.is_over:
            return
        if not self.is_taken:
            # The handshake has to be taken before it can be refused.
            await self.receive()
        if self.is_accepted or _DENIAL not in scope.get("extensions", {}):
            await self.send(
                {
                    "type": "websocket.close",
                    "code": close_code(problem),
                    "reason": problem.code(),
                }
            )
            return
        body = render(problem, self._head.request_id)
        await self.send(
            {
                "type": f"{_DENIAL}.start",
                "status": int(problem.status),
                "headers": headers_of(problem, body),
            }
        )
        await self.send({"type": f"{_DENIAL}.body", "body": body})
