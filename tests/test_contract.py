"""The committed contract: what the code says, what strict tools accept, what a reader needs."""

import ast
import json
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from openapi_schema_validator import OAS31Validator, oas31_format_checker
from openapi_spec_validator import validate

from app import contract
from app.contract.document import TAGS
from app.contract.examples import Examples
from app.core import problems
from app.core.problems import registered
from app.jobs.sequencer import OWN_SUBJECT
from app.main import create_app
from app.runtime import Runtime
from app.security.permissions import Permission
from app.webhooks.families import FAMILIES
from app.webhooks.payload import VERIFICATION
from tests.tracer import untraced

Json = dict[str, Any]

ROOT = Path(__file__).resolve().parents[1]
# Where events are recorded, and the shape of their types.
RECORDING = ("app/services", "app/jobs", "app/webhooks")
EVENT = re.compile(r"[a-z_]+\.[a-z_]+")
SUBJECT = re.compile(r"([a-z_]+)\.")


@pytest.fixture(scope="module")
def document(app: FastAPI) -> Json:
    return app.openapi()


def operations(document: Json, *sections: str) -> Iterator[tuple[str, Json]]:
    for section in sections or ("paths", "webhooks"):
        for path, item in document[section].items():
            for method, operation in item.items():
                yield f"{method.upper()} {path}", operation


def bodies(operation: Json) -> Iterator[tuple[str, Json]]:
    """The request's body and those of every success."""
    for media in operation.get("requestBody", {}).get("content", {}).values():
        yield "request", media
    for status, response in operation["responses"].items():
        if status.startswith("2"):
            for media in response.get("content", {}).values():
                yield status, media


def examples_of(document: Json, media: Json) -> list[Any]:
    if "example" in media:
        return [media["example"]]
    shared = document["components"]["examples"]
    named = media.get("examples", {}).values()
    return [
        (shared[one["$ref"].rpartition("/")[2]] if "$ref" in one else one)["value"] for one in named
    ]


def test_the_document_is_valid_openapi(document: Json) -> None:
    assert document["openapi"].startswith("3.1.")
    with untraced():
        validate(document)


def test_api_16_the_committed_contract_is_what_the_code_says(app: FastAPI) -> None:
    assert contract.stale(contract.documents(app), ROOT / "openapi") == []


def test_two_applications_describe_themselves_alike(app: FastAPI, runtime: Runtime) -> None:
    assert contract.documents(create_app(runtime)) == contract.documents(app)


def test_stale_files_are_found_by_name(app: FastAPI, tmp_path: Path) -> None:
    files = contract.documents(app)
    assert contract.stale(files, tmp_path) == list(files)
    contract.write(files, tmp_path / "openapi")
    assert contract.stale(files, tmp_path / "openapi") == []
    (tmp_path / "openapi" / "asyncapi.yaml").write_text("asyncapi: 3.0.0\n")
    assert contract.stale(files, tmp_path / "openapi") == ["asyncapi.yaml"]


def test_every_body_has_an_example(document: Json) -> None:
    without = [
        f"{name} {place}"
        for name, operation in operations(document)
        for place, media in bodies(operation)
        if not examples_of(document, media) and media.get("schema") != {}
    ]
    assert without == []


def test_every_example_is_valid(document: Json) -> None:
    mistakes = [
        f"{name} {place}: {error.json_path} {error.message}"
        for name, operation in operations(document)
        for place, media in bodies(operation)
        for example in examples_of(document, media)
        for error in OAS31Validator(
            {**media["schema"], "components": document["components"]},
            format_checker=oas31_format_checker,
        ).iter_errors(example)
    ]
    assert mistakes == []


def test_every_operation_has_a_name_of_its_own(document: Json) -> None:
    names = Counter(operation["operationId"] for _, operation in operations(document))
    assert [name for name, count in names.items() if count > 1] == []


def test_every_operation_says_what_it_does(document: Json) -> None:
    silent = [name for name, operation in operations(document) if not operation.get("description")]
    assert silent == []


def test_every_tag_is_explained_and_used(document: Json) -> None:
    used = {tag for _, operation in operations(document) for tag in operation["tags"]}
    assert used == set(TAGS)
    assert [tag["name"] for tag in document["tags"]] == list(TAGS)


def test_authz_01_every_operation_says_who_may_call(document: Json) -> None:
    for name, operation in operations(document, "paths"):
        if operation["security"]:
            Permission(operation["x-permission"])
            assert re.fullmatch(r"[A-Z]\w+\.[cruds]", operation["x-scope"]), name
        else:
            assert "x-permission" not in operation, name


def test_api_10_every_error_is_a_problem_or_oauths_own(document: Json) -> None:
    for name, operation in operations(document, "paths"):
        for status, response in operation["responses"].items():
            if status.startswith(("4", "5")) and "$ref" not in response:
                theirs = {"application/json"} if name.startswith("POST /oauth/") else set[str]()
                kinds = set(response["content"]) - theirs
                assert kinds == {problems.MEDIA_TYPE}, f"{name} {status}"


def test_every_problem_in_the_document_is_one_that_exists(document: Json) -> None:
    codes = {problem.code() for problem in registered()}
    assert set(document["components"]["examples"]) <= codes


