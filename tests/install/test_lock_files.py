"""The lock files: exactly one version of each distribution, with hashes, for pip alone."""

from __future__ import annotations

import configparser
import json
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
RUN, DEVELOP = ROOT / "requirements.lock", ROOT / "requirements-dev.lock"
INSTALLER = ROOT / ".ci" / "requirements-uv.lock"
EXTRAS = {RUN: ("parquet", "s3", "build"), DEVELOP: ("parquet", "s3", "test", "lint", "audit", "docs", "build")}


def pins(path: Path) -> list[Requirement]:
    """What a lock file names, without the hashes."""
    joined = path.read_text().replace("\\\n", " ")
    return [Requirement(line.partition("--hash")[0]) for line in joined.splitlines() if "==" in line]


def declared(extras: tuple[str, ...]) -> list[Requirement]:
    """What setup.cfg declares with some extras."""
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg")
    lists = [parser["options"]["install_requires"], *(parser["options.extras_require"][extra] for extra in extras)]
    return [Requirement(line) for text in lists for line in text.splitlines() if line.strip() and line[0] != "#"]


@pytest.mark.parametrize("path", EXTRAS, ids=lambda path: path.name)
def test_each_requirement_has_a_version_that_setup_cfg_allows(path):
    locked: dict[str, list[str]] = {}
    for pin in pins(path):
        locked.setdefault(canonicalize_name(pin.name), []).append(next(iter(pin.specifier)).version)
    for wanted in declared(EXTRAS[path]):
        versions = locked.get(canonicalize_name(wanted.name))
        assert versions, f"{path.name} lacks {wanted.name}. Run: make lock"
        assert all(wanted.specifier.contains(version) for version in versions), f"{wanted}: {versions}. Run: make lock"


@pytest.mark.parametrize("path", EXTRAS, ids=lambda path: path.name)
def test_everything_that_is_required_by_what_is_locked_is_locked(path):
    """Otherwise it would be missing, because pip does not look for it."""
    locked = {canonicalize_name(pin.name) for pin in pins(path)}
    looked_at, waiting = set(), declared(EXTRAS[path])
    while waiting:
        wanted = waiting.pop()
        assert canonicalize_name(wanted.name) in locked, f"{path.name} lacks {wanted.name}. Run: make lock"
        if str(wanted) not in looked_at:
            looked_at.add(str(wanted))
            found = map(Requirement, metadata.requires(wanted.name) or ())
            environments = [{"extra": extra} for extra in ("", *wanted.extras)]
            waiting += [one for one in found if not one.marker or any(map(one.marker.evaluate, environments))]
    assert len(looked_at) > 40


@pytest.mark.parametrize("path", [*EXTRAS, INSTALLER], ids=lambda path: path.name)
def test_each_version_has_hashes_and_no_index_is_named(path):
    text = path.read_text()
    blocks = re.split(r"^(?=\w)", text, flags=re.MULTILINE)[1:]
    assert len(blocks) == len(pins(path)) > (40 if path in EXTRAS else 0)
    assert all("--hash=sha256:" in block for block in blocks)
    assert "://" not in text
    assert not re.search(r"^--?(?!hash)|index|find-links", text, re.MULTILINE)


@pytest.mark.parametrize(("status", "programs"), [(0, ["uv", "uv"]), (2, ["uv", "pip", "uv", "pip"])])
def test_pip_installs_the_same_files_if_uv_fails(tmp_path, status, programs):
    calls = tmp_path / "calls"
    for program in ("bin/python", "uv/bin/uv"):
        path = tmp_path / program
        path.parent.mkdir(parents=True)
        fails = f"exit {status}" if program.endswith("uv") else ""
        path.write_text(f'#!/bin/sh\n[ "$1" = -c ] || echo "$0 $*" >> {calls}\n{fails}\n')
        path.chmod(0o755)
    (tmp_path / "place").write_text(str(ROOT))
    made = subprocess.run(["make", f"VENV={tmp_path}", tmp_path / "run"], cwd=ROOT, capture_output=True, text=True)
    assert made.returncode == 0, made.stdout + made.stderr
    lines = calls.read_text().splitlines()
    assert [("uv" if line.startswith(f"{tmp_path}/uv") else "pip") for line in lines] == programs
    each = len(lines) // 2
    assert all(line.endswith("--no-deps --require-hashes --requirement requirements.lock") for line in lines[:each])
    assert all(line.endswith("--no-deps --no-build-isolation --editable .") for line in lines[each:])


def test_the_tests_run_with_the_versions_that_run():
    run, develop = ({str(pin) for pin in pins(path)} for path in EXTRAS)
    assert run <= develop


def test_each_licence_is_allowed_and_the_bill_of_materials_is_made_of_the_lock_file(tmp_path):
    """With a program in place of the one that writes the bill, which takes six seconds of a processor."""
    (tmp_path / "pip-licenses").symlink_to(Path(sys.executable).with_name("pip-licenses"))
    (tmp_path / "cyclonedx-py").write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/called\n')
    (tmp_path / "cyclonedx-py").chmod(0o755)
    command = [ROOT / ".ci" / "audit", tmp_path, tmp_path / "bill"]
    audited = subprocess.run(command, capture_output=True, text=True)
    assert audited.returncode == 0, audited.stdout + audited.stderr
    assert "MIT" in audited.stdout
    assert (tmp_path / "called").read_text().startswith("requirements requirements.lock ")


@pytest.mark.soak
def test_the_bill_of_materials_names_each_version_with_its_hashes(tmp_path):
    """In `make test` the tests above: the lock file, of which the bill is made, has each version and its hashes."""
    bill = tmp_path / "sbom.cdx.json"
    command = [ROOT / ".ci" / "audit", Path(sys.executable).parent, bill]
    audited = subprocess.run(command, capture_output=True, text=True)
    assert audited.returncode == 0, audited.stdout + audited.stderr
    components = json.loads(bill.read_text())["components"]
    assert {(one["name"], one["version"]) for one in components} == {
        (pin.name, next(iter(pin.specifier)).version) for pin in pins(RUN)
    }
    assert all(reference["hashes"] for one in components for reference in one["externalReferences"])
