"""`stepwell serve`: one command from nothing to an API that answers.

Without a database URL it starts the embedded PostgreSQL, lays roles and schema, seeds the
demonstration once, and keeps a worker as a child process. Whatever it started, it stops.
"""

import asyncio
import contextlib
import importlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from typing import Final

from fastapi import FastAPI
from pydantic import SecretStr

from app import migrate, seed, serving
from app.core import embedded
from app.core.ids import new_id
from app.jobs.rewrapping import rewrap
from app.jobs.workplace import Workplace
from app.main import create_app, make_runtime
from app.schemas.organization import OrganizationCreate
from app.security import catalogue, keys, turning
from app.services import development, organizations
from app.services.visitors import Visitor
from app.settings import Misconfigured, Settings

_WORKER_GRACE_SECONDS: Final = 15
_RESTART_AFTER_SECONDS: Final = 1.0


def serve(settings: Settings) -> None:
    """Serve until a signal comes. Raises Misconfigured before anything has started."""
    if settings.database_url is not None:
        app = _traced_app(settings, settings.database_url.get_secret_value())
        serving.run(app, settings, said=lambda: _say([f"Stepwell serves {settings.address}"]))
        return
    # Receivers under development listen on this machine; the worker is told the same.
    settings = settings.model_copy(update={"allow_local_webhooks": True})
    with _embedded(settings) as server:
        app = _traced_app(settings, server.url(role="stepwell_api"))
        lines = asyncio.run(seed.run(settings, server.url(role="stepwell_api")))
        with _Worker(_worker_environment(server)):
            serving.run(app, settings, said=lambda: _say(lines))


def _traced_app(settings: Settings, url: str) -> FastAPI:
    """The application, with traces if the settings ask for them. Raises Misconfigured."""
    runtime = make_runtime(settings, url)
    if not settings.tracing:
        return create_app(runtime)
    try:
        # By name: the SDK is an extra, which only an operator of traces installs.
        tracing = importlib.import_module("app.tracing")
    except ImportError:
        raise Misconfigured(["STEPWELL_TRACING needs the extra otel: install it."]) from None
    return create_app(runtime, tracing.provider())


def database_url(settings: Settings) -> str:
    """Where the API's role finds its database; raises Misconfigured when nothing runs."""
    if settings.database_url is not None:
        return settings.database_url.get_secret_value()
    return _running(settings, "STEPWELL_DATABASE_URL").url(role="stepwell_api")


def _running(settings: Settings, variable: str) -> embedded.EmbeddedServer:
    """The embedded server of a `stepwell serve`. Raises Misconfigured when there is none."""
    nothing_runs = Misconfigured([f"No database runs: start `stepwell serve`, or set {variable}."])
    data_dir = settings.data_dir / "postgres"
    if not data_dir.exists():
        raise nothing_runs
    server = embedded.start(data_dir, major=settings.embedded_major)
    if server.was_started_here:
        server.stop()
        raise nothing_runs
    return server


async def turn_root(settings: Settings) -> str:
    """Do the next step of replacing the root key, over the worker's connection to the database.

    Raises Misconfigured before anything has changed, and what `turning.turn_root` raises.
    """
    if settings.worker_database_url is None and not settings.is_production:
        url = _running(settings, "STEPWELL_WORKER_DATABASE_URL").url(role="stepwell_worker")
        settings = settings.model_copy(update={"worker_database_url": SecretStr(url)})
    place = Workplace.of(settings)
    try:
        if findings := await catalogue.findings(place.connections, role=catalogue.WORKER_ROLE):
            raise Misconfigured(findings)
        return await turning.turn_root(keys.root_file(settings), lambda: rewrap(place))
    finally:
        await place.connections.close()


async def development_token(settings: Settings, email: str) -> str:
    """Tokens for an account of a development organization, as JSON."""
    runtime = make_runtime(settings, database_url(settings))
    try:
        tokens = await development.issue_development_token(runtime, email)
    except development.NoDevelopmentToken as reason:
        raise Misconfigured([str(reason)]) from None
    else:
        return tokens.model_dump_json(indent=2)
    finally:
        await runtime.connections.close()


async def found_organization(settings: Settings, request: OrganizationCreate) -> str:
    """A new organization with the one-time invitation of its first administrator, as JSON."""
    runtime = make_runtime(settings, database_url(settings))
    try:
        visitor = Visitor(runtime, request_id=new_id().hex, source="operator")
        founded = await organizations.found_organization(visitor, request)
    except organizations.OrganizationExists:
        raise Misconfigured([f"An organization is called {request.slug} already."]) from None
    else:
        return founded.model_dump_json(indent=2)
    finally:
        await runtime.connections.close()


@contextlib.contextmanager
def _embedded(settings: Settings) -> Iterator[embedded.EmbeddedServer]:
    if settings.is_production:
        raise Misconfigured(
            ["STEPWELL_DATABASE_URL is not set: production needs a PostgreSQL of its own."]
        )
    server = embedded.start(settings.data_dir / "postgres", major=settings.embedded_major)
    try:
        embedded.bootstrap(server)
        migrate.upgrade(server.url(role="stepwell_migrate"))
        yield server
    finally:
        server.stop()


def _worker_environment(server: embedded.EmbeddedServer) -> Mapping[str, str]:
    return {
        **os.environ,
        "STEPWELL_WORKER_DATABASE_URL": server.url(role="stepwell_worker"),
        "STEPWELL_ALLOW_LOCAL_WEBHOOKS": "true",
    }


class _Worker:
    """The worker as a child process: begun again when it dies, ended with its parent.

    It has a session of its own, so that Ctrl-C in the terminal reaches the parent alone, which
    then ends it in order.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment
        self._ending = threading.Event()
        self._process = self._start()
        self._watch = threading.Thread(target=self._keep, daemon=True)

    def __enter__(self) -> None:
        self._watch.start()

    def __exit__(self, *failure: object) -> None:
        self._ending.set()
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(_WORKER_GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._watch.join()

    def _start(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-m", "app", "worker"],
            env={**self._environment, "STEPWELL_PARENT_PID": str(os.getpid())},
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )

    def _keep(self) -> None:
        while not self._ending.is_set():
            self._process.wait()
            if not self._ending.wait(_RESTART_AFTER_SECONDS):
                self._process = self._start()


def _say(lines: list[str]) -> None:
    sys.stdout.write("\n".join(["", *lines, ""]) + "\n")
    sys.stdout.flush()
