"""Reads supervisord's log: what to tell people about it, which programs run, and when one of them cannot stay up.

supervisord would judge the last itself, but by a pause that grows with each death (`startsecs`, `startretries`): then
a program killed twice would be away for longer than three seconds. So it starts again at once, and here is counted.
"""

from __future__ import annotations

import math
import re
import time
from collections import Counter

QUICK_DEATHS = 5  # so many in a row, and a program cannot stay up …
QUICK_SECONDS = 30  # … if each time it was younger than this, and has not been seen at work for as long

_SPAWNED = re.compile(r"spawned: '(?P<name>\S+)' with pid (?P<pid>\d+)")
_EXITED = re.compile(r"exited: (?P<name>\S+) \((?P<how>.+); (?:not )?expected\)")
_STOPPED = re.compile(r"stopped: (?P<name>\S+) \(")
_KILLED = re.compile(r"killing '(?P<name>\S+)' \(\d+\) with SIGKILL")
_GAVE_UP = re.compile(r"gave up: (?P<name>\S+) entered FATAL state")
_NOT_SPAWNED = re.compile(r"spawnerr: (?P<why>.+)")


class Programs:
    """What supervisord's log says about its programs: which run, and whether one of them cannot stay up."""

    def __init__(self) -> None:
        self.running: dict[str, int] = {}  # name → process id
        self.hopeless: str | None = None  # the program that cannot stay up
        self._started: dict[str, float] = {}
        self._worked: dict[str, float] = {}
        self._quick_deaths: Counter[str] = Counter()

    def read(self, line: str) -> str | None:
        """Take one line of the log, and return what to tell people about it, if anything."""
        for pattern, tell in (
            (_SPAWNED, self._spawned),
            (_EXITED, self._exited),
            (_STOPPED, self._stopped),
            (_KILLED, self._killed),
            (_GAVE_UP, self._gave_up),
            (_NOT_SPAWNED, self._not_spawned),
        ):
            if found := pattern.search(line):
                return tell(**found.groupdict())
        return None

    def works(self, name: str) -> None:
        """Take note that a program was seen at work."""
        self._worked[name] = time.monotonic()
        self._quick_deaths[name] = 0

    def _spawned(self, name: str, pid: str) -> str | None:
        self.running[name] = int(pid)
        self._started[name] = time.monotonic()
        return None if self.hopeless else f"{name} started (pid {pid})"

    def _exited(self, name: str, how: str) -> str:
        self.running.pop(name, None)
        self._count(name, how, time.monotonic() - self._started[name])
        return f"{name} died ({how})" + ("." if self.hopeless else " and is started again.")

    def _count(self, name: str, how: str, age: float) -> None:
        """Count deaths in a row. A SIGKILL comes from outside, so it says nothing about the program."""
        if age >= QUICK_SECONDS:
            self.works(name)
        elif "SIGKILL" not in how:
            self._quick_deaths[name] += 1
        idle = time.monotonic() - self._worked.get(name, -math.inf)
        if self._quick_deaths[name] >= QUICK_DEATHS and idle >= QUICK_SECONDS:
            self.hopeless = name

    def _stopped(self, name: str) -> None:
        self.running.pop(name, None)

    def _killed(self, name: str) -> str:
        return f"{name} does not end in time and is killed."

    def _gave_up(self, name: str) -> None:
        self.hopeless = name

    def _not_spawned(self, why: str) -> str:
        return f"A program did not start: {why}."
