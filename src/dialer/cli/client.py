"""A client of the HTTP API: errors as one line, retries where a limit was hit, idempotency keys on every POST."""

import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from secrets import token_hex
from typing import Any
from uuid import UUID

import httpx2
import typer

from dialer.cli.data_folder import KEY_FILE, admin_key, local_api_url
from dialer.cli.tables import say, say_more
from dialer.cli.target import load_settings
from dialer.domain.change_origin import CLI_USER_AGENT
from dialer.errors import DialerError, InvalidInput, Unavailable

DEFAULT_URL = "http://127.0.0.1:8000"
# A response may wait for a database connection, or for another import into the same batch.
TIMEOUT = httpx2.Timeout(60, connect=5)
TRIES = 5
LONGEST_WAIT_SECONDS, SAID_WAIT_SECONDS = 60, 3
PAGE_SIZE = 100
# Tables show the last eight digits of an id. They are looked for among the newest entries of a list.
SHORT_ID = re.compile("[0-9a-f]{8}")
SEARCHED = 1_000
MAX_LISTED = 10
# What an entry of a list is called, and the group of the commands on it.
NOUNS = {
    "/batch-calls": ("batch", "batch"),
    "/agents": ("agent", "agents"),
    "/phone-numbers": ("number", "numbers"),
    "/trunks": ("trunk", "trunks"),
    "/contact-folders": ("folder", "folders"),
    "/suppressions": ("suppression", "suppress"),
    "/webhook-endpoints": ("endpoint", "webhooks"),
}


