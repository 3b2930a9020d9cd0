"""The people of all stories, on the servers of the session."""

from collections.abc import Iterator

import pytest

from conftest import Servers  # type: ignore[attr-defined]
from lab.play import Cast


@pytest.fixture(scope="session")
def cast(servers: Servers, migrated: str) -> Iterator[Cast]:
    cast = Cast(migrated, servers.redis_url)
    yield cast
    cast.close()
