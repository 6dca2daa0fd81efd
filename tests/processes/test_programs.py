"""What the lines of supervisord's log are turned into, and when a program is given up."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from app.ops.programs import QUICK_SECONDS, Programs

STARTED = "2026-11-23 10:00:00,000 INFO spawned: 'web' with pid 12"
FAILED = "2026-11-23 10:00:01,000 WARN exited: web (exit status 3; not expected)"
KILLED = "2026-11-23 10:00:01,000 WARN exited: web (terminated by SIGKILL; not expected)"


@pytest.fixture
def programs() -> Programs:
    return Programs()


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
    assert programs.hopeless is None
    programs.read(STARTED)
    assert programs.read(FAILED) == "web died (exit status 3)."
    assert programs.hopeless == "web"


def test_a_program_that_is_killed_is_never_given_up(programs):
    for _ in range(20):
        die(programs, KILLED)
    assert programs.hopeless is None


def test_a_program_that_was_seen_at_work_is_not_given_up_at_once(programs, clock):
    programs.works("web")
    for _ in range(20):
        die(programs, FAILED)
    assert programs.hopeless is None
    clock.now += QUICK_SECONDS
    die(programs, FAILED)
    assert programs.hopeless == "web"


def test_a_program_that_lived_long_is_not_given_up(programs, clock):
    for _ in range(20):
        programs.read(STARTED)
        clock.now += QUICK_SECONDS
        programs.read(FAILED)
    assert programs.hopeless is None


def test_a_program_that_the_supervisor_cannot_start_is_given_up(programs):
    programs.read("2026-11-23 10:00:00,000 INFO gave up: web entered FATAL state, too many start retries too quickly")
    assert programs.hopeless == "web"


def die(programs: Programs, how: str) -> None:
    programs.read(STARTED)
    programs.read(how)
