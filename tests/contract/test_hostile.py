"""Hostile values in every field and parameter of every operation, the others being valid.

Nothing a client sends causes a 5xx other than 503, an answer that is no problem document, or an
error that repeats what was sent (FUZZ-01, FUZZ-10, PHI-14).
"""

import copy
import json
import random
import secrets
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import quote_from_bytes

import pytest
from fastapi import FastAPI

from tests.contract.caller import Answer, Request, call
from tests.contract.corpus import CORPUS, TELLTALE, Hostile
from tests.contract.matrix import Matrix
from tests.contract.operations import Operation
from tests.contract.people import World
from tests.contract.requests import path_words, request_for
from tests.contract.things import body_for
from tests.tracer import untraced

_SAMPLE: Final = 4_000
_MARK: Final = "here-it-goes"
_LONGEST: Final = 3_000  # what is longer is refused as a URL or a header before anybody reads it

Path = tuple[str | int, ...]


@dataclass(frozen=True)
class Place:
    """One field or parameter of an operation."""

    operation: Operation
    kind: str
    path: Path

    @property
    def question(self) -> str:
        """Where it is, in words."""
        return f"{self.operation} {self.kind} {'/'.join(map(str, self.path))}"


def _places(operation: Operation, world: World) -> Iterator[Place]:
    for parameter in operation.parameters:
        yield Place(operation, parameter.place, (parameter.name,))
    if operation.media_type is None:
        return
    yield Place(operation, "body", ())
    body = body_for(operation, world.clinic.own)
    if operation.media_type != "application/json":
        yield from (Place(operation, "form", (name,)) for name in body)
        return
    names = set((operation.body_schema or {}).get("properties", {}))
    yield from (Place(operation, "body", (name,)) for name in sorted(names - set(body)))
    yield from (Place(operation, "body", path) for path in _inside(body) if path)


def _inside(value: Any, at: Path = ()) -> Iterator[Path]:  # noqa: ANN401 (JSON)
    yield at
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from _inside(inner, (*at, name))
    elif isinstance(value, list) and value:
        yield from _inside(value[0], (*at, 0))


def _request(place: Place, hostile: Hostile, world: World, matrix: Matrix) -> Request:
    """A request that is valid but for one place."""
    operation, circle = place.operation, world.clinic.own
    actor = matrix.able.get(operation.id)
    valid = request_for(operation, circle, actor)
    encoded = quote_from_bytes(hostile.text[:_LONGEST], safe="").encode()
    match place.kind:
        case "path":
            words = {**path_words(operation, circle), str(place.path[0]): _MARK}
            request = request_for(operation, circle, actor, words=words)
            return replace(request, target=request.target.replace(_MARK.encode(), encoded))
        case "query":
            joint = b"&" if b"?" in valid.target else b"?"
            name = str(place.path[0]).encode()
            return replace(valid, target=valid.target + joint + name + b"=" + encoded)
        case "header":
            return valid.with_header(str(place.path[0]), hostile.text[:_LONGEST].decode("latin-1"))
        case "form":
            marked = {**body_for(operation, circle), str(place.path[0]): _MARK}
            request = request_for(operation, circle, actor, body=marked)
            return replace(request, body=request.body.replace(_MARK.encode(), encoded))
        case _:
            marked = _marked(body_for(operation, circle), place.path)
            raw = json.dumps(marked).encode()
            return replace(valid, body=raw.replace(f'"{_MARK}"'.encode(), hostile.json))


def _marked(body: Any, path: Path) -> Any:  # noqa: ANN401 (JSON)
    if not path:
        return _MARK
    body = copy.deepcopy(body)
    inner = body
    for step in path[:-1]:
        inner = inner[step]
    inner[path[-1]] = _MARK
    return body


def _wrong_with(answer: Answer) -> str | None:
    """What no answer may be; None when it is none of it."""
    if answer.status < HTTPStatus.BAD_REQUEST:
        return None
    if answer.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        is_busy = answer.status == HTTPStatus.SERVICE_UNAVAILABLE
        return None if is_busy else f"{answer.status}"
    if TELLTALE.encode() in answer.body:
        return f"{answer.status} repeats what was sent: {answer.body[:200]!r}"
    if answer.code is None and "error" not in answer.json():
        return f"{answer.status} is no problem document"
    return None


async def _throw(
    app: FastAPI, world: World, matrix: Matrix, cases: Sequence[tuple[Place, Hostile]]
) -> list[str]:
    """Send every case; tell what was wrong with the answers."""
    wrong = []
    for place, hostile in cases:
        answer = await call(app, _request(place, hostile, world, matrix))
        finding = _wrong_with(answer)
        if finding is not None:
            wrong.append(f"{place.question}, {hostile.name}: {finding}")
    return wrong


@pytest.fixture(scope="session")
def cases(world: World, operations: Sequence[Operation]) -> list[tuple[Place, Hostile]]:
    """Every hostile value in every place."""
    places = [place for operation in operations for place in _places(operation, world)]
    return [(place, hostile) for place in places for hostile in CORPUS]


def test_fuzz_10_the_corpus_is_large_and_goes_everywhere(
    cases: list[tuple[Place, Hostile]], operations: Sequence[Operation]
) -> None:
    assert len({hostile.name for hostile in CORPUS}) == len(CORPUS) >= 150
    reached = {place.operation.id for place, _ in cases}
    assert reached == {o.id for o in operations if o.parameters or o.media_type}


async def test_fuzz_10_a_sample_of_hostile_values_meets_no_bug(
    rehearsal: FastAPI,
    world: World,
    matrix: Matrix,
    cases: list[tuple[Place, Hostile]],
    say: Callable[[str], None],
) -> None:
    seed = secrets.randbelow(2**32)
    say(f"FUZZ-10: {_SAMPLE} of {len(cases)} cases, seed {seed}")
    chosen = random.Random(seed).sample(cases, _SAMPLE)  # noqa: S311 (a sample, no secret)
    with untraced():
        assert not await _throw(rehearsal, world, matrix, chosen)


@pytest.mark.long
@pytest.mark.fuzz
async def test_fuzz_10_no_hostile_value_anywhere_meets_a_bug(
    rehearsal: FastAPI, world: World, matrix: Matrix, cases: list[tuple[Place, Hostile]]
) -> None:
    assert not await _throw(rehearsal, world, matrix, cases)
