"""Commands in a fork of this process, which takes a twentieth of the processor time that a start of Python takes."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NoReturn

from app.cli import main as cli
from app.store.database import database, forget_connections
from tests.support.pace import slack

END_SECONDS = 60
POLL_SECONDS = 0.05
FIRST_OF_OTHERS, LAST_OF_OTHERS = 3, 65_536  # descriptors, behind those of input, output and errors


def as_it_is() -> None:
    """Do nothing before a command."""


def allow_modules() -> None:
    """Let the command accept a folder with modules that are imported in place of the product's."""
    cli.IMPORTING = ()


def tally(*words: str, folder: Path, environment: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """Run a command to its end in a folder, with these variables alone, and return its code and output."""
    with Command(*words, folder=folder, environment=environment) as command:
        code = command.wait()
        return subprocess.CompletedProcess(words, code, command.said(), command.said(errors=True))


class Process:
    """`tally` in a fork, with the methods of `subprocess.Popen`.

    Args:
        output, errors, given: descriptors of its standard output, standard error and, if it reads one, standard input.
        prepare: what the fork does first, such as patching the product.
    """

    def __init__(
        self,
        *words: str,
        folder: Path,
        environment: Mapping[str, str],
        output: int,
        errors: int,
        given: int | None = None,
        prepare: Callable[[], object] = as_it_is,
    ) -> None:
        self.returncode: int | None = None
        self.pid = os.fork()
        if self.pid == 0:
            _run(words, folder, environment, {0: given, 1: output, 2: errors}, prepare)

    def poll(self) -> int | None:
        """Return the exit code, or None while it runs."""
        return self._reap(os.WNOHANG)

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end, and return the exit code."""
        code = self._reap(0 if timeout is None else os.WNOHANG)
        began = time.monotonic()
        while code is None:
            if timeout is not None and time.monotonic() - began > timeout:
                raise subprocess.TimeoutExpired("tally", timeout)
            time.sleep(POLL_SECONDS)
            code = self.poll()
        return code

    def send_signal(self, signum: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, signum)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def _reap(self, options: int) -> int | None:
        if self.returncode is None:
            child, status = os.waitpid(self.pid, options)
            self.returncode = os.waitstatus_to_exitcode(status) if child else None
        return self.returncode


class Command(Process):
    """A command that is killed at the end of a context, if it has not ended; or after a minute.

    Args:
        terminal: the descriptor of a terminal that gets its errors, if it has one.
        prepare: see `Process`.
    """

    def __init__(
        self,
        *words: str,
        folder: Path,
        environment: Mapping[str, str],
        terminal: int | None = None,
        prepare: Callable[[], object] = as_it_is,
    ) -> None:
        self._output, self._errors = tempfile.TemporaryFile(), tempfile.TemporaryFile()  # noqa: SIM115
        seconds = int(slack(END_SECONDS))

        def begin() -> None:
            signal.alarm(seconds)  # ends this process if the command hangs
            prepare()

        errors = self._errors.fileno() if terminal is None else terminal
        super().__init__(
            *words,
            folder=folder,
            environment=environment,
            output=self._output.fileno(),
            errors=errors,
            prepare=begin,
        )

    def __enter__(self) -> Command:
        return self

    def __exit__(self, *error: object) -> None:
        self.kill()
        self.wait()
        self._output.close()
        self._errors.close()

    def said(self, *, errors: bool = False) -> str:
        """Return its output so far, or what it wrote to standard error."""
        file = self._errors if errors else self._output
        return os.pread(file.fileno(), os.fstat(file.fileno()).st_size, 0).decode()


def _run(
    words: tuple[str, ...],
    folder: Path,
    environment: Mapping[str, str],
    descriptors: Mapping[int, int | None],
    prepare: Callable[[], object],
) -> NoReturn:
    code: object = 1
    try:
        gc.freeze()  # an object of the tests that is collected here might close a descriptor of the command
        for own, descriptor in descriptors.items():
            if descriptor is not None:
                os.dup2(descriptor, own)
        os.closerange(FIRST_OF_OTHERS, LAST_OF_OTHERS)  # those of the tests, such as a port where they listen
        if hasattr(database, "dispose"):  # otherwise none was opened
            forget_connections()
        os.chdir(folder)
        os.environ.clear()
        os.environ.update(environment)
        sys.stdin = open(0, closefd=False)  # noqa: SIM115
        sys.stdout, sys.stderr = (open(number, "w", closefd=False) for number in (1, 2))  # noqa: SIM115
        sys.argv = ["tally", *words]
        prepare()
        cli.main()
    except SystemExit as error:
        code = error.code or 0
    except BaseException:  # noqa: BLE001 - the child must not go on as another pytest
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code if isinstance(code, int) else 1)
