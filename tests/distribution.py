"""Which tests run in one process, and which begin first, when several processes share them.

The fixtures that are dear belong to a file: a world that every route is asked about, servers, a
seeded database. A file whose tests ran in two processes would pay for them twice.
"""

from typing import Final

import pytest
from typing_extensions import override
from xdist.scheduler import LoadScopeScheduling  # type: ignore[import-untyped]  # it has no types

_TOGETHER: Final = ("tests/contract/", "tests/realtime/")
"""Directories whose files share what is dear."""

FIRST: Final = (
    # One process is long alone with this.
    "tests/contract/",
    # These let a worker visit every organization that is there, and each test makes one.
    "tests/security/test_across.py",
    "tests/routers/test_measurements.py",
    "tests/test_worker.py",
    "tests/faults/test_alerts.py",
    "tests/routers/test_series.py",
    "tests/webhooks/test_kills.py",
    "tests/webhooks/test_sample_receiver.py",
    "tests/webhooks/test_delivery.py",
    # Whoever has something long to do should not begin it last.
    "tests/test_journey.py",
    "tests/test_readme.py",
    "tests/test_launch.py",
    "tests/core/test_embedded.py",
    "tests/realtime/",
)
"""What several processes begin with, in this order; the rest follows in any."""


class ByFile(LoadScopeScheduling):  # type: ignore[misc]  # as above
    """Gives a file, or a directory of those above, to one process as a whole."""

    @override
    def _split_scope(self, nodeid: str) -> str:
        return scope_of(nodeid)


def scope_of(nodeid: str) -> str:
    """What a test is given out with."""
    path = nodeid.split("::", 1)[0]
    return next((one for one in _TOGETHER if path.startswith(one)), path)


def in_order(items: list[pytest.Item]) -> None:
    """Put in front what comes first, and leave the rest in the order that it has."""
    places = {scope: place for place, scope in enumerate(FIRST)}
    items.sort(key=lambda item: places.get(scope_of(item.nodeid), len(places)))
