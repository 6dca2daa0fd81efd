"""The real service: `tally serve` with all its processes, and a folder and port of its own."""

from __future__ import annotations

import fcntl
import http.client
import os
import re
import signal
import socket
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING

from tests.support.pace import SOAK, slack

if TYPE_CHECKING:
    from tests.support.forked import Process

ROOT = Path(__file__).parents[2]
PYTHONPATH = f"{ROOT}:{ROOT / 'tests' / 'support' / 'as_installed'}"
TALLY = (sys.executable, "-c", "from app.cli.main import main; main()")
FLASK = (sys.executable, "-m", "flask", "--app", "wsgi")  # `tally` refuses folders with modules of ours
START_SECONDS = 60  # on a busy machine with cold caches


class Running:
    """A running service whose working directory is `folder`; its data is in `folder/var`.

    Args:
        terminal: the descriptor of a terminal for the launcher.
        command: the command that starts it; None means `tally serve` with the checkout's code, in a fork of this
            process, because its imports take a second of a processor. `make soak` starts it as a program.
        modules: whether the folder has modules that are imported in place of the product's.
        idle: which of `worker` and `scheduler` no assertion needs. These do nothing but wait for their end, because
            each takes most of a second of a processor to start. `make soak` runs everything.
    """

    def __init__(
        self,
        folder: Path,
        *,
        terminal: int | None = None,
        command: Sequence[str] | None = None,
        modules: bool = False,
        idle: Sequence[str] = (),
        **settings: str,
    ) -> None:
        self.data = folder / "var"
        self.port = free_port()
        self._folder = folder
        self._said = folder / "said.txt"
        self.environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "PYTHONPATH": PYTHONPATH,  # from a folder of its own, so that no .env of the checkout is read
            "DATA_DIR": str(self.data),
            "PORT": str(self.port),
            "TALLY_IDLE": "" if SOAK else " ".join(idle),  # see as_installed/sitecustomize.py
        } | settings
        with self._said.open("w") as said:
            self.process = self._start(command, terminal, modules, said)

    def _start(
        self, command: Sequence[str] | None, terminal: int | None, modules: bool, said: IO[str]
    ) -> subprocess.Popen | Process:
        if command is None and terminal is None and not SOAK:
            from tests.support import forked  # which imports the product, unlike this module

            place = {"folder": self._folder, "environment": self.environment}
            to, prepare = said.fileno(), forked.allow_modules if modules else forked.as_it_is
            return forked.Process("serve", **place, output=to, errors=to, prepare=prepare)
        return subprocess.Popen(
            command or [*(FLASK if modules else TALLY), "serve"],
            cwd=self._folder,
            start_new_session=terminal is not None,
            preexec_fn=None if terminal is None else lambda: _take_terminal(terminal),
            env=self.environment,
            stdout=said,
            stderr=subprocess.STDOUT,
        )

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def said(self) -> str:
        """Return the output on the terminal."""
        return self._said.read_text()

    def until_ready(self) -> Running:
        address = self.environment.get("PUBLIC_URL", self.url)
        wait_until(lambda: f"Tally is at {address}/" in self.said() or self.ended(), START_SECONDS)
        assert not self.ended(), self.said()
        return self

    def ended(self) -> bool:
        return self.process.poll() is not None

    def stop(self, signum: int = signal.SIGTERM) -> int:
        """Ask the service to stop, and return the exit code."""
        self.process.send_signal(signum)
        return self.process.wait(slack(20))

    def pid(self, program: str) -> int:
        """Return the process id in the newest log line on a program's start; for `web-process` the child of `web`,
        or 0.
        """
        if program == "web-process":
            return self.child("web")
        return int(re.findall(rf"^{program} started \(pid (\d+)\)$", self.said(), re.MULTILINE)[-1])

    def child(self, program: str) -> int:
        """Return the first child process of a program, or 0. For a worker this is the one that writes its report."""
        return next(iter(_children(self.pid(program))), 0)

    def answers(self) -> bool:
        """Return whether the web server responds."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=1)
        try:
            connection.request("GET", "/health/live")
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def left(self) -> dict[int, str]:
        """Return the id and command of each living process of this service, found by its DATA_DIR."""
        found = {}
        for process in _processes():
            command, environment = _read(process, "cmdline"), _read(process, "environ")
            if str(self.data) in command + environment:
                found[process] = command.replace("\0", " ")
        return found


def _take_terminal(terminal: int) -> None:
    """Make a terminal the controlling one of this process, so that its end ends the process even under `nohup`."""
    fcntl.ioctl(terminal, termios.TIOCSCTTY)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def wait_until(true: Callable[[], object], seconds: float) -> None:
    """Wait until a condition is true, or fail after a time that is longer on a slow machine."""
    began = time.monotonic()
    while not true():
        waited = time.monotonic() - began
        assert waited < seconds or waited < slack(seconds), f"not within {seconds} s, nor within {waited:.0f} s"
        time.sleep(min(0.5, max(0.05, waited / 5)))  # checking loads the service, too


def _processes() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]


def _read(process: int, name: str) -> str:
    try:
        return Path(f"/proc/{process}/{name}").read_text(errors="replace")
    except OSError:  # it has ended meanwhile
        return ""


def _children(parent: int) -> list[int]:
    """Return the living children of a process, by the second field after the name in /proc/…/stat."""
    fields = {process: _read(process, "stat").rpartition(")")[2].split() for process in _processes()}
    return sorted(process for process, stat in fields.items() if stat and stat[0] != "Z" and int(stat[1]) == parent)
