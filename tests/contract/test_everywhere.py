"""What holds for every operation and every answer, errors included."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from http import HTTPStatus
from typing import Any, Final

import pytest
from fastapi import FastAPI
from fastapi.routing import APIRoute, iter_route_contexts
from starlette.routing import Match
from starlette.types import Scope

from app.core.problems.documentation import SCHEMA
from app.models.base import Base
from app.routers.table import RouteTable
from app.security.guards import permission_of
from app.security.permissions import POLICY, Permission
from tests.contract.caller import Answer, Request, call
from tests.contract.operations import Operation
from tests.contract.people import World
from tests.contract.requests import path_words, request_for
from tests.tracer import traced_once

_HEADERS: Final = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'; base-uri 'none'",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
    "pragma": "no-cache",
}
_PLACES_OF_OAUTH: Final = ("/oauth/",)
_STORED: Final = ("/.well-known/",)
"""Public documents that say themselves how long they may be kept."""


def _variants(operation: Operation, world: World) -> Iterator[tuple[str, Request]]:
    """A valid request, and each way in which it can go wrong before anybody has read it."""
    circle, actor = world.clinic.own, world.clinic.actor("clinician in the care team")
    valid = request_for(operation, circle, actor)
    yield "valid", valid
    yield "without a token", request_for(operation, circle, None)
    yield "unknown parameter", replace(valid, target=_with_query(valid, b"colour=blue"))
    yield "zero byte in the query", replace(valid, target=_with_query(valid, b"limit=%00"))
    if operation.placed("path"):
        words = dict.fromkeys(path_words(operation, circle), "nothing-of-ours")
        yield "broken id", request_for(operation, circle, actor, words=words)
    if operation.media_type is not None:
        yield "text", valid.with_header("Content-Type", "text/plain")
        yield (
            "another charset",
            valid.with_header("Content-Type", f"{operation.media_type}; charset=utf-16"),
        )
        yield (
            "no content type",
            replace(valid, headers={k: v for k, v in valid.headers.items() if k != "Content-Type"}),
        )
        yield "broken body", replace(valid, body=b'{"a":')
        yield "an array", replace(valid, body=b"[]")


def _with_query(request: Request, part: bytes) -> bytes:
    return request.target + (b"&" if b"?" in request.target else b"?") + part


@pytest.fixture(scope="session")
async def answers(
    world: World, rehearsal: FastAPI, operations: Sequence[Operation]
) -> list[tuple[Operation, str, Answer]]:
    """Every operation, well and badly asked."""
    return [
        (operation, variant, await call(rehearsal, request))
        for operation in operations
        for variant, request in _variants(operation, world)
    ]


Answers = list[tuple[Operation, str, Answer]]


def test_api_12_phi_13_every_answer_carries_the_headers(answers: Answers) -> None:
    for operation, variant, answer in answers:
        wanted = dict(_HEADERS)
        if operation.path.startswith(_STORED) and answer.status == HTTPStatus.OK:
            wanted = {k: v for k, v in wanted.items() if k not in {"cache-control", "pragma"}}
        found = {name: answer.header(name) for name in wanted}
        assert found == wanted, (str(operation), variant)
        assert "Origin" in (answer.header("vary") or ""), (str(operation), variant)
        assert answer.header("x-request-id"), (str(operation), variant)
        assert answer.header("server") is None


def test_api_10_every_error_is_a_problem_document(answers: Answers) -> None:
    required = set(SCHEMA["required"])
    errors = 0
    for operation, variant, answer in answers:
        if answer.status < HTTPStatus.BAD_REQUEST:
            continue
        errors += 1
        if operation.path.startswith(_PLACES_OF_OAUTH) and "error" in answer.json():
            assert set(answer.json()) <= {"error", "error_description", "auth_session", "next"}
            continue
        document = answer.json()
        assert answer.header("content-type") == "application/problem+json", (operation, variant)
        assert required <= set(document), (operation, variant)
        assert document["status"] == answer.status
        assert document["request_id"] == answer.header("x-request-id")
        assert document["type"] == f"/problems/{document['code'].replace('_', '-')}"
        for error in document.get("errors", ()):
            assert {"pointer", "code"} <= set(error) <= {"pointer", "code", "detail"}
    assert errors > 3 * len({str(operation) for operation, _, _ in answers})


def test_every_status_that_an_operation_answers_is_documented(answers: Answers) -> None:
    # What the edge refuses before a route is met is the same for all, and documented as default.
    edge = {"400", "404", "415", "422", "500"}
    undocumented = {
        f"{operation}: {answer.status} ({variant})"
        for operation, variant, answer in answers
        if str(answer.status) not in operation.documented | edge
    }
    assert not undocumented


def test_no_answer_is_a_bug_of_ours(answers: Answers) -> None:
    broken = {
        f"{operation} ({variant}): {answer.status}"
        for operation, variant, answer in answers
        if answer.status >= HTTPStatus.INTERNAL_SERVER_ERROR
    }
    assert not broken


def test_fuzz_04_unknown_parameters_are_refused_and_nul_is_no_text(answers: Answers) -> None:
    for operation, variant, answer in answers:
        if variant == "unknown parameter":
            assert answer.status == HTTPStatus.UNPROCESSABLE_ENTITY, operation
            assert answer.json()["errors"][0]["pointer"] == "query/colour"
        if variant == "zero byte in the query":
            assert answer.status == HTTPStatus.BAD_REQUEST, operation


async def test_fuzz_04_a_repeated_parameter_is_refused(
    world: World, rehearsal: FastAPI, operations: Sequence[Operation]
) -> None:
    actor, repeated = world.clinic.actor("clinician in the care team"), 0
    for operation in operations:
        for parameter in operation.placed("query"):
            request = request_for(operation, world.clinic.own, actor, query={})
            twice = f"{parameter.name}=1&{parameter.name}=1".encode()
            answer = await call(rehearsal, replace(request, target=_with_query(request, twice)))
            assert answer.status == HTTPStatus.UNPROCESSABLE_ENTITY, (operation, parameter.name)
            assert answer.json()["errors"][0]["code"] == "repeated"
            repeated += 1
    assert repeated > 10


def test_fuzz_05_only_the_declared_type_is_read(answers: Answers) -> None:
    refused = {"text", "another charset", "no content type"}
    for operation, variant, answer in answers:
        if variant in refused:
            assert answer.status == HTTPStatus.UNSUPPORTED_MEDIA_TYPE, (operation, variant)


@pytest.mark.parametrize(
    ("origin", "is_ours"),
    [
        ("http://localhost:3000", True),
        ("http://localhost:5173", True),
        ("https://localhost:3000", False),
        ("http://localhost:3001", False),
        ("http://localhost", False),
        ("http://api.localhost:3000", False),
        ("http://localhost:3000.example.org", False),
        ("http://evil-localhost:3000", False),
        ("HTTP://LOCALHOST:3000", False),
        ("null", False),
        ("", False),
        ("http://localhost:3000, http://localhost:5173", False),
    ],
)
async def test_api_11_an_origin_is_allowed_exactly_or_not_at_all(
    world: World,
    rehearsal: FastAPI,
    operations: Sequence[Operation],
    origin: str,
    is_ours: bool,  # noqa: FBT001 (a column of the table)
) -> None:
    allowed = origin if is_ours else None
    actor = world.clinic.actor("clinician in the care team")
    with traced_once((__name__, is_ours)):
        for operation in operations:
            request = request_for(operation, world.clinic.own, actor).with_header("Origin", origin)
            preflight = Request(
                "OPTIONS",
                request.target,
                {"Origin": origin, "Access-Control-Request-Method": operation.method},
            )
            for answer in (await call(rehearsal, request), await call(rehearsal, preflight)):
                assert answer.header("access-control-allow-origin") == allowed, operation
                assert answer.header("access-control-allow-credentials") is None
                assert "Origin" in (answer.header("vary") or "")
            methods = answer.header("access-control-allow-methods")
            assert (methods is not None) is is_ours, operation
            assert methods is None or operation.method in methods


# The document


def test_operation_ids_are_unique(operations: Sequence[Operation]) -> None:
    repeated = [name for name, n in Counter(one.id for one in operations).items() if n > 1]
    assert not repeated


def test_every_body_has_an_example(operations: Sequence[Operation]) -> None:
    for operation in operations:
        operation.example()


def test_phi_09_no_parameter_of_a_url_can_hold_what_is_about_a_person(
    operations: Sequence[Operation],
) -> None:
    about_people = {
        column.name
        for table in Base.metadata.tables.values()
        for column in table.columns
        if column.info.get("class") == "phi-text"
    } | {"email", "phone", "name", "q", "search", "query", "username", "token", "password"}
    for operation in operations:
        for parameter in (*operation.placed("path"), *operation.placed("query")):
            assert parameter.name not in about_people, (operation, parameter.name)
            assert _is_no_prose(operation, parameter.schema), (operation, parameter.name)


def _is_no_prose(operation: Operation, schema: dict[str, Any]) -> bool:
    """Whether a parameter is a number, a flag, or a text of a narrow form."""
    branches = [operation.resolve(one) for one in schema.get("anyOf", [schema])]
    return all(
        one.get("type") != "string" or one.keys() & {"format", "pattern", "enum", "const"}
        for one in branches
    )


def test_api_16_routes_document_and_policy_name_the_same_operations(
    app: FastAPI, operations: Sequence[Operation]
) -> None:
    routes = {
        (method, context.path): permission_of(context.route)
        for context in iter_route_contexts(app.routes)
        if isinstance(context.route, APIRoute) and context.route.include_in_schema
        for method in context.route.methods or ()
    }
    documented = {(one.method, one.path): one.permission for one in operations}
    assert routes == documented
    assert {one for one in documented.values() if one is not None} <= set(POLICY)
    assert set(POLICY) == set(Permission)


def test_api_16_what_the_document_leaves_out_is_public_and_holds_nothing_of_anybody(
    app: FastAPI,
) -> None:
    hidden = {
        context.path
        for context in iter_route_contexts(app.routes)
        if isinstance(context.route, APIRoute) and not context.route.include_in_schema
    }
    assert hidden <= {
        "/docs",
        "/docs/{name}",
        "/livez",
        "/metrics",
        "/openapi.json",
        "/problems",
        "/problems/{slug}",
        "/readyz",
        "/startupz",
    }


def test_the_last_route_is_found_as_soon_as_the_first(
    app: FastAPI, world: World, operations: Sequence[Operation], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Counted in attempts to match, which no busy machine can slow down."""
    attempts: list[str] = []
    match = APIRoute.matches

    def counted(route: APIRoute, scope: Scope) -> tuple[Match, Scope]:
        attempts.append(route.path)
        return match(route, scope)

    monkeypatch.setattr(APIRoute, "matches", counted)
    table = next(route for route in app.router.routes if isinstance(route, RouteTable))
    costs: dict[str, int] = {}
    for operation in operations:
        attempts.clear()
        target = request_for(operation, world.clinic.own, None).target
        scope = {
            "type": "http",
            "method": operation.method,
            "path": target.partition(b"?")[0].decode(),
            "root_path": "",
            "headers": [],
        }
        found, _ = table.matches(scope)
        assert found is Match.FULL, operation
        costs[str(operation)] = len(attempts)
    first, last = costs[str(operations[0])], costs[str(operations[-1])]
    assert last <= 2 * first
    # The verbs of one object share their first words; nothing else is ever tried.
    assert max(costs.values()) <= 6, costs
