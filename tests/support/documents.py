"""The documents, and the commands in their blocks of shell."""

import re
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).parents[2]


def commands_of(shell: str) -> Iterator[list[str]]:
    """The simple commands of a shell script that call `dialer`, without what comes before it."""
    without_comments = re.sub(r"(^|[ \t])#.*$", "", shell, flags=re.MULTILINE)
    lexer = shlex.shlex(without_comments.replace("\\\n", " "), posix=True, punctuation_chars="();<>|&\n")
    lexer.commenters = ""
    lexer.whitespace, lexer.whitespace_split = " \t\r", True
    words: list[str] = []
    for token in [*lexer, "\n"]:
        if set(token) <= set("();<>|&\n"):
            yield from called(words)
            words = []
        else:
            words.append(token)


def called(words: Sequence[str]) -> Iterator[list[str]]:
    words = [*words]
    while words and re.match(r"\w+=", words[0]):
        words.pop(0)
    for at, word in enumerate(words):
        # Also run by another program: docker compose exec SERVICE dialer …, sudo … /opt/dialer/bin/dialer …
        if Path(word).name == "dialer" and (at == 0 or word.endswith("/bin/dialer") or "exec" in words[at - 2 : at]):
            yield words[at + 1 :]
            return
