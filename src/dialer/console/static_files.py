"""The scripts and styles of the console, read once from the package and served under their version, for ever."""

import hashlib
from functools import cache
from pathlib import Path

from fastapi import APIRouter, Response

from dialer.errors import NotFound

FOLDER = Path(__file__).parent / "static"
MEDIA_TYPES = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}

router = APIRouter(include_in_schema=False)


@cache
def files() -> dict[str, bytes]:
    """Return every file by its path below `static`."""
    return {
        path.relative_to(FOLDER).as_posix(): path.read_bytes()
        for path in sorted(FOLDER.rglob("*"))
        if path.suffix in MEDIA_TYPES
    }


@cache
def version() -> str:
    """Return a hash of all files: it is part of their addresses, so that a browser never mixes two releases."""
    return hashlib.sha256(b"".join(files().values())).hexdigest()[:16]


def address(name: str) -> str:
    """Return the address of a file."""
    if name not in files():
        raise KeyError(name)
    return f"/console/static/{version()}/{name}"


@router.get("/console/static/{of_version}/{name:path}")
def static_file(of_version: str, name: str) -> Response:
    """Send a file of the package. An old page gets the present files, and is not to keep them."""
    content = files().get(name)
    if content is None:
        raise NotFound("No such file")
    keeps = "public, max-age=31536000, immutable" if of_version == version() else "no-store"
    return Response(content, media_type=MEDIA_TYPES[Path(name).suffix], headers={"Cache-Control": keeps})
