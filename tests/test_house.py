"""The folders of the providers have one floor plan: know one and you know them all."""

from pathlib import Path

import pytest

import dialer.providers

PROVIDERS = Path(dialer.providers.__file__).parent
# Every adapter has these: the Provider, its configs, our requests, the network's events, its causes.
SHARED = {"__init__", "provider", "config", "requests", "events", "causes"}
# What only one of them has. A new file needs a line here, and a reason why it is not one of those above.
OWN = {
    "asterisk": {"ari", "responses", "event_socket"},
    "freeswitch": {"esl", "placement", "event_socket"},
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
    "twilio": {"sdk_http"},
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
