"""The harness of all scenarios, on the servers of the test session."""

from collections.abc import Iterator

import pytest

from chaos.harness import Harness
from conftest import Servers  # type: ignore[attr-defined]


@pytest.fixture(scope="session")
def harness(servers: Servers, migrated: str) -> Iterator[Harness]:
    harness = Harness(migrated, servers.redis_url)
    yield harness
    harness.close()
