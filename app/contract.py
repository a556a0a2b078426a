"""The committed contract: OpenAPI 3.1 and AsyncAPI, made from the code and compared with it.

FastAPI's document is brought to what strict tools accept: problems instead of its own error
shape, no keyword of a later version, and the security that every operation has.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute, iter_route_contexts

from app.core.problems import MEDIA_TYPE
from app.realtime import asyncapi
from app.security.guards import permission_of
from app.security.permissions import POLICY

VERSION: Final = "0.1.0"
_DESCRIPTION: Final = """\
The backend of an online intensive outpatient program: referral and intake, assessments, treatment
plans, groups and sessions, live rooms, and the events of all of these.

Errors are problems (RFC 9457): switch on `code`. Lists are pages: follow `next_cursor`. Send
`Idempotency-Key` with every POST, `If-Match` with every change.
"""
_METHODS: Final = frozenset({"get", "put", "post", "delete", "patch"})
_EVERYWHERE: Final = {
    "401": "Who asks is not known: sign in again.",
    "403": "Who asks may not do this.",
    "429": "Too many requests: wait as long as `Retry-After` says.",
    "503": "The service is busy: repeat after `Retry-After`.",
}


def install(app: FastAPI) -> None:
    """Let the application describe itself by this module's document, made once."""

    def describe() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _document(app)
        return app.openapi_schema

    app.openapi = describe  # type: ignore[method-assign]  # the documented way to replace it


def documents(app: FastAPI) -> dict[str, str]:
    """Every file of the contract, by name."""
    openapi = json.dumps(app.openapi(), indent=2, ensure_ascii=False, sort_keys=False)
    return {"openapi.json": openapi + "\n", "asyncapi.yaml": asyncapi.render()}


def write(files: Mapping[str, str], directory: Path) -> None:
    """Write the contract."""
    directory.mkdir(exist_ok=True)
    for name, content in files.items():
        (directory / name).write_text(content, encoding="utf-8")


def stale(files: Mapping[str, str], directory: Path) -> list[str]:
    """The files that do not say what the code says."""
    return [
        name
        for name, content in files.items()
        if not (directory / name).is_file()
        or (directory / name).read_text(encoding="utf-8") != content
    ]


def _document(app: FastAPI) -> dict[str, Any]:
    document = get_openapi(
        title=app.title,
        version=app.version,
        summary="The backend that an online intensive outpatient program runs on",
        description=_DESCRIPTION,
        routes=app.routes,
        license_info={"name": "Apache-2.0", "identifier": "Apache-2.0"},
        servers=[{"url": "/", "description": "This server"}],
    )
    _secure(app, document)
    for operation in _operations(document):
        _problems_everywhere(operation)
    schemas = document.get("components", {}).get("schemas", {})
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    plain: dict[str, Any] = _strict(document)
    return plain


def _secure(app: FastAPI, document: dict[str, Any]) -> None:
    document.setdefault("components", {})["securitySchemes"] = {
        "bearer": {
            "type": "http",
            "scheme": "bearer",
            "bearerFormat": "JWT",
            "description": "An access token of `POST /oauth/token`.",
        }
    }
    for context in iter_route_contexts(app.routes):
        route = context.route
        if not isinstance(route, APIRoute) or not route.include_in_schema:
            continue
        permission = permission_of(route)
        for method in route.methods or ():
            operation = document["paths"][context.path][method.lower()]
            operation["security"] = [] if permission is None else [{"bearer": []}]
            if permission is not None:
                operation["x-permission"] = permission.value
                operation["x-scope"] = POLICY[permission].scope


def _operations(document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for path in document.get("paths", {}).values():
        for method, operation in path.items():
            if method in _METHODS:
                yield operation


def _problems_everywhere(operation: dict[str, Any]) -> None:
    """Every error is a problem, and 401, 403, 429 and 503 can come from anywhere."""
    schema = {"$ref": "#/components/schemas/ProblemDetails"}
    content = {MEDIA_TYPE: {"schema": schema}}
    responses = operation["responses"]
    if operation["security"]:
        for status, description in _EVERYWHERE.items():
            responses.setdefault(status, {"description": description, "content": content})
    if "422" in responses:
        responses["422"] = {
            "description": "The request is malformed; `errors` says where.",
            "content": content,
        }
    responses["default"] = {"description": "Any other problem.", "content": content}


def _strict(node: Any) -> Any:  # noqa: ANN401 (JSON)
    """Write the 3.2 keyword for streamed items as 3.1 tools understand it."""
    if isinstance(node, dict):
        return {
            ("schema" if key == "itemSchema" else key): _strict(value)
            for key, value in node.items()
        }
    return [_strict(item) for item in node] if isinstance(node, list) else node
