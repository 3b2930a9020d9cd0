"""Quarantine in the API: a workspace's admin sees and retries what belongs to the workspace, and nothing else."""

from uuid import uuid4

from api.conftest import Api
from dialer.domain.ids import TrunkId
from dialer.store import quarantine
from support.engine_steps import call_event, dispatch_and_place, live_attempts
from support.world import World

SECRET = "<script>postgres at 10.0.0.7</script>"


def broken(world: World, kind: quarantine.Kind, subject: object, **more: object) -> str:
    """Put a row into quarantine; return its id."""
    with world.db.begin() as connection:
        quarantine.note(connection, kind, subject, ValueError(SECRET))
    for column, value in more.items():
        world.sql(f"UPDATE quarantine SET {column} = :value WHERE subject = :of", value=value, of=str(subject))
    return str(world.value("SELECT id FROM quarantine WHERE subject = :of", of=str(subject)))


def test_an_admin_sees_and_retries_what_belongs_to_the_workspace(api: Api, world: World) -> None:
    batch_id = world.batch(3)
    dispatch_and_place(world, batch_id)
    first, second, third = live_attempts(world)
    event = call_event(third, "ended", world.clock.now, "no_answer", key="n")
    world.sql(
        "INSERT INTO inbox (trunk_id, event_key, attempt_id, kind, at, outcome, settled_at, verdict) "
        "SELECT trunk_id, 'k', id, 'ended', dialer_now(), 'busy', dialer_now(), 'quarantined' FROM attempts "
        "WHERE id = :id",
        id=second,
    )
    report = world.value("SELECT id FROM inbox")
    own = [
        broken(world, "batch", batch_id),
        broken(world, "attempt", first, attempt_id=first),
        broken(world, "report", report, attempt_id=second),
        broken(
            world,
            "report",
            f"{world.installed.trunk_id} n",
            attempt_id=third,
            trunk_id=world.installed.trunk_id,
            payload=quarantine._payload(event),
        ),
    ]
    orphans = [broken(world, "batch", uuid4()), broken(world, "report", f"{uuid4()} n", trunk_id=TrunkId(uuid4()))]
    with api.client(workspace=api.workspace("other")) as stranger, api.client() as admin:
        assert stranger.get("/quarantine").json()["data"] == []
        for entry_id in (*own, *orphans, "0", "x", "9" * 30):
            assert stranger.post(f"/quarantine/{entry_id}/retry").status_code == 404, entry_id
        assert [admin.post(f"/quarantine/{entry_id}/retry").status_code for entry_id in orphans] == [404, 404]
        answer = admin.get("/quarantine")
        assert "10.0.0.7" not in answer.text
        entries = answer.json()["data"]
        assert [str(entry["id"]) for entry in entries] == own
        assert answer.json()["pagination"]["total"] == 4
        assert [entry["attempt_id"] for entry in entries] == [None, str(first), str(second), str(third)]
        assert {entry["batch_id"] for entry in entries} == {str(batch_id)}
        assert [admin.post(f"/quarantine/{entry_id}/retry").status_code for entry_id in own] == [204] * 4
        assert admin.get("/quarantine").json()["data"] == []
        assert admin.post(f"/quarantine/{own[0]}/retry").status_code == 404
    assert world.value("SELECT count(*) FROM quarantine") == 2
    assert world.value("SELECT count(*) FROM inbox WHERE settled_at IS NULL") == 2
