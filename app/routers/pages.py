"""Keyset pages: an opaque cursor and a limit in, items and the next cursor out (API-05)."""

from collections.abc import Sequence
from typing import Annotated, Any, Final, Protocol, TypeVar
from uuid import UUID

from fastapi import Depends, Query, Request, Response

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
        self,
        request: Request,
        response: Response,
        cursor: Annotated[
            Cursor | None, Query(description="`next_cursor` of the page before.")
        ] = None,
        limit: Annotated[Limit, Query(description="How many items at most.")] = 25,
    ) -> None:
        self.limit = limit
        self._cursor = cursor
        self._request = request
        self._response = response

    def after(self) -> Sequence[Any] | None:
        """The sort key of the last item seen, None on the first page. Raises InvalidCursor."""
        if self._cursor is None:
            return None
        return self._codec.decode(self._cursor, self._route, self._organization, self._filters)

    def after_id(self) -> UUID:
        """The id of the last item seen; lower than every id on the first page."""
        key = self.after()
        return FIRST if key is None else UUID(str(key[0]))

    def next_cursor(self, key: Sequence[Any]) -> str:
        """The cursor that reads on after this sort key; also sent as a Link header."""
        cursor = self._codec.encode(self._route, self._organization, self._filters, key)
        url = self._request.url.include_query_params(cursor=cursor)
        self._response.headers["Link"] = f'<{url.path}?{url.query}>; rel="next"'
        return cursor

    @property
    def _codec(self) -> Any:
        return runtime_of(self._request).cursors

    @property
    def _route(self) -> str:
        return self._request.url.path

    @property
    def _organization(self) -> str:
        organization_id: str = self._request.scope["state"]["organization_id"]
        return organization_id

    @property
    def _filters(self) -> str:
        kept = [
            f"{name}={value}"
            for name, value in sorted(self._request.query_params.multi_items())
            if name not in {"cursor", "limit"}
        ]
        return "&".join(kept)


PageQuery = Annotated[PageRequest, Depends()]
P = TypeVar("P", bound=Page[Any])


def page_of(page_type: type[P], page: PageRequest, found: Sequence[HasId]) -> P:
    """Cut what was found to the page; one item more than the limit means that there is more."""
    shown = found[: page.limit]
    more = len(found) > page.limit
    return page_type(
        items=list(shown), next_cursor=page.next_cursor([str(shown[-1].id)]) if more else None
    )
