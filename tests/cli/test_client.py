"""The commands that talk to the HTTP API, against a real one."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import httpx2
import pytest

from api.conftest import Api, Served
from cli.conftest import Dialer
from dialer.cli.client import seconds_to_wait
from support.world import World

EVERY_DAY = "working_days=[1,2,3,4,5,6,7]"
ID = "019cad8f-ac00-7d8e-91b7-584a2265b1f5"
CONTACTS = "phone,name\n+12025550101,Ada\n+12025550102,Bob\nxx,Bad\n"


def test_a_list_is_called_from_the_command_line(served: Served, dialer: Dialer, world: World, tmp_path: Path) -> None:
    made = dialer("batch", "create", "--name", "Spring", "--agent", "demo", EVERY_DAY, "--json")
    batch = json.loads(made.out)
    assert (made.code, batch["status"], batch["working_days"][-1]) == (0, "draft", 7)
    (tmp_path / "list.csv").write_text(CONTACTS)
    loaded = dialer("contacts", "import", "Spring", "list.csv")
    assert loaded.out.startswith("Loaded 2 contacts; 0 duplicates, 0 suppressed, 1 rejected.\n  line 4: ")
    assert dialer("batch", "schedule", "Spring").out == f"Batch {batch['id']} is active.\n"
    assert dialer("batch", "pause", batch["id"]).out == f"Batch {batch['id']} is paused.\n"
    assert dialer("batch", "resume", "Spring").code == 0
    world.run(lambda: world.value("SELECT status FROM batches") == "completed")
    watched = dialer("batch", "watch", "Spring", "--json")
    *changes, last = map(json.loads, watched.out.splitlines())
    assert (watched.code, last["status"]) == (0, "completed")
    assert (changes[-1]["status"], changes[-1]["total"]) == ("completed", 2)
    assert "completed: 2/2" in dialer("batch", "watch", "Spring").err
    assert "Spring" in dialer("batch", "list", "--status", "completed").out
    assert "counts: " in dialer("batch", "show", "Spring").out
    people = json.loads(dialer("contacts", "list", "Spring", "--json").out)
    assert [contact["name"] for contact in people] == ["Ada", "Bob"]
    assert json.loads(dialer("contacts", "show", "Spring", people[0]["id"], "--json").out)["calls"]
    dialer("batch", "export", "Spring", "-o", "results.csv")
    assert (tmp_path / "results.csv").read_text().count("+1202555010") == 2
    assert dialer("batch", "export", "Spring").code == 0
    dialer("batch", "export", "Spring", "--json", "-o", "results.jsonl")
    ada, bob = map(json.loads, (tmp_path / "results.jsonl").read_text().splitlines())
    assert (ada["name"], ada["attempts"], ada["external_id"], bob["status"]) == ("Ada", 1, None, people[1]["status"])
    assert dialer("batch", "cancel", "Spring").refusal.endswith("Batch is completed; only a draft or scheduled or "
                                                                "active or paused batch can be cancelled")  # fmt: skip


@pytest.mark.parametrize(
    ("group", "fields", "change", "shown"),
    [
        ("agents", ["name=Ada", 'connection={"simulator": {}}'], "status=inactive", "name"),
        ("numbers", ["phone_number=+12025550111", "trunk_id=TRUNK"], "max_calls_per_day=5", "phone_number"),
        ("trunks", ["name=t2", "provider=simulator"], "calls_per_second=2", "name"),
        ("folders", ["name=Customers"], "default_region=DE", "name"),
        ("suppress", ["phone_number=+12025550112"], "reason=asked", "phone_number"),
    ],
)
def test_what_is_set_up_is_made_listed_changed_and_deleted(
    served: Served, dialer: Dialer, world: World, group: str, fields: list[str], change: str, shown: str
) -> None:
    make, remove = ("add", "remove") if group == "suppress" else ("create", "delete")
    given = [field.replace("TRUNK", str(world.installed.trunk_id)) for field in fields]
    made = json.loads(dialer(group, make, *given, "--json").out)
    assert made[shown] in dialer(group, "list").out
    changed = dialer(group, "update", made["id"], change)
    assert change.replace("=", ": ") in changed.out
    assert json.loads(dialer(group, "show", made[shown], "--json").out)["id"] == made["id"]
    assert json.loads(dialer(group, remove, made["id"], "--json").out) == {"id": made["id"], f"{remove}d": True}
    assert made["id"] not in dialer(group, "list").out


def test_files_go_into_folders_and_onto_the_do_not_call_list(served: Served, dialer: Dialer, tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text(CONTACTS)
    dialer("folders", "create", "name=Customers")
    assert dialer("folders", "import", "Customers", "list.csv").out.startswith("Loaded 2 contacts")
    assert json.loads(dialer("suppress", "import", "list.csv", "--json").out)["imported"] == 2


def test_a_trunk_is_checked(served: Served, dialer: Dialer) -> None:
    assert dialer("trunks", "check", "simulator").code == 0


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("batch", "show", "nix"), "batch: none is called nix; `dialer batch list` shows them"),
        (("batch", "create", "--name", "x", "--agent", "nix"), "agent: none is called nix; `dialer agents list`"),
        (
            ("batch", "create", "--name", "x", "--agent", "demo", "prioritty=1"),
            "prioritty: is no field of a batch; did you mean priority?",
        ),
        (("contacts", "import", "nix", "missing.csv"), "none is called nix"),
        (("agents", "create", "name="), "name: must not be empty"),
    ],
)
def test_what_is_refused_is_one_line(served: Served, dialer: Dialer, arguments: tuple[str, ...], reason: str) -> None:
    assert reason in dialer(*arguments).refusal


def test_an_api_that_is_not_there_is_one_line(dialer: Dialer, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "DIALER_API_KEY is not set" in dialer("batch", "list").refusal
    monkeypatch.setenv("DIALER_API_KEY", "dialer_x")
    monkeypatch.setenv("DIALER_URL", "http://127.0.0.1:9")
    assert "does not answer" in dialer("batch", "list").refusal


@pytest.mark.parametrize("url", ["http://127.0.0.1:port", "http://[::1"])
def test_an_address_that_is_none_is_one_line(dialer: Dialer, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DIALER_API_KEY", "dialer_x")
    monkeypatch.setenv("DIALER_URL", url)
    assert "check DIALER_URL" in dialer("batch", "list").refusal


def test_the_address_may_end_with_a_slash(served: Served, dialer: Dialer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DIALER_URL", f"{served.url.removesuffix('v1')}")
    assert dialer("agents", "show", "demo").code == 0


@pytest.mark.parametrize("key", ["dialer_ä", "two words", "two\nlines"])
def test_a_key_that_cannot_be_one_is_refused_without_showing_it(
    dialer: Dialer, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DIALER_API_KEY", key)
    refusal = dialer("batch", "list").refusal
    assert refusal == "dialer: DIALER_API_KEY: must be a key as `dialer keys create` prints it"


@pytest.mark.parametrize("output", ["nowhere/results.csv", "list.csv/results.csv", "."])
def test_results_that_cannot_be_written_are_refused_in_one_line_and_leave_no_file(
    served: Served, dialer: Dialer, output: str, tmp_path: Path
) -> None:
    (tmp_path / "list.csv").write_text(CONTACTS)
    dialer("batch", "create", "--name", "Spring", "--agent", "demo")
    assert f"output: {output} cannot be written" in dialer("batch", "export", "Spring", "-o", output).refusal
    assert [file.name for file in tmp_path.iterdir()] == ["list.csv"]


class Proxy(BaseHTTPRequestHandler):
    """Something other than the API, at its address."""

    answer: tuple[int, str, bytes]

    def do_GET(self) -> None:
        status, content_type, body = self.answer
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Say nothing."""


