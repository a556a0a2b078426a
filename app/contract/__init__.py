"""The committed contract: OpenAPI 3.1 and AsyncAPI, made from the code and compared with it.

The document is what client developers work from, and what strict tools accept: an example of
every body, every status by name, the webhooks, and the permission that each operation needs.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from fastapi import FastAPI

from app.contract.document import make
from app.realtime import asyncapi

VERSION: Final = "0.1.0"


def install(app: FastAPI) -> None:
    """Let the application describe itself by this module's document, made once."""

    def describe() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = make(app)
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
