"""The edge, over a real application: every limit at n and n+1, every header, every refusal."""

import asyncio
import io
import json
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from typing import Annotated, Any

import httpx
import pytest
from fastapi import APIRouter, Body, Depends, FastAPI, Form, Query, Request, Response, WebSocket
from pydantic import Field
from sqlalchemy.exc import DBAPIError
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.routing import Mount, Route
from starlette.types import Message, Receive, Scope, Send

from app.core import clock, logging, metrics, problems
from app.core.edge import Edge, EdgeConfig
from app.core.edge.routes import RouteIndex
from app.core.problems.documentation import SCHEMA
from app.schemas.base import Schema
from app.schemas.types import ShortText

ORIGIN = "https://app.example"
JSON = {"content-type": "application/json"}
CONFIG = EdgeConfig(
    hosts=("testserver", "[::1]", "api.example"),
    origins=(ORIGIN, "http://localhost:3000"),
    is_production=True,
    max_headers=2048,
    max_url=256,
    max_body=1000,
    max_upload=2000,
    deadline=timedelta(seconds=60),
    max_in_flight=3,
    repeatable=frozenset({"_id"}),
)


class Search(Schema):
    """A typed set of filters."""

    a: ShortText | None = None
    b: ShortText | None = None
    ids: list[ShortText] = Field([], alias="_id")


def paged(page: str = "") -> str:
    return page


class Gate:
    """Holds requests until a test lets them go."""

    def __init__(self) -> None:
        self.opened = asyncio.Event()
        self.waiting = 0


@pytest.fixture
def gate() -> Gate:
    return Gate()


def bare_app(gate: Gate) -> FastAPI:
    app = FastAPI(openapi_url=None, redirect_slashes=False)
    pots = APIRouter(prefix="/v1/pots")

    documented = {"parameters": [{"name": "a b", "in": "query"}]}

    @pots.get("/{pot_id}", openapi_extra=documented, dependencies=[Depends(paged)])
    async def read(pot_id: str) -> dict[str, str]:
        return {"id": pot_id}

    @pots.put("/{pot_id}")
    async def replace(pot_id: str, body: Annotated[dict[str, Any], Body()]) -> dict[str, Any]:
        return {"id": pot_id, **body}

    @pots.post("")
    async def create(request: Request) -> dict[str, int]:
        return {"size": len(await request.body())}

    @pots.get("")
    async def search(request: Request, _: Annotated[Search, Query()]) -> dict[str, list[str]]:
        return {name: request.query_params.getlist(name) for name in request.query_params}

    @app.post("/token")
    async def token(grant: Annotated[str, Form()]) -> str:
        return grant

    @app.post("/fire", openapi_extra={"requestBody": {"content": {"image/png": {}}}})
    async def fire(request: Request) -> int:
        return len(await request.body())

    add_failures(app)
    add_waits(app, gate)
    add_socket(app)
    app.include_router(pots)
    app.router.routes.append(Mount("/raw", app=refuse_in_plain_text))
    app.router.routes.append(
        Mount("/plain", routes=[Route("/x", lambda _: PlainTextResponse("x"), methods=["GET"])])
    )
    problems.install(app)
    return app


async def refuse_in_plain_text(scope: Scope, receive: Receive, send: Send) -> None:
    """An application of another kind, mounted: it answers with the status that its path names."""
    status = int(scope["path"].rpartition("/")[2])
    await PlainTextResponse("canary", status_code=status)(scope, receive, send)


def add_failures(app: FastAPI) -> None:
    @app.get("/bug")
    async def bug() -> None:
        raise LookupError("canary")

    @app.get("/half")
    async def half() -> StreamingResponse:
        async def parts() -> AsyncIterator[bytes]:
            yield b"half"
            raise LookupError("canary")

        return StreamingResponse(parts())

    @app.get("/page")
    async def page() -> Response:
        return Response(
            "x",
            headers={"Content-Security-Policy": "default-src 'self'", "Cache-Control": "max-age=60"}
            | {"Vary": "Accept"},
        )


