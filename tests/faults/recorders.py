"""Programs that record events with the Python client into one spool until they are killed."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.faults.conftest import Service, kill
from tests.support.pace import slack
from tests.support.running import ROOT, wait_until

PROGRAMS = 2
PACE_SECONDS = 0.002
# Notes the id of each event after `record` has returned, in a file that no kill can shorten.
PROGRAM = f"""
import os, sys, time, uuid
from tally_client import Tally
tally = Tally(sys.argv[1], spool=sys.argv[2], batch_events=50, batch_seconds=0.05)
notes = os.open(sys.argv[3], os.O_CREAT | os.O_APPEND | os.O_WRONLY)
while True:
    one = uuid.uuid4().hex
    tally.record("BARCHART", "PORTFOLIO", "T", one)
    os.write(notes, one.encode())
    time.sleep({PACE_SECONDS})
"""
DELIVER = """
import sys
from tally_client import Tally
with Tally(sys.argv[1], spool=sys.argv[2]) as tally:
    assert tally.flush(600)
"""


class Programs:
    """The programs.

    Attributes:
        started: how many were started until now.
    """

    def __init__(self, folder: Path) -> None:
        self._spool = folder / "spool"
        self._notes = folder / "notes"
        self._notes.touch()
        self._living: list[subprocess.Popen] = []
        self.started = 0

    def start(self) -> None:
        self._living.append(self._run(PROGRAM, str(self._notes)))
        self.started += 1

    def kill_one(self) -> None:
        """Kill a program, and start another."""
        program = self._living.pop(random.randrange(len(self._living)))
        kill(program.pid)
        program.wait()
        self.start()

    def move(self, url: str) -> None:
        """Kill all programs, and start others that send what these left to another address."""
        self.kill_all()
        self._url = url
        for _ in range(PROGRAMS):
            self.start()

    def kill_all(self) -> None:
        for program in self._living:
            kill(program.pid)
            program.wait()
        self._living.clear()

    def until_recorded(self, more: int) -> None:
        goal = self._notes.stat().st_size + 32 * more
        wait_until(lambda: self._notes.stat().st_size >= goal, 30)

    def deliver(self) -> None:
        """Kill all programs, and send what they left in the spool."""
        self.kill_all()
        assert self._run(DELIVER).wait(slack(60)) == 0
        assert not list(self._spool.rglob("*.events"))

    def recorded(self) -> set[str]:
        """Return the ids of the events for which `record` returned."""
        text = self._notes.read_text()
        return {text[place : place + 32] for place in range(0, len(text), 32)}

    def _run(self, program: str, *arguments: str) -> subprocess.Popen:
        command = [sys.executable, "-c", program, self._url, str(self._spool), *arguments]
        return subprocess.Popen(command, env=os.environ | {"PYTHONPATH": str(ROOT / "clients" / "python" / "src")})


@contextmanager
def recording(service: Service) -> Iterator[Programs]:
    """Run programs that record into the service; they are killed at the end."""
    with tempfile.TemporaryDirectory(dir=service.folder) as folder:
        programs = Programs(Path(folder))
        try:
            programs.move(service.running.url)
            yield programs
        finally:
            programs.kill_all()
