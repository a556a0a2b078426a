"""Which bus a process listens to: PostgreSQL, or NATS where many processes listen."""

import importlib

from app.core.database import Connections
from app.realtime.bus import Bus, PostgresBus


def bus_for(connections: Connections, nats_url: str | None) -> Bus:
    """The bus that the settings ask for."""
    postgres = PostgresBus(connections.engine)
    if nats_url is None:
        return postgres
    # By name: the driver is an extra, which only an operator of NATS installs.
    nats: Bus = importlib.import_module("app.realtime.nats").NatsBus(nats_url, postgres)
    return nats