def add_waits(app: FastAPI, gate: Gate) -> None:
    @app.get("/slow")
    @app.get("/livez")
    async def slow() -> str:
        gate.waiting += 1
        await gate.opened.wait()
        return "done"

    @app.get("/offset")
    async def offset(request: Request) -> str:
        clock.set_organization_offset(timedelta(days=1))
        request.state.organization_id = "01a20c72-9ac9-768d-ac7a-d9abca78da7c"
        return "set"


def add_socket(app: FastAPI) -> None:
    @app.websocket("/socket")
    async def socket(websocket: WebSocket, fail: str = "", number: int = 0) -> None:
        if fail == "before":
            raise LookupError("canary")
        if fail == "unseen":
            raise problems.NotFound
        await websocket.accept()
        said = f"{websocket.headers['host']} {websocket.headers.get('origin')} {number}"
        await websocket.send_text(said)
        if fail == "after":
            raise LookupError("canary")
        if fail == "refused":
            raise problems.Forbidden
        if fail == "busy":
            raise ConnectionResetError("canary")
        if fail == "database":
            raise DBAPIError("canary", {}, Exception("canary"))
        if fail == "closed":
            await websocket.close(4409)
            raise LookupError("canary")
        await websocket.close()


@pytest.fixture
def app(gate: Gate) -> FastAPI:
    app = bare_app(gate)
    app.add_middleware(Edge, config=CONFIG)
    return app


@pytest.fixture
async def client(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app), base_url="http://testserver"
    ) as client:
        yield client


@pytest.fixture
def lines() -> Iterator[io.StringIO]:
    stream = io.StringIO()
    logging.configure(stream=stream, is_strict=True)
    yield stream
    logging.configure()


def code_of(response: httpx.Response) -> str:
    """The problem that an answer is, checked for what every problem has."""
    assert response.headers["content-type"] == "application/problem+json"
    document = response.json()
    assert set(SCHEMA["required"]) <= set(document)
    assert document["status"] == response.status_code
    assert document["request_id"] == response.headers["x-request-id"]
    code: str = document["code"]
    return code


async def test_a_request_passes(client: httpx.AsyncClient) -> None:
    response = await client.get("/v1/pots/7")
    assert (response.status_code, response.json()) == (200, {"id": "7"})


# Request ids


@pytest.mark.parametrize("given", ["a", "A-b_c.9", "x" * 64])
async def test_a_plain_request_id_is_kept(client: httpx.AsyncClient, given: str) -> None:
    response = await client.get("/v1/pots/7", headers={"X-Request-Id": given})
    assert response.headers["x-request-id"] == given


@pytest.mark.parametrize("given", [b"", b"x" * 65, b"a b", b"a/b", b'a"b', "é".encode()])
async def test_any_other_request_id_is_replaced(client: httpx.AsyncClient, given: bytes) -> None:
    response = await client.get("/nowhere", headers=[(b"x-request-id", given)])
    assert len(response.headers["x-request-id"]) == 32
    assert code_of(response) == "not_found"


# Sizes


def header_of(size: int, client: httpx.AsyncClient) -> dict[str, str]:
    """A header that brings the whole head to this many bytes."""
    present = client.build_request("GET", "/v1/pots/7", headers={"x-pad": ""}).headers.raw
    used = sum(len(name) + len(value) + 4 for name, value in present)
    return {"x-pad": "p" * (size - used)}


@pytest.mark.parametrize(("size", "status"), [(2048, 200), (2049, 431)])
async def test_api_01_headers(client: httpx.AsyncClient, size: int, status: int) -> None:
    response = await client.get("/v1/pots/7", headers=header_of(size, client))
    assert response.status_code == status
    if status == 431:
        assert code_of(response) == "headers_too_large"
        assert response.headers["connection"] == "close"


@pytest.mark.parametrize(("size", "status"), [(256, 200), (257, 414)])
async def test_api_01_url(client: httpx.AsyncClient, size: int, status: int) -> None:
    path = "/v1/pots/7"
    by_path = await client.get(path + "7" * (size - len(path)))
    by_query = await client.get(path + "?page=" + "7" * (size - len(path) - 6))
    assert by_path.status_code == by_query.status_code == status
    if status == 414:
        assert code_of(by_path) == code_of(by_query) == "uri_too_long"


