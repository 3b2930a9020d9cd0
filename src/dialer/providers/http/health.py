"""Whether calls can be placed, told by a platform's health_url, or by whether its host can be connected to."""

import asyncio
import ssl
from contextlib import suppress
from urllib.parse import urlsplit

import httpx2

from dialer.providers.egress import Egress
from dialer.providers.http.exchange import Answer, NoAnswer
from dialer.providers.http.trouble import trouble


def verdict(reply: Answer | NoAnswer) -> str | None:
    match reply:
        case NoAnswer(found, _):
            return f"The platform cannot be asked for its health: {found.reason}"
        case Answer(status, _) if 200 <= status < 300:
            return None
        case Answer(401 | 403 as status, _):
            return f"The platform refuses our signature ({status}): is its secret that of the trunk?"
        case Answer(404 | 405 | 410 as status, _):
            return f"The platform answers {status} at health_url: is the URL right?"
        case Answer(status, _) if 300 <= status < 400:
            return f"The platform answers {status} at health_url, and redirects are not followed"
        case Answer(status, _):
            return f"The platform says that it is not well: it answers {status} at health_url"


async def reach(url: str, seconds: float, egress: Egress) -> str | None:
    """Connect to the URL's host, with TLS where it has it, and ask for nothing."""
    parts = urlsplit(url)
    secure: ssl.SSLContext | None = httpx2.create_ssl_context() if parts.scheme == "https" else None
    host, port = parts.hostname or "", parts.port or (443 if secure else 80)

    async def open_at(address: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection(address, port, ssl=secure, server_hostname=host if secure else None)

    try:
        async with asyncio.timeout(seconds):
            _, writer = await egress.connect(host, port, seconds, open_at)
    except OSError as error:
        return f"The platform at {host}:{port} cannot be reached: {trouble(error, seconds).reason}"
    writer.close()
    with suppress(OSError):
        await writer.wait_closed()
    return None
