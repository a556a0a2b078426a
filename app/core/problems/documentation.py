"""Problems in the OpenAPI document: one schema, and an example of each that a route can meet."""

from typing import Any, Final, cast

from app.core.problems.base import MEDIA_TYPE, Problem
from app.core.problems.standard import Invalid

_SCHEMA_NAME: Final = "ProblemDetails"
_REFERENCE: Final = {"$ref": f"#/components/schemas/{_SCHEMA_NAME}"}
_EXAMPLE_ID: Final = "01a20c729ac9768dac7ad9abca78da7c"
_FASTAPI_SCHEMAS: Final = ("HTTPValidationError", "ValidationError")

SCHEMA: Final[dict[str, Any]] = {
    "title": _SCHEMA_NAME,
    "description": "A problem as in RFC 9457. Further members are ids, states and counts.",
    "type": "object",
    "required": ["type", "title", "status", "code"],
    "properties": {
        "type": {
            "type": "string",
            "format": "uri-reference",
            "description": "Where this problem is explained.",
        },
        "title": {"type": "string"},
        "status": {"type": "integer", "minimum": 400, "maximum": 599},
        "code": {"type": "string", "description": "Stable; what a program switches on."},
        "detail": {"type": "string"},
        "request_id": {"type": "string", "description": "Finds the request in the server's logs."},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["pointer", "code"],
                "properties": {
                    "pointer": {
                        "type": "string",
                        "description": "A JSON pointer into the body, or `query/<name>`,"
                        " `path/<name>`, `header/<name>`, `cookie/<name>`.",
                    },
                    "code": {"type": "string"},
                    "detail": {"type": "string"},
                },
            },
        },
    },
    "additionalProperties": True,
}


def problems(*classes: type[Problem]) -> dict[int | str, dict[str, Any]]:
    """The `responses=` of a route that can meet these problems."""
    responses: dict[int | str, dict[str, Any]] = {}
    for problem in classes:
        response = responses.setdefault(
            int(problem.status),
            {
                "description": problem.title,
                "content": {MEDIA_TYPE: {"schema": _REFERENCE, "examples": {}}},
            },
        )
        if problem.title not in response["description"]:
            response["description"] += f"; {problem.title}"
        response["content"][MEDIA_TYPE]["examples"][problem.code()] = example(problem)
    return responses


def example(problem: type[Problem]) -> dict[str, Any]:
    """One answer, with what the class says about itself."""
    summary = (problem.__doc__ or problem.title).strip().splitlines()[0]
    return {"summary": summary, "value": problem().body(_EXAMPLE_ID)}


def describe(openapi: dict[str, Any]) -> dict[str, Any]:
    """Put the problem schema into an OpenAPI document, and take FastAPI's error schema out."""
    schemas = openapi.setdefault("components", {}).setdefault("schemas", {})
    schemas[_SCHEMA_NAME] = SCHEMA
    for name in _FASTAPI_SCHEMAS:
        schemas.pop(name, None)
    for item in [*openapi.get("paths", {}).values(), *openapi.get("webhooks", {}).values()]:
        for operation in item.values():
            if isinstance(operation, dict):
                _replace_fastapi_errors(operation)
    return openapi


def _replace_fastapi_errors(operation: dict[str, Any]) -> None:
    responses = cast("dict[str, Any]", operation.get("responses", {}))
    for status, response in responses.items():
        schema = response.get("content", {}).get("application/json", {}).get("schema", {})
        if schema.get("$ref", "").endswith("/HTTPValidationError"):
            responses[status] = problems(Invalid)[int(Invalid.status)]
