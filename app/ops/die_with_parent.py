"""Terminate a process when its parent dies for any reason.

Without this, a SIGKILL leaves orphans. If the web server's main process is killed, its workers keep the port. If a
report worker is killed, its child writes the same report a second time. On systems other than Linux it does nothing.

Run as a program, this module ties itself to its parent and then executes another program, which stays tied:

    python -I -S app/ops/die_with_parent.py KILL python -m worker

It is started by its path and imports no application code, so that it starts in about 20 ms, while importing Flask
takes a second.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

PARENT = "TALLY_PARENT"  # the process that a program's children must have as their parent; inherited by them
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


def main(signal_name: str, *command: str) -> None:
    """Tie this process to its parent, store its id for its children to compare, and execute `command`."""
    die_with_parent(signal.Signals[f"SIG{signal_name}"])
    os.environ[PARENT] = str(os.getpid())
    os.execvp(command[0], command)


if __name__ == "__main__":
    main(*sys.argv[1:])
