"""The console without a browser: a client with a cookie jar, whose forms carry the token of its session."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx2
from fastapi.testclient import TestClient

from api.conftest import Api
from console.test_sessions import ORIGIN, signed_in
from dialer.domain.roles import Role


@dataclass
class Pages:
    """A signed-in client."""

    client: TestClient
    token: str

    def get(self, path: str) -> httpx2.Response:
        return self.client.get(path)

    def post(self, path: str, fields: Mapping[str, Any] | None = None) -> httpx2.Response:
        return self.client.post(path, data={"form_token": self.token, **(fields or {})}, headers=ORIGIN)

    def text(self, path: str) -> str:
        answer = self.get(path)
        assert answer.status_code == 200, answer.text
        return flat(answer.text)


def flat(html: str) -> str:
    """Write a page as a single line, so that a sentence is found wherever its template breaks it."""
    return " ".join(html.split())


@contextmanager
def pages(api: Api, role: Role = Role.OPERATOR) -> Iterator[Pages]:
    with TestClient(api.app(), raise_server_exceptions=False, follow_redirects=False) as client:
        yield Pages(client, signed_in(client, api.key(role)))
