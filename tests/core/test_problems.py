"""Problems: how they look, what they never say, and what the database's refusals become."""

import json
import logging
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from http import HTTPStatus
from typing import Annotated, Any
from uuid import UUID

import asyncpg
import httpx
import pytest
from fastapi import FastAPI, Query
from fastapi.exceptions import RequestValidationError
from pydantic import Field, TypeAdapter, ValidationError
from sqlalchemy.exc import DBAPIError, StatementError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.orm.exc import StaleDataError
from starlette.exceptions import HTTPException

from app.core import problems
from app.core.problems import (
    Conflict,
    FieldError,
    Internal,
    Invalid,
    NotFound,
    PreconditionFailed,
    Problem,
    QueryTimeout,
    ServiceBusy,
    Unauthenticated,
    constraint_problem,
    from_database_error,
    problem_response,
    registered,
)
from app.core.problems.database import is_our_mistake, sqlstate
from app.core.problems.documentation import SCHEMA, describe
from app.core.problems.validation import invalid
from app.schemas.base import Schema
from app.schemas.types import Count, ShortText

CANARY = "canary-7f3a"
ROOM = UUID("01a20c72-9ac9-768d-ac7a-d9abca78da7c")


class KilnCold(Problem):
    """The kiln has not been lit."""

    slug, title, status = "kiln-cold", "The kiln is cold", HTTPStatus.CONFLICT


def body_of(problem: Problem, request_id: str | None = "r-1") -> dict[str, Any]:
    response = problem_response(problem, request_id)
    assert response.headers["content-type"] == "application/problem+json"
    assert response.status_code == problem.status
    document: dict[str, Any] = json.loads(bytes(response.body))
    return document


def test_api_10_a_problem_says_what_rfc_9457_asks_for() -> None:
    assert body_of(KilnCold()) == {
        "type": "/problems/kiln-cold",
        "title": "The kiln is cold",
        "status": 409,
        "code": "kiln_cold",
        "request_id": "r-1",
    }


def test_members_are_rendered_as_clients_read_them() -> None:
    at = datetime(2026, 3, 1, 17, tzinfo=timezone(timedelta(hours=-5)))
    document = body_of(
        KilnCold("Light it.", room_id=ROOM, count=2, is_lit=False, lights_at=at, ids=[ROOM])
    )
    assert document["room_id"] == str(ROOM)
    assert document["ids"] == [str(ROOM)]
    assert document["lights_at"] == "2026-03-01T22:00:00Z"
    assert (document["count"], document["is_lit"], document["detail"]) == (2, False, "Light it.")


def test_a_member_cannot_replace_a_field_of_the_standard() -> None:
    document = body_of(KilnCold(status=200, title="fine", code="ok"))
    assert (document["status"], document["code"]) == (409, "kiln_cold")
    assert document["title"] == "The kiln is cold"


def test_a_member_of_another_type_is_a_bug() -> None:
    with pytest.raises(TypeError, match="cannot be a object"):
        problem_response(KilnCold(thing=object()))  # type: ignore[arg-type]  # the point


def test_field_errors_carry_pointer_code_and_sentence() -> None:
    document = body_of(Invalid(errors=[FieldError("/a/0", "x"), FieldError("query/b", "y", "No.")]))
    assert document["errors"] == [
        {"pointer": "/a/0", "code": "x"},
        {"pointer": "query/b", "code": "y", "detail": "No."},
    ]


def test_text_of_a_problem_reveals_only_its_slug() -> None:
    assert str(KilnCold(CANARY, room_id=ROOM)) == "kiln-cold"


def test_headers_are_the_class_s_and_the_raiser_s() -> None:
    assert problem_response(Unauthenticated()).headers["www-authenticate"] == "Bearer"
    busy = problem_response(ServiceBusy(headers={"Retry-After": "7"}))
    assert busy.headers["retry-after"] == "7"


def test_a_slug_names_one_problem() -> None:
    with pytest.raises(TypeError, match="belongs to KilnCold"):

        class Another(Problem):
            slug, title, status = "kiln-cold", "?", HTTPStatus.CONFLICT

    with pytest.raises(TypeError, match="no slug"):

        class Nameless(Problem):
            title = "?"


def test_the_registry_lists_every_problem_once_and_in_order() -> None:
    slugs = [problem.slug for problem in registered()]
    assert slugs == sorted(set(slugs))
    assert {"kiln-cold", "not-found", "outcome-unknown"} <= set(slugs)
    assert all(problem.__doc__ and problem.title for problem in registered())


def test_problems_documents_every_class_under_its_status() -> None:
    responses = problems.problems(NotFound, KilnCold, Conflict)
    assert set(responses) == {404, 409}
    content = responses[409]["content"]["application/problem+json"]
    assert set(content["examples"]) == {"kiln_cold", "conflict"}
    assert content["examples"]["kiln_cold"]["value"]["status"] == 409
    assert content["schema"] == {"$ref": "#/components/schemas/ProblemDetails"}
    for example in content["examples"].values():
        assert set(SCHEMA["required"]) <= set(example["value"])


