"""The state of the engine on the system page: what is wrong, which processes are there, what is in quarantine."""

import re
from collections.abc import Iterator
from uuid import uuid4

import pytest

from api.conftest import Api
from console.signed_in_client import SignedInClient, client_of, text_of
from dialer import wiring
from dialer.domain.ids import TrunkId
from dialer.store import quarantine, trunk_listeners
from dialer.store.process_metrics import PROCESSES, ProcessMetrics
from support.world import World


@pytest.fixture
def admin(api: Api) -> Iterator[SignedInClient]:
    with client_of(api) as client:
        yield client


def test_what_is_wrong_is_said_in_the_words_of_the_doctor(admin: SignedInClient, world: World) -> None:
    assert "have been due" not in admin.get("/console/system").text
    world.batch(3)
    world.clock.now = world.clock.now.add(minutes=3)
    assert "1 batches have been due for over a minute: is a beat running" in text_of(
        admin.get("/console/system/engine")
    )


def test_quarantine_is_counted_and_the_owners_command_is_named(admin: SignedInClient, world: World) -> None:
    batch_id = world.batch(1)
    with world.db.begin() as connection:
        quarantine.note(connection, "batch", batch_id, ValueError("<b>odd</b>"))
    page = admin.get("/console/system")
    assert (
        "1 batch Those of this workspace ; dialer quarantine list on the machine itself shows those of all"
        in text_of(page)
    )
    assert "&lt;b&gt;odd&lt;/b&gt;" in page.text
    assert "<b>odd" not in page.text


def test_processes_are_shown_with_when_they_were_seen(admin: SignedInClient, world: World) -> None:
    assert "worker none seen: start one with dialer worker" in text_of(admin.get("/console/system"))
    measures = ProcessMetrics(world.redis_url, wiring.seconds, "worker here:7")
    measures.count("dialer_attempts", {"outcome": "busy"})
    measures.note_process("beat")
    measures.flush()
    with world.db.begin() as connection:
        trunk_listeners.up(connection, TrunkId(world.installed.trunk_id), uuid4())
    text = text_of(admin.get("/console/system"))
    assert "worker here:7 now" in text
    assert "beat now" in text
    assert "hears 1 trunk now" in text
    measures._redis.hincrbyfloat(PROCESSES, "worker here:7", -300)
    assert re.search(r"worker here:7 5 min( \d+ s)? ago", text_of(admin.get("/console/system")))
    measures._redis.hincrbyfloat(PROCESSES, "worker here:7", -3600)
    assert measures.processes().keys().isdisjoint({"worker here:7"})
    assert not measures._redis.hexists(PROCESSES, "worker here:7")
    measures.close()
