import json
from collections.abc import Iterator
from typing import Any, get_args

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import (  # type: ignore[import-untyped]  # it publishes no types
    Draft202012Validator,
    ValidationError,
)

from app.realtime import asyncapi, frames
from app.realtime.frames import BadFrame, ClientFrame, ServerFrame, parse
from app.realtime.protocol import CloseCode
from tests.realtime.making import assert_fits


@pytest.fixture(scope="module")
def contract() -> dict[str, Any]:
    return asyncapi.document()


def types_of(union: object) -> set[str]:
    models = get_args(get_args(union)[0])
    return {get_args(model.model_fields["type"].annotation)[0] for model in models}


def references(value: object) -> Iterator[str]:
    if isinstance(value, dict):
        if "$ref" in value:
            yield value["$ref"]
        for inner in value.values():
            yield from references(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from references(inner)


def test_ws_05_every_frame_that_is_parsed_or_encoded_is_described(
    contract: dict[str, Any],
) -> None:
    described = set(contract["components"]["messages"])
    assert described == types_of(ClientFrame) | types_of(ServerFrame)
    assert described == set(contract["channels"]["realtime"]["messages"])


def test_every_reference_leads_somewhere(contract: dict[str, Any]) -> None:
    found = list(references(contract))
    assert found
    for reference in found:
        place: Any = contract
        for step in reference.removeprefix("#/").split("/"):
            place = place[step]


def test_every_frame_has_an_operation_and_answers_that_the_server_knows(
    contract: dict[str, Any],
) -> None:
    operations = contract["operations"]
    assert {name for name in operations if operations[name]["action"] == "receive"} == types_of(
        ClientFrame
    )
    sent = {
        reference.rsplit("/", 1)[1]
        for operation in operations.values()
        for reference in references(
            [operation.get("reply", {}), operation if operation["action"] == "send" else {}]
        )
        if "/messages/" in reference
    }
    assert sent == types_of(ServerFrame)


def test_every_close_code_is_explained(contract: dict[str, Any]) -> None:
    assert set(contract["channels"]["realtime"]["x-close-codes"]) == {
        str(int(code)) for code in CloseCode
    }


@pytest.mark.parametrize("frame", asyncapi.CLIENT_EXAMPLES, ids=lambda frame: frame.type)
def test_the_example_of_a_client_frame_is_understood(frame: frames.Frame) -> None:
    raw = frame.model_dump_json()
    assert parse(raw) == frame
    assert_fits(json.loads(raw))


@pytest.mark.parametrize("frame", asyncapi.SERVER_EXAMPLES, ids=lambda frame: frame.type)
def test_the_example_of_a_server_frame_fits(frame: frames.Frame) -> None:
    assert_fits(frame.model_dump(mode="json"))


@pytest.mark.parametrize(
    "frame",
    [
        {"type": "ping", "colour": "green"},
        {"type": "ping", "n": -1},
        {"type": "subscribe", "ref": "1"},
        {"type": "raise_hand", "ref": "1", "room_id": "x", "on": "yes"},
        {"type": "caught_up", "room_id": "x"},
        {"type": "nack", "ref": "1", "code": "not_found", "retry_after": None},
        {"type": "ack", "ref": "1"},
    ],
)
def test_the_schemas_refuse_what_is_not_so(frame: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        assert_fits(frame)


json_values = st.none() | st.booleans() | st.integers(-3, 2**64) | st.text(max_size=5)


@given(st.sampled_from(asyncapi.CLIENT_EXAMPLES), st.data())
def test_what_the_parser_takes_the_schema_takes(example: frames.Frame, data: st.DataObject) -> None:
    document = example.model_dump(mode="json")
    field = data.draw(st.sampled_from(sorted(document.keys() - {"type"})))
    document[field] = data.draw(json_values)
    try:
        parse(json.dumps(document))
    except BadFrame:
        return
    if document[field] is not None:
        assert_fits(document)


def test_the_schemas_are_schemas(contract: dict[str, Any]) -> None:
    for schema in contract["components"]["schemas"].values():
        Draft202012Validator.check_schema(schema)


def test_the_contract_is_readable_yaml_that_says_the_same(contract: dict[str, Any]) -> None:
    text = asyncapi.render()
    assert yaml.safe_load(text) == contract
    assert text.endswith("\n")
    assert "\n\n\n" not in text
    assert all(line == line.rstrip() for line in text.splitlines())


def test_the_contract_is_the_same_each_time() -> None:
    assert asyncapi.render() == asyncapi.render()


yaml_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.text(alphabet=st.characters(codec="utf-8", exclude_categories=["Cc", "Cs", "Zl", "Zp"]))
    | st.sampled_from(["on", "No", "~", "null", "1.0", "a: b", "- a", "#a", "a #b", "", " a"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["on", "$ref", "a b", "1", "Content-Type"]), inner)
    ),
    max_leaves=10,
)


@given(yaml_values)
def test_yaml_reads_back_as_it_was(value: object) -> None:
    assert yaml.safe_load("\n".join(asyncapi._yaml(value))) == value  # noqa: SLF001  # the emitter
