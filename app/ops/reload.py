"""Load new code without downtime: how the launcher handles SIGHUP, and how `tally reload` requests it.

First a process with the new code checks whether it can run, and migrates the database. If that fails, nothing else
happens and the old processes continue to run. Then the launcher replaces each web process with one that has loaded the
new code. After that it restarts the scheduler and the workers, which return their current reports to the queue. The
launcher, granian's main process and the private Valkey continue to run. Changes to these need a stop and a start.

Web processes are replaced first, because a new web process can create a report that only a new worker can write. Such a
report waits for a moment, whereas the old code would refuse it.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import suppress
from pathlib import Path

from app.config import Settings
from app.exceptions import ReloadFailed
from app.ops.preflight import LOCK, run_folder
from app.ops.programs import VALKEY, WEB, Program

PREPARE = "--prepare"  # the option of `tally reload` that the launcher passes
OUTCOME = "reloaded"  # the file in the run folder that records the outcome of the last reload
LOADED, NOT_LOADED = b"web: reloaded", b"web: not reloaded"  # printed by granian's main process, see `web`

REPLACE_SECONDS = 600.0  # time limit for all web processes
END_SECONDS = 15.0  # time before a worker or the scheduler is killed; workers return their reports within 2 s

NOT_REPLACED = "A new web process could not load the application, so the old ones stay. Its last words are above."
TOO_LATE = "The web processes were not replaced in time."


class Reload:
    """Reload that runs one step at a time, because the launcher has other work between steps.

    Args:
        print_sentence: prints a sentence on the terminal.
    """

    def __init__(
        self, settings: Settings, programs: Mapping[str, Program], print_sentence: Callable[[str], None]
    ) -> None:
        self._folder = run_folder(settings)
        self._programs = programs
        self._print = print_sentence
        self._is_requested = False
        self._reported = b""
        self._steps: Generator[None, None, None] | None = None

    def request(self) -> None:
        """Request a reload, which begins as soon as possible or after the one in progress."""
        self._is_requested = True

    def read(self, line: bytes) -> bool:
        """Process a line of a program's output, and return whether the line reports a reload."""
        if line not in (LOADED, NOT_LOADED):
            return False
        self._reported = line
        return True

    def run_step(self, *, can_begin: bool) -> None:
        """Run the next step, if there is one.

        Args:
            can_begin: whether the web server responds.
        """
        if self._steps is None:
            if not (self._is_requested and can_begin):
                return
            self._is_requested, self._steps = False, self._run()
        if next(self._steps, self) is self:
            self._steps = None

    def _run(self) -> Generator[None, None, None]:
        began = time.monotonic()
        self._print("Reloading …")
        problem = (yield from self._prepare()) or (yield from self._replace_web())
        if problem is None:
            yield from self._restart_others()
        self._print("Reloaded." if problem is None else f"Not reloaded; what ran before goes on. {problem}")
        new = self._folder / f"{OUTCOME}.new"
        new.write_text(json.dumps({"began": began, "problem": problem}))
        new.replace(self._folder / OUTCOME)

    def _prepare(self) -> Generator[None, None, str | None]:
        """Run the new code's own checks and its migrations, and return its error message if they fail."""
        output = self._folder / "reload.txt"
        command = [sys.executable, "-m", "flask", "--app", "wsgi", "reload", PREPARE]
        with output.open("w") as file:
            process = subprocess.Popen(
                command,
                env=os.environ | {"LOG_FORMAT": "text"},  # the output becomes part of a sentence
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
            )
        while process.poll() is None:
            yield
        words = output.read_text(errors="replace").strip()
        return (words or f"The new code ended with {process.returncode}.") if process.returncode else None

    def _replace_web(self) -> Generator[None, None, str | None]:
        web = self._programs[WEB]
        pid = web.pid
        if pid is None:  # the web server has just died, and is restarted with the new code
            return None
        self._reported, deadline = b"", time.monotonic() + REPLACE_SECONDS
        web.send(signal.SIGHUP)
        while not self._reported and web.pid == pid:
            if time.monotonic() > deadline:
                return TOO_LATE
            yield
        return NOT_REPLACED if self._reported == NOT_LOADED else None

    def _restart_others(self) -> Generator[None, None, None]:
        old = {name: one.pid for name, one in self._programs.items() if name not in (VALKEY, WEB) and one.pid}
        for name in old:
            self._programs[name].restart()
        deadline = time.monotonic() + END_SECONDS
        while any(self._programs[name].pid in (None, pid) for name, pid in old.items()):
            if time.monotonic() > deadline:
                deadline += END_SECONDS
                for name, pid in old.items():
                    if self._programs[name].pid == pid:
                        self._programs[name].send(signal.SIGKILL)
            yield


def reload(settings: Settings, seconds: float) -> None:
    """Ask the launcher that runs with this DATA_DIR to reload, and return when it has finished.

    Args:
        seconds: how long to wait.

    Raises:
        ReloadFailed: the launcher did not reload in time, or is not running.
    """
    folder, asked_at = run_folder(settings), time.monotonic()
    pid = _launcher(folder / LOCK)
    if pid is None:
        raise ReloadFailed(f"Tally does not run with DATA_DIR {settings.data_dir.absolute()}.")
    os.kill(pid, signal.SIGHUP)
    while (outcome := _outcome(folder / OUTCOME))[0] < asked_at:
        if _launcher(folder / LOCK) != pid:
            raise ReloadFailed("Tally ended before it had reloaded. Its log says why.")
        if time.monotonic() > asked_at + seconds:
            raise ReloadFailed(f"Tally has not reloaded within {seconds:.0f} seconds. Its log says how far it is.")
        time.sleep(0.1)
    if outcome[1] is not None:
        raise ReloadFailed(f"Not reloaded; what ran before goes on. {outcome[1]}")


def _launcher(lock: Path) -> int | None:
    """Return the process id of the launcher that holds the lock, or None if no process holds it."""
    try:
        with lock.open() as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return int(file.read())
    except FileNotFoundError:
        pass
    return None


def _outcome(path: Path) -> tuple[float, str | None]:
    """Return when the last reload began and its problem, or a time in the distant past if there was none."""
    with suppress(FileNotFoundError):
        found = json.loads(path.read_text())
        if found["began"] <= time.monotonic():  # otherwise it is from before a reboot
            return found["began"], found["problem"]
    return -1.0, None
