"""Facts of the kernel about running processes (proc(5))."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path


def below(parent: int) -> list[int]:
    """Return the descendants of a process."""
    children: list[int] = []
    for task in Path(f"/proc/{parent}/task").glob("*/children"):
        with suppress(OSError):  # ended meanwhile
            children += map(int, task.read_text().split())
    return [one for child in children for one in (child, *below(child))]


def command(pid: int) -> list[str]:
    """Return the command of a process, or an empty string if it has ended."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_text(errors="replace").split("\0")
    return []


def memory(pid: int, field: str) -> float:
    """Return VmRSS (resident now) or VmHWM (peak) of a process in MiB, or 0 if it has ended."""
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith(f"{field}:"):
                return int(line.split()[1]) / 1024
    return 0.0


def processor_seconds(pid: int) -> float:
    """Return the processor time of a process and its descendants so far, including those that have ended."""
    return sum(map(_ticks, (pid, *below(pid)))) / os.sysconf("SC_CLK_TCK")


def _ticks(pid: int) -> int:
    """Return the time in user and system mode of a process and of the children that it has waited for."""
    with suppress(OSError):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return sum(map(int, fields[11:15]))
    return 0
