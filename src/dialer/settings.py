"""The settings of a process, read once from the environment (prefix DIALER_) and validated at once."""

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from difflib import get_close_matches
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, ValidationError
from pydantic_core import ErrorDetails, PydanticCustomError

from dialer.domain.allow_list import DEFAULT_WORKSPACE, LOOPBACK, workspaces_by_entry
from dialer.domain.field_reasons import reason_of
from dialer.errors import FieldError, InvalidInput, Unavailable

# Celery's queues by purpose. `calls`: the tasks that steps send, and those that beat sends. `bulk`: what may take long.
QUEUES_OF = {"calls": ("dialer", "dialer.beat"), "bulk": ("dialer.bulk",)}
QUEUES = tuple(queue for queues in QUEUES_OF.values() for queue in queues)
# Variables with this prefix that secret_env does not list belong to the workspace `default`.
VARIABLES_BEGIN_WITH = "TRUNK_"
NO_NETWORKS = ("none",)
PREFIX = "DIALER_"
# How a server's certificate is verified, where a URL says it.
CERT_REQS = ("required", "optional", "none")
# Kubernetes sets those of a Service that is called dialer or dialer-…; the tests have their own.
_OF_OTHERS = re.compile(r"DIALER_(TEST_|STORM_|\w*(SERVICE_HOST|SERVICE_PORT|PORT_\d)|(\w+_)?PORT$)")


def _begins_with(*schemes: str) -> AfterValidator:
    """Accept URLs with these schemes. The rest is checked by the client of the server, at its first connection."""

    def check(url: str) -> str:
        if not url.startswith(schemes):
            raise PydanticCustomError("scheme", "must begin with {schemes}", {"schemes": " or ".join(schemes)})
        if (reqs := re.search(r"[?&]ssl_cert_reqs=([^&]*)", url)) and reqs[1] not in CERT_REQS:
            raise PydanticCustomError("cert_reqs", "ssl_cert_reqs must be required, optional or none")
        return url

    return AfterValidator(check)


def _without_slash(url: str) -> str:
    return url.rstrip("/")


def _header_value(description: str) -> AfterValidator:
    """Refuse a value that cannot be sent in a header."""

    def check(key: SecretStr) -> SecretStr:
        text = key.get_secret_value()
        if not (text.isascii() and text.isprintable()) or " " in text:
            raise PydanticCustomError("key", "must be {description}", {"description": description})
        return key

    return AfterValidator(check)


def _names(text: object) -> object:
    """Split comma-separated names."""
    if not isinstance(text, str):
        return text
    return tuple(name for part in text.split(",") if (name := part.strip()))


def _variables(entries: tuple[str, ...]) -> tuple[str, ...]:
    """Validate a list of environment variables with their workspaces."""
    for name in workspaces_by_entry(entries):
        if not re.fullmatch("[A-Za-z_][A-Za-z0-9_]*", name):
            raise PydanticCustomError("variable", "must be names of environment variables, as in NAME@workspace|other")
    return entries


def _networks(entries: tuple[str, ...]) -> tuple[str, ...]:
    """Validate a list of networks with their workspaces. Only `none`: no private network is allowed."""
    try:
        for network in workspaces_by_entry(() if entries == NO_NETWORKS else entries):
            ip_network(network)
    except ValueError:
        raise PydanticCustomError("network", "must be networks, as in 10.1.0.0/16@workspace|other, or none") from None
    return entries


def _proxies(addresses: tuple[str, ...]) -> tuple[str, ...]:
    try:
        for address in addresses:
            ip_network(address)
    except ValueError:
        raise PydanticCustomError("address", "must be addresses or networks, as in 10.0.0.2,10.1.0.0/24") from None
    return addresses


def _origins(origins: tuple[str, ...]) -> tuple[str, ...]:
    for origin in origins:
        if not re.fullmatch(r"https?://[a-z0-9.-]+(:\d{1,5})?|https?://\[[0-9a-f:]+\](:\d{1,5})?", origin):
            raise PydanticCustomError("origin", "must be origins without a path, as in https://app.example.com")
    return origins


