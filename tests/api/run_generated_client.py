"""The life of a batch through the Python client that `make clients` generates. Run by `make clients-test`."""

from importlib import import_module
from typing import Any
from uuid import UUID

from api.conftest import Api
from support.world import World


class Operations:
    """The operations of the generated package, as `operations.batch_calls.get_batch_call(batch_id)`."""

    def __init__(self, client: Any, tag: str = "") -> None:
        self._client, self._tag = client, tag

    def __getattr__(self, name: str) -> Any:
        if not self._tag:
            return Operations(self._client, name)
        sync = import_module(f"dialer_client.api.{self._tag}.{name}").sync
        return lambda *ids, **fields: sync(*ids, client=self._client, **fields)


def test_a_batch_is_made_run_paused_watched_and_read(api: Api, world: World) -> None:
    models = import_module("dialer_client.models")
    make_client = import_module("dialer_client").AuthenticatedClient
    with api.served() as served, make_client(served.url.removesuffix("/v1"), api.key()) as client:
        do = Operations(client)
        new = models.BatchCallCreate(name="Reminders", agent_id=UUID(str(world.installed.agent_id)))
        new.working_days, new.max_concurrent_calls = list(range(1, 8)), 3
        batch = do.batch_calls.create_batch_call(body=new, x_idempotency_key="once").data
        assert do.batch_calls.create_batch_call(body=new, x_idempotency_key="once").data.id == batch.id
        contacts = [models.ContactFields(phone_number=f"+1202555{line:04}") for line in range(100, 105)]
        report = do.contacts.add_contacts(batch.id, body=models.ContactsCreate(contacts=contacts)).data
        assert (report.imported, report.errors) == (5, [])
        assert do.batch_calls.preview_batch_call(batch.id).data.ready
        for action, status in (("schedule", "active"), ("pause", "paused"), ("resume", "active")):
            operation = getattr(do.batch_calls, f"{action}_batch_call")
            assert operation(batch.id).data.status == status, action
        settings = models.BatchCallSettingsUpdate(max_concurrent_calls=2)
        assert do.batch_calls.update_settings(batch.id, body=settings).data.max_concurrent_calls == 2
        world.run(lambda: do.batch_calls.get_batch_call(batch.id).data.status == "completed")
        done = do.batch_calls.get_batch_call(batch.id).data
        assert (done.counts.total, done.calls.in_progress, done.completed_at.utcoffset().seconds) == (5, 0, 0)
        calls = do.calls.list_all_calls(batch_id=UUID(str(batch.id)), limit=2)
        assert (len(calls.data), calls.data[0].batch_id) == (2, batch.id)
        assert do.batch_calls.audit_batch_call(batch.id).data.is_clean
        wrong = do.batch_calls.create_batch_call(body=models.BatchCallCreate(name="", agent_id=UUID(int=1)))
        assert wrong.error.details[0].reason == "must not be empty"
