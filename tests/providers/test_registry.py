"""Kinds of provider that other packages bring are found by their entry points, and can be used as ours can."""

import json
import os
import shutil
import subprocess
import sys
import tomllib
from importlib.metadata import EntryPoint
from pathlib import Path
from uuid import UUID

import pytest

from dialer.domain.ids import TrunkId
from dialer.domain.trunk import Trunk
from dialer.errors import Unavailable
from dialer.providers import registry
from support.networks import asterisk

ROOT = Path(__file__).parents[2]
TEMPLATE = ROOT / "examples" / "provider_template"

USE = """
import json, sys
import pendulum
from dialer.errors import InvalidInput
from dialer.providers import registry
from dialer.providers.base import ProviderEnvironment
from dialer.domain.ids import TrunkId
from dialer.service.agents import NewAgent
from dialer.service.trunks import NewTrunk
from uuid import UUID

now = pendulum.datetime(2026, 3, 2)
config = {"url": "https://tinytel.example", "token": "env:TRUNK_TINYTEL_TOKEN"}
NewTrunk.read({"name": "Tiny", "provider": "tinytel", "config": config}, now)
agent = NewAgent.read({"name": "Ada", "connection": {"tinytel": {"queue": "front"}}}, now)
plugin = registry.plugin("tinytel")
plugin.check(config)
try:
    plugin.check({"url": 5, "colour": "red"})
except InvalidInput as refused:
    wrong = sorted(error.field for error in refused.errors)
environment = ProviderEnvironment(lambda: now, lambda _: "token", "https://dialer.example")
provider = plugin.connect(TrunkId(UUID(int=1)), config, environment)
print(json.dumps({
    "names": registry.names(), "wrong": wrong, "rate": plugin.calls_per_second, "provider": type(provider).__name__,
    "connection": agent.model_dump(exclude_none=True)["connection"],
}))
"""


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A folder as pip leaves it when it has installed the template."""
    project = tomllib.loads((TEMPLATE / "pyproject.toml").read_text("utf-8"))["project"]
    shutil.copy(TEMPLATE / "dialer_tinytel.py", tmp_path)
    about = tmp_path / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n")
    lines = [f"{name} = {target}" for name, target in project["entry-points"]["dialer.providers"].items()]
    (about / "entry_points.txt").write_text("\n".join(["[dialer.providers]", *lines, ""]))
    return tmp_path


def test_a_provider_of_another_package_is_a_kind_of_trunk_and_of_connection(site: Path) -> None:
    path = os.pathsep.join([str(site), str(ROOT / "src")])
    done = subprocess.run(
        [sys.executable, "-c", USE], env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    printed = json.loads(done.stdout)
    assert {"tinytel", "http", "simulator"} <= set(printed.pop("names"))
    assert printed == {
        "wrong": ["colour", "token", "url"],
        "rate": 10,
        "provider": "TinyTel",
        "connection": {"tinytel": {"queue": "front"}},
    }


def test_a_kind_whose_code_is_broken_is_named_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    broken = EntryPoint("broken", "no_such_module:PLUGIN", registry.GROUP)
    monkeypatch.setattr(registry, "entry_points", lambda **_: [broken])
    with pytest.raises(Unavailable, match=r"broken \(no_such_module:PLUGIN\) cannot be loaded: No module named"):
        registry.plugin("broken")


def test_a_kind_that_nobody_brings_is_named_with_those_that_there_are() -> None:
    with pytest.raises(Unavailable, match=r"No provider named fax is installed; there are .*simulator"):
        registry.plugin("fax")


def test_trunks_of_different_workspaces_share_no_connection() -> None:
    """Another workspace could borrow the connection and its secret, or keep it from being opened."""
    config = asterisk.trunk(8088)["config"]
    first, second, foreign = (
        registry.shared_link(Trunk(TrunkId(UUID(int=number)), "asterisk", config, workspace))
        for number, workspace in ((1, "acme"), (2, "acme"), (3, "mallory"))
    )
    assert first == second != foreign
