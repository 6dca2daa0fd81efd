"""`make test-pythons`: each Python from 3.11 to 3.14 that is on the machine, and a list of them."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from pathlib import Path

import pytest

from tests.install.conftest import ROOT


def environment(make: Path) -> dict[str, str]:
    return dict(os.environ) | {"MAKE": str(make)}


@pytest.fixture
def make(tmp_path: Path) -> Path:
    """A program in place of make, which notes how it was called and succeeds."""
    program = tmp_path / "make"
    program.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/calls\n')
    program.chmod(0o755)
    return program


def test_each_python_that_is_there_is_used_and_named_and_the_others_too(make, tmp_path):
    ran = subprocess.run(
        [ROOT / ".ci" / "pythons", "test"], env=environment(make), capture_output=True, text=True, check=True
    )
    passed = re.search(r"^Passed with Python: (.+)$", ran.stdout, re.MULTILINE)[1].split()
    missing = re.search(r"^Not on this machine: (.+)$", ran.stdout, re.MULTILINE)
    minors = [version.rpartition(".")[0] for version in passed] + (missing[1].split() if missing else [])
    assert sorted(minors) == ["3.11", "3.12", "3.13", "3.14"]
    assert platform.python_version().rpartition(".")[0] in minors
    calls = (tmp_path / "calls").read_text().splitlines()
    assert [re.match(r"test VENV=\.venv-(3\.\d+) PYTHON=/", call)[1] for call in calls] == minors[: len(passed)]


def test_a_failure_with_one_of_them_is_a_failure(make):
    make.write_text("#!/bin/sh\nexit 1\n")
    ran = subprocess.run([ROOT / ".ci" / "pythons", "test"], env=environment(make), capture_output=True, text=True)
    assert ran.returncode == 1
    assert "Passed with Python: none" in ran.stdout
    assert "Failed with Python: 3." in ran.stderr