class Settings(BaseModel):
    """Each field is the variable DIALER_<NAME>, or the file that DIALER_<NAME>_FILE names.

    `.env.example` lists them with their defaults and units.
    """

    model_config = ConfigDict(frozen=True)

    # URLs contain passwords, so they are excluded from repr().
    database_url: Annotated[str, _begins_with("postgresql+psycopg://")] | None = Field(default=None, repr=False)
    redis_url: Annotated[str, _begins_with("redis://", "rediss://")] | None = Field(default=None, repr=False)
    broker_url: Annotated[str, _begins_with("redis://", "rediss://", "amqp://", "amqps://")] | None = Field(
        default=None, repr=False
    )
    data_dir: Path = Path(".dialer")
    run_dir: Path | None = None
    retention_days: int = Field(default=90, ge=1, le=36_500)
    keep_batches_days: int | None = Field(default=None, ge=1, le=36_500)
    tick_seconds: float = Field(default=1.0, gt=0, le=60)
    worker_threads: int = Field(default=4, ge=1, le=64)
    api_threads: int = Field(default=16, ge=1, le=256)
    max_upload_mb: int = Field(default=1024, ge=1, le=1_048_576)
    max_body_mb: int = Field(default=10, ge=1, le=1024)
    max_connections: int = Field(default=500, ge=8, le=100_000)
    header_timeout_seconds: float = Field(default=10.0, gt=0, le=3600)
    body_timeout_seconds: float = Field(default=60.0, gt=0, le=3600)
    send_timeout_seconds: float = Field(default=30.0, gt=0, le=3600)
    upload_stall_seconds: float = Field(default=30.0, gt=0, le=3600)
    transfer_timeout_seconds: float = Field(default=3600.0, gt=0, le=86_400)
    min_bytes_per_second: int = Field(default=1024, ge=1, le=1_000_000_000)
    read_timeout_seconds: float = Field(default=30.0, gt=0, le=3600)
    rate_limit_per_minute: int = Field(default=1200, ge=1, le=10_000_000)
    url: Annotated[str, _begins_with("http://", "https://")] | None = None
    api_key: Annotated[SecretStr, _header_value("a key as `dialer keys create` prints it")] | None = None
    public_url: Annotated[str, _begins_with("http://", "https://"), AfterValidator(_without_slash)] | None = None
    secret_env: Annotated[tuple[str, ...], BeforeValidator(_names), AfterValidator(_variables)] = ()
    trunk_networks: Annotated[tuple[str, ...], BeforeValidator(_names), AfterValidator(_networks)] = LOOPBACK
    webhook_allow_private: bool = False
    webhook_retention_days: int = Field(default=7, ge=1, le=36_500)
    trusted_proxies: Annotated[tuple[str, ...], BeforeValidator(_names), AfterValidator(_proxies)] = ()
    cors_origins: Annotated[tuple[str, ...], BeforeValidator(_names), AfterValidator(_origins)] = ()
    metrics_token: Annotated[SecretStr, _header_value("printable ASCII without spaces")] | None = None
    sentry_dsn: SecretStr | None = None
    log_format: Literal["console", "json"] = "console"
    log_level: Literal["debug", "info", "warning", "error"] = "info"

    @classmethod
    def load(cls) -> "Settings":
        """Read the environment, and the files that it names; an empty variable is not set.

        Raises InvalidInput with the name of every wrong variable, never its value.
        """
        variables = {name: os.environ.get(_variable(name)) for name in cls.model_fields}
        from_files, errors = _read_files(cls.model_fields)
        try:
            settings = cls.model_validate({name: text for name, text in variables.items() if text} | from_files)
        except ValidationError as error:
            wrong = error.errors(include_url=False, include_input=False)
            errors += [_field_error(details, from_files) for details in wrong]
        if errors:
            raise InvalidInput(errors)
        return settings

    @property
    def database(self) -> str:
        """The URL of Postgres; raises Unavailable if it is not set."""
        return _required("DIALER_DATABASE_URL", self.database_url)

    @property
    def redis(self) -> str:
        """The URL of Redis; raises Unavailable if it is not set."""
        return _required("DIALER_REDIS_URL", self.redis_url)

    @property
    def broker(self) -> str:
        """The URL of Celery's queues."""
        return self.broker_url or self.redis

    @property
    def has_servers(self) -> bool:
        """Whether the URLs of both Postgres and Redis are set."""
        return self.database_url is not None and self.redis_url is not None

    def may_read(self, variable: str, workspace: str) -> bool:
        """Return whether trunks of this workspace may refer to this environment variable, even if it is not set."""
        listed = workspaces_by_entry(self.secret_env)
        if variable in listed:
            return workspace in listed[variable]
        return variable.startswith(VARIABLES_BEGIN_WITH) and workspace == DEFAULT_WORKSPACE

    def networks_of(self, workspace: str) -> list[str]:
        """Return the private networks that trunks of this workspace may connect to."""
        entries = () if self.trunk_networks == NO_NETWORKS else self.trunk_networks
        return [network for network, names in workspaces_by_entry(entries).items() if workspace in names]

    def at(self, data_dir: Path | None) -> "Settings":
        """Return these settings with another data folder, if one is given."""
        return self.model_copy(update={"data_dir": data_dir}) if data_dir else self

    def with_servers(self, database_url: str, redis_url: str) -> "Settings":
        """Return these settings with the URLs of these servers where none are set; "": unknown."""
        update = {"database_url": self.database_url or database_url, "redis_url": self.redis_url or redis_url}
        return self.model_copy(update={name: url or None for name, url in update.items()})

    def environment(self) -> Mapping[str, str]:
        """Return the environment variables that give a child process these settings, in place of any file."""
        variables = {_variable(name): _text(value) for name, value in self.model_dump(exclude_none=True).items()}
        return variables | {f"{variable}_FILE": "" for variable in variables}


