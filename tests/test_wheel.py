"""The wheel alone: it is built from the sdist, and what it installs runs without the source tree."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import dialer

ROOT = Path(__file__).parents[1]
UV = str(Path(sys.executable).with_name("uv"))
SOURCES = ("pyproject.toml", "README.md", "LICENSE")
IMPORT_ALL = """
import importlib, pkgutil, sys
import dialer
names = {module.name for module in pkgutil.walk_packages(dialer.__path__, "dialer.")} - {"dialer.__main__"}
for name in names:
    importlib.import_module(name)
print(dialer.__file__, len(names))
"""
DATA = {".sql", ".lua", ".html", ".css", ".js", ".mako", ".svg", ".png", ".woff2", ".typed"}


NEWEST = ROOT / ".venv-newest"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    source = tmp_path_factory.mktemp("source")
    shutil.copytree(ROOT / "src" / "dialer", source / "src" / "dialer", ignore=shutil.ignore_patterns("__pycache__"))
    for name in SOURCES:
        shutil.copy(ROOT / name, source)
    run(UV, "build", "--quiet", "--offline", "--no-build-isolation", "--python", sys.executable, cwd=source)
    (wheel,) = (source / "dist").glob("*.whl")
    assert [path.name for path in (source / "dist").glob("*.tar.gz")] == [
        wheel.name.replace("-py3-none-any.whl", ".tar.gz")
    ]
    return wheel


@pytest.fixture(scope="module", params=["tested", "newest"])
def environment(request: pytest.FixtureRequest, wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual environment with the wheel. Its dependencies are those of another, whose own Dialer it cannot see."""
    python = newest_python() if request.param == "newest" else Path(sys.executable)
    made = tmp_path_factory.mktemp(request.param)
    run(UV, "venv", "--quiet", "--offline", "--clear", "--python", str(python), str(made))
    packages = next(made.glob("lib/python*/site-packages"))
    purelib = run(str(python), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))")
    # A folder that is named in a .pth file is searched, but its own .pth files are not read.
    (packages / "dependencies.pth").write_text(purelib)
    run(UV, "pip", "install", "--quiet", "--offline", "--no-deps", "--python", str(made / "bin" / "python"), str(wheel))
    return made


def newest_python() -> Path:
    """The Python in .venv-newest, which has the packages of the image."""
    if (NEWEST / "bin" / "python").exists():
        return NEWEST / "bin" / "python"
    if (NEWEST / "installed").exists():
        pytest.skip("this machine has no newer Python than that of the tests")
    pytest.skip("`make newest-python` installs the packages for the newest Python on this machine")


def run(*command: str, cwd: Path | None = None) -> str:
    servers = {"DIALER_DATABASE_URL": "postgresql+psycopg://nowhere", "DIALER_REDIS_URL": "redis://nowhere"}
    done = subprocess.run(command, cwd=cwd, env=os.environ | servers, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_wheel_has_every_file_of_the_package(environment: Path) -> None:
    (installed,) = environment.glob("lib/python*/site-packages/dialer")
    here = Path(dialer.__file__).parent
    wanted = {path.relative_to(here) for path in here.rglob("*") if path.suffix in DATA | {".py"}}
    assert len(wanted) > 400
    assert {path for path in wanted if not (installed / path).exists()} == set()


def test_the_wheel_runs_alone(environment: Path, tmp_path: Path) -> None:
    binaries = environment / "bin"
    assert run(str(binaries / "dialer"), "--version", cwd=tmp_path).startswith("dialer ")
    if is_newest(environment):
        imported, count = run(str(binaries / "python"), "-c", IMPORT_ALL, cwd=tmp_path).split()
        assert Path(imported).is_relative_to(environment)
        assert int(count) > 300


def is_newest(environment: Path) -> bool:
    """Whether it has the newest Python here: one is enough to load all modules, which takes seconds."""
    return environment.name.startswith("newest") or not (NEWEST / "bin").exists()
