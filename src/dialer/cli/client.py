"""A client of the HTTP API: one line for what is refused, patience with limits, no request done twice."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx2

from dialer import wiring
from dialer.cli import admin_key
from dialer.cli.supervisor import ADDRESS
from dialer.domain.ids import uuid7
from dialer.errors import DialerError, InvalidInput, Unavailable
from dialer.settings import Settings

DEFAULT_URL = "http://127.0.0.1:8000"
# A pool of connections, an import that is taking its turn: answers may take a while.
TIMEOUT = httpx2.Timeout(60, connect=5)
TRIES = 5
PAGE = 100


class Client:
    """Asks the API; what it refuses is raised as DialerError with its message."""

    def __init__(self, url: str, key: str) -> None:
        self.http = httpx2.Client(
            base_url=f"{url.rstrip('/')}/v1", headers={"Authorization": f"Bearer {key}"}, timeout=TIMEOUT
        )

    def ask(self, method: str, path: str, **request: Any) -> Any:
        """Return what the API answers; None: nothing."""
        headers = dict(request.pop("headers", {}))
        if method == "POST" and "json" in request:
            headers["X-Idempotency-Key"] = str(uuid7(wiring.clock(), wiring.chance()))
        answer = self.patiently(lambda: self.http.request(method, path, headers=headers, **request))
        return answer.json() if answer.content else None

    def patiently(self, send: Callable[[], httpx2.Response], tries: int = TRIES) -> httpx2.Response:
        """Send a request, and again where nothing was done yet: a limit is waited out."""
        for left in reversed(range(tries)):
            with reaching(str(self.http.base_url)):
                answer = send()
            if answer.status_code not in (409, 429, 503) or not left:
                break
            time.sleep(int(answer.headers.get("Retry-After", "1")))
        check(answer)
        return answer

    def get(self, path: str, **query: Any) -> Any:
        """Read one thing."""
        return self.ask("GET", path, params=_given(query))["data"]

    def post(self, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """Do something; return what came of it."""
        return self.ask("POST", path, **({} if body is None else {"json": body}))["data"]

    def all(self, path: str, **query: Any) -> Iterator[Any]:
        """Yield everything of a list, page by page."""
        offset, more = 0, True
        while more:
            page = self.ask("GET", path, params=_given(query) | {"limit": PAGE, "offset": offset})
            yield from page["data"]
            offset, more = offset + PAGE, page["pagination"]["has_more"]

    def named(self, path: str, id_or_name: str, field: str = "name") -> Any:
        """Find one by its id, or by its name if only one has it."""
        found = self.all_named(path, id_or_name, field)
        if len(found) > 1:
            raise InvalidInput.of(path.strip("/"), f"{len(found)} are called {id_or_name}; use an id")
        return found[0]

    def all_named(self, path: str, id_or_name: str, field: str = "name") -> list[Any]:
        """Find the one with this id, or every one with this name, newest first; at least one."""
        try:
            return [self.get(f"{path}/{UUID(id_or_name)}")]
        except ValueError:
            # Where the API knows no such filter it passes over it.
            found = [one for one in self.all(path, **{field: id_or_name}) if one[field] == id_or_name]
        if not found:
            raise InvalidInput.of(path.strip("/"), f"none is called {id_or_name}; use an id")
        return found


def check(answer: httpx2.Response) -> None:
    """Raise what the API refused; Unavailable: another time it may not."""
    if answer.is_success:
        return
    try:
        error = answer.json()["error"]
        kind = Unavailable if answer.status_code in (429, 503) else DialerError
        raise kind(str(error["message"]), code=str(error["code"]))
    except (ValueError, KeyError, TypeError):
        raise Unavailable(f"{answer.url} answers {answer.status_code}, and not as Dialer's API does") from None


@contextmanager
def reaching(url: str) -> Iterator[None]:
    """Say in one line that the API cannot be reached."""
    try:
        yield
    except httpx2.TransportError as error:
        reason = str(error) or type(error).__name__
        raise Unavailable(f"The API at {url} does not answer ({reason}); is `dialer up` running?") from None


@contextmanager
def connected(data_dir: Path | None) -> Iterator[Client]:
    """Connect to the API of the settings, or to that of the `dialer up` on the data folder."""
    settings = Settings.load().at(data_dir)
    key = settings.api_key.get_secret_value() if settings.api_key else admin_key.kept(settings.data_dir)
    if key is None:
        raise Unavailable(f"DIALER_API_KEY is not set, and {settings.data_dir} has no {admin_key.FILE}")
    client = Client(settings.url or _address(settings.data_dir), key)
    with client.http:
        yield client


def _address(data_dir: Path) -> str:
    try:
        return (data_dir / ADDRESS).read_text("utf-8").strip()
    except OSError:
        return DEFAULT_URL


def _given(query: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in query.items() if value is not None}
