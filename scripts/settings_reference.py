"""Writes docs/settings.md from the fields of `dialer.settings.Settings`: python scripts/settings_reference.py.

Names, defaults and bounds come from the code. What a setting means, and which process reads it, is in MEANINGS; a test
fails where a setting has no line there, or where the page is not what this writes.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from pydantic import SecretStr
from pydantic.fields import FieldInfo

from dialer.settings import Settings

PAGE = Path(__file__).parents[1] / "docs" / "settings.md"
EVERY, API, WORKER, COMMANDS = "every process", "api", "worker", "commands"
HEAD = """# Settings

Every setting is an environment variable, read once when a process starts. An empty variable counts as not set. All
wrong values are reported together, by name and without the value, and the process does not start. Give every process of
an installation the same settings; *read by* says which ones use them. Copy [.env.example](../.env.example) to begin.

Each setting may be in a file instead, as secrets are mounted: the same name with `_FILE` at its end has the path, for
example `/run/secrets/database_url`. Line breaks at the end of the file are ignored. A file that is empty or cannot be
read, and a setting that is given in both ways, are reported as a wrong value. A variable that begins with `DIALER_` and
is no setting is named on standard error, with the setting that was probably meant.

This page is written by `scripts/settings_reference.py` from `src/dialer/settings.py`.

"""
TAIL = """## Variables that are no settings of Dialer

