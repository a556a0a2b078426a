"""What is written into a statement comes back as it was (FUZZ-03 by other means)."""

from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.core.literals import call
from app.runtime import Runtime

TEXTS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=TEXTS, blob=st.binary(), ids=st.lists(st.uuids(), max_size=4))
async def test_arguments_arrive_as_they_were(
    runtime: Runtime, text: str, blob: bytes, ids: list[UUID]
) -> None:
    async with runtime.connections.lane() as lane:
        assert await lane.fetchval(call("upper", text)) == await lane.fetchval(
            "select upper($1)", text
        )
        assert await lane.fetchval(call("sha256", blob)) == await lane.fetchval(
            "select sha256($1)", blob
        )
        listed = call("to_json", ids).removeprefix("select to_json(").removesuffix(")")
        assert await lane.fetchval(f"select {listed}::uuid[]") == ids


@pytest.mark.parametrize(
    "value", ["'; select 1; --", "\\", "\\'", "''", "$1", "$$", "\n", "é'", 'E"\\x41"']
)
async def test_no_text_ends_its_quotes(runtime: Runtime, value: str) -> None:
    async with runtime.connections.lane() as lane:
        assert await lane.fetchval(call("concat", value)) == value


@pytest.mark.parametrize(("value", "written"), [(None, "null"), (7, "'7'"), ([], "'{}'")])
def test_what_is_written(value: object, written: str) -> None:
    assert call("f", value) == f"select f({written})"
