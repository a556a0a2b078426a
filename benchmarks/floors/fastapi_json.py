"""Floor: FastAPI parses one path parameter, answers one JSON object and does nothing else."""

from collections.abc import Mapping
from uuid import UUID

from fastapi import FastAPI

from benchmarks.floors.records import plain_record

_RECORD = plain_record()

app = FastAPI()


@app.get("/")
async def ready() -> dict[str, str]:
    """Say that it listens."""
    return {}


@app.get("/records/{record_id}")
async def read(record_id: UUID) -> Mapping[str, str]:
    """Answer the same record for every id."""
    del record_id
    return _RECORD
