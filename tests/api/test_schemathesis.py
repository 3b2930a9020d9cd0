"""The API is attacked with requests made from its own OpenAPI document: all checks, all phases, links included."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from api.conftest import Api, Draft

ROOT = Path(__file__).parents[2]
SCHEMATHESIS = Path(sys.executable).with_name("st")


@pytest.mark.timeout(600)
def test_schemathesis_finds_nothing(api: Api, draft: Draft, tmp_path: Path) -> None:
    draft(contacts=3)
    with api.served(rate_limit_per_minute=10_000_000) as served:
        key = f"Authorization:{served.client.headers['Authorization']}"
        document = served.url.replace("/v1", "/openapi.json")
        done = subprocess.run(
            [SCHEMATHESIS, "--config-file", ROOT / "schemathesis.toml", "run", document, "--header", key, "--no-color"],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
            timeout=590,
        )
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
    for phase in ("Examples", "Coverage", "Fuzzing", "Stateful"):
        assert re.search(rf"✅ {phase}", done.stdout), done.stdout[-3000:]
    generated = re.search(r"(\d+) generated", done.stdout)
    assert generated is not None
    assert int(generated[1]) > 1000
