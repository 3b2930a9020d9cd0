"""The documents agree with the code: links, commands, settings, paths of the API, codes. `make docs` makes the site."""

import inspect
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter
from typer.main import get_command

from api.conftest import routes
from dialer import cli
from dialer.cli.options import parse_fields
from dialer.domain import dispatch_plan
from dialer.domain.calling_rules import REASONS
from dialer.domain.gates.of_batch import FINAL, HELD_BY
from dialer.domain.outcomes import Outcome
from dialer.domain.slots import LimitKind
from dialer.domain.states import FINAL_BATCH, BatchStatus
from dialer.engine import quarantine
from dialer.engine import rescue as engine_rescue
from dialer.providers import registry
from dialer.settings import Settings
from dialer.store import contacts, permits
from scripts import settings_reference
from support.documents import ROOT, commands_of

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^\1```", re.MULTILINE | re.DOTALL)
SHELL = ("sh", "bash")
DIALER = re.compile(r"^(?:\S*/)?dialer ", re.MULTILINE)


@cache
def text_of(page: Path) -> str:
    return page.read_text("utf-8")


def prose_of(page: Path) -> str:
    return FENCE.sub("", text_of(page))


@cache
def anchors_of(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    titles = re.findall(r"^#{1,6} (.+?)\s*$", prose_of(page), re.MULTILINE)
    return {
        re.sub(r"[^\w\- ]", "", re.sub(r"\[(.*?)\]\(.*?\)", r"\1", title).lower()).replace(" ", "-") for title in titles
    }


def links() -> Iterator[tuple[Path, str]]:
    for page in PAGES:
        without_code = re.sub(r"`[^`\n]+`", "", prose_of(page))
        for link in re.findall(r"\]\(([^)\s]+)\)", without_code):
            yield page, link


def test_every_link_leads_to_a_file_and_a_heading_that_exist() -> None:
    broken = []
    for page, link in links():
        path, _, anchor = link.partition("#")
        if ":" in path:
            continue
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and anchor not in anchors_of(target)):
            broken.append(f"{page.relative_to(ROOT)}: {link}")
    assert broken == []


def test_every_page_is_in_the_menu_of_the_site() -> None:
    menu = (ROOT / "mkdocs.yml").read_text().partition("\nnav:\n")[2]
    pages = {page.relative_to(ROOT / "docs").as_posix() for page in PAGES[1:]}
    assert set(re.findall(r"(\S+\.md)$", menu, re.MULTILINE)) == pages | {"index.md", "CHANGELOG.md"}


def test_the_reference_of_the_settings_is_what_the_code_says() -> None:
    """Write it again with `python scripts/settings_reference.py`."""
    assert settings_reference.PAGE.read_text("utf-8") == settings_reference.page()


def test_every_setting_that_a_document_or_an_example_names_exists_and_all_are_in_the_file_to_copy() -> None:
    known = {f"DIALER_{name.upper()}" for name in Settings.model_fields}
    examples = [path for path in (ROOT / "examples").rglob("*") if path.suffix in (".service", ".env", ".conf")]
    # Variables of a call on Asterisk are named so too.
    calls = {"DIALER_ATTEMPT_ID", "DIALER_DETECT_MACHINE", "DIALER_CONTACT_NAME", "DIALER_CONTACT_EXTERNAL_ID"}
    texts = [text_of(file) for file in (*PAGES, *examples)]
    named = {name.removesuffix("_FILE") for text in texts for name in re.findall(r"\bDIALER_[A-Z_]*[A-Z]\b", text)}
    settings = {name.removesuffix("_FILE") for name in named if not name.startswith(("DIALER_VAR", "DIALER_TEST_"))}
    assert settings - known - calls == set()
    assert known - set(re.findall(r"DIALER_[A-Z_]+", text_of(ROOT / ".env.example"))) == set()


@cache
def command_line() -> Any:
    return get_command(cli.app)


def parse(words: Sequence[str], *, is_complete: bool) -> str | None:
    """Parse a command as the command line does; return what is wrong with it. Incomplete: only named in a text."""
    command = command_line()
    rest = [*words]
    while rest and hasattr(command, "commands") and not rest[0].startswith("-"):
        name = rest.pop(0)
        if name not in command.commands:
            return f"there is no command {name}"
        command = command.commands[name]
    if is_complete:
        try:
            command.make_context("dialer", rest)
        except Exception as error:  # the parser's own errors have no public base class
            return str(error) or type(error).__name__
        return None
    options = {option: parameter for parameter in command.params for option in parameter.opts}
    unknown = [word for word in rest if word.startswith("--") and word not in options.keys() | {"--help"}]
    if unknown:
        return f"there is no option {unknown}"
    values = [
        at + 1 for at, word in enumerate(rest) if word in options and not getattr(options[word], "is_flag", False)
    ]
    arguments = [word for at, word in enumerate(rest) if not word.startswith("-") and at not in values]
    takes = [parameter for parameter in command.params if parameter.param_type_name == "argument"]
    is_open = any(parameter.nargs == -1 for parameter in takes) or "commands" in dir(command)
    return "it takes fewer arguments" if len(arguments) > len(takes) and not is_open else None


@cache
def commands() -> list[tuple[str, list[str]]]:
    """The calls of `dialer` in blocks of shell, each with its page."""
    blocks = [(page.name, *block) for page in PAGES for block in FENCE.findall(text_of(page))]
    unnamed = [page for page, _, language, block in blocks if language not in SHELL and DIALER.search(block)]
    assert unnamed == [], "name the language: sh"
    return [(page, words) for page, _, language, block in blocks if language in SHELL for words in commands_of(block)]