def unknown_variables(environ: Mapping[str, str]) -> Iterator[str]:
    """Say of each variable that begins with DIALER_ and is no setting what it could have been meant to be."""
    known = [_variable(name) for name in Settings.model_fields]
    for name in sorted(environ):
        if name.startswith(PREFIX) and name.removesuffix("_FILE") not in known and not _OF_OTHERS.match(name):
            close = get_close_matches(name, known, n=1, cutoff=0.8)
            yield f"{name} is no setting" + (f"; did you mean {close[0]}?" if close else "")


def secret_in_file(variable: str) -> str | None:
    """Return the text of the file that <variable>_FILE names, without the line break at its end; None: it is not set.

    Raises InvalidInput with the name of the variable, never a path or a text, if the variable is set as well, or if the
    file cannot be used.
    """
    path = os.environ.get(f"{variable}_FILE")
    if not path:
        return None
    if os.environ.get(variable):
        raise InvalidInput([FieldError(f"{variable}_FILE", f"is set, and so is {variable}; set only one of them")])
    try:
        text = Path(path).read_text("utf-8").rstrip("\r\n")
    except OSError as error:
        raise InvalidInput([FieldError(f"{variable}_FILE", f"the file cannot be read: {error.strerror}")]) from None
    except ValueError:
        raise InvalidInput([FieldError(f"{variable}_FILE", "the file is not a text in UTF-8")]) from None
    if not text:
        raise InvalidInput([FieldError(f"{variable}_FILE", "the file is empty")])
    return text


def _read_files(fields: Iterable[str]) -> tuple[dict[str, Any], list[FieldError]]:
    """Read the settings that are in files; return them by field, and what is wrong with the others."""
    texts: dict[str, Any] = {}
    errors: list[FieldError] = []
    for name in fields:
        try:
            text = secret_in_file(_variable(name))
        except InvalidInput as error:
            errors += error.errors
        else:
            texts |= {name: text} if text else {}
    return texts, errors


def _variable(field: str) -> str:
    return f"{PREFIX}{field.upper()}"


def _text(value: object) -> str:
    match value:
        case SecretStr():
            return value.get_secret_value()
        case tuple():
            return ",".join(value)
        case _:
            return str(value)


def _required(variable: str, url: str | None) -> str:
    if url is None:
        raise Unavailable(f"{variable} is not set; set it, or start everything on this machine with `dialer up`")
    return url


def _field_error(error: ErrorDetails, from_files: Mapping[str, Any]) -> FieldError:
    name, reason = str(error["loc"][0]), reason_of(error["type"], error["msg"], error.get("ctx", {}))
    return FieldError(_variable(name) + "_FILE" * (name in from_files), reason)
