"""`dialer up` with a trunk of each provider, against a fake network that is a process and speaks the real protocol.

The carrier's journal, which the engine cannot see, must agree with the ledger call by call; also when a listener or the
network is killed and restarted in between.
"""

import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest

from dialer.domain.outcomes import Outcome
from dialer.domain.retry import MOST_NETWORK_FAILURES
from dialer.providers.simulator.network import most_in_any_second
from support.cluster import calls_of, max_concurrent_calls, numbers_with_two_calls, request_times
from support.deadline import wait_until
from support.dialer_up import DIALER, Up
from support.networks.process import NetworkProcess
from support.world import made_up_phones

pytestmark = [
    pytest.mark.proof,
    pytest.mark.timeout(600),
    pytest.mark.skipif(sys.platform != "linux", reason="reads the children of a process from /proc"),
]

CONTACTS = 250
LIMIT = 40
PROFILE = {
    "speed": 40,
    "outcomes": {"answered": 5, "busy": 2, "no_answer": 2, "machine": 1, "rejected": 1, "failed": 0.2},
    "setup_seconds": {"mean": 1, "max": 3},
    # No call ends at once: the agents would be paused as failing.
    "talk_seconds": {"mean": 60, "min": 30, "max": 300},
}
NETWORKS = ["asterisk", "freeswitch", "http", "twilio"]
# Uses HTTPS, as the real one.
SCHEMES = {"twilio": ("https",)}


class Client:
    """A client of the API with the admin role."""

    def __init__(self, up: Up) -> None:
        key = (up.data_dir / "admin.key").read_text().strip()
        url = (up.data_dir / "api.url").read_text().strip()
        self.http = httpx2.Client(base_url=f"{url}/v1", headers={"Authorization": f"Bearer {key}"}, timeout=30)

    def post(self, path: str, body: Any = None, **more: Any) -> Any:
        answer = self.http.post(path, json=body, **more) if body is not None else self.http.post(path, **more)
        assert answer.is_success, answer.text
        return answer.json()["data"]

    def get(self, path: str) -> Any:
        answer = self.http.get(path)
        assert answer.is_success, answer.text
        return answer.json()["data"]


@contextmanager
def running(name: str, folder: Path) -> Iterator[tuple[Up, NetworkProcess, Client]]:
    carrier = NetworkProcess(name, folder, PROFILE)
    up = Up(folder / "data", environment=carrier.module.ENVIRONMENT)
    client = Client(up)
    try:
        yield up, carrier, client
    finally:
        client.http.close()
        up.stop()
        carrier.kill()


def set_up(name: str, carrier: NetworkProcess, client: Client) -> str:
    """Create trunk, numbers and agent; return the agent's id."""
    of_kind = carrier.module.trunk(carrier.port, *SCHEMES.get(name, ()))
    trunk = client.post("/trunks", of_kind | {"calls_per_second": 200})
    agent = client.post("/agents", {"name": "Receptionist", "connection": {name: carrier.module.CONNECTION}})
    number = {"phone_number": "+442079460000", "trunk_id": trunk["id"], "agent_id": agent["id"]}
    client.post("/phone-numbers", number)
    return str(agent["id"])


def started(agent_id: str, client: Client, name: str, first: int) -> str:
    """Start a batch of 500 made-up numbers, beginning with this one; return its id."""
    options = {"working_days": [1, 2, 3, 4, 5, 6, 7], "max_concurrent_calls": LIMIT, "retry_failed": True}
    delays = dict.fromkeys(("busy", "no_answer", "failed", "rejected", "machine"), 0)
    retries = {"max_retry_attempts": 1, "retry_machine": True, "retry_delays": delays}
    batch = client.post("/batch-calls", {"name": name, "agent_id": agent_id, **options, **retries})
    file = "\n".join(["phone,name", *(f"{phone},Ada" for phone in made_up_phones(CONTACTS, first))])
    path = f"/batch-calls/{batch['id']}"
    loaded = client.http.post(f"{path}/contacts", content=file.encode(), headers={"Content-Type": "text/csv"})
    assert loaded.json()["data"]["imported"] == CONTACTS
    client.post(f"{path}/schedule")
    return str(batch["id"])


