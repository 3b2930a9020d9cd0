"""`/docs`: the OpenAPI document as a page; the only answer that a browser renders, so it may load its parts."""

import re

from fastapi import APIRouter
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import HTMLResponse

router = APIRouter(include_in_schema=False)

_PAGE = get_swagger_ui_html(openapi_url="/openapi.json", title="Dialer", swagger_favicon_url="data:,")
_FROM = " ".join(sorted(set(re.findall(r"https://[^/\"]+", bytes(_PAGE.body).decode()))))
POLICY = (
    f"default-src 'none'; connect-src 'self'; img-src 'self' data:; script-src 'unsafe-inline' {_FROM}; "
    f"style-src 'unsafe-inline' {_FROM}; frame-ancestors 'none'"
)


@router.get("/docs")
async def docs() -> HTMLResponse:
    """Show the document; the page's own code comes from where FastAPI's page takes it."""
    return HTMLResponse(_PAGE.body, headers={"Content-Security-Policy": POLICY})
