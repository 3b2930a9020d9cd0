"""The people of all stories, on the servers of the session."""

from collections.abc import Iterator

import pytest

from chaos.play import Cast
from conftest import Servers  # type: ignore[attr-defined]


@pytest.fixture(scope="session")
def cast(servers: Servers, migrated: str) -> Iterator[Cast]:
    cast = Cast(migrated, servers.redis_url)
    yield cast
    cast.close()