def check_promises(
    up: Up, carrier: NetworkProcess, client: Client, batch_id: str, calls_per_second: int | None = None
) -> None:
    """Compare the promises, the ledger and the carrier's own record, of all that was called so far.

    `calls_per_second`: of the trunk, to check its rate limit.
    """
    assert client.get(f"/batch-calls/{batch_id}/audit")["violations"] == []
    assert done(client, batch_id) == CONTACTS
    calls = calls_of([carrier.journal])
    assert max(Counter(call.attempt_id for call in calls).values()) == 1
    # What failed on the network has not rung. It uses up no attempt where the network says so by its code, for a while.
    spares = carrier.name != "http"
    counted = [call for call in calls if not spares or call.outcome is not Outcome.FAILED]
    assert max(Counter(call.to_number for call in counted).values()) <= 2
    assert max(Counter(call.to_number for call in calls).values()) <= 2 + MOST_NETWORK_FAILURES
    assert max_concurrent_calls(calls) <= LIMIT
    assert numbers_with_two_calls(calls) == []
    if calls_per_second is not None:
        assert most_in_any_second(request_times([carrier.journal])) <= calls_per_second
    ledger = {row.id: row for row in up.rows("SELECT id, state, outcome, cause FROM attempts")}
    truth = {call.attempt_id: call.outcome for call in calls}
    assert truth.keys() <= {of for of, row in ledger.items() if row.state == "ended"}
    for attempt_id, row in ledger.items():
        # Of a call that was gone at the look-up, the ledger knows at most that it was answered.
        if row.state == "ended" and row.cause != "gone_from_network":
            # Twilio's callbacks distinguish rejected from busy by a SIP code, which its call records do not contain.
            is_looked_up = carrier.name == "twilio" and row.cause == "busy"
            expected = "busy" if is_looked_up and truth[attempt_id] == "rejected" else truth[attempt_id]
            assert expected == row.outcome, attempt_id
    assert (
        subprocess.run([*DIALER, "audit", "--data-dir", str(up.data_dir)], capture_output=True, check=False).returncode
        == 0
    )


def done(client: Client, batch_id: str) -> int:
    counts = client.get(f"/batch-calls/{batch_id}")["counts"]
    return int(counts["completed"] + counts["failed"])


def is_over(client: Client, batch_id: str) -> bool:
    return bool(client.get(f"/batch-calls/{batch_id}")["status"] == "completed")


@pytest.mark.parametrize("name", NETWORKS)
def test_a_list_is_called_while_a_listener_and_another_while_the_carrier_is_killed_and_its_log_agrees(
    name: str, tmp_path: Path
) -> None:
    with running(name, tmp_path) as (up, carrier, client):
        agent_id = set_up(name, carrier, client)
        batch_id = started(agent_id, client, "listener killed", 0)
        wait_until(lambda: done(client, batch_id) > CONTACTS / 4, 100, "a quarter is done")
        # The other listener receives every event too.
        up.kill("listener")
        wait_until(lambda: is_over(client, batch_id), 150, "all is over")
        check_promises(up, carrier, client, batch_id)
        assert up.rows("SELECT id FROM attempts WHERE outcome = 'unknown' OR cause = 'gone_from_network'") == []

        killed_id = started(agent_id, client, "carrier killed", CONTACTS)
        up.rows(f"UPDATE batches SET max_concurrent_calls = {LIMIT - 10} WHERE id = '{killed_id}' RETURNING id")
        wait_until(lambda: done(client, killed_id) > CONTACTS / 3, 100, "a third is done")
        carrier.kill()
        # Calls without end events may hold all slots: add some free ones.
        up.rows(f"UPDATE batches SET max_concurrent_calls = {LIMIT} WHERE id = '{killed_id}' RETURNING id")
        # A trunk that needs a listener may be stopped before any call is lost.
        missed = f"""
            SELECT 1 FROM batch_progress p WHERE batch_id = '{killed_id}' AND (held_by = 'trunk_unheard' OR EXISTS (
                SELECT 1 FROM attempts WHERE batch_id = p.batch_id AND state IN ('unclear', 'refused')))
            """
        wait_until(lambda: up.rows(missed), 30, "the carrier is missed")
        carrier.start()
        wait_until(lambda: is_over(client, killed_id), 250, "all is over")
        check_promises(up, carrier, client, killed_id)
