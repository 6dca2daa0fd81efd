"""The packages as `make dist` builds them, and an empty environment with the wheel and nothing undeclared."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import Distribution, distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tests.support.markdown import blocks

ROOT = Path(__file__).parents[2]
NAME = "tally-events"
PACKAGE = "tally-events[alerts,oidc,parquet,s3]"
NOT_COPIED = shutil.ignore_patterns(
    ".*", "var", "build", "dist", "*.egg-info", "__pycache__", "bench", "tests", "python"
)


@dataclass(frozen=True)
class Installed:
    """The wheel in an environment of its own.

    Attributes:
        folder: a working folder that was empty.
        bin: the folder of its programs.
    """

    folder: Path
    bin: Path

    def environment(self) -> dict[str, str]:
        return {"PATH": f"{self.bin}:{os.defpath}", "HOME": str(self.folder), "LANG": "C.UTF-8"}

    def run(self, *command: str, input: str | None = None, **settings: str) -> subprocess.CompletedProcess[str]:
        """Run one of its programs in the working folder."""
        return subprocess.run(
            [str(self.bin / command[0]), *command[1:]],
            cwd=self.folder,
            env=self.environment() | settings,
            input=input,
            capture_output=True,
            text=True,
        )


@pytest.fixture(scope="package")
def packages(tmp_path_factory) -> Path:
    """A folder with the source distribution and the wheel, which is built from it."""
    sources, target = tmp_path_factory.mktemp("sources") / "tally", tmp_path_factory.mktemp("dist")
    shutil.copytree(ROOT, sources, ignore=NOT_COPIED)
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(target)]
    built = subprocess.run(command, cwd=sources, capture_output=True, text=True)
    assert built.returncode == 0, built.stdout + built.stderr
    return target


@pytest.fixture(scope="package")
def wheel(packages: Path) -> Path:
    [found] = packages.glob("*.whl")
    return found


@pytest.fixture
def installed(environment: Path, tmp_path: Path) -> Installed:
    """The wheel in its environment, and an empty folder."""
    return Installed(tmp_path, environment / "bin")


@pytest.fixture(scope="package")
def environment(packages: Path, tmp_path_factory) -> Path:
    """What the README's commands install, in a folder of its own.

    The index is a folder with the packages built here. What the wheel declares to need, without extras, is linked from
    this environment, so it needs no network.
    """
    folder = tmp_path_factory.mktemp("environment")
    pip = {"PIP_NO_INDEX": "1", "PIP_NO_DEPS": "1", "PIP_FIND_LINKS": str(packages)}
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    subprocess.run(["sh", "-ec", readme()[0]], cwd=folder, env=os.environ | pip | {"PATH": path}, check=True)
    place = folder / ".venv"
    site = Path(sysconfig.get_path("purelib", vars={"base": str(place)}))
    for one in needed(NAME):
        link(one, site)
    return place


def installing(page: Path) -> list[str]:
    """Return the blocks of a page that install the package."""
    return [one.text for one in blocks(page) if PACKAGE in one.text]


def readme() -> list[str]:
    """Return the README's commands that install the package and serve."""
    [block] = installing(ROOT / "README.md")
    return block.splitlines()


def needed(name: str) -> list[Distribution]:
    """The installed distributions that a distribution declares to need, and those that these need, without extras."""
    found: dict[tuple[str, frozenset[str]], Distribution] = {}
    waiting = list(_requirements(distribution(name), frozenset()))
    while waiting:
        wanted = waiting.pop()
        key = (wanted.name.lower(), frozenset(wanted.extras))
        if key not in found:
            found[key] = distribution(wanted.name)
            waiting += _requirements(found[key], key[1])
    return list({one.name: one for one in found.values()}.values())


def _requirements(one: Distribution, extras: frozenset[str]) -> Iterator[Requirement]:
    for requirement in map(Requirement, one.requires or ()):
        marker = requirement.marker
        if marker is None or any(marker.evaluate({"extra": extra}) for extra in extras | {""}):
            yield requirement


def link(one: Distribution, site: Path) -> None:
    """Make a distribution's modules and metadata visible in another environment."""
    for top in {file.parts[0] for file in one.files or ()} - {"..", "__pycache__"}:
        if not (site / top).exists():
            (site / top).symlink_to(Path(str(one.locate_file(top))))
