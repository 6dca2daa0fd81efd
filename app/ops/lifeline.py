"""Ties a process to its parent: when the parent dies, however it dies, the process dies with it.

Without it a SIGKILL leaves orphans: a web server's main process that is killed leaves its workers on the port, a
report worker's leaves a child that finishes the same report a second time. Linux only; elsewhere it does nothing.

As a program it ties itself and then becomes another program, which stays tied:

    python -I -S app/ops/lifeline.py KILL python -m worker

Before that it waits as long as `Programs` wants a program to pause that dies again and again.

It is started by its path and imports nothing of ours, so that it costs some 20 ms and not Flask's second.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time

PARENT = "TALLY_PARENT"  # the process that a program's children must find as their parent; inherited by them
PAUSE = ".pause"  # the ending of a file in TALLY_RUN: until when, by time.monotonic(), a program is to wait
LONGEST_PAUSE_SECONDS = 60.0
_PR_SET_PDEATHSIG = 1


def die_with_parent(signum: int = signal.SIGKILL) -> None:
    """Ask the kernel for a signal to this process when its parent dies.

    The kernel means the parent's *thread* that forked: a parent must fork from a thread that lives as long as itself.
    A parent that died before this call is noticed by its id in `TALLY_PARENT`, and the signal is sent at once.

    Args:
        signum: what this process gets.
    """
    if sys.platform != "linux":
        return
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signum, 0, 0, 0)
    parent = os.environ.get(PARENT)
    if parent and int(parent) not in (os.getppid(), os.getpid()):
        os.kill(os.getpid(), signum)


def pause() -> None:
    """Wait, where the program that this is to become has died again and again."""
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
    """Tie this process to its parent, leave its id for its children to compare, and become `command`."""
    die_with_parent(signal.Signals[f"SIG{signal_name}"])
    os.environ[PARENT] = str(os.getpid())
    pause()
    os.execvp(command[0], command)


if __name__ == "__main__":
    main(*sys.argv[1:])
