"""Each role is told what it needs and no more (AUTHZ-04).

What everybody is told, field by field, stands in `minimum_necessary.json`. A new field of an
answer changes that file, and the change is read by somebody who asks: who needs this, and why?
The failing test leaves the file as it would have to be, and names the place.
"""

import json
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final

from tests.contract.matrix import Matrix
from tests.contract.people import Actor

EXPECTED: Final = Path(__file__).with_name("minimum_necessary.json")
# Members that are named by what they are about (an id, an item) are one path.
A_NAME_OF_DATA: Final = re.compile(r"[0-9a-f]{8}-[0-9a-f-]{27}")

Shapes = Mapping[str, Mapping[str, list[str]]]
"""By operation, and by roles that are told the same: the paths of what they are told."""


def paths_of(value: Any, place: str = "") -> Iterator[str]:  # noqa: ANN401  # JSON
    """Where values stand in a document: `items[].id`."""
    if isinstance(value, dict) and value:
        for name, member in value.items():
            named = "*" if A_NAME_OF_DATA.fullmatch(name) else name
            yield from paths_of(member, f"{place}.{named}" if place else named)
    elif isinstance(value, list) and value:
        for element in value:
            yield from paths_of(element, f"{place}[]")
    else:
        yield place


def role_of(actor: Actor) -> str:
    return "participant" if actor.role is None else actor.role.value


def shapes_of(matrix: Matrix) -> Shapes:
    """What each role was told by each operation, over everything that was asked."""
    told: defaultdict[str, defaultdict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for one in matrix.asked:
        # A picture shows what the route beside it says in fields.
        is_picture = one.answer.header("content-type") == "image/svg+xml"
        if one.answer.status < HTTPStatus.MULTIPLE_CHOICES and one.answer.body and not is_picture:
            place = told[one.cell.operation.id][role_of(one.cell.actor)]
            place.update(paths_of(one.answer.json()))
    return {operation: _together(told[operation]) for operation in sorted(told)}


def deepest(paths: set[str]) -> set[str]:
    """The paths that lead on: what was empty or null in one answer was more in another."""
    return {
        path
        for path in paths
        if not any(other.startswith((f"{path}.", f"{path}[")) for other in paths)
    }


def _together(by_role: Mapping[str, set[str]]) -> Mapping[str, list[str]]:
    """The same, with roles that are told the same on one line."""
    roles: defaultdict[tuple[str, ...], list[str]] = defaultdict(list)
    for role, paths in sorted(by_role.items()):
        roles[tuple(sorted(deepest(paths)))].append(role)
    return {", ".join(names): list(paths) for paths, names in roles.items()}


def test_authz_04_everybody_is_told_what_they_need_and_no_more(
    matrix: Matrix, tmp_path: Path
) -> None:
    told = shapes_of(matrix)
    actual = tmp_path / EXPECTED.name
    actual.write_text(json.dumps(told, indent=2) + "\n", encoding="utf-8")
    expected: Shapes = json.loads(EXPECTED.read_text(encoding="utf-8"))

    assert len(told) > 50
    different = sorted(
        operation
        for operation in told.keys() | expected.keys()
        if told.get(operation) != expected.get(operation)
    )
    assert not different, f"read the difference, then take it over from {actual}"


def test_authz_04_paths_name_every_place_once() -> None:
    document = {
        "items": [{"id": 1}, {"id": 2, "tags": ["a"]}],
        "by": {"019a7f3e-4c1b-7d52-9e64-2b8f0c6a1d00": {"n": 1}},
        "none": [],
    }
    assert set(paths_of(document)) == {"items[].id", "items[].tags[]", "by.*.n", "none"}
    assert deepest({"items", "items[].id", "id", "id_of", "by", "by.*.n"}) == {
        "items[].id",
        "id",
        "id_of",
        "by.*.n",
    }
