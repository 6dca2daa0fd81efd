"""The units for separate processes: hardened like the one for all, and understood by systemd."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.running import ROOT

FOLDER = ROOT / "deploy" / "systemd"
ALL_IN_ONE = FOLDER / "tally.service"
SEPARATE = sorted(FOLDER.glob("tally-*.service"))
PROCESSES = {"tally-web.service": "web", "tally-worker@.service": "worker", "tally-scheduler.service": "scheduler"}


def settings(unit: Path) -> list[str]:
    return [line for line in unit.read_text().splitlines() if "=" in line and not line.startswith("#")]


def hardening(unit: Path) -> list[str]:
    """Return the settings that take rights away."""
    lines = settings(unit)
    return lines[lines.index("NoNewPrivileges=yes") : lines.index("SystemCallErrorNumber=EPERM") + 1]


@pytest.mark.parametrize("unit", SEPARATE, ids=lambda unit: unit.name)
def test_each_unit_takes_the_rights_that_the_unit_for_all_takes(unit):
    assert hardening(unit) == hardening(ALL_IN_ONE)
    assert len(hardening(unit)) > 20


def test_there_is_a_unit_for_each_process_which_starts_after_the_migration():
    assert {unit.name for unit in SEPARATE} == {*PROCESSES, "tally-bootstrap.service"}
    for name, command in PROCESSES.items():
        lines = settings(FOLDER / name)
        assert f"ExecStart=/opt/tally/.venv/bin/tally {command}" in lines
        assert "Requires=tally-bootstrap.service" in lines
        assert "tally-bootstrap.service" in next(line for line in lines if line.startswith("After="))
    assert {"Type=oneshot", "ExecStart=/opt/tally/.venv/bin/tally bootstrap"} <= set(
        settings(FOLDER / "tally-bootstrap.service")
    )


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="there is no systemd here")
def test_systemd_understands_the_units_and_finds_them_safe(tmp_path):
    """In one run, because each loads every unit of its folder."""
    for unit in SEPARATE:
        lines = unit.read_text().splitlines()
        replaced = ["ExecStart=/bin/true" if line.startswith("ExecStart=") else line for line in lines]
        (tmp_path / unit.name).write_text("\n".join(replaced))
    units = [tmp_path / unit.name for unit in SEPARATE]
    verified = subprocess.run(["systemd-analyze", "verify", *units], capture_output=True, text=True, check=True)
    assert "tally" not in verified.stderr
    command = ["systemd-analyze", "security", "--offline=yes", "--threshold=20", "--no-pager", *units]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    assert found.returncode == 0, f"an exposure is above 2.0: {found.stdout}"
