"""Every security requirement that the foundation names has a test that is named after it.

The ids are those of the requirements document; `test_auth_10_…` proves AUTH-10. A promise whose
test is deleted or renamed is a promise that nobody keeps any more, so its absence fails here.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

TESTS: Final = Path(__file__).resolve().parent
NAMED: Final = {
    "AUTHZ": (*range(1, 6), *range(20, 28), *range(30, 34)),
    "PHI": (*range(1, 5), 7, 8, 13, 14, 20),
    "REL": (1, 4, 6, 14, 16, 17, 31),
    "AUTH": (*range(1, 17), *range(18, 23)),
    "AUD": (1, 8, 9, 12),
    "API": (*range(1, 9), 10, 11, 12, 16),
    "FUZZ": (*range(2, 6), 10),
    "WS": (*range(1, 7), 14, 17, 18),
    "WH": (*range(1, 8), 13, 14),
}
REQUIREMENTS: Final = frozenset(
    f"{area}-{number:02}" for area, numbers in NAMED.items() for number in numbers
)
# A name may prove more than one: `test_api_12_phi_13_…`.
ID: Final = re.compile(rf"(?<![a-z0-9])({'|'.join(NAMED).lower()})_(\d\d)(?=_|$)")


def requirements_in(source: str) -> Iterator[str]:
    """The ids in the names of the tests of a module that pytest would collect."""
    for node in ast.parse(source).body:
        members = node.body if isinstance(node, ast.ClassDef) else [node]
        for member in members:
            if isinstance(member, ast.FunctionDef | ast.AsyncFunctionDef):
                yield from _ids(member.name)


def _ids(name: str) -> Iterator[str]:
    if name.startswith("test_"):
        for area, number in ID.findall(name):
            yield f"{area.upper()}-{number}"


def test_every_requirement_has_a_test_named_after_it() -> None:
    proven = {
        requirement
        for module in TESTS.rglob("test_*.py")
        for requirement in requirements_in(module.read_text(encoding="utf-8"))
    }
    assert sorted(REQUIREMENTS - proven) == []


@pytest.mark.parametrize(
    ("source", "ids"),
    [
        ("def test_auth_10_x(): ...", ["AUTH-10"]),
        ("async def test_api_12_phi_13_x(): ...", ["API-12", "PHI-13"]),
        ("class TestIt:\n    def test_ws_01_x(self): ...", ["WS-01"]),
        ("def auth_10_x(): ...", []),
        ("def test_authz_10(): ...", ["AUTHZ-10"]),
        ("def test_xauth_10_x(): ...", []),
        ("def outer():\n    def test_auth_10_x(): ...", []),
        ("# test_auth_10_x", []),
    ],
)
def test_only_what_is_collected_counts(source: str, ids: list[str]) -> None:
    assert list(requirements_in(source)) == ids
