"""The pages of the switches and their examples say the same: what is copied from them works."""

import json
import re
from collections.abc import Callable
from configparser import ConfigParser
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID
from xml.etree import ElementTree as ET

import pytest

from dialer.domain.ids import TrunkId
from dialer.providers import registry
from dialer.providers.asterisk import AsteriskConfig
from dialer.providers.asterisk import requests as asterisk
from dialer.providers.base import CallRequest, ContactCard, ProviderPlugin
from dialer.providers.freeswitch import FreeSwitchConfig
from dialer.providers.freeswitch import requests as freeswitch
from support.networks.switch import now

ROOT = Path(__file__).parents[2]
SWITCHES = ["asterisk", "freeswitch"]


def page(switch: str) -> str:
    return (ROOT / "docs" / "providers" / f"{switch}.md").read_text()


def examples(switch: str) -> dict[str, str]:
    return {path.name: path.read_text() for path in (ROOT / "examples" / switch).iterdir()}


def json_after(text: str, name: str) -> dict[str, Any]:
    """The first JSON object that the page gives as NAME='…'."""
    match = re.search(rf"{name}='(\{{.*?\}})'", text, re.DOTALL)
    assert match, name
    value: dict[str, Any] = json.loads(match[1])
    return value


@pytest.fixture(params=SWITCHES)
def switch(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_a_page_links_every_example_and_repeats_none(switch: str) -> None:
    text = page(switch)
    on_link_state = set(re.findall(rf"\.\./\.\./examples/{switch}/([\w.]+)\)", text))
    assert on_link_state == set(examples(switch))
    assert set(re.findall(r"```(\w*)", text)) <= {"sh", ""}


def test_the_trunk_and_the_agent_of_a_page_fit_each_other_and_the_dialplan(switch: str) -> None:
    kind: ProviderPlugin = registry.plugin(switch)
    config, connection = json_after(page(switch), "config"), json_after(page(switch), "connection")[switch]
    kind.check(config)
    assert kind.agent_refusal(config, connection) is None
    contexts = dialplan(switch)
    assert connection["extension"] in contexts[config["context"]]


def test_the_destinations_of_a_page_are_accepted(switch: str) -> None:
    match = re.search(r"exactly so: `(\[.*?\])`", page(switch))
    assert match
    kind, config = registry.plugin(switch), json_after(page(switch), "config")
    for destination in json.loads(match[1]):
        assert kind.agent_refusal({**config, "destinations": [destination]}, destination) is None


def dialplan(switch: str) -> dict[str, set[str]]:
    """The contexts of the example, and the extensions in each."""
    if switch == "asterisk":
        contexts: dict[str, set[str]] = {}
        for line in examples(switch)["extensions.conf"].splitlines():
            if match := re.fullmatch(r"\[(.+)\]", line):
                contexts[match[1]] = set()
            elif match := re.match(r"exten => (\w+),1,", line):
                contexts[list(contexts)[-1]].add(match[1])
        return contexts
    root = ET.fromstring(examples(switch)["dialplan.xml"])
    return {
        str(context.get("name")): {
            str(condition.get("expression")).strip("^$") for condition in context.iter("condition")
        }
        for context in root.iter("context")
    }


def test_a_redirect_by_the_provider_finds_nothing_in_the_context_of_its_endpoint() -> None:
    assert dialplan("asterisk")["from-provider"] == set()
    assert re.search(r"^context=from-provider$", examples("asterisk")["pjsip.conf"], re.MULTILINE)


def test_the_files_of_asterisk_fit_the_trunk_of_its_page() -> None:
    files, config = examples("asterisk"), json_after(page("asterisk"), "config")
    http, ari = ConfigParser(inline_comment_prefixes=";"), ConfigParser(inline_comment_prefixes=";")
    http.read_string(files["http.conf"])
    ari.read_string(files["ari.conf"])
    general = http["general"]
    assert config["url"] == f"http://{general['bindaddr']}:{general['bindport']}"
    assert int(general["sessionlimit"]) >= 162
    assert ari[config["username"]]["read_only"] == "no"
    assert config["endpoint"].endswith("@provider")
    assert "[provider]\ntype=endpoint" in files["pjsip.conf"]


def test_the_files_of_freeswitch_fit_the_trunk_of_its_page() -> None:
    files, config = examples("freeswitch"), json_after(page("freeswitch"), "config")
    trees = {name: ET.fromstring(text) for name, text in files.items()}
    params = {
        name: {param.get("name"): param.get("value") for param in tree.iter("param")} for name, tree in trees.items()
    }
    socket, gateway = params["event_socket.conf.xml"], trees["gateway.xml"].find("gateway")
    assert (config["host"], str(config["port"])) == (socket["listen-ip"], socket["listen-port"])
    (allowed,) = trees["acl.conf.xml"].iter("list")
    assert (allowed.get("name"), allowed.get("default")) == (socket["apply-inbound-acl"], "deny")
    assert gateway is not None
    assert config["dial_string"] == f"sofia/gateway/{gateway.get('name')}/{{number}}"
    assert int(str(params["gateway.xml"]["ping"])) > 0


def test_the_variables_of_a_dialplan_are_those_that_a_call_has_and_the_page_names(
    switch: str, call_request: Callable[..., CallRequest]
) -> None:
    contact = ContactCard("Ada", "c-1", {"plan": "Gold"})
    connection = json_after(page(switch), "connection")[switch]
    request = replace(call_request(now(), detect_machine=True), connection=connection, contact=contact)
    names = WRITTEN[switch](json_after(page(switch), "config"), request)
    plan = examples(switch)["extensions.conf" if switch == "asterisk" else "dialplan.xml"]
    assert set(re.findall(r"\$\{((?:dialer|DIALER)_\w+)\}", plan)) <= names
    assert all(re.sub("(?<=var_|VAR_)(?:plan|PLAN)", "…", name) in page(switch) for name in names)


def of_asterisk(config: dict[str, Any], request: CallRequest) -> set[str]:
    parsed = AsteriskConfig.parse(config)
    destination = parsed.destination(request.connection)
    assert destination is not None
    body = asterisk.originate(request, parsed, destination, request.place_by)
    assert isinstance(body, dict)
    return set(body["variables"])


def of_freeswitch(config: dict[str, Any], request: CallRequest) -> set[str]:
    command = freeswitch.originate(request, FreeSwitchConfig.parse(config), TrunkId(UUID(int=1)), request.place_by)
    assert isinstance(command, str)
    return set(re.findall(r"[{,](dialer_\w+)=", command))


WRITTEN = {"asterisk": of_asterisk, "freeswitch": of_freeswitch}