@pytest.mark.parametrize(("size", "status"), [(1000, 200), (1001, 413)])
async def test_api_01_body(client: httpx.AsyncClient, size: int, status: int) -> None:
    body = b'"' + b"x" * (size - 2) + b'"'

    async def chunks() -> AsyncIterator[bytes]:
        for at in range(0, size, 100):
            yield body[at : at + 100]

    whole = await client.post("/v1/pots", content=body, headers=JSON)
    chunked = await client.post("/v1/pots", content=chunks(), headers=JSON)
    assert whole.status_code == chunked.status_code == status
    if status == 413:
        assert code_of(whole) == code_of(chunked) == "content_too_large"
    else:
        assert whole.json() == chunked.json() == {"size": size}


@pytest.mark.parametrize(("size", "status"), [(2000, 200), (2001, 413)])
async def test_api_01_upload(client: httpx.AsyncClient, size: int, status: int) -> None:
    response = await client.post(
        "/fire", content=b"\xff" * size, headers={"content-type": "image/png"}
    )
    assert response.status_code == status


@pytest.mark.parametrize("length", ["-1", "1_0", "x", "9" * 19, "²"])
async def test_api_01_a_length_that_is_no_number(client: httpx.AsyncClient, length: str) -> None:
    headers = [(b"content-length", length.encode()), (b"content-type", b"application/json")]
    response = await client.post("/v1/pots", content=b"{}", headers=headers)
    assert (response.status_code, code_of(response)) == (400, "bad_request")


@pytest.mark.parametrize(("depth", "status"), [(32, 200), (33, 400)])
async def test_api_01_json_depth(client: httpx.AsyncClient, depth: int, status: int) -> None:
    response = await client.post("/v1/pots", content="[" * depth + "]" * depth, headers=JSON)
    assert response.status_code == status


# Hosts


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("testserver", 200),
        ("TestServer", 200),
        ("testserver:8000", 200),
        ("api.example", 200),
        ("[::1]", 200),
        ("[::1]:8000", 200),
        ("evil.example", 400),
        ("testserver.evil.example", 400),
        ("eviltestserver", 400),
        ("testserver:x", 400),
        ("testserver:80:80", 400),
        ("testserver ", 400),
        ("", 400),
    ],
)
async def test_api_01_host(client: httpx.AsyncClient, host: str, status: int) -> None:
    for _ in range(2):  # an accepted one is remembered
        response = await client.get("/v1/pots/7", headers={"Host": host})
        assert response.status_code == status
        if status == 400:
            assert code_of(response) == "misdirected_host"


def http_scope(app: FastAPI, **changes: object) -> Scope:
    """A request as a server hands it over."""
    return {
        "type": "http",
        "method": "GET",
        "path": "/v1/pots/7",
        "raw_path": b"/v1/pots/7",
        "query_string": b"",
        "headers": [(b"host", b"testserver")],
        "scheme": "http",
        "http_version": "1.1",
        "app": app,
        **changes,
    }


async def asked(app: FastAPI, scope: Scope, messages: list[Message] | None = None) -> list[Message]:
    """What an application sends, when it is asked below any client library."""
    to_read = iter(messages or [{"type": "http.request", "body": b"", "more_body": False}])
    sent: list[Message] = []

    async def receive() -> Message:
        return next(to_read)

    async def send(message: Message) -> None:
        sent.append(message)

    await app(scope, receive, send)
    return sent


@pytest.mark.parametrize("hosts", [[], [b"testserver", b"testserver"], [b"testserver", b"evil"]])
async def test_api_01_exactly_one_host(app: FastAPI, hosts: list[bytes]) -> None:
    sent = await asked(app, http_scope(app, headers=[(b"host", host) for host in hosts]))
    assert sent[0]["status"] == 400


async def test_any_host_is_served_when_the_operator_says_so(gate: Gate) -> None:
    app = bare_app(gate)
    app.add_middleware(Edge, config=EdgeConfig(hosts=("*",)))
    sent = await asked(app, http_scope(app, headers=[(b"host", b"anything.example")]))
    assert sent[0]["status"] == 200


# Paths and queries


