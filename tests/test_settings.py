"""Settings are read once from the environment; all errors are reported together, and never show a value."""

from pathlib import Path
from typing import Any

import pytest

from dialer.errors import InvalidInput, Unavailable
from dialer.settings import Settings, unknown_variables

DATABASE = "postgresql+psycopg://dialer:secret@db.example/dialer"
REDIS = "redis://:secret@redis.example/0"


@pytest.fixture(autouse=True)
def nothing_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for field in Settings.model_fields:
        monkeypatch.delenv(f"DIALER_{field.upper()}", raising=False)
        monkeypatch.delenv(f"DIALER_{field.upper()}_FILE", raising=False)


def test_without_any_variable_the_defaults_hold() -> None:
    settings = Settings.load()
    assert settings == Settings(data_dir=Path(".dialer"), tick_seconds=1, worker_threads=4, log_format="console")
    assert not settings.has_servers


def test_every_wrong_variable_is_named_at_once_and_no_value_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = {
        "DATABASE_URL": "mysql://dialer:secret-1@db.example/dialer",
        "REDIS_URL": "http://secret-2",
        "BROKER_URL": "secret-3",
        "TICK_SECONDS": "secret-4",
        "WORKER_THREADS": "6500001",
        "API_KEY": "secret-7 and more",
        "LOG_FORMAT": "secret-5",
        "LOG_LEVEL": "secret-6",
    }
    for name, value in wrong.items():
        monkeypatch.setenv(f"DIALER_{name}", value)
    with pytest.raises(InvalidInput) as refused:
        Settings.load()
    assert [error.field for error in refused.value.errors] == [f"DIALER_{name}" for name in wrong]
    assert "secret" not in str(refused.value)
    assert "6500001" not in str(refused.value)
    assert "DIALER_DATABASE_URL: must begin with postgresql+psycopg://" in str(refused.value)


