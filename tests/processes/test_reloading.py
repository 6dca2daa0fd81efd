"""How the launcher changes to new code: it looks first whether that can run, and replaces the web processes first."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from types import SimpleNamespace

import pytest

from app.config import Settings
from app.exceptions import ReloadFailed
from app.ops import preflight
from app.ops import reload as reloading
from app.ops.programs import Program
from tests.support.running import wait_until

RUNNING = {"valkey": 11, "web": 12, "worker-1": 13, "scheduler": 14}


@pytest.fixture
def settings(tmp_path) -> Settings:
    settings = Settings(data_dir=tmp_path / "var", secret_key="a secret for the tests")
    preflight.private_folder(preflight.run_folder(settings))
    return settings


@pytest.fixture
def sent() -> list[tuple[int, int]]:
    """The signals that are sent."""
    return []


@pytest.fixture
def programs(sent) -> dict[str, Program]:
    programs = {name: Program(name, [], 1) for name in RUNNING}
    for name, pid in RUNNING.items():
        runs(programs[name], pid, sent)
    return programs


def runs(program: Program, pid: int, sent: list[tuple[int, int]]) -> None:
    program.process = SimpleNamespace(pid=pid, send_signal=lambda signum: sent.append((pid, signum)))


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def reload(settings, programs, said) -> reloading.Reload:
    return reloading.Reload(settings, programs, said.append)


def prepare(tmp_path: Path, monkeypatch, code: str) -> None:
    """Let the new code be this, as far as the launcher asks for it."""
    (tmp_path / "flask.py").write_text(code)
    monkeypatch.chdir(tmp_path)


def outcome(settings: Settings) -> dict | None:
    path = preflight.run_folder(settings) / reloading.OUTCOME
    return json.loads(path.read_text()) if path.exists() else None


def test_what_runs_is_left_alone_where_the_new_code_cannot_run(settings, reload, sent, said, tmp_path, monkeypatch):
    prepare(tmp_path, monkeypatch, "raise SystemExit('PORT: not a number.')")
    reload.request()
    wait_until(lambda: reload.run_step(can_begin=True) or outcome(settings), 30)
    assert outcome(settings)["problem"] == "PORT: not a number."
    assert said == ["Reloading …", "Not reloaded; what ran before goes on. PORT: not a number."]
    assert sent == []


def test_web_processes_are_replaced_first_then_workers_and_scheduler(
    settings, reload, programs, sent, said, tmp_path, monkeypatch
):
    prepare(tmp_path, monkeypatch, "")
    reload.request()
    wait_until(lambda: reload.run_step(can_begin=True) or sent, 30)
    assert sent == [(12, signal.SIGHUP)]
    assert reload.read(b"web: reloaded")
    reload.run_step(can_begin=True)
    assert sent[1:] == [(13, signal.SIGTERM), (14, signal.SIGTERM)]
    for name, pid in (("worker-1", 23), ("scheduler", 24)):
        assert programs[name].end(0) is None, "it was told to"
        assert outcome(settings) is None
        runs(programs[name], pid, sent)
        reload.run_step(can_begin=True)
    assert outcome(settings)["problem"] is None
    assert said == ["Reloading …", "Reloaded."]


def test_workers_keep_the_old_code_where_no_new_web_process_could_load_it(
    settings, reload, sent, tmp_path, monkeypatch
):
    prepare(tmp_path, monkeypatch, "")
    reload.request()
    wait_until(lambda: reload.run_step(can_begin=True) or sent, 30)
    reload.read(b"web: not reloaded")
    reload.run_step(can_begin=True)
    assert outcome(settings)["problem"] == reloading.NOT_REPLACED
    assert len(sent) == 1


def test_it_waits_until_the_web_server_answers(reload, sent, said):
    reload.request()
    reload.run_step(can_begin=False)
    assert (sent, said) == ([], [])


def test_lines_of_others_are_not_for_it(reload):
    assert not reload.read(b"web: something else")


def test_the_command_says_that_nothing_runs(settings):
    with pytest.raises(ReloadFailed, match="Tally does not run with DATA_DIR"):
        reloading.reload(settings, 1)


def test_the_command_says_what_the_launcher_found_wrong(settings, monkeypatch):
    lock = preflight._lock(preflight.run_folder(settings) / preflight.LOCK)
    path = preflight.run_folder(settings) / reloading.OUTCOME
    path.write_text(json.dumps({"began": 0.0, "problem": "of an earlier one"}))

    def end(pid: int, signum: int) -> None:
        assert (pid, signum) == (os.getpid(), signal.SIGHUP)
        path.write_text(json.dumps({"began": reloading.time.monotonic(), "problem": "PORT: not a number."}))

    monkeypatch.setattr(reloading.os, "kill", end)
    with pytest.raises(ReloadFailed, match=r"^Not reloaded; what ran before goes on. PORT: not a number.$"):
        reloading.reload(settings, 5)
    os.close(lock)
