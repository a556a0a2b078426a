"""An example of every body, so that a client developer sees what they will get and send.

A schema's own example is taken as it is; where there is none, one is made of the examples of its
fields. The same schema always has the same example, and every one of them is valid (a test reads
them all).
"""

from collections.abc import Mapping
from typing import Any, Final

Json = dict[str, Any]

_ID: Final = "019a8f3e-5c1b-7d20-9b43-5a6f1c2d3e4f"
_ZONE: Final = "America/Denver"
_AT: Final = "2026-03-02T00:05:00Z"
_MOST_DEPTH: Final = 12

# What a field of this name holds in the organization that every example is about.
_BY_NAME: Final[Mapping[str, Any]] = {
    "acr": "iop:1",
    "actor_id": _ID,
    "alias": "Blue Heron",
    "born_on": "1994-03-09",
    "client_id": "stepwell-spa",
    "client_name": "Stepwell",
    "device": "Firefox on Linux",
    "email": "jordan@example.org",
    "event_type": "plan.signed",
    "family_name": "Reed",
    "given_name": "Jordan",
    "home_state": "US-CO",
    "hours_per_week": 9,
    "instrument_key": "phq-9",
    "instrument_version": "1.0.0",
    "issuer": "https://stepwell.example.org",
    "language": "en",
    "level_of_care": "2.1",
    "name": "Robin Vale",
    "next_cursor": "MDE5YThmM2UtNWMxYg",
    "phone": "+15555550100",
    "preferred_name": "Jo",
    "pronouns": "they/them",
    "reason": "Weekly sessions are no longer enough.",
    "slug": "adult-evening",
    "time_zone": _ZONE,
    "title": "Skills group",
    "type": "plan.signed",
    "url": "https://receiver.example.org/stepwell",
}
_BY_FORMAT: Final[Mapping[str, str]] = {
    "uuid": _ID,
    "date-time": _AT,
    "date": "2026-03-01",
    "time": "17:00",
    "duration": "PT3H",
    "email": "jordan@example.org",
    "uri": "https://stepwell.example.org",
}


class Examples:
    """Makes examples of the schemas of one document."""

    def __init__(self, schemas: Mapping[str, Json]) -> None:
        self._schemas = schemas
        for schema in schemas.values():
            if "examples" in schema:
                schema["examples"] = [self._with_nulls(schema, one) for one in schema["examples"]]

    def of(self, schema: Json) -> Any:  # noqa: ANN401 (JSON)
        """The example of a schema."""
        return self._make(schema, "", 0)

    def alternatives(self, schema: Json) -> dict[str, Json]:
        """Each branch of a choice with its own example, by the branch's name; empty without one."""
        return {
            self._name(branch): {"summary": self._summary(branch), "value": self.of(branch)}
            for branch in schema.get("oneOf", ())
        }

    def _with_nulls(self, schema: Json, value: Any) -> Any:  # noqa: ANN401 (JSON)
        """Put back what is null and must be present: the framework leaves every null out."""
        schema = self._branch(self._resolved(schema), value)
        if isinstance(value, list):
            return [self._with_nulls(schema.get("items", {}), one) for one in value]
        if not isinstance(value, dict):
            return value
        properties: Mapping[str, Json] = schema.get("properties", {})
        absent = [name for name in schema.get("required", ()) if name not in value]
        whole = {**value, **{name: None for name in absent if self._may_be_null(properties[name])}}
        names = [*properties, *(name for name in whole if name not in properties)]
        return {
            name: self._with_nulls(properties.get(name, {}), whole[name])
            for name in names
            if name in whole
        }

    def _may_be_null(self, schema: Json) -> bool:
        resolved = self._resolved(schema)
        branches = resolved.get("anyOf", [resolved])
        # What says nothing of its type may be anything.
        return any(one.get("type") == "null" for one in branches) or not resolved

    def _branch(self, schema: Json, value: Any) -> Json:  # noqa: ANN401 (JSON)
        """The branch of a choice that a value takes; the schema itself when it has no choice."""
        branches = schema.get("anyOf") or schema.get("oneOf")
        if not branches:
            return schema
        resolved = [self._resolved(one) for one in branches]
        return next((one for one in resolved if _may_be(one, value)), resolved[0])

    def _name(self, branch: Json) -> str:
        return str(self._resolved(branch)["title"])

    def _summary(self, branch: Json) -> str:
        return str(self._resolved(branch).get("description", "")).partition("\n")[0]

    def _resolved(self, schema: Json) -> Json:
        name = schema.get("$ref", "").rpartition("/")[2]
        return self._schemas[name] if name else schema

    def _make(self, schema: Json, name: str, depth: int) -> Any:  # noqa: ANN401 (JSON)
        if schema.get("examples"):
            return schema["examples"][0]
        if "$ref" in schema:
            return self._make(self._resolved(schema), name, depth)
        if "const" in schema:
            return schema["const"]
        if "enum" in schema:
            known = _BY_NAME.get(name)
            return known if known in schema["enum"] else schema["enum"][0]
        for choice in ("anyOf", "oneOf", "allOf"):
            if choice in schema:
                return self._make(_telling(schema[choice]), name, depth)
        return self._plain(schema, name, depth)

    def _plain(self, schema: Json, name: str, depth: int) -> Any:  # noqa: ANN401 (JSON)
        match schema.get("type"):
            case "object":
                return self._object(schema, depth)
            case "array":
                return self._array(schema, name, depth)
            case "string":
                return _text(schema, name)
            case "integer" | "number":
                return _number(schema, name)
            case "boolean":
                return True
            case _:
                return None

    def _object(self, schema: Json, depth: int) -> Json:
        properties: Mapping[str, Json] = schema.get("properties", {})
        if depth > _MOST_DEPTH:
            return {}
        needed = schema.get("required") or list(properties)
        return {
            name: self._make(one, name, depth + 1)
            for name, one in properties.items()
            if name in needed
        }

    def _array(self, schema: Json, name: str, depth: int) -> list[Any]:
        if depth > _MOST_DEPTH or "items" not in schema:
            return []
        return [self._make(schema["items"], name, depth + 1)]


def _may_be(schema: Json, value: Any) -> bool:  # noqa: ANN401 (JSON)
    if isinstance(value, list):
        return schema.get("type") == "array"
    properties: Mapping[str, Json] = schema.get("properties", {})
    if not isinstance(value, dict) or not value.keys() <= properties.keys():
        return False
    constants = {name: one["const"] for name, one in properties.items() if "const" in one}
    return all(value.get(name, const) == const for name, const in constants.items())


def _telling(branches: list[Json]) -> Json:
    """The branch that shows something: null says nothing."""
    return next((one for one in branches if one.get("type") != "null"), branches[0])


def _text(schema: Json, name: str) -> str:
    known = _BY_NAME.get(name)
    if isinstance(known, str):
        return known
    if "format" in schema:
        return _BY_FORMAT[schema["format"]]
    if name.endswith(("_by", "_id")):
        return _ID
    words = name.replace("_", "-") if "pattern" in schema else name.replace("_", " ").capitalize()
    return words or "text"


def _number(schema: Json, name: str) -> float:
    known = _BY_NAME.get(name)
    if isinstance(known, int):
        return known
    least: float = schema.get("minimum", schema.get("exclusiveMinimum", 0) + 1)
    return max(least, 1) if schema.get("maximum", 1) >= 1 else least