@pytest.mark.parametrize("place", ["/v1/pots/a{}", "/v1/pots?a={}", "/v1/pots?{}=1"])
@pytest.mark.parametrize("hostile", ["%00", "%ff", "%ed%a0%80", "%c0%80", "%e2%82", "%f4%90%80%80"])
async def test_fuzz_04_percent_signs_stand_for_utf_8(
    client: httpx.AsyncClient, place: str, hostile: str
) -> None:
    response = await client.get(place.format(hostile))
    assert (response.status_code, code_of(response)) == (400, "bad_request")


@pytest.mark.parametrize("raw", [b"a=\x00", b"a=\xff"])
async def test_fuzz_04_raw_octets_too(app: FastAPI, raw: bytes) -> None:
    assert (await asked(app, http_scope(app, query_string=raw)))[0]["status"] == 400


@pytest.mark.parametrize(
    "query", ["a=%C3%A9", "a=1&b=2", "a=%&b=2", "a=1&&b=2", "_id=1&_id=2", "&", ""]
)
async def test_fuzz_04_taken(client: httpx.AsyncClient, query: str) -> None:
    assert (await client.get(f"/v1/pots?{query}")).status_code == 200


@pytest.mark.parametrize(
    ("target", "pointers"),
    [
        ("/v1/pots?c=1", ["query/c"]),
        ("/v1/pots?A=1", ["query/A"]),
        ("/v1/pots?a=1&zz=2&c=3&c=4", ["query/c", "query/zz"]),
        ("/v1/pots?ids=1", ["query/ids"]),
        ("/v1/pots?%3Cscript%3E=1", ["query"]),
        ("/v1/pots/7?a=1", ["query/a"]),
        ("/v1/pots/7?page=1&pages=2", ["query/pages"]),
    ],
)
async def test_fuzz_04_unknown(client: httpx.AsyncClient, target: str, pointers: list[str]) -> None:
    for method in ("GET", "HEAD"):
        response = await client.request(method, target)
        assert response.status_code == 422
    response = await client.get(target)
    assert code_of(response) == "invalid"
    assert [error["pointer"] for error in response.json()["errors"]] == pointers
    assert {error["code"] for error in response.json()["errors"]} == {"unknown_parameter"}


@pytest.mark.parametrize(
    "target", ["/v1/pots/7?page=1", "/v1/pots/7?page=1&a+b=2", "/plain/x?any=1"]
)
async def test_fuzz_04_known(client: httpx.AsyncClient, target: str) -> None:
    assert (await client.get(target)).status_code == 200


@pytest.mark.parametrize(("path", "status"), [("/nowhere?a=1", 404), ("/token?a=1", 405)])
async def test_fuzz_04_what_is_not_there_knows_no_parameters(
    client: httpx.AsyncClient, path: str, status: int
) -> None:
    assert (await client.get(path)).status_code == status


@pytest.mark.parametrize(
    ("query", "pointers"),
    [
        ("a=1&a=2", ["query/a"]),
        ("a=1&b=2&%61=3", ["query/a"]),
        ("a=1&a=1&b=1&b=2", ["query/a", "query/b"]),
        ("a&a", ["query/a"]),
        ("_id=1&_id=2&a=1&a=2", ["query/a"]),
    ],
)
async def test_fuzz_04_repeated(client: httpx.AsyncClient, query: str, pointers: list[str]) -> None:
    response = await client.get(f"/v1/pots?{query}")
    assert (response.status_code, code_of(response)) == (422, "invalid")
    assert [error["pointer"] for error in response.json()["errors"]] == pointers
    assert {error["code"] for error in response.json()["errors"]} == {"repeated"}


# Bodies


@pytest.mark.parametrize(
    ("content_type", "status"),
    [
        ("application/json", 200),
        ("Application/JSON", 200),
        ("application/json; charset=utf-8", 200),
        ('application/json;charset="UTF-8"', 200),
        ("application/merge-patch+json", 200),
        ("application/fhir+json", 200),
        ("application/json; charset=utf-16", 415),
        ("application/json; charset=latin-1", 415),
        ("text/plain", 415),
        ("text/json", 415),
        ("application/jsonx", 415),
        ("application/x-www-form-urlencoded", 415),
        ("multipart/form-data; boundary=x", 415),
        ("application/xml", 415),
        ("", 415),
    ],
)
async def test_fuzz_05_content_types(
    client: httpx.AsyncClient, content_type: str, status: int
) -> None:
    for _ in range(2):  # an accepted one is remembered
        response = await client.put(
            "/v1/pots/7", content=b'{"a":1}', headers={"content-type": content_type}
        )
        assert response.status_code == status
        if status == 415:
            assert code_of(response) == "unsupported_media_type"


