"""How Celery uses the broker: its queues, its connection, and the id of the request that each task carries.

Celery itself verifies the certificate of Redis only if the URL says so, and never the host name of RabbitMQ. Here both
are verified unless the URL says `ssl_cert_reqs=none`.
"""

import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from celery import Task
from celery.signals import before_task_publish
from kombu.entity import Queue
from structlog.contextvars import bound_contextvars, get_contextvars

from dialer.settings import QUEUES

OPTIONS: Mapping[str, Any] = {
    "broker_connection_retry_on_startup": True,
    # A Redis that has become a replica, or is full, answers and refuses: that passes as well.
    "broker_channel_error_retry": True,
    # The visibility timeout is longer than any task. The tick has long made up for a task that is restored after it.
    "broker_transport_options": {"visibility_timeout": 3600, "socket_timeout": 5, "socket_connect_timeout": 5},
    # The anonymous exchange routes by the queue's name alone: bindings in Redis would be lost with its memory.
    # Workers take from all in turn, so that beat's tasks do not wait behind a flood of call reports (P6).
    "task_queues": [Queue(name, exchange="", routing_key=name) for name in QUEUES],
    "task_default_queue": QUEUES[0],
    "task_default_exchange": "",
    "task_default_routing_key": QUEUES[0],
    "task_ignore_result": True,
    "enable_utc": True,
    "timezone": "UTC",
    "worker_prefetch_multiplier": 1,
    "worker_send_task_events": False,
    "worker_enable_remote_control": False,
    # Tasks are acknowledged early, so none is cancelled; Celery warns at each lost connection where this is not set.
    "worker_cancel_long_running_tasks_on_connection_loss": True,
}
CERT_REQS = {"required": ssl.CERT_REQUIRED, "optional": ssl.CERT_OPTIONAL, "none": ssl.CERT_NONE}
# Files of certificates, as the clients of Redis and of RabbitMQ name them.
FILES = {"ssl_ca_certs": "ca_certs", "ssl_certfile": "certfile", "ssl_keyfile": "keyfile"}
MAX_REQUEST_ID = 128


def connection_of(url: str) -> dict[str, Any]:
    """Return Celery's settings for a broker: its URL, and how its certificate is verified."""
    parts = urlsplit(url)
    if parts.scheme == "rediss":
        # What the URL says of TLS replaces this.
        return {"broker_url": url, "broker_use_ssl": {"ssl_cert_reqs": ssl.CERT_REQUIRED}}
    if parts.scheme == "amqps":
        options = dict(parse_qsl(parts.query))
        rest = {name: value for name, value in options.items() if not name.startswith("ssl_")}
        return {
            "broker_url": parts._replace(query=urlencode(rest)).geturl(),
            "broker_use_ssl": _of_rabbitmq(parts.hostname, options),
        }
    return {"broker_url": url}


def _of_rabbitmq(host: str | None, options: Mapping[str, str]) -> dict[str, Any]:
    cert_reqs = CERT_REQS[options.get("ssl_cert_reqs", "required")]
    files = {key: options[name] for name, key in FILES.items() if name in options}
    if cert_reqs is ssl.CERT_NONE or options.get("ssl_check_hostname", "").lower() == "false":
        return {"cert_reqs": cert_reqs, **files}
    return {"cert_reqs": cert_reqs, "server_hostname": host, **files}


@before_task_publish.connect
def _add_request_id(headers: dict[str, Any], **_: Any) -> None:
    """Have a task carry the id of the request, or of the task, that it comes from."""
    if request_id := get_contextvars().get("request_id"):
        headers["request_id"] = request_id


@contextmanager
def request_of(task: Task | None) -> Iterator[None]:
    """Log the body of a `with` under the id of the request that a task comes from; one that beat sent has its own id.

    `task`: the task that runs on this thread; None: the body was called directly.
    """
    request_id = task and (task.request.get("request_id") or task.request.id)
    if request_id:
        with bound_contextvars(request_id=str(request_id)[:MAX_REQUEST_ID]):
            yield
    else:
        yield
