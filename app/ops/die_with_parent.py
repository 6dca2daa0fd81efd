"""Terminate a process when its parent dies for any reason.

Without this, a SIGKILL leaves orphans. If the web server's main process is killed, its workers keep the port. If a
report worker is killed, its child writes the same report a second time. On systems other than Linux it does nothing.

Run as a program, this module ties itself to its parent and then executes another program, which stays tied:

    python -I -S app/ops/die_with_parent.py KILL python -m worker

Before that it waits for the pause that `Programs` sets for a program that dies repeatedly.
It is started by its path and imports no application code, so that it starts in about 20 ms, while importing Flask
takes a second.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time

PARENT = "TALLY_PARENT"  # the process that a program's children must have as their parent; inherited by them
PAUSE = ".pause"  # suffix of a file in TALLY_RUN with the time.monotonic() until which a program waits
LONGEST_PAUSE_SECONDS = 60.0
_PR_SET_PDEATHSIG = 1


def die_with_parent(signum: int = signal.SIGKILL) -> None:
    """Ask the kernel to send a signal to this process when its parent dies.

    The kernel watches the parent's *thread* that forked, so a parent must fork from a thread that lives as long as the
    parent. If the parent died before this call, its id in `TALLY_PARENT` reveals that, and the signal is sent at once.

    Args:
        signum: the signal that this process receives.
    """
    if sys.platform != "linux":
        return
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signum, 0, 0, 0)
    parent = os.environ.get(PARENT)
    if parent and int(parent) not in (os.getppid(), os.getpid()):
        os.kill(os.getpid(), signum)


def pause() -> None:
    """Wait if the program to execute has died repeatedly."""
    name = os.environ.get("SUPERVISOR_PROCESS_NAME")
    if not name:
        return
    try:
        with open(os.path.join(os.environ["TALLY_RUN"], name + PAUSE)) as file:  # noqa: PTH123, PTH118 - quick to load
            until = float(file.read())
    except (OSError, ValueError):
        return
    time.sleep(min(LONGEST_PAUSE_SECONDS, max(0.0, until - time.monotonic())))


def main(signal_name: str, *command: str) -> None:
    """Tie this process to its parent, store its id for its children to compare, and execute `command`."""
    die_with_parent(signal.Signals[f"SIG{signal_name}"])
    os.environ[PARENT] = str(os.getpid())
    pause()
    os.execvp(command[0], command)


if __name__ == "__main__":
    main(*sys.argv[1:])
