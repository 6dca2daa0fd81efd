"""The block of the README that installs the package, as it is written there."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from tests.install.conftest import NAME, ROOT, link, needed
from tests.support.markdown import Block, blocks
from tests.support.running import Running

PACKAGE = "tally-events[alerts,oidc,parquet,s3]"


def installing(page: Path) -> list[Block]:
    return [one for one in blocks(page) if PACKAGE in one.text]


def test_the_tutorial_installs_as_the_readme_does():
    assert [one.text for one in installing(ROOT / "docs" / "tutorial.md")] == [
        one.text for one in installing(ROOT / "README.md")
    ]


@pytest.mark.processes
def test_the_block_that_installs_the_package_installs_and_serves(packages: Path, tmp_path: Path):
    """The index is a folder with the packages built here. What they need is linked from this environment."""
    [block] = installing(ROOT / "README.md")
    install, serve = block.text.splitlines()
    pip = {"PIP_NO_INDEX": "1", "PIP_NO_DEPS": "1", "PIP_FIND_LINKS": str(packages)}
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    subprocess.run(["sh", "-ec", install], cwd=tmp_path, env=os.environ | pip | {"PATH": path}, check=True)
    site = Path(sysconfig.get_path("purelib", vars={"base": str(tmp_path / ".venv")}))
    for one in needed(NAME):
        link(one, site)
    service = Running(tmp_path, command=serve.split(), PYTHONPATH="")
    try:
        service.until_ready()
        assert "Sign in as" in service.said()
    finally:
        code = service.stop()
    assert code == 0, service.said()