async def test_fuzz_05_a_body_without_a_type(app: FastAPI) -> None:
    headers = [(b"host", b"testserver"), (b"content-length", b"2")]
    body: list[Message] = [{"type": "http.request", "body": b"{}"}]
    scope = http_scope(app, method="POST", path="/v1/pots", raw_path=b"/v1/pots", headers=headers)
    assert (await asked(app, scope, body))[0]["status"] == 415
    unannounced = http_scope(app, method="POST", path="/v1/pots", raw_path=b"/v1/pots")
    assert (await asked(app, unannounced, body))[0]["status"] == 415


@pytest.mark.parametrize("encoding", ["gzip", "br", "GZIP"])
async def test_fuzz_05_compressed_bodies_are_not_read(
    client: httpx.AsyncClient, encoding: str
) -> None:
    response = await client.put(
        "/v1/pots/7", content=b"{}", headers={**JSON, "content-encoding": encoding}
    )
    assert response.status_code == 415


async def test_fuzz_05_a_form_route_reads_forms_only(client: httpx.AsyncClient) -> None:
    form = await client.post("/token", data={"grant": "code"})
    as_json = await client.post("/token", json={"grant": "code"})
    assert (form.status_code, form.json(), as_json.status_code) == (200, "code", 415)


async def test_what_is_not_there_is_404_whatever_is_sent_to_it(client: httpx.AsyncClient) -> None:
    response = await client.post("/nowhere", content=b"x", headers={"content-type": "text/plain"})
    assert (response.status_code, code_of(response)) == (404, "not_found")


@pytest.mark.parametrize(
    "body", [b"{", b'{"a":1,"a":2}', b"NaN", b'"\\u0000"', b'"\\ud800"', b"\xef\xbb\xbf{}", b"\xff"]
)
async def test_fuzz_02_bodies_are_strict_json(client: httpx.AsyncClient, body: bytes) -> None:
    response = await client.put("/v1/pots/7", content=body, headers=JSON)
    assert (response.status_code, code_of(response)) == (400, "invalid_json")


async def test_the_application_reads_what_the_edge_has_read(client: httpx.AsyncClient) -> None:
    response = await client.put("/v1/pots/7", json={"a": "é"})
    assert response.json() == {"id": "7", "a": "é"}


async def test_a_client_that_leaves_while_sending_leaves_nothing(app: FastAPI) -> None:
    headers = [
        (b"host", b"testserver"),
        (b"transfer-encoding", b"chunked"),
        (b"content-type", b"application/json"),
    ]
    scope = http_scope(app, method="POST", path="/v1/pots", raw_path=b"/v1/pots", headers=headers)
    messages: list[Message] = [
        {"type": "http.request", "body": b"{", "more_body": True},
        {"type": "http.disconnect"},
    ]
    assert await asked(app, scope, messages) == []
    assert edge_of(app).in_flight == 0


def edge_of(app: FastAPI) -> Edge:
    """The middleware inside an application that has served."""
    layer: Any = app.middleware_stack
    while not isinstance(layer, Edge):
        layer = layer.app
    return layer


# Headers of answers

SECURITY = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'; base-uri 'none'",
    "cross-origin-resource-policy": "same-origin",
    "strict-transport-security": "max-age=63072000; includeSubDomains",
    "cache-control": "no-store",
    "pragma": "no-cache",
}


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/pots/7"),
        ("GET", "/nowhere"),
        ("DELETE", "/v1/pots/7"),
        ("GET", "/bug"),
        ("GET", "/v1/pots?a=1&a=1"),
        ("POST", "/token"),
        ("OPTIONS", "/v1/pots"),
        ("GET", "/plain/y"),
    ],
)
async def test_api_12_phi_13_headers_are_on_every_answer(
    client: httpx.AsyncClient, method: str, path: str
) -> None:
    response = await client.request(method, path)
    assert {name: response.headers.get(name) for name in SECURITY} == SECURITY
    assert response.headers["vary"] == "Origin"


