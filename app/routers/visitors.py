"""The caller without a token, as public routes receive them."""

from typing import Annotated

from fastapi import Depends, Request

from app.security.guards import request_id_of, runtime_of, source_of
from app.services.visitors import Visitor


async def get_visitor(request: Request) -> Visitor:
    """Whoever calls, and where from."""
    return Visitor(runtime_of(request), request_id_of(request), source_of(request))


CurrentVisitor = Annotated[Visitor, Depends(get_visitor)]
