"""Read supervisord's log: what to print, which programs run, and which programs cannot stay up.

supervisord could detect the last itself, but with a pause that grows with each death (`startsecs`, `startretries`).
A program that is killed twice would then be down for more than three seconds. Therefore supervisord restarts programs
at once, and this module counts the deaths.

Without the web server there is no service, so everything stops if the web server cannot stay up. Any other program is
restarted after longer and longer pauses while the rest continues to run. A service that only accepts events is better
than none, and the health check reports what is missing.
"""

from __future__ import annotations

import math
import re
import time
from collections import Counter
from pathlib import Path

from app.ops.die_with_parent import LONGEST_PAUSE_SECONDS, PAUSE

WEB = "web"
QUICK_DEATHS = 5  # after so many quick deaths in a row, a program cannot stay up …
QUICK_SECONDS = 30  # … a death is quick if the program was younger, and has not been seen working for as long

_SPAWNED = re.compile(r"spawned: '(?P<name>\S+)' with pid (?P<pid>\d+)")
_EXITED = re.compile(r"exited: (?P<name>\S+) \((?P<how>.+); (?:not )?expected\)")
_STOPPED = re.compile(r"stopped: (?P<name>\S+) \(")
_KILLED = re.compile(r"killing '(?P<name>\S+)' \(\d+\) with SIGKILL")
_GAVE_UP = re.compile(r"gave up: (?P<name>\S+) entered FATAL state")
_NOT_SPAWNED = re.compile(r"spawnerr: (?P<why>.+)")


class Programs:
    """State of supervisord's programs according to its log: which run, and which cannot stay up.

    Args:
        folder: the folder in which a program finds how long it must pause (see `die_with_parent`).
    """

    def __init__(self, folder: Path) -> None:
        self.running: dict[str, int] = {}  # name → process id
        self.is_hopeless = False  # the web server cannot stay up
        self._folder = folder
        self._started: dict[str, float] = {}
        self._worked: dict[str, float] = {}
        self._paused_until: dict[str, float] = {}
        self._quick_deaths: Counter[str] = Counter()
        self._restarting: set[str] = set()
        for left in folder.glob(f"*{PAUSE}"):
            left.unlink()

    def read(self, line: str) -> str | None:
        """Process a line of the log, and return the message about it, if any."""
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
        """Record that a program was seen working."""
        self._worked[name] = time.monotonic()
        self._quick_deaths[name] = 0

    def expect_restart(self, name: str) -> None:
        """Record that a program is about to end on request, and reset its count of deaths."""
        self._restarting.add(name)
        self._quick_deaths[name] = 0
        self._pause(name, 0.0)

    def _spawned(self, name: str, pid: str) -> str | None:
        self.running[name] = int(pid)
        self._started[name] = max(time.monotonic(), self._paused_until.get(name, 0.0))
        return None if self.is_hopeless else f"{name} started (pid {pid})"

    def _exited(self, name: str, how: str) -> str | None:
        self.running.pop(name, None)
        if name in self._restarting:
            self._restarting.remove(name)
            return None
        too_many = self._count(name, how, time.monotonic() - self._started[name])
        if too_many < 0:
            return f"{name} died ({how}) and is started again."
        if name == WEB:
            self.is_hopeless = True
            return f"{name} died ({how})."
        seconds = min(2.0**too_many, LONGEST_PAUSE_SECONDS)
        self._pause(name, seconds)
        return (
            f"{name} died ({how}), again and again. It is started again in {seconds:.0f} s; everything else goes on. "
            "Its last words are above."
        )

    def _count(self, name: str, how: str, age: float) -> int:
        """Count a death, and return how many deaths exceed the limit, from 0, or -1 below the limit.

        A SIGKILL comes from outside, so it does not count against the program.
        """
        if age >= QUICK_SECONDS:
            self.works(name)
        elif "SIGKILL" not in how:
            self._quick_deaths[name] += 1
        idle = time.monotonic() - self._worked.get(name, -math.inf)
        return max(-1, self._quick_deaths[name] - QUICK_DEATHS) if idle >= QUICK_SECONDS else -1

    def _pause(self, name: str, seconds: float) -> None:
        self._paused_until[name] = time.monotonic() + seconds
        (self._folder / f"{name}{PAUSE}").write_text(str(self._paused_until[name]))

    def _stopped(self, name: str) -> None:
        self.running.pop(name, None)

    def _killed(self, name: str) -> str:
        return f"{name} does not end in time and is killed."

    def _gave_up(self, name: str) -> None:
        self.is_hopeless = self.is_hopeless or name == WEB

    def _not_spawned(self, why: str) -> str:
        return f"A program did not start: {why}."