# Validation


class Pot(Schema):
    litres: Count
    name: ShortText


class Shelf(Schema):
    pots: list[Pot]


def pointers(schema: type[Schema], body: object) -> set[tuple[str, str]]:
    try:
        schema.model_validate(body)
    except ValidationError as error:
        prefixed = [{**e, "loc": ("body", *e["loc"])} for e in error.errors()]
        return {(e.pointer, e.code) for e in invalid(prefixed, body).errors}
    return set()


def test_pointers_lead_into_the_body() -> None:
    body = {"pots": [{"litres": 1, "name": "a"}, {"litres": "1", "nmae": "b"}]}
    assert pointers(Shelf, body) == {
        ("/pots/1/litres", "int_type"),
        ("/pots/1/name", "missing"),
        ("/pots/1/nmae", "extra_forbidden"),
    }


def test_phi_14_a_made_up_key_that_is_no_name_is_not_repeated() -> None:
    body = {"pots": [], f"{CANARY} is sad": 1}
    assert pointers(Shelf, body) == {("", "extra_forbidden")}


def test_labels_of_unions_are_no_part_of_a_pointer() -> None:
    class Wide(Schema):
        value: Annotated[Count | ShortText, Field(union_mode="left_to_right")]

    assert {pointer for pointer, _ in pointers(Wide, {"value": []})} == {"/value"}


def test_sentences_show_the_bounds_of_the_schema_and_nothing_else() -> None:
    with pytest.raises(ValidationError) as refused:
        TypeAdapter(ShortText).validate_python(CANARY * 40)
    (error,) = invalid(refused.value.errors()).errors
    assert error.detail == "At most 200 characters are accepted."


# The database


class UniqueViolation(asyncpg.UniqueViolationError):
    """One with a constraint's name, as the server sends it."""

    constraint_name = "kiln_booking_excl"


def wrapped(driver: BaseException, *, invalidated: bool = False) -> DBAPIError:
    """An error as SQLAlchemy raises it: its own class, the dialect's, the driver's."""
    dialect = Exception(f"<class>: {driver}")
    dialect.__cause__ = driver
    return DBAPIError(
        f"insert {CANARY}", {"p": CANARY}, dialect, connection_invalidated=invalidated
    )


def postgres(state: str, message: str = CANARY) -> asyncpg.PostgresError:
    return asyncpg.PostgresError.new({"C": state, "M": message})


TABLE: list[tuple[str, type[Problem]]] = [
    ("08006", ServiceBusy),
    ("08003", ServiceBusy),
    ("57P01", ServiceBusy),
    ("57P02", ServiceBusy),
    ("57P03", ServiceBusy),
    ("53300", ServiceBusy),
    ("53100", ServiceBusy),
    ("58030", ServiceBusy),
    ("40001", ServiceBusy),
    ("40P01", ServiceBusy),
    ("55P03", ServiceBusy),
    ("57014", QueryTimeout),
    ("23505", Conflict),
    ("23P01", Conflict),
    ("23503", Invalid),
    ("23514", Invalid),
    ("22001", Invalid),
    ("22003", Invalid),
    ("22021", Invalid),
    ("22P02", Invalid),
    ("22P05", Invalid),
    ("42501", Internal),
    ("42P01", Internal),
    ("XX000", Internal),
    ("23502", Internal),
]


@pytest.mark.parametrize(("state", "expected"), TABLE)
def test_every_sqlstate_of_the_table_has_its_answer(state: str, expected: type[Problem]) -> None:
    for error in (postgres(state), wrapped(postgres(state))):
        problem = from_database_error(error)
        assert type(problem) is expected
        assert CANARY not in json.dumps(problem.body("r"))
        assert sqlstate(error) == state


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (wrapped(asyncpg.InterfaceError("connection is closed")), ServiceBusy),
        (wrapped(asyncpg.InternalClientError("unexpected")), ServiceBusy),
        (wrapped(ConnectionResetError()), ServiceBusy),
        (wrapped(ValueError(), invalidated=True), ServiceBusy),
        (asyncpg.InterfaceError("connection is closed"), ServiceBusy),
        (asyncpg.InvalidCachedStatementError("changed"), ServiceBusy),
        (postgres("XX000", "could not extend file: no space left"), ServiceBusy),
        (PoolTimeoutError(), ServiceBusy),
        (ConnectionRefusedError(), ServiceBusy),
        (TimeoutError(), ServiceBusy),
        (asyncpg.DataError("invalid input for query argument $1"), Invalid),
        (StaleDataError(), PreconditionFailed),
        (StatementError("m", "s", {}, ValueError()), Internal),
    ],
)
def test_lost_connections_and_client_errors_have_answers(
    error: Exception, expected: type[Problem]
) -> None:
    assert type(from_database_error(error)) is expected


def test_rel_14_a_busy_answer_says_when_to_come_back() -> None:
    problem = from_database_error(postgres("40001"))
    assert problem is not None
    assert problem.headers["Retry-After"] == "1"


def test_another_exception_is_no_database_error() -> None:
    assert from_database_error(ValueError("x")) is None


