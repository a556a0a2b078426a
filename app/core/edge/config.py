"""The limits of the edge (API-01), and who may call."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from app.core import strict_json

KIB: Final = 1024
MIB: Final = 1024 * KIB


@dataclass(frozen=True, slots=True)
class EdgeConfig:
    """What the edge lets through. Sizes are in bytes and inclusive."""

    hosts: Sequence[str] = ("localhost", "127.0.0.1", "[::1]")
    """Host names without a port; `*` stands for all of them, and has no place in production."""

    origins: Sequence[str] = ()
    """Origins of browser apps, exactly: scheme, host and port."""

    is_production: bool = False
    """Whether browsers are told to speak TLS only (PHI-08)."""

    max_headers: int = 16 * KIB
    max_url: int = 4 * KIB
    max_body: int = MIB
    max_upload: int = 10 * MIB
    max_json_depth: int = strict_json.MAX_DEPTH
    deadline: timedelta = timedelta(seconds=60)
    max_in_flight: int = 200

    exempt_from_shedding: frozenset[str] = frozenset({"/livez", "/readyz", "/startupz", "/metrics"})
    """Paths that an operator must be able to ask while everything else is refused."""

    repeatable: frozenset[str] = frozenset()
    """Query parameters that may be given more than once (FUZZ-04)."""
