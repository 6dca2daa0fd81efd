"""Run every process of the service in the foreground, and print what happens to them.

    make run ─ tally serve (here) ┬ valkey
                                  ├ web (granian) ─ its worker processes
                                  ├ worker-1, … ─ a child per report
                                  └ scheduler

This process opens the listening sockets, starts the programs (see `programs`), restarts those that die, forwards their
output, stops everything on Ctrl-C or SIGTERM, and reloads the code on SIGHUP (see `reload`). Each process dies with its
parent (see `die_with_parent`), so that a SIGKILL leaves no orphans.
"""

from __future__ import annotations

import http.client
import os
import re
import resource
import selectors
import signal
import socket
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from types import FrameType

from app.config import Settings
from app.ops import listeners
from app.ops.logs import render_line
from app.ops.programs import VALKEY, WEB, Program, build
from app.ops.reload import Reload

QUEUE_SECONDS = 0.3  # time for pending connections to be accepted before the programs stop
MAX_QUEUE_SECONDS = 2.0  # the limit of that time if a socket's queue is not empty by then
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
        lock: the descriptor from `preflight.check`; the programs hold it too, until the last of them has ended.
        announce: called once, when the web server responds.

    Returns:
        0 after Ctrl-C, SIGTERM or the closing of the terminal; 1 if the web server could not stay up.

    Raises:
        SettingInvalid: there is no Valkey to start.
    """
    _allow_open_files()
    sockets = listeners.open_listeners(settings.host, settings.port, settings.web_process_count)
    try:
        programs = build(settings, lock, [one.fileno() for one in sockets])
        return _Supervision(settings, programs, sockets).watch(announce)
    finally:
        for one in sockets:
            one.close()


class _Supervision:
    """One run of the programs, from the first start to the last end."""

    def __init__(self, settings: Settings, programs: Sequence[Program], sockets: Sequence[socket.socket]) -> None:
        self._settings = settings
        self._sockets = sockets
        self._programs = {program.name: program for program in programs}
        self._lines = dict.fromkeys(self._programs, b"")  # the incomplete last line of each program's output
        self._answered: int | None = None  # the process id of the web server that has responded
        self._is_stop_requested = False  # whether Ctrl-C or a signal has requested the end of everything
        self._hung_up = False  # whether SIGHUP has arrived
        self._reload = Reload(settings, self._programs, _print)
        self._stopping_since: float | None = None  # set when the shutdown begins, for any reason
        self._is_terminating = False  # whether the programs are asked to end
        self._has_terminal = _has_terminal()
        self._nohup = signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
        for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(signum, self._note_signal)

    def watch(self, announce: Callable[[], None]) -> int:
        """Keep the programs running until everything is to end, and return the exit code."""
        with selectors.DefaultSelector() as selector:
            for program in self._programs.values():
                selector.register(program.output, selectors.EVENT_READ, program)
            try:
                while not self._is_terminating or any(program.process for program in self._programs.values()):
                    for program in self._programs.values():
                        self._keep(program)
                    for key, _ in selector.select(TICK_SECONDS):
                        self._forward(key.data)
                    self._look_at_web(announce)
                    self._answer_hang_up()
                    if not self._stopping_since:
                        self._reload.run_step(can_begin=self._programs[WEB].pid == self._answered)
                    self._stop_in_steps()
            finally:
                for program in self._programs.values():
                    program.send(signal.SIGKILL)
        if self._programs[WEB].is_hopeless:
            return 1
        _print("Everything has ended.")
        return 0

    def _keep(self, program: Program) -> None:
        """Start a program that does not run, and report its end if it has just ended."""
        code = program.process.poll() if program.process else None
        if code is not None:
            self._forward(program)  # its last output precedes the line about its death
            message = program.end(code)
            if message and not self._is_terminating:
                _print(message)
            if program.is_hopeless and not self._stopping_since:
                _print("The program web cannot stay up, so everything is stopped. Its last words are above.")
                self._stop()
        is_wanted = not self._is_terminating and not program.is_hopeless
        if is_wanted and program.process is None and time.monotonic() >= program.starts_at:
            _print(program.start())

    def _forward(self, program: Program) -> None:
        """Print what a program has written, line by line."""
        with suppress(BlockingIOError):
            while chunk := os.read(program.output, 65_536):
                *lines, self._lines[program.name] = (self._lines[program.name] + chunk).split(b"\n")
                for line in lines:
                    if not (_CHATTER.search(line) or self._reload.read(line)):
                        _write(_WEB_PROCESS_DIED.sub(rb"web: its process \1 died and is started again.", line))
        if (rest := self._lines[program.name]) and (program.process is None or program.process.returncode is not None):
            self._lines[program.name] = b""
            _write(rest)

    def _look_at_web(self, announce: Callable[[], None]) -> None:
        """Check whether a new web server responds, because granian exits if its processes are killed repeatedly."""
        web = self._programs[WEB]
        if web.pid in (None, self._answered) or self._stopping_since or not _web_answers(self._settings):
            return
        if self._answered is None:
            with suppress(OSError):  # as in _write
                announce()
        self._answered = web.pid
        web.works()

    def _note_signal(self, signum: int, frame: FrameType | None) -> None:
        """Only note the signal, because it may interrupt any code, and make sends one twice."""
        if signum == signal.SIGHUP:
            self._hung_up = True
        else:
            self._is_stop_requested = True

    def _answer_hang_up(self) -> None:
        """Handle SIGHUP, which either requests a reload or reports that the terminal was closed."""
        if not self._hung_up:
            return
        self._hung_up = False
        if not self._has_terminal or _has_terminal():
            self._reload.request()
        elif not self._nohup:
            self._is_stop_requested = True

    def _stop(self) -> None:
        """Refuse new clients, but still serve those whose connections wait to be accepted."""
        self._stopping_since = time.monotonic()
        listeners.refuse_new(self._sockets)

    def _stop_in_steps(self) -> None:
        """Stop the programs once no client waits to be accepted, and Valkey last, because the others still use it."""
        if self._is_stop_requested and not self._stopping_since:
            _print("Stopping everything …")
            self._stop()
        if not self._stopping_since:
            return
        since = time.monotonic() - self._stopping_since
        if since > MAX_QUEUE_SECONDS or (since > QUEUE_SECONDS and not listeners.waiting(self._sockets)):
            self._is_terminating = True
        if self._is_terminating:
            running = [program for program in self._programs.values() if program.process]
            for program in [one for one in running if one.name != VALKEY] or running:
                if message := program.stop():
                    _print(message)


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


def _print(sentence: str) -> None:
    _write(sentence.encode())


def _write(line: bytes) -> None:
    rest = render_line(line)
    with suppress(OSError):  # the terminal may be closed, which must not end the supervision
        while rest:
            rest = rest[os.write(sys.stderr.fileno(), rest) :]