async def test_an_answer_s_own_policy_stays(client: httpx.AsyncClient) -> None:
    headers = (await client.get("/page")).headers
    assert headers["content-security-policy"] == "default-src 'self'"
    assert headers["cache-control"] == "max-age=60"
    assert "pragma" not in headers
    assert headers.get_list("vary") == ["Accept", "Origin"]
    assert headers["x-content-type-options"] == "nosniff"


async def test_phi_08_development_does_not_pin_tls(gate: Gate) -> None:
    app = bare_app(gate)
    app.add_middleware(Edge, config=EdgeConfig(hosts=("testserver",)))
    (start, *_) = await asked(app, http_scope(app))
    assert b"strict-transport-security" not in dict(start["headers"])


# CORS

ORIGINS = [
    (ORIGIN, True),
    ("http://localhost:3000", True),
    ("https://app.example.", False),
    ("https://app.example:443", False),
    ("https://APP.example", False),
    ("http://app.example", False),
    ("https://evil.app.example", False),
    ("https://app.example.evil.test", False),
    ("https://evilapp.example", False),
    ("http://localhost:3001", False),
    ("null", False),
    ("*", False),
    ("", False),
]


@pytest.mark.parametrize(("origin", "is_allowed"), ORIGINS)
async def test_api_11_origins(client: httpx.AsyncClient, origin: str, *, is_allowed: bool) -> None:
    for path in ("/v1/pots/7", "/nowhere"):
        headers = (await client.get(path, headers={"Origin": origin})).headers
        assert headers.get("access-control-allow-origin") == (origin if is_allowed else None)
        assert ("access-control-expose-headers" in headers) is is_allowed
        assert "access-control-allow-credentials" not in headers
        assert headers["vary"] == "Origin"


@pytest.mark.parametrize(("origin", "is_allowed"), ORIGINS)
async def test_api_11_preflights(
    client: httpx.AsyncClient, origin: str, *, is_allowed: bool
) -> None:
    response = await client.options(
        "/v1/pots/7", headers={"Origin": origin, "Access-Control-Request-Method": "PUT"}
    )
    assert response.status_code == 204
    assert response.headers.get("access-control-allow-origin") == (origin if is_allowed else None)
    if is_allowed:
        assert response.headers["access-control-allow-methods"] == "GET, HEAD, OPTIONS, PUT"
        assert response.headers["access-control-max-age"] == "600"
        allowed = response.headers["access-control-allow-headers"].lower()
        assert {"authorization", "content-type", "if-match"} <= set(allowed.split(", "))
    else:
        assert "access-control-allow-methods" not in response.headers


# Methods


async def test_head_is_get_without_its_body(client: httpx.AsyncClient) -> None:
    got, head = await client.get("/v1/pots/7"), await client.head("/v1/pots/7")
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == got.headers["content-length"]


async def test_head_of_what_has_no_get(client: httpx.AsyncClient) -> None:
    response = await client.head("/token")
    assert (response.status_code, response.headers["allow"]) == (405, "OPTIONS, POST")


async def test_api_10_allow_is_complete(client: httpx.AsyncClient) -> None:
    response = await client.delete("/v1/pots/7")
    assert (response.status_code, code_of(response)) == (405, "method_not_allowed")
    assert response.headers["allow"] == "GET, HEAD, OPTIONS, PUT"


async def test_options_lists_the_methods(client: httpx.AsyncClient) -> None:
    response = await client.options("/v1/pots")
    assert (response.status_code, response.headers["allow"]) == (204, "GET, HEAD, OPTIONS, POST")
    nowhere = await client.options("/nowhere")
    assert (nowhere.status_code, code_of(nowhere)) == (404, "not_found")


async def test_api_10_plain_refusals_become_problems(client: httpx.AsyncClient) -> None:
    missing = await client.get("/plain/y")
    assert (missing.status_code, code_of(missing)) == (404, "not_found")
    for status, code in (
        (404, "not_found"),
        (405, "method_not_allowed"),
        (413, "content_too_large"),
    ):
        refused = await client.get(f"/raw/{status}")
        assert (refused.status_code, code_of(refused)) == (status, code)
        assert "canary" not in refused.text
    teapot = await client.get("/raw/418")
    assert (teapot.status_code, teapot.text) == (418, "canary")