def test_a_setting_may_be_the_text_of_a_file_without_its_last_line_break(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name, text in {"database_url": f"{DATABASE}\n", "worker_threads": "7\r\n", "secret_env": "A@x,B"}.items():
        (tmp_path / name).write_text(text)
        monkeypatch.setenv(f"DIALER_{name.upper()}_FILE", str(tmp_path / name))
    settings = Settings.load()
    assert (settings.database_url, settings.worker_threads) == (DATABASE, 7)
    assert settings.secret_env == ("A@x", "B")
    # A child process gets the texts, and not the files as well.
    for name, value in settings.environment().items():
        monkeypatch.setenv(name, value)
    assert Settings.load() == settings


def test_every_file_that_cannot_be_used_is_named_at_once_and_neither_its_path_nor_its_text_is_shown(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "secret-wrong").write_text("mysql://secret-1")
    (tmp_path / "secret-empty").write_text("\n")
    (tmp_path / "secret-binary").write_bytes(b"\xff\xfe")
    files = {"REDIS_URL": "both", "BROKER_URL": "absent", "API_KEY": "empty", "METRICS_TOKEN": "binary"}
    for name, file in (files | {"DATABASE_URL": "wrong"}).items():
        monkeypatch.setenv(f"DIALER_{name}_FILE", str(tmp_path / f"secret-{file}"))
    monkeypatch.setenv("DIALER_REDIS_URL", REDIS)
    with pytest.raises(InvalidInput) as refused:
        Settings.load()
    assert {error.field: error.reason for error in refused.value.errors} == {
        "DIALER_REDIS_URL_FILE": "is set, and so is DIALER_REDIS_URL; set only one of them",
        "DIALER_BROKER_URL_FILE": "the file cannot be read: No such file or directory",
        "DIALER_API_KEY_FILE": "the file is empty",
        "DIALER_METRICS_TOKEN_FILE": "the file is not a text in UTF-8",
        "DIALER_DATABASE_URL_FILE": "must begin with postgresql+psycopg://",
    }
    assert "secret-" not in str(refused.value)


@pytest.mark.parametrize("seconds", ["0", "-1", "61", "nan", "inf"])
def test_a_tick_takes_more_than_no_time_and_at_most_a_minute(seconds: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DIALER_TICK_SECONDS", seconds)
    with pytest.raises(InvalidInput, match="DIALER_TICK_SECONDS"):
        Settings.load()


def test_an_empty_variable_is_one_that_is_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DIALER_BROKER_URL", "")
    assert Settings.load().broker_url is None


def test_queues_are_in_redis_unless_a_broker_is_named() -> None:
    assert Settings(redis_url=REDIS).broker == REDIS
    assert Settings(redis_url=REDIS, broker_url="amqp://broker.example//").broker == "amqp://broker.example//"


def test_what_is_missing_is_named_where_it_is_needed() -> None:
    assert Settings(database_url=DATABASE).database == DATABASE
    with pytest.raises(Unavailable, match="DIALER_REDIS_URL is not set"):
        _ = Settings(database_url=DATABASE).redis
    with pytest.raises(Unavailable, match="DIALER_DATABASE_URL is not set"):
        _ = Settings(redis_url=REDIS).database


def test_servers_found_on_this_machine_never_replace_those_that_are_set() -> None:
    settings = Settings(database_url=DATABASE).with_servers("postgresql+psycopg://here/dialer", REDIS)
    assert (settings.database_url, settings.redis_url) == (DATABASE, REDIS)
    assert settings.has_servers
    assert not Settings().with_servers("", REDIS).has_servers


def test_a_child_process_reads_the_same_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    servers: dict[str, Any] = {
        "redis_url": REDIS,
        "api_key": "dialer_x",
        "secret_env": ("A@x|y", "B"),
        "trunk_networks": ("none",),
    }
    settings = Settings(**servers, tick_seconds=0.5, log_level="warning").at(tmp_path)
    for name, value in settings.environment().items():
        monkeypatch.setenv(name, value)
    assert Settings.load() == settings


def test_a_variable_is_read_by_the_workspaces_that_the_owner_lists_and_by_no_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("DIALER_SECRET_ENV", "TRUNK_ACME_TOKEN@acme, CARRIER @ acme | beta, OWN")
    settings = Settings.load()
    readers = {
        name: [workspace for workspace in ("default", "acme", "beta", "gamma") if settings.may_read(name, workspace)]
        for name in ("TRUNK_ACME_TOKEN", "CARRIER", "OWN", "TRUNK_OTHER", "DIALER_DATABASE_URL", "PATH")
    }
    assert readers == {
        "TRUNK_ACME_TOKEN": ["acme"],
        "CARRIER": ["acme", "beta"],
        "OWN": ["default"],
        "TRUNK_OTHER": ["default"],
        "DIALER_DATABASE_URL": [],
        "PATH": [],
    }


def test_private_networks_are_those_of_the_workspaces_that_the_owner_lists(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Settings.load().networks_of("default") == ["127.0.0.0/8", "::1/128"]
    assert Settings.load().networks_of("acme") == []
    monkeypatch.setenv("DIALER_TRUNK_NETWORKS", "10.1.0.0/16@acme|beta,10.2.0.7/32")
    assert Settings.load().networks_of("acme") == ["10.1.0.0/16"]
    assert Settings.load().networks_of("default") == ["10.2.0.7/32"]
    monkeypatch.setenv("DIALER_TRUNK_NETWORKS", "none")
    assert Settings.load().networks_of("default") == []


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SECRET_ENV", "A@"),
        ("SECRET_ENV", "@acme"),
        ("SECRET_ENV", "A@acme|"),
        ("SECRET_ENV", "A B@acme"),
        ("TRUNK_NETWORKS", "10.1.0.1/16"),
        ("TRUNK_NETWORKS", "example.com@acme"),
        ("TRUNK_NETWORKS", "none,10.1.0.0/16"),
    ],
)
def test_a_list_for_workspaces_that_cannot_be_read_is_refused(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"DIALER_{name}", value)
    with pytest.raises(InvalidInput, match=f"DIALER_{name}"):
        Settings.load()


def test_a_misspelt_variable_is_named_with_what_it_may_mean() -> None:
    variables = dict.fromkeys(("DIALER_MAX_UPLOAD", "DIALER_COLOUR", "DIALER_API_SERVICE_HOST", "DIALER_PORT"), "1")
    assert list(unknown_variables({**variables, "DIALER_API_PORT_8000_TCP": "1", "DIALER_URL": "1", "PATH": "1"})) == [
        "DIALER_COLOUR is no setting",
        "DIALER_MAX_UPLOAD is no setting; did you mean DIALER_MAX_UPLOAD_MB?",
    ]
