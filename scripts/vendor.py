"""Fetch the console's vendored files from npm, in the versions that VENDORED.toml names, and write their hashes there.

To upgrade one, edit its version and run `make vendor`. Needs npm on this machine; nothing else does.
"""

import hashlib
import subprocess
import tarfile
import tomllib
from pathlib import Path
from tempfile import TemporaryDirectory

VENDOR = Path(__file__).parents[1] / "src/dialer/console/static/vendor"


def main() -> None:
    """Fetch every file."""
    table = VENDOR / "VENDORED.toml"
    text = table.read_text("utf-8")
    for name, entry in tomllib.loads(text).items():
        package = f"{entry['package']}@{entry['version']}"
        content, licence = _fetch(package, entry["path"], "LICENSE")
        (VENDOR / name).write_bytes(content)
        (VENDOR / f"LICENSE.{entry['package']}").write_bytes(licence)
        text = text.replace(entry["sha256"], hashlib.sha256(content).hexdigest())
        print(f"{name}: {package}")
    table.write_text(text, "utf-8")


def _fetch(package: str, *paths: str) -> list[bytes]:
    with TemporaryDirectory() as folder:
        packed = subprocess.run(
            ["npm", "pack", "--silent", package], cwd=folder, check=True, capture_output=True, text=True
        )
        with tarfile.open(Path(folder) / packed.stdout.strip().splitlines()[-1]) as archive:
            files = [archive.extractfile(f"package/{path}") for path in paths]
            return [file.read() for file in files if file is not None]


if __name__ == "__main__":
    main()
