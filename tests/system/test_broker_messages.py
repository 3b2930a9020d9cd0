"""Invalid messages in the broker's queues: none of them stops a worker."""

import base64
import json
import os
import sys
from pathlib import Path
from typing import Any

import redis

from dialer.embedded import child
from dialer.settings import QUEUES
from dialer.store.lease_requests import asked_key
from support.deadline import wait_until
from support.world import World

QUEUE = QUEUES[0]
TASK: dict[str, Any] = {"lang": "py", "task": "dialer.dispatch", "id": "1", "retries": 0, "timelimit": [None, None]}
CALL: list[Any] = [[[]], {}, {}]
# Nested deeper than Python's recursion limit.
NESTED = "[" * 100_000


def message(headers: Any = TASK, body: Any = CALL, **changed: Any) -> dict[str, Any]:
    """Return a message in Celery's Redis format."""
    return {
        "body": base64.b64encode(json.dumps(body).encode()).decode(),
        "content-encoding": "utf-8",
        "content-type": "application/json",
        "headers": headers,
        "properties": {
            "delivery_tag": "a tag",
            "body_encoding": "base64",
            "delivery_info": {"exchange": "", "routing_key": QUEUE},
        },
    } | changed


# Messages that cannot be decoded.
NO_MESSAGES = ["", "{", b"\xff\xfe", "null", "[]", "1", "{}", NESTED]
# Valid messages that are no tasks.
PROPERTIES: list[Any] = [
    None,
    [],
    {"delivery_info": {}},
    {"delivery_tag": [], "delivery_info": {}},
    {"delivery_tag": "b", "body_encoding": "x", "delivery_info": {}},
    {"delivery_tag": "c", "delivery_info": []},
]
BROKEN: list[dict[str, Any]] = [
        {"task": "x"}, {"id": []}, {"eta": "x"}, {"eta": 5}, {"eta": "0001-01-01T00:00:00+14:00"}, {"expires": "x"},
        {"expires": [1]}, {"timelimit": "x"}, {"timelimit": ["a", "b"]}, {"retries": "x"}, {"compression": "x"},
        {"compression": "application/x-gzip"}, {"reply_to": 5, "group": 5, "root_id": 5, "parent_id": []},
        {"stamps": 5, "stamped_headers": 5}, {"replaced_task_nesting": "x", "ignore_result": "x"},
]  # fmt: skip
HEADERS: list[Any] = [
    None,
    [],
    "x",
    {"task": "x"},
    {"task": []},
    {"task": "dialer.dispatch"},
    *(TASK | of for of in BROKEN),
]
BODIES: list[Any] = [
    "x", 5, None, [], [[], {}], [[[]], {}, None], [[1, 2, 3], {"x": 5}, {}], [[["x"]], {}, {}], [[None], {}, {}],
    [[[]], {}, {"callbacks": "x", "errbacks": 5, "chain": 5, "chord": 5}],
    [[[]], {}, {"callbacks": [{"x": 1}], "errbacks": [{"x": 1}], "chain": [{"x": 1}], "chord": {"x": 1}}],
]  # fmt: skip
OTHERS = [
    message(body={"task": "dialer.dispatch", "id": "1", "args": 5, "kwargs": 5}, headers={}),
    message(body={"task": "dialer.dispatch"}, headers={}),
    *(message(**{"content-type": kind}) for kind in (None, "x", "application/x-python-serialize")),
    *({**message(), "content-encoding": encoding} for encoding in (None, "x", 5)),
    *({**message(), "body": body} for body in ("???", None, 5, "")),
]
NO_TASKS = [
    *(json.dumps(message(properties=properties)) for properties in PROPERTIES),
    *(json.dumps(message(headers)) for headers in HEADERS),
    *(json.dumps(message(body=body)) for body in BODIES),
    *(json.dumps(other) for other in OTHERS),
]


def test_a_worker_goes_on_after_messages_that_are_none_or_are_no_tasks(world: World, tmp_path: Path) -> None:
    environment = os.environ | {"DIALER_DATABASE_URL": world.database_url, "DIALER_REDIS_URL": world.redis_url}
    log_file = tmp_path / "log"
    with redis.Redis.from_url(world.redis_url) as client, log_file.open("wb") as log:
        client.rpush(QUEUE, *NO_MESSAGES, *NO_TASKS)
        worker = child([sys.executable, "-m", "dialer", "worker"], env=environment, stdout=log, stderr=log)

        def has_taken(key: str) -> bool:
            assert worker.poll() is None, log_file.read_text()[-3000:]
            return not client.exists(key)

        try:
            wait_until(lambda: has_taken(QUEUE), 120, "every message is taken")
            # A message that a worker is processing when it dies is redelivered to the next one.
            wait_until(lambda: has_taken("unacked"), 60, "every message is rejected or done")
            client.set(asked_key("settle"), "1")
            client.lpush(QUEUE, json.dumps(message(TASK | {"task": "dialer.settle"}, [[], {}, {}])))
            wait_until(lambda: has_taken(asked_key("settle")), 60, "a task is done")
        finally:
            worker.terminate()
            assert worker.wait(60) == 0
    assert "Unrecoverable" not in log_file.read_text()