@pytest.fixture
def named_constraint() -> Iterator[None]:
    constraint_problem("kiln_booking_excl", KilnCold)
    yield
    problems.database._constraints.pop("kiln_booking_excl")  # noqa: SLF001  # it is the process's


@pytest.mark.usefixtures("named_constraint")
def test_a_constraint_with_a_meaning_is_answered_with_it() -> None:
    violation = UniqueViolation("duplicate key")
    assert type(from_database_error(violation)) is KilnCold
    assert type(from_database_error(wrapped(violation))) is KilnCold


@pytest.mark.usefixtures("named_constraint")
def test_a_constraint_has_one_meaning() -> None:
    constraint_problem("kiln_booking_excl", KilnCold)
    with pytest.raises(ValueError, match="already means kiln-cold"):
        constraint_problem("kiln_booking_excl", Conflict)


@pytest.mark.parametrize("state", ["23503", "23514", "22001", "42501"])
def test_what_validation_let_through_is_our_mistake(state: str) -> None:
    assert is_our_mistake(wrapped(postgres(state)))


@pytest.mark.parametrize("state", ["23505", "40001", "57014"])
def test_races_and_faults_are_nobody_s_mistake(state: str) -> None:
    assert not is_our_mistake(postgres(state))


# Over HTTP


@pytest.fixture
def app() -> FastAPI:
    app = FastAPI()
    problems.install(app)

    @app.get("/cold")
    async def cold() -> None:
        raise KilnCold

    @app.get("/teapot")
    async def teapot() -> None:
        raise HTTPException(418, detail=CANARY, headers={"X-Kind": "pot"})

    @app.get("/gateway")
    async def gateway() -> None:
        raise HTTPException(502, detail=CANARY)

    @app.get("/database")
    async def database() -> None:
        raise wrapped(postgres("22001"))

    @app.get("/bug")
    async def bug() -> None:
        raise LookupError(CANARY)

    @app.get("/list/{number}")
    async def numbers(number: int, limit: Annotated[int, Query(le=10)] = 1) -> int:
        return number + limit

    @app.post("/pots")
    async def pots(_pot: Pot) -> None:
        raise NotFound

    return app


@pytest.fixture
def client(app: FastAPI) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url="http://testserver")


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("/cold", 409, "kiln_cold"),
        ("/nowhere", 404, "not_found"),
        ("/teapot", 400, "bad_request"),
        ("/gateway", 500, "internal"),
        ("/database", 422, "invalid"),
        ("/bug", 500, "internal"),
        ("/list/x", 422, "invalid"),
        ("/list/1?limit=11", 422, "invalid"),
    ],
)
async def test_api_10_every_failure_is_a_problem(
    client: httpx.AsyncClient,
    caplog: pytest.LogCaptureFixture,
    path: str,
    status: int,
    code: str,
) -> None:
    with caplog.at_level(logging.DEBUG):
        response = await client.get(path)
    assert response.status_code == status
    assert response.headers["content-type"] == "application/problem+json"
    assert response.json()["code"] == code
    assert CANARY not in response.text


async def test_api_10_the_methods_of_a_405_are_kept(client: httpx.AsyncClient) -> None:
    response = await client.delete("/cold")
    assert (response.status_code, response.headers["allow"]) == (405, "GET")
    assert response.json()["code"] == "method_not_allowed"


async def test_pointers_name_query_and_path(client: httpx.AsyncClient) -> None:
    response = await client.get("/list/x?limit=99")
    assert [error["pointer"] for error in response.json()["errors"]] == [
        "path/number",
        "query/limit",
    ]


async def test_phi_14_no_rejected_value_is_sent_back(client: httpx.AsyncClient) -> None:
    response = await client.post("/pots", json={"litres": CANARY, "name": [CANARY], CANARY: CANARY})
    assert response.status_code == 422
    assert [error["pointer"] for error in response.json()["errors"]][:2] == ["/litres", "/name"]
    values = [error.get("detail", "") for error in response.json()["errors"]]
    assert not any(CANARY in value for value in values)


def test_a_validation_problem_is_bounded() -> None:
    many = [{"type": "missing", "loc": ("body", "a")}] * 1000
    assert len(invalid(many).errors) == 50


def test_request_validation_without_a_place_is_about_the_body() -> None:
    problem = problems.handlers.problem_of(RequestValidationError([{"type": "x", "loc": ()}]))
    assert problem.errors == (FieldError("", "x"),)


async def test_the_openapi_document_knows_problems_only(app: FastAPI) -> None:
    document = describe(app.openapi())
    assert "HTTPValidationError" not in json.dumps(document)
    refused = document["paths"]["/pots"]["post"]["responses"]["422"]["content"]
    assert list(refused) == ["application/problem+json"]
    assert document["components"]["schemas"]["ProblemDetails"]["required"]


def test_instants_are_utc_in_examples() -> None:
    assert body_of(KilnCold(at=datetime(2026, 1, 1, tzinfo=UTC)))["at"] == "2026-01-01T00:00:00Z"
