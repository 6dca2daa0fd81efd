"""The package tally-client, as `make dist` builds it, with each Python from 3.9 on that is on this machine."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from email.parser import HeaderParser
from pathlib import Path

import pytest
from tally_client import __version__

from tests.support.running import ROOT

CLIENT = ROOT / "clients" / "python"
PYENV = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
PROGRAM = """
import logging, os, sys
from tally_client import InvalidEvent, Tally, TallyHandler
url, spool = sys.argv[1:]
child = os.fork()
if child == 0:
    Tally("http://127.0.0.1:9", spool=spool).record("C", "P", "T", "spooled", 1, None, version="3")
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
with Tally(url, spool=spool, fsync="always", rejected=lambda events, reason: None) as tally:
    logging.getLogger("shop").addHandler(TallyHandler(tally, "C", "P"))
    logging.getLogger("shop").error("logged")
    try:
        tally.record("C", "P", "T", object())
    except InvalidEvent:
        tally.record("C", "P", "T", "recorded")
    assert tally.flush(60)
"""


def pythons() -> list[str]:
    """Return the path of one Python of each minor version from 3.9 on."""
    found = []
    for minor in range(9, 20):
        candidates = [*sorted(PYENV.glob(f"3.{minor}.*/bin/python")), shutil.which(f"python3.{minor}")]
        works = (
            str(one)
            for one in candidates
            if one and not subprocess.run([one, "-c", ""], capture_output=True).returncode
        )
        found += [next(works, None)]
    return [one for one in found if one]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    sources, target = tmp_path_factory.mktemp("sources") / "client", tmp_path_factory.mktemp("dist")
    shutil.copytree(CLIENT, sources, ignore=shutil.ignore_patterns("*.egg-info", "build", "__pycache__"))
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(target)]
    built = subprocess.run(command, cwd=sources, capture_output=True, text=True)
    assert built.returncode == 0, built.stdout + built.stderr
    [found] = target.iterdir()
    return found


def test_the_wheel_has_every_module_its_types_and_no_requirement(wheel):
    archive = zipfile.ZipFile(wheel)
    names = {name for name in archive.namelist() if name.startswith("tally_client/")}
    files = (path for path in (CLIENT / "src").rglob("*") if path.suffix == ".py" or path.name == "py.typed")
    assert names == {str(path.relative_to(CLIENT / "src")) for path in files}
    metadata = HeaderParser().parsestr(archive.read(f"tally_client-{__version__}.dist-info/METADATA").decode())
    assert (metadata["Name"], metadata["Version"]) == ("tally-client", __version__)
    assert metadata["Requires-Python"] == ">=3.9"
    assert metadata.get_all("Requires-Dist") is None


@pytest.mark.parametrize("python", pythons(), ids=lambda path: Path(path).resolve().parents[1].name)
def test_the_wheel_works_with_each_python(wheel, service, tmp_path, python):
    command = [python, "-c", PROGRAM, service.url, str(tmp_path)]
    ran = subprocess.run(command, env={"PYTHONPATH": str(wheel)}, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    contexts = sorted(event["context"] for events in service.stored.values() for event in events)
    assert contexts == [["ERROR", "shop", "logged"], ["recorded"], ["spooled", 1, None]]
