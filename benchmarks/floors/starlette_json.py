"""Floor: Starlette answers one JSON object and does nothing else."""

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from benchmarks.floors.records import plain_record

_RECORD = plain_record()


async def read(_request: Request) -> JSONResponse:
    """Answer the same record for every id."""
    return JSONResponse(_RECORD)


async def ready(_request: Request) -> JSONResponse:
    """Say that it listens."""
    return JSONResponse({})


app = Starlette(routes=[Route("/", ready), Route("/records/{record_id}", read)])
