"""Keyset pages: an opaque cursor and a limit in, items and the next cursor out (API-05)."""

from collections.abc import Sequence
from typing import Annotated, Any, Final, Protocol, TypeVar
from uuid import UUID

from fastapi import Depends, Query, Request, Response

from app.core.pagination import Key, Listing, filters_digest, next_link
from app.core.problems import InvalidCursor
from app.schemas.base import Page
from app.schemas.types import Cursor, Limit
from app.security.guards import runtime_of

FIRST: Final = UUID(int=0)


class HasId(Protocol):
    """What can be listed in the order of its id."""

    @property
    def id(self) -> UUID: ...


class PageRequest:
    """Which page of which list is asked for.

    A cursor belongs to its route, its organization and its filters: it is of no use elsewhere.
    """

    def __init__(
        self, request: Request, response: Response, cursor: str | None, limit: int
    ) -> None:
        self.limit = limit
        self._cursor = cursor
        self._request = request
        self._response = response

    def after(self) -> tuple[Key, ...] | None:
        """The sort key of the last item seen, None on the first page. Raises InvalidCursor."""
        if self._cursor is None:
            return None
        return runtime_of(self._request).cursors.decode(self._listing, self._cursor)

    def after_id(self) -> UUID:
        """The id of the last item seen; lower than every id on the first page."""
        match self.after():
            case None:
                return FIRST
            case (UUID() as seen,):
                return seen
            case _:
                raise InvalidCursor

    def next_cursor(self, *key: Key) -> str:
        """The cursor that reads on after this sort key; also sent as a Link header."""
        cursor = runtime_of(self._request).cursors.encode(self._listing, key)
        query = {**self._request.query_params, "cursor": cursor}
        self._response.headers["Link"] = next_link(self._request.url.path, query, cursor)
        return cursor

    @property
    def _listing(self) -> Listing:
        filters = {
            name: value
            for name, value in self._request.query_params.multi_items()
            if name not in {"cursor", "limit"}
        }
        return Listing(
            self._request.url.path,
            UUID(self._request.scope["state"]["organization_id"]),
            filters_digest(filters),
        )


async def _page(
    request: Request,
    response: Response,
    cursor: Annotated[Cursor | None, Query(description="`next_cursor` of the page before.")] = None,
    limit: Annotated[Limit, Query(description="How many items at most.")] = 25,
) -> PageRequest:
    # A coroutine, because the framework would send a plain class to a thread.
    return PageRequest(request, response, cursor, limit)


PageQuery = Annotated[PageRequest, Depends(_page)]
P = TypeVar("P", bound=Page[Any])


def page_of(page_type: type[P], page: PageRequest, found: Sequence[HasId]) -> P:
    """Cut what was found to the page; one item more than the limit means that there is more."""
    shown = found[: page.limit]
    more = len(found) > page.limit
    return page_type(
        items=list(shown), next_cursor=page.next_cursor(shown[-1].id) if more else None
    )