# Failures


async def test_api_10_a_bug_is_a_500_with_a_request_id_only(
    client: httpx.AsyncClient, lines: io.StringIO
) -> None:
    response = await client.get("/bug")
    assert code_of(response) == "internal"
    assert set(response.json()) == {"type", "title", "status", "code", "request_id"}
    assert "canary" not in lines.getvalue()
    (bug,) = [line for line in logged(lines) if line["event"] == "unhandled_exception"]
    assert bug["error"] == "LookupError"


async def test_an_answer_that_has_begun_is_cut(app: FastAPI, lines: io.StringIO) -> None:
    sent = await asked(app, http_scope(app, path="/half", raw_path=b"/half"))
    assert [message["type"] for message in sent] == ["http.response.start", "http.response.body"]
    assert sent[-1]["more_body"]
    assert "response_cut" in {line["event"] for line in logged(lines)}
    assert "canary" not in lines.getvalue()


async def hurry(client: httpx.AsyncClient, app: FastAPI) -> None:
    """Shorten the deadline once the application has served, so that only what waits meets it."""
    assert (await client.get("/v1/pots/7")).status_code == 200
    edge_of(app)._deadline = 0.05  # noqa: SLF001  # no operator changes it while serving


async def test_api_01_the_deadline_ends_a_slow_handler(
    client: httpx.AsyncClient, app: FastAPI
) -> None:
    await hurry(client, app)
    response = await client.get("/slow")
    assert (response.status_code, code_of(response)) == (503, "busy")
    assert response.headers["retry-after"] == "1"
    assert edge_of(app).in_flight == 0


async def test_api_01_the_deadline_ends_a_slow_body(
    client: httpx.AsyncClient, app: FastAPI
) -> None:
    await hurry(client, app)

    async def never() -> AsyncIterator[bytes]:
        yield b"{"
        await asyncio.Event().wait()

    response = await client.post("/v1/pots", content=never(), headers=JSON)
    assert (response.status_code, code_of(response)) == (408, "request_timeout")


async def test_rel_08_the_excess_is_shed_and_health_is_not(
    client: httpx.AsyncClient, gate: Gate, app: FastAPI
) -> None:
    held = [asyncio.create_task(client.get("/slow")) for _ in range(3)]
    while gate.waiting < 3:  # noqa: ASYNC110  # turns of the loop, no time
        await asyncio.sleep(0)
    assert b"stepwell_http_in_flight 3.0" in metrics.render()

    started = clock.monotonic()
    shed = await client.get("/v1/pots/7")
    took = clock.monotonic() - started
    health = asyncio.create_task(client.get("/livez"))
    while gate.waiting < 4:  # noqa: ASYNC110  # turns of the loop, no time
        await asyncio.sleep(0)
    gate.opened.set()

    assert (shed.status_code, code_of(shed)) == (503, "busy")
    assert took < 0.05
    assert {(await one).status_code for one in [*held, health]} == {200}
    assert edge_of(app).in_flight == 0
    assert (await client.get("/v1/pots/7")).status_code == 200


async def test_an_organization_s_offset_ends_with_its_request(client: httpx.AsyncClient) -> None:
    await client.get("/offset")
    assert abs(clock.now() - clock.wall()) < timedelta(seconds=5)


# Logs and metrics


def logged(lines: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in lines.getvalue().splitlines()]


async def test_phi_10_the_access_line_names_the_template_and_nothing_that_was_sent(
    client: httpx.AsyncClient, lines: io.StringIO
) -> None:
    await client.get(
        "/v1/pots/canary?page=canary", headers={"X-Request-Id": "r-1", "X-A": "canary"}
    )
    await client.get("/offset")
    await client.get("/canary")
    await client.request("canary", "/v1/pots/7")
    first, second, third, fourth = (one for one in logged(lines) if one["event"] == "request")
    assert "canary" not in lines.getvalue().lower()
    assert first.pop("duration_ms") > 0
    assert first.pop("at").endswith("Z")
    assert first == {
        "event": "request",
        "level": "info",
        "route": "/v1/pots/{pot_id}",
        "method": "GET",
        "status": 200,
        "request_id": "r-1",
    }
    assert second["organization_id"] == "01a20c72-9ac9-768d-ac7a-d9abca78da7c"
    assert (third["route"], third["status"]) == ("unmatched", 404)
    assert (fourth["method"], fourth["status"]) == ("OTHER", 405)


