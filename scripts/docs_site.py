"""Hooks of MkDocs: what the site needs beyond docs/, and what may not be in it.

README.md becomes the first page, CHANGELOG.md a page. A link to a file outside docs/ leads to a copy of the file in the
site, a link to a folder there to a page that lists it. State diagrams become tables, because drawing them needs a large
script. At the end every page and style sheet is checked: nothing may be loaded from another host.
"""

import logging
import posixpath
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]
PAGES = {"index.md": "README.md", "CHANGELOG.md": "CHANGELOG.md"}
LINK = re.compile(r"(\]\()([^)#\s]+)")
CODE = re.compile(r"^```.*?^```|`[^`\n]+`", re.MULTILINE | re.DOTALL)
ARROW = re.compile(r"^ +(\S+) --> (\S+)(?: : (.*))?$", re.MULTILINE)
ITEM = re.compile(r"- |\d\. ")
# What makes a browser load something; links that a reader clicks are not in it.
LOADS = re.compile(
    r"<(?:script|img|iframe|audio|video|source|embed)\b[^>]*?\bsrc=[\"']?((?:https?:)?//[^\"'\s>]+)"
    r"|<link\b(?![^>]*rel=[\"']?canonical)[^>]*?\bhref=[\"']?((?:https?:)?//[^\"'\s>]+)"
    r"|(?:url\(|@import)\s*[\"']?((?:https?:)?//[^\"')\s]+)"
)
# With this class, the theme would fetch the script that draws diagrams.
DIAGRAM = re.compile(r"class=[\"']?mermaid")

log = logging.getLogger("mkdocs.hooks")
_copied: dict[str, File] = {}


def on_files(files: Files, config: Any) -> Files:
    """Add the pages that are not in docs/, and whatever they and the other pages link to outside it."""
    _copied.clear()
    for page, source in PAGES.items():
        files.append(File.generated(config, page, content=(ROOT / source).read_text("utf-8")))
    for file in list(files.documentation_pages()):
        for target in _targets(file):
            if (ROOT / target).exists() and not _is_in_site(target):
                _copy(target, files, config)
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Rewrite links to files outside docs/, and diagrams."""
    folder = posixpath.dirname(page.file.src_uri)

    def rewritten(link: re.Match[str]) -> str:
        target = _target(page.file, link[2])
        return link[0] if target is None else link[1] + posixpath.relpath(_uri(target), folder or ".")

    parts = re.split(f"({CODE.pattern})", "\n".join(_indented(markdown.split("\n"))), flags=CODE.flags)
    return "".join(_table(part) if at % 2 else LINK.sub(rewritten, part) for at, part in enumerate(parts))


def on_post_build(config: Any) -> None:
    """Report everything that would be loaded from another host; a warning fails the build."""
    for file in sorted(Path(config.site_dir).rglob("*")):
        if file.suffix in (".html", ".css"):
            text = file.read_text("utf-8")
            for match in [*LOADS.finditer(text), *DIAGRAM.finditer(text)]:
                log.warning("%s loads from another host: %s", file.relative_to(config.site_dir), match[0])


def _targets(file: File) -> Iterator[str]:
    for link in LINK.finditer(CODE.sub("", file.content_string)):
        if (target := _target(file, link[2])) is not None:
            yield target


def _target(file: File, link: str) -> str | None:
    """Return the file that a link names, from the root of the repository; None: an address."""
    if ":" in link or link.startswith("/"):
        return None
    source = PAGES.get(file.src_uri, f"docs/{file.src_uri}")
    return posixpath.normpath(posixpath.join(posixpath.dirname(source), link))


def _is_in_site(target: str) -> bool:
    return (target.startswith("docs/") and not (ROOT / target).is_dir()) or target in PAGES.values()


def _uri(target: str) -> str:
    """Return where a file of the repository is in the site."""
    for page, source in PAGES.items():
        if target == source:
            return page
    if _is_in_site(target):
        return target.removeprefix("docs/")
    if (ROOT / target / "README.md").exists():
        return _uri(f"{target}/README.md")
    if (ROOT / target).is_dir():
        return f"source/{target}/index.md"
    # As text, so that a browser shows the file; files whose names begin with a dot are left out of sites.
    return f"source/{target.lstrip('.')}.txt"


def _copy(target: str, files: Files, config: Any) -> None:
    uri = _uri(target)
    if uri in _copied or files.get_file_from_path(uri):
        return
    path = ROOT / target
    if path.is_dir():
        inside = sorted(file for file in path.rglob("*") if file.is_file() and file.suffix != ".pyc")
        names = [file.relative_to(path).as_posix() for file in inside]
        listing = "".join(f"- [{name}]({name}.txt)\n" for name in names)
        _copied[uri] = File.generated(config, uri, content=f"# {target}\n\n{listing}")
        for name in names:
            _copy(f"{target}/{name}", files, config)
    else:
        _copied[uri] = File.generated(config, uri, abs_src_path=str(path))
    files.append(_copied[uri])


def _indented(lines: Sequence[str]) -> Iterator[str]:
    """Indent what belongs to a list item by four spaces, as Python-Markdown wants; GitHub wants two or three."""
    width, is_code = 0, False
    for line in lines:
        is_code ^= line.startswith("```")
        if marker := None if is_code else ITEM.match(line):
            width = len(marker[0])
        elif line.strip() and not line.startswith(" "):
            width = 0
        yield " " * (4 - width) + line if width and line.startswith(" " * width) else line


def _table(code: str) -> str:
    """Write a state diagram as a table of its arrows; other code stays as it is."""
    if not code.startswith("```mermaid"):
        return code
    rows = [f"| {_state(source)} | {_state(target)} | {when} |" for source, target, when in ARROW.findall(code)]
    return "\n".join(["| from | to | when |", "|---|---|---|", *rows])


def _state(name: str) -> str:
    return "" if name == "[*]" else f"`{name}`"
