"""What the kernel says about running processes (proc(5))."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path


def below(parent: int) -> list[int]:
    """The processes that a process has started, and those that these have."""
    children: list[int] = []
    for task in Path(f"/proc/{parent}/task").glob("*/children"):
        with suppress(OSError):  # ended meanwhile
            children += map(int, task.read_text().split())
    return [one for child in children for one in (child, *below(child))]


def command(pid: int) -> list[str]:
    """A process's command; empty where it has ended."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_text(errors="replace").split("\0")
    return []


def memory(pid: int, field: str) -> float:
    """Of a process, in MiB: VmRSS, what is resident now, or VmHWM, the most that ever was; 0 where it has ended."""
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith(f"{field}:"):
                return int(line.split()[1]) / 1024
    return 0.0


def processor_seconds(pid: int) -> float:
    """What a process and all that it started have spent so far, those included that have ended."""
    return sum(map(_ticks, (pid, *below(pid)))) / os.sysconf("SC_CLK_TCK")


def _ticks(pid: int) -> int:
    """In user and system mode, its own and of the children that it has waited for."""
    with suppress(OSError):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return sum(map(int, fields[11:15]))
    return 0
