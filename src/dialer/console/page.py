"""Renders the templates, and turns errors into pages."""

from collections.abc import Callable, Coroutine, Mapping
from typing import Any
from urllib.parse import urlencode, urlsplit

from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse
from fastapi.routing import APIRoute
from jinja2 import Environment, PackageLoader, StrictUndefined

from dialer.api.errors import refusal_of
from dialer.console import formats, static_files, words
from dialer.console.visitor import Visitor
from dialer.errors import DialerError, NotAuthenticated

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
# same-origin: with no-referrer, browsers send `Origin: null` with our own forms.
HEADERS = {"Content-Security-Policy": POLICY, "Referrer-Policy": "same-origin"}

templates = Environment(
    loader=PackageLoader("dialer.console"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    # Files of the package do not change while a process runs.
    auto_reload=False,
)


def _query(request: Request, **changes: object) -> str:
    """Write the query of this page with some parameters changed; None removes one."""
    parameters = dict(request.query_params) | changes
    return "?" + urlencode({name: value for name, value in parameters.items() if value not in (None, "")})


templates.globals |= {"static": static_files.address, "words": words, "query": _query}
templates.filters |= formats.FILTERS

Handler = Callable[[Request], Coroutine[Any, Any, Response]]


def page(
    request: Request,
    template: str,
    visitor: Visitor | None = None,
    *,
    status: int = 200,
    headers: Mapping[str, str] | None = None,
    **values: Any,
) -> HTMLResponse:
    """Render a template as a response."""
    html = templates.get_template(template).render(request=request, visitor=visitor, **values)
    return HTMLResponse(html, status, HEADERS | dict(headers or {}))


class PageRoute(APIRoute):
    """Answers errors with pages. A visitor who is not signed in gets the sign-in page."""

    def get_route_handler(self) -> Handler:
        handle = super().get_route_handler()

        async def handle_with_pages(request: Request) -> Response:
            try:
                return await handle(request)
            except NotAuthenticated as error:
                return sign_in_page(request, "" if request.url.path == "/console" else str(error))
            except (DialerError, RequestValidationError) as error:
                return error_page(request, error)

        return handle_with_pages


def sign_in_page(request: Request, message: str = "", status: int | None = None) -> Response:
    """Ask for a key. `HX-Refresh` lets htmx load the whole page instead of a part of it."""
    if status is None:
        status = 401 if message else 200
    return page(
        request,
        "sign_in.html",
        status=status,
        headers={"HX-Refresh": "true"},
        message=message,
        after=_to_return_to(request),
    )


def _to_return_to(request: Request) -> str:
    """Return the page that was asked for, or from which a form was sent."""
    page_url = urlsplit(str(request.url) if request.method == "GET" else request.headers.get("referer", ""))
    return page_url.path + (f"?{page_url.query}" if page_url.query else "")


def error_page(request: Request, error: DialerError | RequestValidationError) -> Response:
    """Say what is wrong, with the words of the API."""
    status, body, headers = refusal_of(error)
    visitor = getattr(request.state, "visitor", None)
    return page(request, "error.html", visitor, status=status, headers=headers, error=body)
