"""The processes one by one, as containers and separate machines run them."""

from __future__ import annotations

import json
import os
import subprocess
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis as redis_py

from tests.support import forked
from tests.support.client import event
from tests.support.pace import slack
from tests.support.running import PYTHONPATH, TALLY, free_port, wait_until

SECRET = "a secret for the tests"


def environment(folder: Path, **settings: str) -> dict[str, str]:
    given = {"PATH": os.environ["PATH"], "HOME": str(folder), "PYTHONPATH": PYTHONPATH, "DATA_DIR": str(folder / "var")}
    return given | settings


@pytest.fixture
def tally(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run a command that ends, in a folder of its own."""

    def run(*words: str, **settings: str) -> subprocess.CompletedProcess[str]:
        return forked.tally(*words, folder=tmp_path, environment=environment(tmp_path, **settings))

    return run


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Start a process whose output goes to a file of its name, and end it after the test."""
    started = []

    def run(program: str, **settings: str) -> subprocess.Popen[bytes]:
        with (tmp_path / program).open("w") as said:
            given = environment(tmp_path, **settings)
            started.append(subprocess.Popen([*TALLY, program], cwd=tmp_path, env=given, stdout=said, stderr=said))
        return started[-1]

    yield run
    for process in started:
        process.kill()
        process.wait()


@pytest.mark.processes
def test_separate_processes_turn_an_event_into_a_report_and_end_without_resetting_a_connection(
    tally, start, tmp_path, valkey_server
):
    redis_py.Redis.from_url(valkey_server).flushall()
    port = free_port()
    settings = {"REDIS_URL": valkey_server, "PORT": str(port), "SECRET_KEY": SECRET, "ADMIN_PASSWORD": "correct horse"}
    assert json.loads(tally("bootstrap", "--json", **settings).stdout) == {"user": "admin", "password": None}
    assert json.loads(tally("bootstrap", "--json", **settings).stdout) == {"user": None, "password": None}
    started = {program: start(program, **settings) for program in ("web", "worker", "scheduler")}

    def answers() -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/health/ready") as answer:
                checks = json.load(answer)
        except OSError:
            return False
        return "degraded" not in json.dumps(checks)

    wait_until(answers, 60)
    body = json.dumps({"events": [event()]}).encode()
    request = urllib.request.Request(f"http://127.0.0.1:{port}/events", body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request) as answer:
        assert answer.status == 200
    words = ("reports", "start", "--customer", "BARCHART", "--product", "PORTFOLIO", "--wait", "--json")
    assert json.loads(tally(*words, **settings).stdout)["status"] == "COMPLETE"
    with ClientsOf(port) as clients:
        wait_until(lambda: clients.answered > 50, 30)
        started["web"].terminate()
        assert started["web"].wait(slack(20)) == 0, (tmp_path / "web").read_text()
    assert clients.problems == []
    for program in ("worker", "scheduler"):
        started[program].terminate()
        assert started[program].wait(slack(20)) == 0, (tmp_path / program).read_text()
    assert f"Tally is at http://127.0.0.1:{port}/" in (tmp_path / "web").read_text()


class ClientsOf:
    """Clients that send events on ever new connections until the port refuses them."""

    def __init__(self, port: int) -> None:
        self.answered = 0
        self.problems: list[str] = []
        self._url = f"http://127.0.0.1:{port}/events"
        self._threads = [threading.Thread(target=self._send) for _ in range(8)]

    def __enter__(self) -> ClientsOf:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        for thread in self._threads:
            thread.join(slack(20))

    def _send(self) -> None:
        request = urllib.request.Request(self._url, json.dumps([event()]).encode())
        while True:
            try:
                with urllib.request.urlopen(request) as answer:
                    answer.read()
                self.answered += 1
            except urllib.error.URLError as error:
                if not isinstance(error.reason, ConnectionRefusedError):
                    self.problems.append(repr(error))
                return
            except OSError as error:
                self.problems.append(repr(error))
                return