def test_every_command_in_a_block_of_shell_is_one_that_the_command_line_accepts() -> None:
    assert len(commands()) > 40
    assert [(page, words, reason) for page, words in commands() if (reason := parse(words, is_complete=True))] == []


def test_every_unit_of_systemd_runs_a_command_and_belongs_to_the_target() -> None:
    units = {path.name: text_of(path) for path in sorted((ROOT / "examples" / "systemd").glob("*.service"))}
    for text in units.values():
        (line,) = re.findall(r"^ExecStart=(.*)$", text, re.MULTILINE)
        assert [parse(words, is_complete=True) for words in commands_of(line)] == [None]
    target = text_of(ROOT / "examples" / "systemd" / "dialer.target")
    wanted = {
        re.sub(r"@\d", "@", unit) for line in re.findall(r"^Wants=(.*)$", target, re.MULTILINE) for unit in line.split()
    }
    assert wanted == units.keys()


def test_every_trunk_and_agent_that_a_document_creates_is_accepted() -> None:
    created = Counter[str]()
    for _, words in commands():
        if words[0] in ("trunks", "agents") and words[1] == "create":
            fields = parse_fields([word.replace("AC…", "AC" + 32 * "0") for word in words[2:] if "=" in word])
            for provider, connection in fields.get("connection", {}).items():
                schema: Any = registry.connection_schema(provider)
                TypeAdapter(schema).validate_python(connection)
            if "config" in fields:
                registry.plugin(fields["provider"]).check(fields["config"])
            created[words[0]] += 1
    assert min(created["trunks"], created["agents"]) >= 5


def test_every_command_that_a_text_names_exists_with_its_options() -> None:
    wrong = []
    for page in PAGES:
        for code in re.findall(r"`([^`]+)`", prose_of(page)):
            words = code.split()
            if words[0] == "dialer" and len(words) > 1 and re.fullmatch(r"[a-z]+(\|?[a-z-]+)*", words[1]):
                for first in words[1].split("|"):
                    for second in words[2].split("|") if len(words) > 2 else [""]:
                        named = [first, *([second] if second else []), *words[3:]]
                        if reason := parse([re.sub(r"[\[\]…]", "", word) for word in named], is_complete=False):
                            wrong.append((page.name, code, reason))
    assert wrong == []


def test_every_path_of_the_api_that_a_document_names_exists() -> None:
    def plain(path: str) -> str:
        return re.sub(r"\{[^}]*\}|\$\w+", "{}", path)

    known = {
        (method.upper(), plain(path)) for path, methods in routes().openapi()["paths"].items() for method in methods
    }
    wrong = []
    for page in PAGES:
        for method, path in re.findall(r"`(GET|POST|PATCH|PUT|DELETE) ([/…][^`?\s]*)", prose_of(page)):
            shape = plain(path)
            fits = [
                route for verb, route in known if verb == method and (
                    route.endswith(shape.lstrip("…")) if "…" in shape else route in (shape, f"/v1{shape}")
                )
            ]  # fmt: skip
            if not fits:
                wrong.append(f"{page.name}: {method} {path}")
    assert wrong == []


def codes_in(text: str, heading: str) -> set[str]:
    """The codes in the first column of the table under a heading."""
    table = text.partition(f"\n### {heading}\n")[2].partition("\n### ")[0].partition("|---|")[2]
    return {
        code for cell in re.findall(r"^\| ([^|]+) \|", table, re.MULTILINE) for code in re.findall(r"`(\w+)`", cell)
    }


def test_every_code_that_an_operator_can_meet_is_explained_in_troubleshooting() -> None:
    """Also those that are no enum: they are read from the source that writes them."""
    text = text_of(ROOT / "docs" / "troubleshooting.md")
    plan, rescue, permit, claim = (
        inspect.getsource(module) for module in (dispatch_plan, engine_rescue, permits, contacts)
    )
    refills = set(re.findall(r'return .*, "(\w+)"', plan)) | set(re.findall(r'if after\.waiting else "(\w+)"', plan))
    held_by = {*HELD_BY.values(), *LimitKind, *refills, quarantine.ERROR}
    skipped = {*re.findall(r"(?:THEN|ELSE) '(\w+)'", claim.partition("status_reason = CASE")[2].partition("END")[0])}
    ends = {f"batch_{status}" for status in FINAL_BATCH}
    stopped = {f"batch_{status}" for status in set(BatchStatus) - {BatchStatus.ACTIVE, BatchStatus.DRAFT}}
    causes = {*re.findall(r'(?:AttemptEnd\(|\n\s+)"(\w+)"[,)]', rescue), *re.findall(r"THEN '(\w+[a-z])'", permit)}
    assert len(refills) > 5
    assert len(skipped) == 3
    assert len(causes) > 6
    assert codes_in(text, "held_by") == held_by
    assert codes_in(text, "Outcomes") == {*Outcome}
    assert codes_in(text, "status_reason of a batch") == {HELD_BY[code] for code in FINAL}
    assert codes_in(text, "status_reason of a contact") == skipped | ends | {"window_never_opens", "removed", "erased"}
    assert codes_in(text, "Causes") == causes | stopped | {*REASONS, "calling_window_ended"}
