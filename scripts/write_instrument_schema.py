"""Writes `openapi/instrument.schema.json`: the format of definitions as a JSON schema."""

import json
import sys
from pathlib import Path

from app.domain.instruments import definition_schema

SCHEMA = Path(__file__).resolve().parent.parent / "openapi" / "instrument.schema.json"


def rendered() -> str:
    """The schema as the file holds it."""
    described = {"$schema": "https://json-schema.org/draft/2020-12/schema", **definition_schema()}
    return json.dumps(described, indent=2, ensure_ascii=False, sort_keys=True) + "\n"


def main() -> None:
    """Write the file."""
    SCHEMA.write_text(rendered(), encoding="utf-8")
    sys.stdout.write(f"{SCHEMA.name} is written\n")


if __name__ == "__main__":
    main()
