"""The list of mutants stays valid: each applies to code that is in use, and names tests that exist."""

import ast
import re

# The same release as fakeredis uses: two releases of Lua in one process conflict.
from lupa.lua51 import LuaError, LuaRuntime

from mutants.mutant import ROOT, Mutant, load

MUTANTS = load()


def test_each_applies_to_its_file_and_leaves_valid_source() -> None:
    assert [problem for mutant in MUTANTS if (problem := _problem(mutant))] == []


def test_the_tests_that_each_names_exist() -> None:
    assert [f"{mutant.id}: {test}" for mutant in MUTANTS for test in mutant.tests if not _exists(test)] == []


def test_none_is_in_a_function_or_trigger_that_a_later_migration_replaces() -> None:
    sql = [mutant for mutant in MUTANTS if mutant.file.endswith(".sql")]
    assert [f"{mutant.id}: now in {newer}" for mutant in sql if (newer := _replaced_by(mutant))] == []


def test_what_each_breaks_is_a_sentence_and_its_id_is_words() -> None:
    for mutant in MUTANTS:
        assert re.fullmatch("[a-z0-9]+(-[a-z0-9]+)+", mutant.id)
        assert re.fullmatch(r"[A-Z0-9].*\.", mutant.breaks), mutant.id


def _problem(mutant: Mutant) -> str | None:
    """Return why this mutant cannot be applied to its file, or None."""
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
    """Return the later migrations that replace the function or trigger that contains this mutant."""
    path = mutant.path(ROOT)
    sql = path.read_text("utf-8")
    at = sql.find(mutant.old)
    begin = max(
        (match.start() for match in re.finditer("^[A-Z]+ ", sql, re.MULTILINE) if match.start() <= at), default=0
    )
    if created := re.match(r"CREATE (?:OR REPLACE )?FUNCTION (\w+)", sql[begin:]):
        replacement = rf"^(?:CREATE OR REPLACE|DROP) FUNCTION {created[1]}\b"
    elif created := re.match(r"CREATE TRIGGER (\w+) [\w ]+ ON (\w+)", sql[begin:]):
        replacement = rf"^DROP TRIGGER {created[1]} ON {created[2]}\b"
    else:
        return []
    later = [other for other in path.parent.glob("*.sql") if other.name > path.name]
    return [other.name for other in later if re.search(replacement, other.read_text("utf-8"), re.MULTILINE)]
