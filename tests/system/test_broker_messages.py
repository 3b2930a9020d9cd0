"""Messages on the queues of the broker that no Dialer has sent: none of them ends a worker."""

import base64
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import redis

from dialer.settings import QUEUES
from dialer.store.lease_requests import asked_key
from support.cluster import wait_until
from support.world import World

QUEUE = QUEUES[0]
TASK: dict[str, Any] = {"lang": "py", "task": "dialer.dispatch", "id": "1", "retries": 0, "timelimit": [None, None]}
CALL: list[Any] = [[[]], {}, {}]
# Deeper than Python can follow.
NESTED = "[" * 100_000


def message(headers: Any = TASK, body: Any = CALL, **changed: Any) -> dict[str, Any]:
    """A message as Celery puts it into Redis."""
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


# What cannot even be unpacked.
NO_MESSAGES = ["", "{", b"\xff\xfe", "null", "[]", "1", "{}", NESTED]
# What is a message, and no task.
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
        worker = subprocess.Popen([sys.executable, "-m", "dialer", "worker"], env=environment, stdout=log, stderr=log)

        def has_taken(key: str) -> bool:
            assert worker.poll() is None, log_file.read_text()[-3000:]
            return not client.exists(key)

        try:
            wait_until(lambda: has_taken(QUEUE), 120, "every message is taken")
            # One that a worker has in hand when it dies is given to the next one.
            wait_until(lambda: has_taken("unacked"), 60, "every message is rejected or done")
            client.set(asked_key("settle"), "1")
            client.lpush(QUEUE, json.dumps(message(TASK | {"task": "dialer.settle"}, [[], {}, {}])))
            wait_until(lambda: has_taken(asked_key("settle")), 60, "a task is done")
        finally:
            worker.terminate()
            assert worker.wait(60) == 0
    assert "Unrecoverable" not in log_file.read_text()
