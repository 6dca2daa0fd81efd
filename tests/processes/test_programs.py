"""When a program that dies is started again, when it is given up, and what is said about it."""

from __future__ import annotations

import signal
from types import SimpleNamespace

import pytest

from app.ops.programs import QUICK_DEATHS, QUICK_SECONDS, WEB, Program

FAILED, KILLED = 3, -signal.SIGKILL
WORKER = "worker-1"


@pytest.fixture
def clock(monkeypatch) -> SimpleNamespace:
    """A clock that stands still until a test moves `now`."""
    still = SimpleNamespace(now=1000.0)
    monkeypatch.setattr("app.ops.programs.time", SimpleNamespace(monotonic=lambda: still.now))
    return still


@pytest.fixture
def run(clock):
    """A function that starts a program a number of times, lets it end with a code, and returns the last message."""

    def run(program: Program, code: int, times: int = 1, *, seconds: float = 0) -> str | None:
        for _ in range(times):
            program.start()
            program.process.wait()
            clock.now += seconds
            message = program.end(code)
        return message

    return run


def program(name: str) -> Program:
    return Program(name, ["true"], 1)


def test_a_start_and_a_death_are_a_sentence_each(clock):
    web = program(WEB)
    assert web.start() == f"web started (pid {web.pid})"
    web.process.wait()
    assert web.end(KILLED) == "web died (terminated by SIGKILL) and is started again."
    assert web.pid is None


def test_the_web_server_is_given_up_after_five_failures_in_a_row(run):
    web = program(WEB)
    assert run(web, FAILED, QUICK_DEATHS - 1) == "web died (exit status 3) and is started again."
    assert not web.is_hopeless
    assert run(web, FAILED) == "web died (exit status 3)."
    assert web.is_hopeless


@pytest.mark.parametrize(("code", "seconds"), [(KILLED, 0), (FAILED, QUICK_SECONDS)], ids=["killed", "after long"])
def test_a_program_that_is_killed_or_lived_long_is_never_given_up(run, code, seconds):
    web = program(WEB)
    run(web, code, QUICK_DEATHS + 1, seconds=seconds)
    assert not web.is_hopeless


def test_a_program_that_was_seen_at_work_is_not_given_up_at_once(run, clock):
    web = program(WEB)
    web.works()
    run(web, FAILED, QUICK_DEATHS + 1)
    assert not web.is_hopeless
    clock.now += QUICK_SECONDS
    run(web, FAILED)
    assert web.is_hopeless


def test_any_other_program_pauses_longer_and_longer_and_is_never_given_up(run, clock):
    worker, pauses = program(WORKER), []
    run(worker, FAILED, QUICK_DEATHS - 1)
    for _ in range(8):
        told = run(worker, FAILED)
        pauses.append(worker.starts_at - clock.now)
        assert f"It is started again in {pauses[-1]:.0f} s; everything else goes on." in told
        clock.now = worker.starts_at
    assert pauses == [1, 2, 4, 8, 16, 32, 60, 60]
    assert not worker.is_hopeless


def test_a_program_that_is_told_to_restart_has_not_died(run):
    worker = program(WORKER)
    run(worker, FAILED, QUICK_DEATHS)
    worker.start()
    worker.restart()
    worker.process.wait()
    assert worker.end(0) is None
    assert run(worker, FAILED) == "worker-1 died (exit status 3) and is started again."


def test_a_program_that_does_not_end_in_time_is_killed(clock):
    stubborn = Program(WORKER, ["sh", "-c", "trap '' TERM; echo ready; while :; do sleep 0.1; done"], 1)
    stubborn.start()
    with open(stubborn.output, "rb", buffering=0, closefd=False) as output:
        while not output.read(1):
            pass
    assert stubborn.stop() is None
    assert stubborn.process.poll() is None
    clock.now += 2
    assert stubborn.stop() == "worker-1 does not end in time and is killed."
    assert stubborn.process.wait() == KILLED


def test_a_program_that_cannot_be_started_is_tried_again(monkeypatch, clock):
    def fail(*given: object, **named: object) -> None:
        raise OSError(11, "Resource temporarily unavailable")

    worker = program(WORKER)
    monkeypatch.setattr("app.ops.programs.subprocess.Popen", fail)
    assert worker.start() == "A program did not start: Resource temporarily unavailable."
    assert (worker.pid, worker.starts_at) == (None, clock.now + 1)