def test_api_08_what_has_an_etag_can_be_asked_for_again(document: Json) -> None:
    read = document["paths"]["/v1/participants/{participant_id}"]["get"]
    assert "ETag" in read["responses"]["200"]["headers"]
    assert "304" in read["responses"]
    assert "If-None-Match" in {one["name"] for one in read["parameters"]}


def test_whoever_must_wait_is_told_how_long(document: Json) -> None:
    shared = document["components"]["responses"]
    for name, operation in operations(document, "paths"):
        for status in {"429", "503"} & operation["responses"].keys():
            response = operation["responses"][status]
            if "$ref" in response:
                response = shared[response["$ref"].rpartition("/")[2]]
            assert "Retry-After" in response["headers"], f"{name} {status}"


def test_what_is_made_says_where_it_is(document: Json) -> None:
    made = document["paths"]["/v1/referrals"]["post"]["responses"]["201"]
    assert set(made["headers"]) == {"Location"}


def test_api_07_every_guarded_post_takes_an_idempotency_key(document: Json) -> None:
    for name, operation in operations(document, "paths"):
        takes = "Idempotency-Key" in {one["name"] for one in operation.get("parameters", ())}
        assert takes == (name.startswith("POST") and bool(operation["security"])), name


def test_no_keyword_of_a_later_version_is_left(document: Json) -> None:
    assert '"itemSchema"' not in json.dumps(document)


# The webhooks


def trees() -> Iterator[tuple[Path, ast.AST]]:
    for folder in RECORDING:
        for path in (ROOT / folder).rglob("*.py"):
            yield path, ast.parse(path.read_text("utf-8"))


def written_types() -> set[str]:
    """Every event type that is written out where events are recorded."""
    found = {
        node.value
        for _, tree in trees()
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and EVENT.fullmatch(node.value)
    }
    return {text for text in found if text.partition(".")[0] != OWN_SUBJECT} | {VERIFICATION}


def composed_types() -> set[str]:
    """Those of packages whose own `record` puts its last argument behind a subject."""
    subjects = {
        path.parent: match[1]
        for path, tree in trees()
        for node in ast.walk(tree)
        if isinstance(node, ast.JoinedStr)
        and isinstance(node.values[0], ast.Constant)
        and (match := SUBJECT.fullmatch(str(node.values[0].value)))
    }
    return {
        f"{subjects[path.parent]}.{node.args[-1].value!s}"
        for path, tree in trees()
        for node in ast.walk(tree)
        if path.parent in subjects
        and isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "record"
        and isinstance(node.args[-1], ast.Constant)
    }


def test_wh_01_every_event_that_is_sent_is_described() -> None:
    described = {f"{subject}.{verb}" for subject, verbs in FAMILIES.items() for verb in verbs}
    assert "plan.signed" in composed_types()
    assert written_types() | composed_types() <= described


def test_wh_02_every_webhook_carries_the_standard_headers(document: Json) -> None:
    for name, operation in operations(document, "webhooks"):
        assert operation["security"] == [], name
        assert [one["name"] for one in operation["parameters"]] == [
            "webhook-id",
            "webhook-timestamp",
            "webhook-signature",
        ]


def test_wh_01_a_webhook_says_ids_alone(document: Json) -> None:
    data = document["components"]["schemas"]["WebhookData"]["properties"]
    assert set(data) == {"id", "resource", "version", "participant", "nonce"}


# How examples are made


def test_a_null_that_the_framework_left_out_is_put_back() -> None:
    schema: Json = {
        "type": "object",
        "required": ["a", "b"],
        "properties": {
            "a": {"type": "string"},
            "b": {"anyOf": [{"type": "string"}, {"type": "null"}]},
        },
        "examples": [{"a": "x"}],
    }
    Examples({"Thing": schema})
    assert schema["examples"] == [{"a": "x", "b": None}]


@pytest.mark.parametrize(
    ("schema", "example"),
    [
        ({"type": "integer", "minimum": 5}, 5),
        ({"type": "integer", "maximum": 0, "minimum": -3}, -3),
        ({"type": "integer", "exclusiveMinimum": 0}, 1),
        ({"type": "boolean"}, True),
        ({"type": "string", "format": "date"}, "2026-03-01"),
        ({"enum": ["open", "closed"]}, "open"),
        ({"const": "code"}, "code"),
        ({"anyOf": [{"type": "null"}, {"type": "integer"}]}, 1),
        ({"type": "array", "items": {"type": "boolean"}}, [True]),
        ({"type": "object", "properties": {"a": {"type": "boolean"}}}, {"a": True}),
        (
            {
                "type": "object",
                "required": ["a"],
                "properties": {"a": {"type": "boolean"}, "b": {"type": "boolean"}},
            },
            {"a": True},
        ),
        ({}, None),
    ],
)
def test_an_example_is_made_of_what_the_schema_says(schema: Json, example: object) -> None:
    assert Examples({}).of(schema) == example


def test_an_example_of_what_contains_itself_ends() -> None:
    tree: Json = {
        "type": "object",
        "properties": {
            "branches": {"type": "array", "items": {"$ref": "#/components/schemas/Tree"}}
        },
    }
    assert json.dumps(Examples({"Tree": tree}).of(tree)).count("branches") < 20
