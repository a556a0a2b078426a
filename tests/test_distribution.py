"""Several processes that run the tests pay once for what is dear."""

from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from xdist.remote import Producer  # type: ignore[import-untyped]  # it has no types

from tests.distribution import FIRST, ByFile, in_order, scope_of

ROOT = Path(__file__).resolve().parents[1]
COLLECTED = [
    *(f"tests/contract/test_writes.py::test_{n}" for n in range(3)),
    *(f"tests/contract/test_leaks.py::test_{n}" for n in range(3)),
    *(f"tests/test_worker.py::TestLaws::test_{n}" for n in range(3)),
    *(f"tests/test_worker.py::test_[a::b@{n}]" for n in range(3)),
]


@dataclass(eq=False)
class Node:
    """A process that runs what it is given."""

    given: list[int] = field(default_factory=list)
    shutting_down: bool = False
    gateway: Any = field(default_factory=lambda: SimpleNamespace(id="a node"))

    def send_runtest_some(self, indexes: list[int]) -> None:
        self.given.extend(indexes)

    def shutdown(self) -> None:
        self.shutting_down = True


def test_a_file_and_a_world_are_given_to_one_process_as_a_whole() -> None:
    config: Any = SimpleNamespace(
        getvalue={"tx": ["2*popen"]}.__getitem__, option=SimpleNamespace(loadscopereorder=False)
    )
    scheduler = ByFile(config, Producer("test", enabled=False))
    nodes = [Node(), Node()]
    for node in nodes:
        scheduler.add_node(node)
        scheduler.add_node_collection(node, COLLECTED)

    scheduler.schedule()

    assert [node.given for node in nodes] == [[0, 1, 2, 3, 4, 5], [6, 7, 8, 9, 10, 11]]


def test_what_comes_first_is_there_and_comes_first() -> None:
    assert [one for one in FIRST if not (ROOT / one).exists()] == []
    items: Any = [
        SimpleNamespace(nodeid=f"{path}::test_it")
        for path in ("tests/test_health.py", "tests/test_journey.py", "tests/core/test_ids.py")
    ]

    in_order(items)

    assert [scope_of(item.nodeid) for item in items] == [
        "tests/test_journey.py",
        "tests/test_health.py",
        "tests/core/test_ids.py",
    ]
