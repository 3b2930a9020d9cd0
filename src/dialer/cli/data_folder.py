"""The files by which commands find the `dialer up` of a data folder: the URL of its API, and its admin key.

Imports nothing that takes time: every command that asks the API starts with it.
"""

import os
from pathlib import Path

API_URL_FILE = "api.url"
KEY_FILE = "admin.key"


def local_api_url(data_dir: Path) -> str | None:
    """Return the URL of the API of the last `dialer up` on this folder; None: there was none."""
    try:
        return (data_dir / API_URL_FILE).read_text("utf-8").strip()
    except OSError:
        return None


def admin_key(data_dir: Path) -> str | None:
    """Read the admin key of the data folder, if there is one."""
    try:
        return (data_dir / KEY_FILE).read_text("ascii").strip() or None
    except (OSError, UnicodeDecodeError):
        return None


def write_secret(path: Path, text: str) -> None:
    """Write a file atomically, readable only by its owner from the moment it exists."""
    new = path.with_name(f".{path.name}.new")
    new.unlink(missing_ok=True)
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(f"{text}\n")
    new.replace(path)
