"""Commands in a fork of this process, which takes a twentieth of the processor time that a start of Python takes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO, NoReturn

from app.cli.main import main
from app.store.database import database, forget_connections
from tests.support.pace import slack

END_SECONDS = 60


def tally(*words: str, folder: Path, environment: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """Run a command to its end in a folder, with these variables alone, and return its code and output."""
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
        seconds = int(slack(END_SECONDS))
        child = os.fork()
        if child == 0:
            signal.alarm(seconds)  # ends this process if the command hangs
            _run(words, folder, environment, output, errors)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        said = [os.pread(file.fileno(), os.fstat(file.fileno()).st_size, 0).decode() for file in (output, errors)]
    return subprocess.CompletedProcess(words, code, *said)


def _run(
    words: tuple[str, ...], folder: Path, environment: Mapping[str, str], output: BinaryIO, errors: BinaryIO
) -> NoReturn:
    code: object = 1
    try:
        if hasattr(database, "dispose"):  # otherwise none was opened
            forget_connections()
        os.chdir(folder)
        os.environ.clear()
        os.environ.update(environment)
        os.dup2(output.fileno(), 1)
        os.dup2(errors.fileno(), 2)
        sys.stdout, sys.stderr = (open(number, "w", closefd=False) for number in (1, 2))  # noqa: SIM115
        sys.argv = ["tally", *words]
        main()
    except SystemExit as error:
        code = error.code or 0
    except BaseException:  # noqa: BLE001 - the child must not go on as another pytest
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code if isinstance(code, int) else 1)