@pytest.mark.parametrize(
    "answer",
    [
        (200, "text/html", b"<html>Sign in</html>"),
        (200, "application/json", b"[]"),
        (200, "application/json", b'{"status": "ok"}'),
        (301, "text/html", b""),
        (502, "text/html", b"<html>Bad gateway</html>"),
    ],
)
def test_an_answer_of_something_else_is_one_line_that_says_what_to_check(
    dialer: Dialer, answer: tuple[int, str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DIALER_API_KEY", "dialer_x")
    with serving(type("Server", (Proxy,), {"answer": answer})) as url:
        monkeypatch.setenv("DIALER_URL", url)
        refusal = dialer("batch", "show", ID).refusal
    assert f"answers {answer[0]} with {answer[1]}, and not as Dialer's API does: check DIALER_URL" in refusal


def test_how_long_is_waited_is_bounded_and_said_whatever_a_proxy_asks_for(capsys: pytest.CaptureFixture[str]) -> None:
    waits = {
        given: seconds_to_wait(httpx2.Response(503, headers={"Retry-After": given}))
        for given in ("0", "2", "3600", "Fri, 27 Nov 2026 23:59:59 GMT", "-1")
    }
    assert list(waits.values()) == [0, 2, 60, 1, 1]
    assert capsys.readouterr().err == "The API takes no more requests now; trying again in 60 s\n"


@contextmanager
def serving(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    """Serve in a thread; yields the address."""
    with HTTPServer(("127.0.0.1", 0), handler) as server:
        thread = Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


class Busy(BaseHTTPRequestHandler):
    """Some server before the API that refuses twice, and then answers."""

    seen: list[tuple[str | None, bytes]]

    def do_POST(self) -> None:
        self.seen.append((self.headers["X-Idempotency-Key"], self._body()))
        status = (429, 503, 200)[min(len(self.seen), 3) - 1]
        report = {"imported": 2, "duplicates": 0, "suppressed": 0, "rejected": 0, "errors": []}
        answer = {"data": report} if status == 200 else {"error": {"code": "busy", "message": "Busy"}}
        body = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Retry-After", "0")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _body(self) -> bytes:
        if length := self.headers["Content-Length"]:
            return self.rfile.read(int(length))
        body = b""
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Say nothing."""


@pytest.fixture
def busy(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[str | None, bytes]]]:
    seen: list[tuple[str | None, bytes]] = []
    monkeypatch.setenv("DIALER_API_KEY", "dialer_x")
    with serving(type("Server", (Busy,), {"seen": seen})) as url:
        monkeypatch.setenv("DIALER_URL", url)
        yield seen


def test_a_limit_is_waited_out_with_the_same_idempotency_key(
    busy: list[tuple[str | None, bytes]], dialer: Dialer
) -> None:
    assert dialer("suppress", "add", "phone_number=+12025550112").code == 0
    assert len(busy) == 3
    assert len(set(busy)) == 1
    assert busy[0][0]


def test_a_file_that_was_not_taken_is_sent_again_as_a_whole(
    busy: list[tuple[str | None, bytes]], dialer: Dialer, tmp_path: Path
) -> None:
    (tmp_path / "list.csv").write_text(CONTACTS)
    assert dialer("suppress", "import", "list.csv").out.startswith("Loaded 2 contacts")
    assert [body for _, body in busy] == [CONTACTS.encode()] * 3


def test_wrong_fields_are_wrong_usage(dialer: Dialer) -> None:
    assert dialer("agents", "create", "name").code == 2


def test_keys_are_made_listed_and_revoked_on_the_database(api: Api, served: Served, dialer: Dialer, in_cluster: None,
                                                          monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    made = dialer("keys", "create", "--role", "viewer", "--name", "dashboard")
    assert (made.code, made.out.count("\n")) == (0, 1)
    monkeypatch.setenv("DIALER_API_KEY", made.out.strip())
    assert dialer("batch", "list").code == 0
    assert "needs the role operator" in dialer("agents", "create", "name=x").refusal
    listed = {key["name"]: key["id"] for key in json.loads(dialer("keys", "list", "--json").out)}
    revoked = dialer("keys", "revoke", "dashboard", "--json")
    assert json.loads(revoked.out) == {"id": listed["dashboard"], "revoked": True}
    assert dialer("keys", "list", "--limit", "1").err == "Showing 1 of 3; --limit shows more\n"
    assert "unknown or revoked" in dialer("batch", "list").refusal


def test_keys_of_a_workspace_that_is_not_there_are_refused_and_it_is_not_made(
    world: World, dialer: Dialer, in_cluster: None
) -> None:
    assert dialer("keys", "list", "--workspace", "typo").refusal == "dialer: No workspace is called typo"
    assert dialer("keys", "revoke", ID, "--workspace", "typo").refusal == "dialer: No workspace is called typo"
    assert world.value("SELECT count(*) FROM workspaces WHERE name = 'typo'") == 0
