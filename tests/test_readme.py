"""What README and docs say stays true: their snippets run, their tables are the code's.

A fence after `<!-- run -->` is run against `stepwell serve` as a newcomer starts it; all of one
file's shell snippets are one shell session. A fence after `<!-- answer -->` shows a part of what
the snippet before it prints. Tables between `<!-- name -->` and `<!-- /name -->` are made here.
"""

import ast
import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import IO, Any, Final

import pytest

from app.core import metrics
from app.settings import Settings
from tests.processes import ANNOUNCEMENT, free_port

ROOT: Final = Path(__file__).resolve().parents[1]
DOCUMENTS: Final = sorted(
    [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), ROOT / "benchmarks" / "README.md"]
)
ADDRESS: Final = "http://127.0.0.1:8000"
COMMAND: Final = ".venv/bin/stepwell"
SEPARATOR: Final = "----- the next snippet -----"
SECONDS: Final = 60
FENCE: Final = re.compile(
    r"(?:^<!-- (?P<mark>run|answer) -->\n)?^```(?P<language>\w*)\n(?P<text>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
LINK: Final = re.compile(r"\]\((?!https?://)(?P<path>[^)#]*)(?:#(?P<place>[^)]*))?\)")
NAMED_TARGET: Final = re.compile(r"(?:^|`)make ([a-z-]+)(?:`| +#)", re.MULTILINE)
CITED: Final = re.compile(r"`(tests/[\w/]+\.py)::(test_\w+)`")


@dataclass(frozen=True, slots=True)
class Fence:
    """A fenced block, and what the comment before it says of it."""

    mark: str | None
    language: str
    text: str


def fences(path: Path) -> list[Fence]:
    return [
        Fence(one["mark"], one["language"], one["text"])
        for one in FENCE.finditer(path.read_text("utf-8"))
    ]


def runnable(path: Path, language: str) -> list[str]:
    return [one.text for one in fences(path) if one.mark == "run" and one.language == language]


# The service of a newcomer


@pytest.fixture(scope="module")
def newcomer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mapping[str, str]]:
    """The environment in which `stepwell serve` runs, with a port and a place of its own."""
    port = free_port()
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("STEPWELL_")},
        "STEPWELL_DATA_DIR": str(tmp_path_factory.mktemp("stepwell")),
        "STEPWELL_PORT": str(port),
        "STEPWELL_PUBLIC_URL": f"http://127.0.0.1:{port}",
    }
    with serving(environment):
        yield environment