async def test_rel_17_requests_are_counted_by_template(client: httpx.AsyncClient) -> None:
    def count() -> float:
        labels = {"route": "/v1/pots/{pot_id}", "method": "GET", "status": "2xx"}
        name = "stepwell_http_request_seconds_count"
        return metrics.REGISTRY.get_sample_value(name, labels) or 0

    before = count()
    await client.get("/v1/pots/1")
    await client.get("/v1/pots/2")
    assert count() == before + 2


def test_a_router_that_is_included_twice_has_two_templates() -> None:
    app, twice = FastAPI(), APIRouter()

    @twice.get("/x/{a}")
    async def read(a: str) -> str:
        return a

    app.include_router(twice, prefix="/one")
    app.include_router(twice, prefix="/two")
    index = RouteIndex(app.routes)
    route = twice.routes[0]
    assert index.template({"route": route, "path": "/two/x/1"}) == "/two/x/{a}"
    assert index.template({"route": route, "path": "/one/x/1"}) == "/one/x/{a}"


# WebSockets


async def connected(app: FastAPI, query: bytes = b"", **changes: object) -> list[Message]:
    scope = http_scope(
        app,
        type="websocket",
        scheme="ws",
        path="/socket",
        raw_path=b"/socket",
        query_string=query,
        subprotocols=[],
        extensions={"websocket.http.response": {}},
        headers=[(b"host", b"testserver"), (b"origin", ORIGIN.encode())],
        **changes,
    )
    return await asked(app, scope, [{"type": "websocket.connect"}])


async def test_a_socket_sees_host_and_origin(app: FastAPI) -> None:
    sent = await connected(app)
    assert [message["type"] for message in sent] == [
        "websocket.accept",
        "websocket.send",
        "websocket.close",
    ]
    assert sent[1]["text"] == f"testserver {ORIGIN} 0"


@pytest.mark.parametrize(("query", "status"), [(b"%00", 400), (b"%ff", 400), (b"fail=before", 500)])
async def test_a_handshake_is_refused_with_a_problem(
    app: FastAPI, query: bytes, status: int
) -> None:
    start, body = await connected(app, query)
    assert (start["type"], start["status"]) == ("websocket.http.response.start", status)
    assert dict(start["headers"])[b"x-content-type-options"] == b"nosniff"
    assert json.loads(body["body"])["status"] == status


async def test_a_handshake_without_the_denial_extension_is_closed(app: FastAPI) -> None:
    scope = http_scope(app, type="websocket", query_string=b"%ff", path="/socket", subprotocols=[])
    (close,) = await asked(app, scope, [{"type": "websocket.connect"}])
    assert (close["type"], close["code"], close["reason"]) == (
        "websocket.close",
        1008,
        "bad_request",
    )


@pytest.mark.parametrize(
    ("query", "code", "reason"),
    [
        (b"fail=after", 1011, "internal"),
        (b"fail=database", 1011, "internal"),
        (b"fail=refused", 1008, "forbidden"),
        (b"fail=busy", 1013, "busy"),
        (b"fail=closed", 4409, ""),
    ],
)
async def test_api_10_a_failing_socket_is_closed_once_and_with_a_code(
    app: FastAPI, lines: io.StringIO, query: bytes, code: int, reason: str
) -> None:
    closes = [one for one in await connected(app, query) if one["type"] == "websocket.close"]
    assert [(close["code"], close["reason"]) for close in closes] == [(code, reason)]
    assert "canary" not in lines.getvalue()


async def test_lifespan_passes_through(app: FastAPI) -> None:
    sent = await asked(
        app,
        {"type": "lifespan", "app": app},
        [{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}],
    )
    assert [message["type"] for message in sent] == [
        "lifespan.startup.complete",
        "lifespan.shutdown.complete",
    ]
