"""The list of mutants cannot rot: each still applies, to code that is in force, and names tests that there are."""

import ast
import re

# The one that fakeredis uses too: two releases of Lua in one process do not get on with each other.
from lupa.lua51 import LuaError, LuaRuntime

from mutants.mutant import ROOT, Mutant, load

MUTANTS = load()


def test_each_applies_to_its_file_and_leaves_a_program() -> None:
    assert [wrong for mutant in MUTANTS if (wrong := _unfit(mutant))] == []


def test_the_tests_that_each_names_exist() -> None:
    assert [f"{mutant.id}: {test}" for mutant in MUTANTS for test in mutant.tests if not _exists(test)] == []


def test_none_is_in_a_function_or_trigger_that_a_later_migration_replaces() -> None:
    sql = [mutant for mutant in MUTANTS if mutant.file.endswith(".sql")]
    assert [f"{mutant.id}: now in {newer}" for mutant in sql if (newer := _replaced_by(mutant))] == []


def test_what_each_breaks_is_a_sentence_and_its_id_is_words() -> None:
    for mutant in MUTANTS:
        assert re.fullmatch("[a-z0-9]+(-[a-z0-9]+)+", mutant.id)
        assert re.fullmatch(r"[A-Z0-9].*\.", mutant.breaks), mutant.id


def _unfit(mutant: Mutant) -> str | None:
    """Say why this mutant cannot be put into its file."""
    path = mutant.path(ROOT)
    try:
        mutated = mutant.mutated(path.read_text("utf-8"))
        if path.suffix == ".py":
            ast.parse(mutated)
        elif path.suffix == ".lua":
            LuaRuntime().compile(mutated)
    except (OSError, ValueError, SyntaxError, LuaError) as error:
        return f"{mutant.id}: {error}"
    return None


def _exists(test: str) -> bool:
    file, _, function = test.partition("::")
    path = ROOT / "tests" / file
    return path.is_file() and f"def {function}" in path.read_text("utf-8")


def _replaced_by(mutant: Mutant) -> list[str]:
    """Name the later migrations that make the function or trigger anew in which this mutant is, if it is in one."""
    path = mutant.path(ROOT)
    sql = path.read_text("utf-8")
    at = sql.find(mutant.old)
    begin = max(
        (found.start() for found in re.finditer("^CREATE ", sql, re.MULTILINE) if found.start() <= at), default=0
    )
    if made := re.match(r"CREATE (?:OR REPLACE )?FUNCTION (\w+)", sql[begin:]):
        anew = rf"^(?:CREATE OR REPLACE|DROP) FUNCTION {made[1]}\b"
    elif made := re.match(r"CREATE TRIGGER (\w+) [\w ]+ ON (\w+)", sql[begin:]):
        anew = rf"^DROP TRIGGER {made[1]} ON {made[2]}\b"
    else:
        return []
    later = [other for other in path.parent.glob("*.sql") if other.name > path.name]
    return [other.name for other in later if re.search(anew, other.read_text("utf-8"), re.MULTILINE)]
