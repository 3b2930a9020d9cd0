"""The mutants, read from the `.toml` files of this folder."""

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
LISTS = sorted(Path(__file__).parent.glob("*.toml"))
SOURCE = Path("src/dialer")


@dataclass(frozen=True, slots=True)
class Mutant:
    """One small change: `old`, which occurs exactly once in `file`, is replaced with `new`.

    `file`: below src/dialer. `breaks`: the promise or rule that the change breaks, in one sentence. `tests`: files or
    test functions below tests/, one of which must fail. `survives`: why no test can fail because of this mutant.
    """

    id: str
    file: str
    old: str
    new: str
    breaks: str
    tests: tuple[str, ...]
    survives: str = ""

    def path(self, tree: Path) -> Path:
        return tree / SOURCE / self.file

    def mutated(self, text: str) -> str:
        """Return the changed text of the file; ValueError: the change no longer applies to it."""
        if (count := text.count(self.old)) != 1:
            raise ValueError(f"`old` occurs {count} times in {self.file}")
        if self.old == self.new:
            raise ValueError("`new` changes nothing")
        return text.replace(self.old, self.new)


def load() -> list[Mutant]:
    """Read all mutants; ValueError: an id occurs twice, or a field is missing or unknown."""
    mutants = [_mutant(name, fields) for path in LISTS for name, fields in tomllib.loads(path.read_text()).items()]
    if duplicates := {mutant.id for mutant in mutants if sum(mutant.id == other.id for other in mutants) > 1}:
        raise ValueError(f"duplicate ids: {', '.join(sorted(duplicates))}")
    return mutants


def _mutant(name: str, fields: dict[str, Any]) -> Mutant:
    try:
        return Mutant(id=name, **fields | {"tests": tuple(fields["tests"])})
    except (KeyError, TypeError) as error:
        raise ValueError(f"{name}: {error}") from error