| name | |
|---|---|
| `TRUNK_…`, and the names in `DIALER_SECRET_ENV` | secrets of trunks, to which their config refers as `env:NAME` |
| `TRUNK_…_FILE`, `NAME_FILE` | instead: a file with the secret, which is read at each connection |
| `BACKUP_HOURS`, `BACKUP_KEEP_DAYS` | only for [Docker Compose](deploy/compose.md#backups): how often to dump |
| `POSTGRES_PASSWORD`, `REDIS_PASSWORD` | only for `scripts/make_secrets.sh`: passwords that exist |
| `OTEL_…` | where [traces](observability.md#traces) are sent |
| `SSL_CERT_FILE` | a bundle of CA certificates, for trunks whose network has a certificate of a private CA |

Proxies from the environment (`HTTP_PROXY`, `HTTPS_PROXY`) are not used for calls.
"""


@dataclass(frozen=True, slots=True)
class Meaning:
    """What a setting is for. `unit` is empty for text and switches; `example` is shown where there is no default."""

    read_by: str
    text: str
    unit: str = ""
    example: str = ""


@dataclass(frozen=True, slots=True)
class Group:
    """Settings that belong together, in the order in which they are shown."""

    title: str
    settings: Mapping[str, Meaning]


GROUPS = (
    Group("Servers", {
        "database_url": Meaning(
            EVERY, "Postgres 14 or newer. Not set: `dialer up`, `demo` and `run` start one on this machine, and other "
            "commands look for that one.",
            example="postgresql+psycopg://dialer:password@db.example.com:5432/dialer",
        ),
        "redis_url": Meaning(
            EVERY, "Redis 6.2 or newer, or Valkey; `rediss://` uses TLS. Not set: as above.",
            example="redis://:password@redis.example.com:6379/0",
        ),
        "broker_url": Meaning(
            EVERY, "The broker of Celery's queues: another Redis, or [RabbitMQ](howto/rabbitmq.md). Not set: "
            "`DIALER_REDIS_URL`.",
            example="amqp://user:password@rabbitmq.example.com:5672//",
        ),
        "data_dir": Meaning(
            COMMANDS, "The folder in which `dialer up`, `run` and `demo` keep databases, key and logs."
        ),
        "run_dir": Meaning(
            "every process, `dialer alive`", "The folder in which each process writes its "
            "[heartbeat](observability.md#probes). Not set: `dialer-UID` in the folder for temporary files.",
            example="/run/dialer",
        ),
    }),
    Group("Work", {
        "tick_seconds": Meaning(
            "beat, worker", "Interval of the tick, which finds what is due. Freed slots do not wait for it.", "s"
        ),
        "worker_threads": Meaning(
            WORKER, "Tasks that one process runs at once, and size of its pool of connections to Postgres (at most "
            "twice as many).", "threads"
        ),
        "retention_days": Meaning(
            WORKER, "After the end of a batch its attempts are archived, and settled call reports deleted, after this.",
            "days",
        ),
        "keep_batches_days": Meaning(
            WORKER, "A batch is deleted, with its contacts and calls, this long after its end, unless its workspace "
            "says otherwise (`dialer workspaces keep`). Not set: batches are [kept](data-protection.md#what-is-held).",
            "days",
        ),
        "webhook_retention_days": Meaning(
            WORKER, "Webhook messages that were delivered or given up are deleted after this.", "days"
        ),
    }),
    Group("API", {
        "api_threads": Meaning(
            API, "Requests that one process handles at once; each may use one connection to Postgres.", "requests"
        ),
        "public_url": Meaning(
            "api, worker", "The address at which networks reach the API to report on calls. Trunks that report by HTTP "
            "(Twilio, HTTP platforms) place no calls without it.", example="https://dialer.example.com",
        ),
        "trusted_proxies": Meaning(
            API, "Addresses or networks of the proxies in front of the API, separated by commas. `X-Forwarded-For` and "
            "`X-Forwarded-Proto` are read only from these.", example="10.0.0.2,10.1.0.0/24",
        ),
        "cors_origins": Meaning(
            API, "Origins of web pages that may use `/v1` from a browser, separated by commas.",
            example="https://app.example.com",
        ),
        "metrics_token": Meaning(
            API, "The token that Prometheus sends to read `/metrics`. Not set: `/metrics` is closed."
        ),
        "rate_limit_per_minute": Meaning(API, "Requests that one API key may make.", "requests per minute"),
    }),
    Group("Limits of clients", {
        "max_upload_mb": Meaning(API, "The largest CSV file.", "MiB"),
        "max_body_mb": Meaning(API, "The largest JSON body.", "MiB"),
        "max_connections": Meaning(
            API, "Open connections of one process; further ones get 503. The limit of open files must be higher.",
            "connections",
        ),
        "header_timeout_seconds": Meaning(API, "Time to send a request header.", "s"),
        "body_timeout_seconds": Meaning(API, "Time to send a body that is not a file.", "s"),
        "send_timeout_seconds": Meaning(API, "Time to read the buffered part of a response.", "s"),
        "upload_stall_seconds": Meaning(API, "An upload without data for this long is aborted.", "s"),
        "transfer_timeout_seconds": Meaning(API, "The longest upload or export.", "s"),
        "min_bytes_per_second": Meaning(
            API, "What a client must send of a body on average, after the first seconds.", "bytes per second"
        ),
        "read_timeout_seconds": Meaning(
            API, "A database read that takes longer is aborted and answered with 503.", "s"
        ),
    }),
    Group("What trunks and webhooks may use", {
        "secret_env": Meaning(
            "api, worker, listener", "Environment variables that trunks may refer to as `env:NAME`, each with its "
            "workspaces. A name without `@`, and every `TRUNK_…` that is not listed, is available to `default` only "
            "([security](security.md#what-the-owner-sets)).", example="TRUNK_ACME_TOKEN@acme, CARRIER_PASSWORD@beta",
        ),
        "trunk_networks": Meaning(
            "api, worker, listener", "Private networks that trunks may connect to, each with its workspaces; without "
            "`@`, `default`. Your list replaces the default; `none`: no private network.",
        ),
        "webhook_allow_private": Meaning(
            WORKER, "Webhook messages may be sent to private addresses (loopback, a LAN): for trials only."
        ),
    }),
    Group("Commands that use the API", {
        "url": Meaning(
            COMMANDS, "Address of the API. Not set: that of the `dialer up` on the data folder.",
            example="https://dialer.example.com",
        ),
        "api_key": Meaning(COMMANDS, "The key to use. Not set: the admin key in the data folder."),
    }),
    Group("Logs and errors", {
        "log_format": Meaning(EVERY, "Lines for people (`console`), or one JSON object per line."),
        "log_level": Meaning(EVERY, "The least severe lines that are written."),
        "sentry_dsn": Meaning(
            EVERY, "The DSN of a Sentry project to which [errors](observability.md#errors) are sent, with masked "
            "numbers. It needs the extra `sentry`. Not set: nothing is sent.",
        ),
    }),
)  # fmt: skip


def page() -> str:
    """Return the text of docs/settings.md; raises KeyError where a setting has no meaning or does not exist."""
    shown = {name for group in GROUPS for name in group.settings}
    if missing := shown ^ Settings.model_fields.keys():
        raise KeyError(f"in Settings or in GROUPS only: {', '.join(sorted(missing))}")
    return HEAD + "\n".join(_lines()) + "\n" + TAIL


def _lines() -> Iterator[str]:
    for group in GROUPS:
        yield f"## {group.title}\n"
        yield "| name | default | values | read by | meaning |\n|---|---|---|---|---|"
        for name, meaning in group.settings.items():
            field = Settings.model_fields[name]
            cells = (f"`DIALER_{name.upper()}`", _default(field), _values(field, meaning), meaning.read_by)
            yield f"| {' | '.join(cells)} | {meaning.text}{_example(meaning)} |"
        yield ""


def _default(field: FieldInfo) -> str:
    match field.default:
        case None | ():
            return "not set"
        case tuple() as entries:
            return f"`{','.join(entries)}`"
        case bool() as value:
            return f"`{str(value).lower()}`"
        case float() as value:
            return f"`{value:g}`"
        case value:
            return f"`{value}`"


def _values(field: FieldInfo, meaning: Meaning) -> str:
    bounds: dict[str, Any] = {
        name: value
        for bound in field.metadata
        for name in ("gt", "ge", "le")
        if (value := getattr(bound, name, None)) is not None
    }
    if bounds:
        least = f"above {bounds['gt']:,}" if "gt" in bounds else f"{bounds['ge']:,}"
        return f"{least} to {bounds['le']:,} {meaning.unit}"
    if isinstance(field.default, bool):
        return "`true`, `false`"
    if field.annotation is SecretStr or SecretStr in get_args(field.annotation):
        return "secret text"
    choices = [choice for choice in get_args(field.annotation) if isinstance(choice, str)]
    return ", ".join(f"`{choice}`" for choice in choices) or ("list" if isinstance(field.default, tuple) else "text")


def _example(meaning: Meaning) -> str:
    return f" Example: `{meaning.example}`" if meaning.example else ""


if __name__ == "__main__":
    PAGE.write_text(page(), "utf-8")
    print(f"wrote {PAGE}")
