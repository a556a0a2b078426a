"""The seam: what the harness must be told about a server, be it a floor or Stepwell."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from app.core.embedded import EmbeddedServer
from benchmarks.load import Exchange
from benchmarks.servers import Command
from benchmarks.sockets import Venue


class Operation(StrEnum):
    """What is asked over HTTP."""

    READ = "read"
    LIST = "list"
    PAGE = "page"
    CREATE = "create"


@dataclass(frozen=True)
class Site:
    """Where a subject is set up: a database of its own for `rows` records, and a port."""

    server: EmbeddedServer
    database: str
    port: int
    rows: int

    def url(self, *, role: str = "postgres") -> str:
        """Where SQLAlchemy finds the database; as the superuser, if no role is named."""
        return self.server.url(role=role, database=self.database)


class Subject(ABC):
    """A server that can be started, filled and asked.

    `scenarios` names those it takes part in. `ready_within` is the goal for its start, in
    seconds. The steps come in the order in which they stand here.
    """

    name: str
    scenarios: frozenset[str]
    is_floor: bool = False
    ready_path: str = "/"
    ready_within: float | None = None

    async def provision(self, site: Site) -> None:  # noqa: B027  # a server without a database needs nothing
        """Before the start: make the schema and the records. The database is empty."""

    @abstractmethod
    def command(self, site: Site) -> Command:
        """How it is started, so that it listens on the site's port of the loopback."""

    async def exchanges(self, site: Site) -> Mapping[Operation, Exchange]:
        """Once it is ready: the requests to measure. Signing in over HTTP belongs here."""
        raise NotImplementedError(f"{self.name} answers no records at port {site.port}.")

    async def venue(self, site: Site, *, rooms: int, seats: int) -> Venue:
        """Before every turn: a way in for each member, since tickets serve once."""
        raise NotImplementedError(f"{self.name} at port {site.port} has no {rooms} of {seats}.")

    async def forms(self, site: Site, *, count: int) -> Exchange:
        """Before every turn: `count` filled-in forms, and how form `n` of them is submitted."""
        raise NotImplementedError(f"{self.name} at port {site.port} has no {count} forms.")
