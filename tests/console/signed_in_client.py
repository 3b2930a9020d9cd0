"""A signed-in client of the console without a browser, and what the tests read from its pages."""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from fastapi.testclient import TestClient
from httpx2 import Response

from api.conftest import Api
from console.test_sessions import ORIGIN, signed_in
from dialer.domain.ids import WorkspaceId
from dialer.domain.roles import Role


@dataclass(frozen=True)
class SignedInClient:
    """A client with a session."""

    http: TestClient
    token: str

    def get(self, path: str, **params: Any) -> Response:
        return self.http.get(path, params=params or None)

    def post(self, path: str, form: Mapping[str, Any] | None = None, **fields: Any) -> Response:
        """Send a form of one of the pages."""
        return self.http.post(path, data={"form_token": self.token, **(form or {}), **fields}, headers=ORIGIN)

    def text(self, path: str) -> str:
        """Read a page that there is, in one line."""
        answer = self.get(path)
        assert answer.status_code == 200, answer.text
        return flat(answer.text)


@contextmanager
def client_of(api: Api, role: Role = Role.ADMIN, workspace: WorkspaceId | None = None) -> Iterator[SignedInClient]:
    """Sign in with a new key of this role."""
    with TestClient(api.app(), raise_server_exceptions=False, follow_redirects=False) as http:
        yield SignedInClient(http, signed_in(http, api.key(role, workspace)))


def text_of(answer: Response) -> str:
    """Return the text of a page without its tags, in one line."""
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", answer.text))


def flat(html: str) -> str:
    """Write a page as a single line, so that a sentence is found wherever its template breaks it."""
    return " ".join(html.split())
