"""Documentation that needs no network: the contract, a page to try it on, and every problem.

The page to try it on is there in development only; the problems are always there, because their
`type` leads to them.
"""

import html
from pathlib import Path
from typing import Final

from fastapi import APIRouter
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import FileResponse, HTMLResponse, Response

from app.core.problems import NotFound, Problem, registered
from app.security.guards import Public

routes = APIRouter(include_in_schema=False, dependencies=[Public])
problem_pages = APIRouter(prefix="/problems", include_in_schema=False, dependencies=[Public])

_SWAGGER: Final = Path(__file__).resolve().parent.parent / "static" / "swagger"
_CONTRACT: Final = Path(__file__).resolve().parents[2] / "openapi" / "openapi.json"
_FILES: Final = {
    "swagger-ui-bundle.js": "text/javascript; charset=utf-8",
    "swagger-ui.css": "text/css; charset=utf-8",
}
_POLICY: Final = (
    "default-src 'none'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline';"
    " img-src 'self' data:; connect-src 'self'; frame-ancestors 'none'; base-uri 'none'"
)
_PAGE: Final = """<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
body {{ font: 1rem/1.5 system-ui, sans-serif; margin: 2rem auto; padding: 0 1rem }}
body {{ max-width: 42rem }}
code {{ font-size: 0.95em }} dt {{ margin-top: 1rem; font-weight: 600 }} dd {{ margin: 0 }}
</style></head><body><main><h1>{title}</h1>{content}</main></body></html>"""


@routes.get("/openapi.json")
async def read_contract() -> Response:
    """The committed OpenAPI document; making it anew would hold every other request for a second.

    A test keeps it true.
    """
    return FileResponse(_CONTRACT, media_type="application/json")


@routes.get("/docs")
async def read_documentation() -> HTMLResponse:
    """The contract as a page on which every call can be tried."""
    page = get_swagger_ui_html(
        openapi_url="/openapi.json",
        title="Stepwell",
        swagger_js_url="/docs/swagger-ui-bundle.js",
        swagger_css_url="/docs/swagger-ui.css",
        swagger_favicon_url="data:,",
        swagger_ui_parameters={"persistAuthorization": True, "tryItOutEnabled": True},
    )
    page.headers["Content-Security-Policy"] = _POLICY
    return page


@routes.get("/docs/{name}")
async def read_documentation_file(name: str) -> Response:
    """A file that the page needs."""
    if name not in _FILES:
        raise NotFound
    return FileResponse(
        _SWAGGER / name,
        media_type=_FILES[name],
        headers={"Cache-Control": "public, max-age=86400"},
    )


@problem_pages.get("")
async def list_problems() -> HTMLResponse:
    """Every problem that this API answers with."""
    return _page("Problems", "".join(_entry(problem) for problem in registered()))


@problem_pages.get("/{slug}")
async def read_problem(slug: str) -> HTMLResponse:
    """What one problem means."""
    found = next((problem for problem in registered() if problem.slug == slug), None)
    if found is None:
        raise NotFound
    return _page(found.title, f"<dl>{_entry(found)}</dl>")


def _entry(problem: type[Problem]) -> str:
    said = html.escape(" ".join((problem.__doc__ or "").split()))
    return (
        f"<dt><code>{problem.slug}</code> ({int(problem.status)})</dt>"
        f"<dd>{html.escape(problem.title)}. {said}</dd>"
    )


def _page(title: str, content: str) -> HTMLResponse:
    page = HTMLResponse(_PAGE.format(title=html.escape(title), content=content))
    page.headers["Content-Security-Policy"] = (
        "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'"
    )
    return page
