"""All providers have the same files, and all error messages the same form."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import dialer

ROOT = Path(__file__).parents[1]
SOURCE = Path(dialer.__file__).parent
PROVIDERS = SOURCE / "providers"
# Every adapter has these: the Provider, its configs, our requests, the network's events, its causes.
SHARED = {"__init__", "provider", "config", "requests", "events", "causes"}
# What only one of them has. A new file needs a line here, and a reason why it is not one of those above.
OWN = {
    "asterisk": {"ari", "responses", "event_socket"},
    "freeswitch": {"esl", "responses", "event_socket"},
    "http": {"signing"},
    "simulator": {
        "call",
        "delivery",
        "in_process",
        "journal",
        "network",
        "profile",
        "protocol",
        "server",
        "state",
    },
    "twilio": {"api", "signing"},
}
# The simulator is both sides of a call: it asks nobody, so no requests, events or causes have to be translated.
NOT_NEEDED = {"simulator": {"requests", "events", "causes"}}


def modules(folder: Path) -> set[str]:
    return {path.stem for path in folder.glob("*.py")}


def folders(parent: Path) -> set[str]:
    return {path.name for path in parent.iterdir() if path.is_dir() and path.name != "__pycache__"}


@pytest.mark.parametrize("adapter", sorted(OWN))
def test_the_folder_of_a_provider_has_the_shared_files_and_only_its_own_besides(adapter: str) -> None:
    present = modules(PROVIDERS / adapter)
    assert present - SHARED - OWN[adapter] == set(), "not agreed on"
    assert SHARED - NOT_NEEDED.get(adapter, set()) - present == set(), "missing"
    assert folders(PROVIDERS / adapter) == set()


def test_every_folder_of_a_provider_is_checked() -> None:
    assert folders(PROVIDERS) == set(OWN)


def messages(file: Path) -> Iterator[str]:
    """Every text that an error is raised with; what is filled in is left out."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
            for argument in node.exc.args:
                parts = argument.values if isinstance(argument, ast.JoinedStr) else [argument]
                yield "".join(str(part.value) for part in parts if isinstance(part, ast.Constant))


def test_error_messages_end_without_a_full_stop() -> None:
    """They are joined to other texts: `Trunk X cannot place calls: …`."""
    stopped = [text for file in SOURCE.rglob("*.py") for text in messages(file) if text.endswith(".")]
    assert stopped == []


def test_every_file_that_the_table_of_changes_names_exists() -> None:
    table = (ROOT / "docs" / "contributing.md").read_text().partition("## Where do I put")[2].partition("\n## ")[0]
    named = [name for name in re.findall(r"`([\w/.]+/[\w.]+\.\w+)`", table) if "N" not in name]
    assert len(named) > 60
    assert [name for name in named if not ((SOURCE / name).exists() or (ROOT / name).exists())] == []
