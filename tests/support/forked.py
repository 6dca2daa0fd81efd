"""Commands in a fork of this process, which takes a twentieth of the processor time that a start of Python takes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NoReturn

from app.cli.main import main
from app.store.database import database, forget_connections
from tests.support.pace import slack

END_SECONDS = 60


def tally(*words: str, folder: Path, environment: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """Run a command to its end in a folder, with these variables alone, and return its code and output."""
    with Command(*words, folder=folder, environment=environment) as command:
        code = command.wait()
        return subprocess.CompletedProcess(words, code, command.said(), command.said(errors=True))


class Command:
    """A command that runs in a folder, with these variables alone, until it ends or is killed.

    Args:
        terminal: the descriptor of a terminal that gets its errors, if it has one.
        prepare: what the fork does first, such as patching the product.
    """

    def __init__(
        self,
        *words: str,
        folder: Path,
        environment: Mapping[str, str],
        terminal: int | None = None,
        prepare: Callable[[], object] = lambda: None,
    ) -> None:
        self._output, self._errors = tempfile.TemporaryFile(), tempfile.TemporaryFile()  # noqa: SIM115
        self._code: int | None = None
        errors = self._errors.fileno() if terminal is None else terminal
        seconds = int(slack(END_SECONDS))
        self._child = os.fork()
        if self._child == 0:
            signal.alarm(seconds)  # ends this process if the command hangs
            _run(words, folder, environment, self._output.fileno(), errors, prepare)

    def __enter__(self) -> Command:
        return self

    def __exit__(self, *error: object) -> None:
        self.kill()
        self._output.close()
        self._errors.close()

    def poll(self) -> int | None:
        """Return the exit code, or None while it runs."""
        return self._reap(os.WNOHANG)

    def wait(self) -> int:
        """Wait for the end, and return the exit code."""
        code = self._reap()
        assert code is not None
        return code

    def kill(self) -> int:
        """SIGKILL it unless it has ended, and return the exit code."""
        if self.poll() is None:
            os.kill(self._child, signal.SIGKILL)
        return self.wait()

    def said(self, *, errors: bool = False) -> str:
        """Return its output so far, or what it wrote to standard error."""
        file = self._errors if errors else self._output
        return os.pread(file.fileno(), os.fstat(file.fileno()).st_size, 0).decode()

    def _reap(self, options: int = 0) -> int | None:
        if self._code is None:
            child, status = os.waitpid(self._child, options)
            self._code = os.waitstatus_to_exitcode(status) if child else None
        return self._code


def _run(
    words: tuple[str, ...],
    folder: Path,
    environment: Mapping[str, str],
    output: int,
    errors: int,
    prepare: Callable[[], object],
) -> NoReturn:
    code: object = 1
    try:
        if hasattr(database, "dispose"):  # otherwise none was opened
            forget_connections()
        os.chdir(folder)
        os.environ.clear()
        os.environ.update(environment)
        os.dup2(output, 1)
        os.dup2(errors, 2)
        sys.stdout, sys.stderr = (open(number, "w", closefd=False) for number in (1, 2))  # noqa: SIM115
        sys.argv = ["tally", *words]
        prepare()
        main()
    except SystemExit as error:
        code = error.code or 0
    except BaseException:  # noqa: BLE001 - the child must not go on as another pytest
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code if isinstance(code, int) else 1)
