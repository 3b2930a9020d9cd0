"""Bodies that no client means to send, at every operation that changes something: refused, and nothing is changed."""

from itertools import cycle, islice
from typing import Any

from fastapi.testclient import TestClient

from api.conftest import Api
from api.every_operation import NEEDS_BODY, Operation, dump, operations, with_id
from support.world import World

TWICE = "is given more than once in one object"
# How many bodies each operation gets; the next one begins with the next body.
SENT = 4
# Body -> the statuses of its refusal, and the detail where there is only one.
BODIES: dict[bytes, tuple[set[int], dict[str, str] | None]] = {
    b'{"name": "a", "name": "b"}': ({422}, {"field": "name", "reason": TWICE}),
    b'{"metadata": {"a": [{"\\u0062": 1, "b": 1}]}}': ({422}, {"field": "b", "reason": TWICE}),
    b'{"name": ' + b"[" * 100_000: ({400}, {"field": "body", "reason": "is nested too deeply: line 1 column 210"}),
    b'{"priority": ' + b"9" * 5_000 + b"}": ({400}, None),
    b'{"priority": 1e999, "x": -Infinity, "y": NaN}': ({422}, None),
    b'{"name": "\\ud800"}': ({400}, None),
    b'{"name": "\xff"}': ({400}, None),
    b"\xef\xbb\xbf{}": ({400}, {"field": "body", "reason": "is not JSON: line 1 column 1"}),
    '{"name": "x"}'.encode("utf-16"): ({400}, None),
    b'{"name": "x"': ({400}, None),
    b"[]": ({422}, {"field": "body", "reason": "must be an object"}),
}


def test_no_body_is_a_500_or_changes_anything(api: Api, client: TestClient, world: World, ids: dict[str, str]) -> None:
    before = dump(world)
    writes = [operation for operation in operations(api) if operation.method in NEEDS_BODY]
    assert len(writes) > 30
    bodies = cycle(BODIES.items())
    for operation in writes:
        for body, (statuses, detail) in islice(bodies, SENT):
            answer = sent(client, operation, ids, body, "application/json")
            assert answer.status_code in statuses, (operation, body[:40], answer.text)
            details = answer.json()["error"]["details"]
            assert details == [detail] if detail else details, (operation, body[:40])
        other = sent(client, operation, ids, b"{}", "text/plain")
        assert other.status_code == 415, operation
    assert dump(world) == before


def sent(client: TestClient, operation: Operation, ids: dict[str, str], body: bytes, media_type: str) -> Any:
    """Send a body with an idempotency key, so that it is hashed before it is validated."""
    headers = {"Content-Type": media_type, "X-Idempotency-Key": operation.name}
    path = operation.path.format(**with_id(operation, ids))
    return client.request(operation.method, f"http://testserver{path}", content=body, headers=headers)