class Client:
    """Sends requests; an error response is raised as DialerError with its message."""

    def __init__(self, url: str, key: str) -> None:
        self.http = httpx2.Client(
            base_url=f"{url.rstrip('/')}/v1",
            headers={"Authorization": f"Bearer {key}", "User-Agent": CLI_USER_AGENT},
            timeout=TIMEOUT,
            # Loading the CA certificates takes as long as all else, so not for an address without TLS.
            verify=url.startswith("https:"),
        )

    def request(self, method: str, path: str, **request: Any) -> Any:
        """Send a request and return the JSON of the response; None: it is empty. Prints the warnings about a change."""
        headers = dict(request.pop("headers", {}))
        if method == "POST" and "json" in request:
            headers["X-Idempotency-Key"] = token_hex(16)
        response = self.with_retries(lambda: self.http.request(method, path, headers=headers, **request))
        body = body_of(response) if response.content else None
        sets_fields = method == "PATCH" or (method == "POST" and path == "/batch-calls")
        for warning in body["meta"].get("warnings", ()) if body and sets_fields else ():
            typer.echo(f"Warning: {warning['field']} {warning['message']}", err=True)
        return body

    def with_retries(self, send: Callable[[], httpx2.Response], tries: int = TRIES) -> httpx2.Response:
        """Send a request, and again after `Retry-After` where the API says that nothing was done."""
        for left in reversed(range(tries)):
            with connection_errors_as_unavailable(str(self.http.base_url)):
                response = send()
            # A 409 without the header is final: the settings have changed.
            again = (429, 503, 409) if "Retry-After" in response.headers else (429, 503)
            if response.status_code not in again or not left:
                break
            time.sleep(seconds_to_wait(response))
        raise_for_error(response)
        return response

    def get(self, path: str, **query: Any) -> Any:
        """Read one resource."""
        return self.request("GET", path, params=_without_none(query))["data"]

    def post(self, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """Create a resource or start an action; return `data` of the response."""
        return self.request("POST", path, **({} if body is None else {"json": body}))["data"]

    def all(self, path: str, **query: Any) -> Iterator[Any]:
        """Yield all entries of a list, page by page."""
        offset, more = 0, True
        while more:
            page = self.request("GET", path, params=_without_none(query) | {"limit": PAGE_SIZE, "offset": offset})
            yield from page["data"]
            offset, more = offset + PAGE_SIZE, page["pagination"]["has_more"]

    def all_by_key(self, path: str, **query: Any) -> Iterator[Any]:
        """Yield all entries of a list that is read by key, page by page."""
        after: str | None = None
        while True:
            page = self.request("GET", path, params=_without_none(query | {"limit": PAGE_SIZE, "after": after}))
            yield from page["data"]
            after = page["pagination"]["next_after"]
            if after is None:
                return

    def some(self, path: str, limit: int, **query: Any) -> list[Any]:
        """Read at most `limit` entries of a list; say on standard error if there are more."""
        page = self.request("GET", path, params=_without_none(query) | {"limit": min(limit, PAGE_SIZE)})
        rows, pagination = page["data"], page["pagination"]
        if "total" in pagination:
            rest = self.all(path, **query) if limit > PAGE_SIZE else iter(rows)
            has_more, total = pagination["total"] > limit, pagination["total"]
        else:
            rest = self.all_by_key(path, **query) if limit > PAGE_SIZE else iter(rows)
            has_more, total = limit <= PAGE_SIZE and pagination["next_after"] is not None, None
        shown = list(islice(rest, limit))
        if has_more:
            say_more(limit, total)
        return shown

    def first_page(self, path: str, limit: int, *, if_allowed: bool = False, **query: Any) -> list[Any]:
        """Read the newest entries of a list. `if_allowed`: none where the role of the key does not suffice."""
        try:
            page: list[Any] = self.request("GET", path, params=_without_none(query) | {"limit": limit})["data"]
        except DialerError as error:
            if if_allowed and error.code == "not_allowed":
                return []
            raise
        return page

    def find(self, path: str, id_or_name: str, field: str = "name") -> Any:
        """Find the resource with this id, or with this name if only one has it."""
        matches = self.find_all(path, id_or_name, field)
        if len(matches) > 1:
            listed = ", ".join(str(match["id"]) for match in matches[:MAX_LISTED])
            raise InvalidInput.of(NOUNS[path][0], f"{len(matches)} are called {id_or_name}; use an id: {listed}")
        return matches[0]

    def find_all(self, path: str, id_or_name: str, field: str = "name") -> list[Any]:
        """Find the resource with this id, or all with this name, newest first. Raises InvalidInput if there is none.

        An id may be given by its last eight digits, as tables show it.
        """
        try:
            return [self.get(f"{path}/{UUID(id_or_name)}")]
        except ValueError:
            # Filtered here too: the API ignores a filter that it does not know.
            matches = [entry for entry in self.all(path, **{field: id_or_name}) if entry[field] == id_or_name]
        matches = matches or self.find_by_short_id(path, id_or_name)
        if not matches:
            noun, group = NOUNS[path]
            raise InvalidInput.of(noun, f"none is called {id_or_name}; `dialer {group} list` shows them")
        return matches

    def call_id(self, given: str) -> str:
        """Return the id of a call, given as a whole or by its last eight digits."""
        try:
            return str(UUID(given))
        except ValueError:
            matches = self.find_by_short_id("/calls", given)
        if len(matches) != 1:
            found = f"{len(matches)} of" if matches else "none of"
            raise InvalidInput.of("call", f"{found} the newest {SEARCHED:,} calls has the id {given}; use a whole id")
        return str(matches[0]["id"])

    def find_by_short_id(self, path: str, short_id: str) -> list[Any]:
        """Find the entries among the newest whose id ends with these eight digits."""
        if not SHORT_ID.fullmatch(short_id):
            return []
        entries = self.all_by_key(path) if path == "/calls" else self.all(path)
        return [entry for entry in islice(entries, SEARCHED) if entry["id"].endswith(short_id)]


def raise_for_error(response: httpx2.Response) -> None:
    """Raise the error of an error response; Unavailable where a later attempt may succeed."""
    if response.is_success:
        return
    try:
        error = response.json()["error"]
        error_class = Unavailable if response.status_code in (429, 503) else DialerError
        raise error_class(str(error["message"]), code=str(error["code"]))
    except (ValueError, KeyError, TypeError):
        raise _not_of_dialer(response) from None


def body_of(response: httpx2.Response) -> Any:
    """Return the JSON of a successful response; raises Unavailable if something other than the API sent it."""
    try:
        body = response.json()
    except ValueError:
        body = None
    if not isinstance(body, dict) or "data" not in body:
        raise _not_of_dialer(response)
    return body


def _not_of_dialer(response: httpx2.Response) -> Unavailable:
    kind = response.headers.get("Content-Type", "no content type").partition(";")[0]
    return Unavailable(
        f"{response.url} answers {response.status_code} with {kind}, and not as Dialer's API does: "
        "check DIALER_URL, and any proxy on the way"
    )


def seconds_to_wait(response: httpx2.Response) -> int:
    """Return after how long a request is sent again. A proxy may name a date, or an hour."""
    given = response.headers.get("Retry-After", "1")
    seconds = min(int(given), LONGEST_WAIT_SECONDS) if given.isdecimal() else 1
    if seconds >= SAID_WAIT_SECONDS:
        say(f"The API takes no more requests now; trying again in {seconds} s")
    return seconds


@contextmanager
def connection_errors_as_unavailable(url: str) -> Iterator[None]:
    """Raise Unavailable with one line where the API cannot be reached."""
    try:
        yield
    except httpx2.RequestError as error:
        reason = str(error) or type(error).__name__
        raise Unavailable(f"The API at {url} does not answer ({reason}); is `dialer up` running?") from None


@contextmanager
def connected(data_dir: Path | None) -> Iterator[Client]:
    """Connect to the API in DIALER_URL, or to that of the `dialer up` on the data folder."""
    settings = load_settings(data_dir)
    key = settings.api_key.get_secret_value() if settings.api_key else admin_key(settings.data_dir)
    if key is None:
        raise Unavailable(f"DIALER_API_KEY is not set, and {settings.data_dir} has no {KEY_FILE}")
    url = settings.url or local_api_url(settings.data_dir) or DEFAULT_URL
    try:
        client = Client(url, key)
    except (httpx2.InvalidURL, ValueError) as error:
        raise Unavailable(f"The API at {url} cannot be asked: {error}; check DIALER_URL, and HTTP_PROXY") from None
    with client.http:
        yield client


def _without_none(query: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in query.items() if value is not None}
