"""Every operation of the OpenAPI document, with a request that is right for it."""

from dataclasses import dataclass
from typing import Any

from fastapi.testclient import TestClient

from api.conftest import NOBODY, Api
from support.world import World

OPEN = {"/healthz", "/readyz"}
# For the owner of the machine, by a token of its own: tests/api/test_requests.py.
OF_OWNER = {"/metrics"}
# What each operation needs besides its path; those that are not named need nothing.
BODIES: dict[str, dict[str, Any]] = {
    "create_batch_call": {"name": "x", "agent_id": "AGENT", "phone_number_ids": ["NUMBER"]},
    "add_contacts": {"contacts": [{"phone_number": "+12025550101"}]},
    "add_folder_contacts": {"contacts": [{"phone_number": "+12025550101"}]},
    "create_agent": {"name": "x"},
    "create_phone_number": {"phone_number": "+12025550111", "trunk_id": "TRUNK", "agent_id": "AGENT"},
    "create_trunk": {"name": "x", "provider": "simulator"},
    "create_contact_folder": {"name": "x"},
    "create_suppression": {"phone_number": "+12025550112"},
    "create_key": {"role": "viewer"},
    "report_call": {"disposition": "x"},
    "create_webhook_endpoint": {"url": "https://example.com/again"},
    "call_contact_back": {"at": "2026-03-03T10:00Z"},
    "update_batch_call": {"phone_number_ids": ["NUMBER"]},
    "update_phone_number": {"trunk_id": "TRUNK"},
    "update_settings": {"phone_number_ids": ["NUMBER"]},
}
NEEDS_BODY = {"POST", "PATCH"}
WITHOUT_BODY = {
    "schedule_batch_call",
    "pause_batch_call",
    "resume_batch_call",
    "cancel_batch_call",
    "check_trunk",
    "retry_quarantine",
    "rotate_webhook_secret",
}


@dataclass(frozen=True)
class Operation:
    name: str
    method: str
    path: str

    def ask(self, client: TestClient, ids: dict[str, str], **more: Any) -> Any:
        """Ask with the ids of `ids` in the path and in the body."""
        path = self.path.format(**ids)
        headers = dict(more.pop("headers", {}))
        if self.method in NEEDS_BODY and self.name not in WITHOUT_BODY:
            more |= {"json": filled(BODIES.get(self.name, {}), ids)}
        if self.name == "follow_batch_call":
            more |= {"params": {"max_seconds": 1}}
        return client.request(self.method, f"http://testserver{path}", headers=headers, **more)


def filled(value: Any, ids: dict[str, str]) -> Any:
    match value:
        case dict():
            return {name: filled(item, ids) for name, item in value.items()}
        case list():
            return [filled(item, ids) for item in value]
        case _:
            return ids.get(value, value)


def operations(api: Api) -> list[Operation]:
    declared = [
        Operation(operation["operationId"], method.upper(), path)
        for path, methods in api.app().openapi()["paths"].items()
        for method, operation in methods.items()
    ]
    assert len(declared) > 45
    # Networks sign what they report instead: tests/api/test_webhooks.py.
    return [
        operation
        for operation in declared
        if operation.path not in OPEN | OF_OWNER and not operation.path.startswith("/v1/providers/")
    ]


OF_PATH = {
    "/v1/agents/": "AGENT",
    "/v1/trunks/": "TRUNK",
    "/v1/phone-numbers/": "NUMBER",
    "/v1/contact-folders/": "FOLDER",
    "/v1/suppressions/": "SUPPRESSION",
    "/v1/webhook-endpoints/": "ENDPOINT",
}


def with_id(operation: Operation, ids: dict[str, str]) -> dict[str, str]:
    """Say which of the ids is meant by the parameter `id` of this path."""
    meant = [ids[of] for prefix, of in OF_PATH.items() if operation.path.startswith(prefix)]
    own = dict(ids) | ({"id": meant[0]} if meant else {})
    if "/contact-folders/" in operation.path:
        own["contact_id"] = NOBODY
    return own


def dump(world: World) -> str:
    """Everything that belongs to the first workspace."""
    tables = world.rows(
        "SELECT table_name FROM information_schema.columns"
        " WHERE column_name = 'workspace_id' AND table_schema = 'public' ORDER BY 1"
    )
    of = world.installed.workspace_id
    rows = [
        str(world.rows(f"SELECT to_jsonb(t) FROM {t} t WHERE workspace_id = :of ORDER BY 1", of=of)) for (t,) in tables
    ]
    rows += [str(world.rows("SELECT to_jsonb(t) FROM contacts t ORDER BY 1"))]
    rows += [str(world.rows("SELECT to_jsonb(t) FROM folder_contacts t ORDER BY 1"))]
    return "\n".join(rows)
