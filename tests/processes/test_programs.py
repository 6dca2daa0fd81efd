"""What the lines of supervisord's log are turned into, and when a program is given up."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest

from app.ops import die_with_parent
from app.ops.programs import QUICK_SECONDS, Programs

STARTED = "2026-11-23 10:00:00,000 INFO spawned: 'web' with pid 12"
FAILED = "2026-11-23 10:00:01,000 WARN exited: web (exit status 3; not expected)"
KILLED = "2026-11-23 10:00:01,000 WARN exited: web (terminated by SIGKILL; not expected)"


@pytest.fixture
def programs(tmp_path) -> Programs:
    return Programs(tmp_path)


@pytest.fixture
def clock(monkeypatch) -> SimpleNamespace:
    """A clock that stands still until a test moves `now`."""
    still = SimpleNamespace(now=1000.0)
    monkeypatch.setattr("app.ops.programs.time", SimpleNamespace(monotonic=lambda: still.now))
    return still


def test_a_start_and_a_death_are_a_sentence_each(programs):
    assert programs.read(STARTED) == "web started (pid 12)"
    assert programs.running == {"web": 12}
    assert programs.read(KILLED) == "web died (terminated by SIGKILL) and is started again."
    assert programs.running == {}


def test_what_the_supervisor_says_to_itself_is_not_passed_on(programs):
    assert programs.read("2026-11-23 10:00:00,000 CRIT Supervisor is running as root.") is None
    assert programs.read("2026-11-23 10:00:00,000 INFO supervisord started with pid 1") is None


def test_a_program_that_fails_five_times_in_a_row_is_given_up(programs):
    for _ in range(4):
        die(programs, FAILED)
    assert not programs.is_hopeless
    programs.read(STARTED)
    assert programs.read(FAILED) == "web died (exit status 3)."
    assert programs.is_hopeless


def test_a_program_that_is_killed_is_never_given_up(programs):
    for _ in range(20):
        die(programs, KILLED)
    assert not programs.is_hopeless


def test_a_program_that_was_seen_at_work_is_not_given_up_at_once(programs, clock):
    programs.works("web")
    for _ in range(20):
        die(programs, FAILED)
    assert not programs.is_hopeless
    clock.now += QUICK_SECONDS
    die(programs, FAILED)
    assert programs.is_hopeless


def test_a_program_that_lived_long_is_not_given_up(programs, clock):
    for _ in range(20):
        programs.read(STARTED)
        clock.now += QUICK_SECONDS
        programs.read(FAILED)
    assert not programs.is_hopeless


def test_a_program_that_the_supervisor_cannot_start_is_given_up(programs):
    programs.read("2026-11-23 10:00:00,000 INFO gave up: web entered FATAL state, too many start retries too quickly")
    assert programs.is_hopeless


def test_any_other_program_pauses_longer_and_longer_and_is_never_given_up(programs, clock, tmp_path):
    pauses = []
    for _ in range(12):
        programs.read(STARTED.replace("web", "worker-1"))
        told = programs.read(FAILED.replace("web", "worker-1"))
        if (tmp_path / "worker-1.pause").exists():
            pauses.append(float((tmp_path / "worker-1.pause").read_text()) - clock.now)
            assert f"It is started again in {pauses[-1]:.0f} s; everything else goes on." in told
            clock.now += pauses[-1]
    assert pauses == [1, 2, 4, 8, 16, 32, 60, 60]
    assert not programs.is_hopeless


def test_a_pause_is_no_time_that_a_program_was_up(programs, clock):
    for _ in range(9):
        die(programs, FAILED.replace("web", "worker-1"), "worker-1")
    programs.read(STARTED.replace("web", "worker-1"))
    clock.now += 40  # of them it pauses for 16
    assert "It is started again in 32 s" in programs.read(FAILED.replace("web", "worker-1"))


def test_a_program_that_is_told_to_end_has_not_died(programs, tmp_path):
    for _ in range(5):
        die(programs, FAILED.replace("web", "worker-1"), "worker-1")
    programs.expect_restart("worker-1")
    assert programs.read("exited: worker-1 (exit status 0; expected)") is None
    assert float((tmp_path / "worker-1.pause").read_text()) <= time.monotonic()
    programs.read(STARTED.replace("web", "worker-1"))
    assert programs.read(FAILED.replace("web", "worker-1")) == "worker-1 died (exit status 3) and is started again."


def test_a_program_begins_behind_its_pause(tmp_path):
    (tmp_path / "worker-1.pause").write_text(str(time.monotonic() + 1))
    environment = os.environ | {"TALLY_RUN": str(tmp_path), "SUPERVISOR_PROCESS_NAME": "worker-1"}
    began = time.monotonic()
    command = [sys.executable, "-I", "-S", die_with_parent.__file__, "KILL", "echo", "it runs"]
    result = subprocess.run(command, env=environment, check=True, capture_output=True)
    assert result.stdout == b"it runs\n"
    assert time.monotonic() - began >= 0.9


def test_pauses_of_an_earlier_start_are_forgotten(tmp_path):
    (tmp_path / "worker-1.pause").write_text("1e9")
    Programs(tmp_path)
    assert list(tmp_path.iterdir()) == []


def die(programs: Programs, how: str, name: str = "web") -> None:
    programs.read(STARTED.replace("web", name))
    programs.read(how)
