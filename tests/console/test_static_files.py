"""The files of other projects are those that VENDORED.toml names, unchanged; and every file is served for ever."""

import hashlib
import tomllib
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from api.conftest import Api
from dialer.console import static_files

VENDOR = static_files.FOLDER / "vendor"
VENDORED = tomllib.loads((VENDOR / "VENDORED.toml").read_text("utf-8"))
MAX_SCRIPT_BYTES = 130 * 1024


@pytest.mark.parametrize("name", VENDORED)
def test_a_vendored_file_is_the_one_that_was_fetched(name: str) -> None:
    entry = VENDORED[name]
    assert hashlib.sha256((VENDOR / name).read_bytes()).hexdigest() == entry["sha256"]
    assert (VENDOR / f"LICENSE.{entry['package']}").read_text("utf-8").strip()
    assert entry["licence"] in ("0BSD", "MIT")


def test_every_vendored_file_is_named() -> None:
    files = {path.name for path in VENDOR.iterdir() if not path.name.startswith("LICENSE.")}
    assert files == {*VENDORED, "VENDORED.toml"}


def test_the_scripts_stay_small_and_evaluate_no_text() -> None:
    own = static_files.FOLDER / "console.js"
    scripts = [own, *VENDOR.glob("*.js")]
    assert sum(script.stat().st_size for script in scripts) < MAX_SCRIPT_BYTES
    assert "eval(" not in own.read_text("utf-8")
    assert "Function(" not in own.read_text("utf-8")


def test_a_file_is_kept_by_browsers_only_under_its_own_version(api: Api) -> None:
    client = TestClient(api.app())
    kept = client.get(static_files.address("console.css"))
    assert (kept.status_code, kept.headers["Cache-Control"]) == (200, "public, max-age=31536000, immutable")
    other = client.get("/console/static/0/console.css")
    assert (other.content, other.headers["Cache-Control"]) == (kept.content, "no-store")


@pytest.mark.parametrize("name", ["nothing.js", "../page.py", "%2e%2e/page.py", "vendor/VENDORED.toml"])
def test_nothing_else_is_served(api: Api, name: str) -> None:
    assert TestClient(api.app()).get(f"/console/static/0/{name}").status_code in (401, 404)


def test_the_wheel_contains_every_template_and_file() -> None:
    patterns = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text("utf-8"))
    globs = patterns["tool"]["setuptools"]["package-data"]["dialer"]
    package = static_files.FOLDER.parents[1]
    shipped = {path for pattern in globs for path in package.glob(pattern)}
    files = {
        path for path in static_files.FOLDER.parent.rglob("*") if path.is_file() and path.suffix not in (".py", ".pyc")
    }
    assert files - shipped == set()
