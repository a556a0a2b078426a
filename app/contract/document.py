"""The OpenAPI document: what FastAPI says of the routes, completed with what they cannot say."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute, iter_route_contexts

from app.contract import webhooks
from app.contract.examples import Examples
from app.core import problems
from app.core.problems import Problem
from app.routers.route import tagged
from app.security import idempotency
from app.security.guards import limited, permission_of
from app.security.permissions import POLICY

Json = dict[str, Any]

_DESCRIPTION: Final = """\
The backend of an online intensive outpatient program: referral and intake, assessments, treatment
plans, groups and sessions, live rooms, and the events of all of these.

- Every operation says which permission and scope it needs (`x-permission`, `x-scope`), or that it
  needs none.
- Errors are problems (RFC 9457): switch on `code`. What you may not see does not exist (404).
- Lists are pages: follow `next_cursor` until it is null.
- Send `Idempotency-Key` with every POST: the same request with the same key happens once.
- What can be changed has an `ETag`; a change names it in `If-Match`, a second read may name it in
  `If-None-Match`.
- `RateLimit` and `RateLimit-Policy` say what is left of a limit; a 429 has `Retry-After`.
- Instants are UTC, time zones have IANA names, ids are UUIDs.

Live rooms speak WebSocket: `asyncapi.yaml` beside this document describes them.
"""
TAGS: Final[Mapping[str, str]] = {
    "alerts": "Safety concerns with a clock, and what was done about them.",
    "assessments": "Instruments given to a participant: assigned, answered, submitted, scored.",
    "clock": "The organization's time, which a development organization may move.",
    "connectivity": "What a participant's connection carries, measured by the server.",
    "enrollments": "Episodes of a participant in a program.",
    "events": "Everything that happened, in order and without gaps.",
    "groups": "Standing groups, their members and who leads them.",
    "instruments": "Questionnaires as data, with their versions and scores.",
    "intakes": "Admission: what the policy suggests with every reason, what a human decides.",
    "invitations": "One-time invitations by which people get their account.",
    "me": "The caller's own account and sign-ins.",
    "metadata": "What an application must know before it signs anybody in.",
    "organization": "The organization that the caller belongs to.",
    "participants": "People in treatment and their care teams.",
    "plans": "Treatment plans: drafted, proposed, signed, revised.",
    "programs": "What is offered, and its tracks.",
    "realtime": "Tickets for the WebSocket of live rooms.",
    "referrals": "How somebody comes to a program.",
    "rooms": "Where people talk live: members, history, sending without a socket.",
    "series": "Sessions that recur in local wall time.",
    "sessions": "Occurrences of care: joining, canceling, attendance.",
    "sign-in": "OAuth 2.1 with PKCE, for first-party applications.",
    "staff": "People who work for the organization.",
    "webhooks": "Receivers of events, their deliveries, and what is sent to them.",
}

# What any request can meet before or after its route: by what the operation is like.
_ALWAYS: Final = (
    problems.BadRequest,
    problems.MisdirectedHost,
    problems.UriTooLong,
    problems.HeadersTooLarge,
    problems.Invalid,
    problems.Internal,
    problems.ServiceBusy,
)
_WITH_TOKEN: Final = (
    problems.Unauthenticated,
    problems.Forbidden,
    problems.InsufficientScope,
    problems.TooManyRequests,
)
_WITH_BODY: Final = (
    problems.InvalidJson,
    problems.RequestTimeout,
    problems.ContentTooLarge,
    problems.UnsupportedMediaType,
)
_WITH_KEY: Final = (
    idempotency.InvalidIdempotencyKey,
    idempotency.RequestUnderWay,
    idempotency.IdempotencyKeyReused,
    problems.OutcomeUnknown,
)
_EVERYWHERE: Final = (*_ALWAYS, *_WITH_BODY, *_WITH_TOKEN, *_WITH_KEY)
# The name of what they share a status for; the first of them gives it.
_SHARED: Final = {int(one.status): one.__name__ for one in reversed(_EVERYWHERE)}
_IDEMPOTENCY_KEY: Final[Json] = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "description": "Of your choice, such as a UUID: the same request with the same key happens"
    " once, and gets the same answer for a day.",
    "schema": {"type": "string", "minLength": 1, "maxLength": 255, "title": "Idempotency-Key"},
}
_IF_NONE_MATCH: Final[Json] = {
    "name": "If-None-Match",
    "in": "header",
    "required": False,
    "description": "The ETag that you have: 304 without a body when nothing has changed.",
    "schema": {"type": "string", "title": "If-None-Match"},
}
_ETAG: Final[Json] = {
    "description": "The version, to be named in `If-Match` and `If-None-Match`.",
    "schema": {"type": "string", "examples": ['"3"']},
}
_LOCATION: Final[Json] = {
    "description": "Where what was made is read.",
    "schema": {"type": "string", "format": "uri-reference"},
}
_RETRY_AFTER: Final[Json] = {
    "description": "After how many seconds the request may be repeated.",
    "schema": {"type": "integer", "minimum": 0},
}
_WAITING: Final = ("429", "503")
_PROBLEM: Final[Json] = {"$ref": "#/components/schemas/ProblemDetails"}
_ANY_OTHER: Final[Json] = {
    "description": "Any other problem.",
    "content": {problems.MEDIA_TYPE: {"schema": _PROBLEM}},
}
_SECURITY: Final[Json] = {
    "bearer": {
        "type": "http",
        "scheme": "bearer",
        "bearerFormat": "JWT",
        "description": "An access token of `POST /oauth/token`.",
    }
}


@dataclass(frozen=True, slots=True)
class _Operation:
    """One operation of the document, with the route behind it."""

    method: str
    content: Json
    route: APIRoute


def make(app: FastAPI) -> Json:
    """The whole document; the same code always makes the same."""
    document: Json = get_openapi(
        title=app.title,
        version=app.version,
        summary="The backend that an online intensive outpatient program runs on",
        description=_DESCRIPTION,
        routes=app.routes,
        license_info={"name": "Apache-2.0", "identifier": "Apache-2.0"},
        servers=[{"url": "/", "description": "This server"}],
        tags=[{"name": name, "description": text} for name, text in TAGS.items()],
    )
    problems.describe(document)
    components = document["components"]
    components["securitySchemes"] = _SECURITY
    components["responses"] = _shared_responses()
    components["schemas"].update(webhooks.schemas())
    examples = Examples(components["schemas"])
    for operation in _operations(app, document):
        _guard(operation)
        _tag_versions(operation)
        _locate(operation)
        _keep_idempotent(operation)
        _meet_problems(operation)
        _stream(operation)
        _exemplify(operation, examples)
    components["examples"] = dict(_share_problem_examples(document))
    document["webhooks"] = webhooks.webhooks()
    return document


def _operations(app: FastAPI, document: Json) -> Iterator[_Operation]:
    for context in iter_route_contexts(app.routes):
        route = context.route
        if isinstance(route, APIRoute) and route.include_in_schema:
            for method in sorted(route.methods or ()):
                content = document["paths"][context.path][method.lower()]
                yield _Operation(method, content, route)


def _guard(operation: _Operation) -> None:
    """Say who may call."""
    permission = permission_of(operation.route)
    operation.content["security"] = [] if permission is None else [{"bearer": []}]
    if permission is not None:
        operation.content["x-permission"] = permission.value
        operation.content["x-scope"] = POLICY[permission].scope


def _tag_versions(operation: _Operation) -> None:
    """Say which answers carry an ETag: those of routes that call `tagged`."""
    if tagged.__name__ not in operation.route.endpoint.__code__.co_names:
        return
    for response in _successes(operation).values():
        response.setdefault("headers", {})["ETag"] = _ETAG
    if operation.method == "GET":
        operation.content.setdefault("parameters", []).append(_IF_NONE_MATCH)
        operation.content["responses"]["304"] = {
            "description": "Nothing has changed since the version that you have.",
            "headers": {"ETag": _ETAG},
        }


def _locate(operation: _Operation) -> None:
    """Say which answers tell where something is: those of routes that set the header."""
    if "Location" in operation.route.endpoint.__code__.co_consts:
        for response in _successes(operation).values():
            response.setdefault("headers", {})["Location"] = _LOCATION


def _keep_idempotent(operation: _Operation) -> None:
    if _takes_key(operation):
        operation.content.setdefault("parameters", []).append(_IDEMPOTENCY_KEY)


def _takes_key(operation: _Operation) -> bool:
    return operation.method == "POST" and bool(operation.content["security"])


def _meet_problems(operation: _Operation) -> None:
    """Document every status by name, in order; `default` stands for those of proxies between."""
    responses = operation.content["responses"]
    for status, described in problems.problems(*_problems_of(operation)).items():
        if str(status) in responses:
            _add(responses[str(status)], described)
        else:
            responses[str(status)] = {"$ref": f"#/components/responses/{_SHARED[int(status)]}"}
    for status in _WAITING:
        if "content" in responses.get(status, {}):
            responses[status].setdefault("headers", {})["Retry-After"] = _RETRY_AFTER
    responses.setdefault("default", _ANY_OTHER)
    operation.content["responses"] = dict(sorted(responses.items()))


def _shared_responses() -> Json:
    """What a status means that no route says more of."""
    responses = {
        _SHARED[int(status)]: described
        for status, described in problems.problems(*_EVERYWHERE).items()
    }
    for status in _WAITING:
        responses[_SHARED[int(status)]]["headers"] = {"Retry-After": _RETRY_AFTER}
    return responses


def _problems_of(operation: _Operation) -> Iterable[type[Problem]]:
    yield from _ALWAYS
    content = operation.content.get("requestBody", {}).get("content", {})
    if content:
        yield from _WITH_BODY
    if operation.content["security"]:
        yield from _WITH_TOKEN
    if any(one.call is limited for one in operation.route.dependant.dependencies):
        yield problems.TooManyRequests
    if _takes_key(operation):
        yield from _WITH_KEY


def _add(known: Json, described: Json) -> None:
    """Add what else a status can mean to what the route says of it."""
    media = known.setdefault("content", {}).setdefault(problems.MEDIA_TYPE, {"schema": _PROBLEM})
    theirs = described["content"][problems.MEDIA_TYPE]["examples"]
    media["examples"] = {**media.get("examples", {}), **theirs}


def _share_problem_examples(document: Json) -> Iterator[tuple[str, Json]]:
    """Name each problem once: its example is the same wherever it is met."""
    seen: set[str] = set()
    for response in _all_responses(document):
        examples = response.get("content", {}).get(problems.MEDIA_TYPE, {}).get("examples", {})
        for code, example in list(examples.items()):
            examples[code] = {"$ref": f"#/components/examples/{code}"}
            if code not in seen:
                seen.add(code)
                yield code, example


def _all_responses(document: Json) -> Iterator[Json]:
    yield from document["components"]["responses"].values()
    for item in document["paths"].values():
        for operation in item.values():
            yield from operation["responses"].values()


def _stream(operation: _Operation) -> None:
    """Write the 3.2 keyword for streamed items as 3.1 tools understand it."""
    for response in operation.content["responses"].values():
        for media in response.get("content", {}).values():
            if "itemSchema" in media:
                media["schema"] = media.pop("itemSchema")


def _exemplify(operation: _Operation, examples: Examples) -> None:
    """Give the body and every success an example, and every success a sentence."""
    for media in operation.content.get("requestBody", {}).get("content", {}).values():
        _give_example(media, examples)
    for status, response in _successes(operation).items():
        if response["description"] == "Successful Response":
            response["description"] = HTTPStatus(int(status)).phrase
        for media in response.get("content", {}).values():
            _give_example(media, examples)


def _give_example(media: Json, examples: Examples) -> None:
    schema = media.get("schema", {})
    if "example" in media or "examples" in media:
        return
    if alternatives := examples.alternatives(schema):
        media["examples"] = alternatives
    else:
        media["example"] = examples.of(schema)


def _successes(operation: _Operation) -> dict[str, Json]:
    responses: dict[str, Json] = operation.content["responses"]
    return {status: one for status, one in responses.items() if status.startswith("2")}