@contextmanager
def serving(environment: Mapping[str, str]) -> Iterator[None]:
    """Start the service, wait until it says that it serves, and stop it by its own id."""
    command = [sys.executable, "-m", "app", "serve"]
    with subprocess.Popen(  # noqa: S603 (our own command)
        command,
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        patience = threading.Timer(SECONDS, process.kill)
        patience.start()
        try:
            assert process.stdout is not None
            lines = list(until(ANNOUNCEMENT, process.stdout))
            patience.cancel()
            assert lines[-1].startswith(ANNOUNCEMENT), "".join(lines)
            # Whoever writes into a full pipe waits.
            reading = threading.Thread(target=process.stdout.read)
            reading.start()
            yield
        finally:
            patience.cancel()
            process.terminate()
            try:
                process.wait(SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
        reading.join()


def until(beginning: str, stream: IO[str]) -> Iterator[str]:
    """The lines of a stream up to the one that begins so."""
    for line in stream:
        yield line
        if line.startswith(beginning):
            return


def adapted(text: str, environment: Mapping[str, str]) -> str:
    """A snippet for the service of the test: its address, and the command of this environment."""
    return text.replace(ADDRESS, environment["STEPWELL_PUBLIC_URL"]).replace(
        COMMAND, f"{sys.executable} -m app"
    )


def said(command: Sequence[str], environment: Mapping[str, str]) -> str:
    """What a command prints; it must succeed."""
    result = subprocess.run(  # noqa: S603 (our own snippets)
        command,
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def with_shell(path: Path) -> bool:
    return any(one.mark == "run" and one.language == "sh" for one in fences(path))


@pytest.mark.parametrize(
    "path",
    [path for path in DOCUMENTS if with_shell(path)],
    ids=lambda path: str(path.relative_to(ROOT)),
)
def test_the_shell_snippets_answer_what_is_shown(path: Path, newcomer: Mapping[str, str]) -> None:
    script = f"\necho\necho '{SEPARATOR}'\n".join(["set -eu", *runnable(path, "sh")])
    answers = said(["/bin/sh", "-c", adapted(script, newcomer)], newcomer).split(SEPARATOR)[1:]

    asked = iter(answers)
    answer = ""
    for fence in fences(path):
        if fence.mark == "run" and fence.language == "sh":
            answer = next(asked)
        elif fence.mark == "answer":
            assert missing(json.loads(fence.text), json.loads(answer)) == []


def missing(shown: Any, answer: Any, place: str = "") -> list[str]:  # noqa: ANN401 (JSON)
    """Where an answer differs from what is shown of it; `"..."` stands for anything."""
    if shown == "...":
        return []
    if isinstance(shown, dict) and isinstance(answer, dict):
        return [
            difference
            for name, value in shown.items()
            for difference in missing(value, answer.get(name), f"{place}/{name}")
        ]
    if isinstance(shown, list) and isinstance(answer, list):
        return [
            difference
            for number, value in enumerate(shown)
            for difference in missing(
                value, dict(enumerate(answer)).get(number), f"{place}/{number}"
            )
        ]
    return [] if shown == answer else [f"{place}: {shown} is shown, {answer} is the answer"]


def python_snippets() -> list[Any]:
    return [
        pytest.param(text, id=f"{path.name}-{number}")
        for path in DOCUMENTS
        for number, text in enumerate(runnable(path, "python"), 1)
    ]


@pytest.mark.parametrize("text", python_snippets())
def test_the_python_snippets_run(text: str, newcomer: Mapping[str, str]) -> None:
    command = [sys.executable, "-m", "app", "token", "participant1@cedar-bridge.example"]
    token = json.loads(said(command, newcomer))["access_token"]
    assert said([sys.executable, "-c", adapted(text, newcomer)], {**newcomer, "TOKEN": token})


# What is said of the code


def table(path: Path, name: str) -> str:
    found = re.search(
        rf"<!-- {name} -->\n(.*?)<!-- /{name} -->", path.read_text("utf-8"), re.DOTALL
    )
    assert found is not None, f"{path} has no section {name}"
    return found[1]


def rows(*cells: Sequence[str]) -> str:
    return "".join(f"| {' | '.join(row)} |\n" for row in cells)


def written(default: object) -> str:
    """A setting's default as an operator would write it; empty when there is none."""
    match default:
        case None | ():
            return ""
        case bool():
            return f"`{str(default).lower()}`"
        case timedelta():
            return f"`{int(default.total_seconds())}`"
        case tuple():
            return f"`{','.join(default)}`"
        case _:
            return f"`{default}`"


def test_every_setting_is_in_the_operations_guide() -> None:
    settings = [
        (f"`STEPWELL_{name.upper()}`", written(field.default), field.description or "")
        for name, field in Settings.model_fields.items()
    ]
    expected = rows(("variable", "default", "is"), ("---", "---", "---"), *settings)
    assert table(ROOT / "docs" / "operations.md", "settings") == expected


def test_every_metric_is_in_the_operations_guide() -> None:
    names = [(f"`{family.name}`", ", ".join(family.labels), family.text) for family in families()]
    expected = rows(("metric", "by", "is"), ("---", "---", "---"), *names)
    assert table(ROOT / "docs" / "operations.md", "metrics") == expected


@dataclass(frozen=True, slots=True)
class Family:
    name: str
    labels: Sequence[str]
    text: str


def families() -> Iterator[Family]:
    for metric in metrics.defined():
        (described,) = metric.describe()
        suffix = {"counter": "_total"}.get(described.type, "")
        # The library publishes a metric's labels nowhere but here.
        yield Family(described.name + suffix, metric._labelnames, described.documentation)  # noqa: SLF001


def test_every_setting_says_what_it_is() -> None:
    assert [name for name, one in Settings.model_fields.items() if not one.description] == []


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(path: Path) -> None:
    broken = [
        one[0]
        for one in LINK.finditer(path.read_text("utf-8"))
        if not is_there(path if not one["path"] else path.parent / one["path"], one["place"])
    ]
    assert broken == []


def is_there(path: Path, place: str | None) -> bool:
    if not path.exists() or not place:
        return path.exists()
    headings = re.findall(r"^#+ (.*)$", path.read_text("utf-8"), re.MULTILINE)
    return place in {re.sub(r"[^\w -]", "", one.lower()).replace(" ", "-") for one in headings}


def test_every_promise_cites_tests_that_exist() -> None:
    cited = CITED.findall((ROOT / "README.md").read_text("utf-8"))
    assert cited
    assert [f"{path}::{name}" for path, name in cited if name not in names_in(ROOT / path)] == []


def names_in(path: Path) -> set[str]:
    if not path.exists():
        return set()
    return {
        node.name
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }


def test_every_decision_says_context_decision_and_consequences() -> None:
    decisions = sorted((ROOT / "docs" / "decisions").glob("*.md"))
    assert [path.name[:4] for path in decisions] == [
        f"{number:04}" for number in range(1, len(decisions) + 1)
    ]
    for path in decisions:
        headings = re.findall(r"^## (.*)$", path.read_text("utf-8"), re.MULTILINE)
        assert headings == ["Context", "Decision", "Consequences"], path.name


def test_make_help_has_every_target_that_the_documents_name() -> None:
    named = {
        target for path in DOCUMENTS for target in NAMED_TARGET.findall(path.read_text("utf-8"))
    }
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    assert named <= targets
