"""One API process: how it listens, and how it leaves without dropping anybody (WS-18)."""

import asyncio
import errno
import gc
import socket
from collections.abc import Callable
from types import FrameType
from typing import ClassVar, Final

import uvicorn
from fastapi import FastAPI
from typing_extensions import override
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from app.core import logging
from app.settings import Misconfigured, Settings

_GRACE_SECONDS: Final = 20
_FRAME_BYTES: Final = 64 * 1024
_YOUNG_OBJECTS: Final = 10_000


class Heads(HttpToolsProtocol):
    """Hangs up on whoever does not finish the head of a request (API-02).

    The server itself waits for ever, and a few hundred such callers take every connection.
    """

    patience_seconds: ClassVar[float] = 10
    _late: asyncio.TimerHandle | None = None

    @override
    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as the server does
        super().connection_made(transport)
        self._expect()

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_expecting()
        super().connection_lost(exc)

    @override
    def on_message_begin(self) -> None:
        super().on_message_begin()
        if self._late is None:
            self._expect()

    @override
    def on_headers_complete(self) -> None:
        self._stop_expecting()
        super().on_headers_complete()

    def _expect(self) -> None:
        self._late = self.loop.call_later(self.patience_seconds, self._give_up)

    def _stop_expecting(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None

    def _give_up(self) -> None:
        is_busy = self.cycle is not None and not self.cycle.response_complete  # type: ignore[redundant-expr]  # there is none before the first request
        if is_busy:
            self._expect()  # an earlier request of the same caller is still being answered
        else:
            self.transport.close()


def configuration(app: FastAPI, settings: Settings) -> uvicorn.Config:
    """The server's options; its defaults are not safe for the internet (API-01 to 03)."""
    return uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        loop="uvloop",
        http=Heads,
        ws="websockets-sansio",
        ws_max_size=_FRAME_BYTES,
        ws_max_queue=16,
        ws_ping_interval=20,
        ws_ping_timeout=20,
        # Compression costs memory for each socket, and tells lengths of secrets.
        ws_per_message_deflate=False,
        server_header=False,
        proxy_headers=bool(settings.trusted_proxies),
        forwarded_allow_ips=list(settings.trusted_proxies),
        access_log=False,
        log_config=None,
        timeout_graceful_shutdown=_GRACE_SECONDS,
    )


class Server(uvicorn.Server):
    """A server that says it is leaving before it leaves.

    At SIGTERM or SIGINT, `/readyz` fails and no socket is accepted any more; the sockets that
    are open are told when to come back and are closed with 1012; then requests end. A second
    signal does not wait.
    """

    def __init__(self, config: uvicorn.Config, app: FastAPI, *, said: Callable[[], None]) -> None:
        super().__init__(config)
        self._app = app
        self._say = said
        self._leaving: asyncio.Task[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    @override
    async def startup(self, sockets: list[object] | None = None) -> None:  # type: ignore[override]  # the stub's element type is the socket's
        self._loop = asyncio.get_running_loop()
        await super().startup(sockets)  # type: ignore[arg-type]  # as above
        if self.started:
            _spare_the_collector()
            self._say()

    @override
    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if self._loop is None or self._app.state.is_draining:
            self.should_exit = self.force_exit = True
            return
        self._app.state.is_draining = True
        self._loop.call_soon_threadsafe(self._leave)

    def _leave(self) -> None:
        self._leaving = asyncio.get_running_loop().create_task(self._drain())

    async def _drain(self) -> None:
        try:
            await self._app.state.drain()
        finally:
            self.should_exit = True


def _spare_the_collector() -> None:
    """Leave what was loaded at the start out of every later garbage collection.

    Hundreds of thousands of objects live as long as the process; walking them at each full
    collection would stop the loop for tens of milliseconds and cost a few percent of its time.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_YOUNG_OBJECTS, 20, 20)


def _refuse_what_is_taken(settings: Settings) -> None:
    """Raises Misconfigured when the port cannot be had: of all starts that fail, the commonest."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        # As the server binds: connections of a process that ended do not keep the port.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((settings.host, settings.port))
        except OSError as error:
            if error.errno not in {errno.EADDRINUSE, errno.EACCES}:
                raise
            sentence = (
                f"Port {settings.port} of {settings.host} cannot be had: another process listens"
                " there, or it needs rights. Set STEPWELL_PORT to another one."
            )
            raise Misconfigured([sentence]) from None


def run(app: FastAPI, settings: Settings, *, said: Callable[[], None]) -> None:
    """Serve until a signal comes; `said` is called once when requests are accepted.

    Raises Misconfigured with what the start found wrong; the server's log would not say it.
    """
    logging.configure()
    _refuse_what_is_taken(settings)
    config = configuration(app, settings)
    server = Server(config, app, said=said)
    try:
        with asyncio.Runner(loop_factory=config.get_loop_factory()) as runner:
            runner.run(server.serve())
    except SystemExit:
        if app.state.findings:
            raise Misconfigured(app.state.findings) from None
        raise
