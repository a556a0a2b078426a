"""The operations of the API, read from its own OpenAPI document.

Whatever is tested here is tested for each of them, so that a route is covered from the moment at
which it exists.
"""

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

from fastapi import FastAPI
from typing_extensions import override

from app.security.permissions import Permission

Json = dict[str, Any]

_METHODS: Final = ("get", "put", "post", "patch", "delete")
_ALTERNATIVES: Final = ("oneOf", "anyOf")


class Undescribed(AssertionError):
    """The OpenAPI document lacks something that every operation must say; the message says what."""


@dataclass(frozen=True)
class Parameter:
    """One parameter of an operation's path, query or headers."""

    name: str
    place: str
    schema: Json
    is_required: bool


@dataclass(frozen=True, eq=False, repr=False)
class Operation:
    """One method on one path, and everything that the document says of it."""

    document: Json
    path: str
    method: str
    description: Json

    @override
    def __repr__(self) -> str:
        return f"{self.method} {self.path}"

    @property
    def id(self) -> str:
        """Its `operationId`, by which clients name it."""
        return str(self.description["operationId"])

    @property
    def permission(self) -> Permission | None:
        """What the caller needs; None when anybody may call."""
        name = self.description.get("x-permission")
        return None if name is None else Permission(name)

    @cached_property
    def parameters(self) -> tuple[Parameter, ...]:
        """Path, query and header parameters, in the document's order."""
        return tuple(
            Parameter(one["name"], one["in"], one["schema"], one.get("required", False))
            for one in self.description.get("parameters", ())
        )

    def placed(self, place: str) -> tuple[Parameter, ...]:
        """The parameters of `path`, `query` or `header`."""
        return tuple(one for one in self.parameters if one.place == place)

    @property
    def needs_version(self) -> bool:
        """Whether a change must name the version that it changes."""
        return any(one.name.lower() == "if-match" for one in self.placed("header"))

    @property
    def content(self) -> Json:
        """The body's media types; empty when there is no body."""
        content: Json = self.description.get("requestBody", {}).get("content", {})
        return content

    @property
    def media_type(self) -> str | None:
        """What the body is written in; None without one."""
        return next(iter(self.content), None)

    @property
    def body_schema(self) -> Json | None:
        """The schema of the body, with its reference followed; the first of several."""
        if self.media_type is None:
            return None
        return self.resolve(self.content[self.media_type]["schema"])

    @property
    def documented(self) -> frozenset[str]:
        """The statuses that the document says it answers, `default` left out."""
        return frozenset(self.description["responses"]) - {"default"}

    def resolve(self, schema: Json) -> Json:
        """A schema without a reference or a choice at its top: a choice's first branch."""
        while True:
            if "$ref" in schema:
                schema = self.document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
            elif found := [word for word in _ALTERNATIVES if word in schema]:
                schema = schema[found[0]][0]
            else:
                return schema

    def example(self) -> Any:  # noqa: ANN401 (JSON)
        """The body's example, to be changed freely; None when there is no body.

        Raises Undescribed when there is a body without one.
        """
        if self.media_type is None:
            return None
        content = self.content[self.media_type]
        if "example" in content:
            return copy.deepcopy(content["example"])
        if content.get("examples"):
            return copy.deepcopy(next(iter(content["examples"].values()))["value"])
        examples = (self.body_schema or {}).get("examples")
        if not examples:
            raise Undescribed(f"The body of {self} has no example: give its schema `examples`.")
        return copy.deepcopy(examples[0])

    @property
    def id_fields(self) -> Sequence[str]:
        """The fields at the top of the body that name another object by its id."""
        properties: Mapping[str, Json] = (self.body_schema or {}).get("properties", {})
        return [
            name for name, one in properties.items() if name.endswith("_id") and self._is_id(one)
        ]

    def _is_id(self, schema: Json) -> bool:
        branches = schema.get("anyOf", [schema])
        return any(self.resolve(branch).get("format") == "uuid" for branch in branches)


def operations_of(app: FastAPI) -> tuple[Operation, ...]:
    """Every operation of the document, in its order."""
    return tuple(_walk(app.openapi()))


def _walk(document: Json) -> Iterator[Operation]:
    for path, item in document["paths"].items():
        for method in _METHODS:
            if method in item:
                yield Operation(document, path, method.upper(), item[method])


def id_fields(schema: Json, resolve: Any) -> Sequence[str]:  # noqa: ANN401 (a bound method)
    """The fields at the top of a body that name another object by its id."""
    properties: Mapping[str, Json] = schema.get("properties", {})
    return [
        name for name, one in properties.items() if name.endswith("_id") and _is_id(one, resolve)
    ]


def _is_id(schema: Json, resolve: Any) -> bool:  # noqa: ANN401 (a bound method)
    branches = schema.get("anyOf", [schema])
    return any(resolve(branch).get("format") == "uuid" for branch in branches)
