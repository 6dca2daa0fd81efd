"""How much one transaction may take on, so that nobody waits for it: as much as lately took about so long."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

STEP_SECONDS = 0.015  # of one transaction: SQLite's other writers wait for it, and look again every few milliseconds
MIN_PAUSE_SECONDS = 0.01


class Pace:
    """The size of the next step, by the time that the last one took.

    Args:
        size: of the first step.
        most: of any step.
        seconds: that a step should take; None: STEP_SECONDS.
    """

    LEAST = 50
    FASTER, SLOWER = 1.25, 0.3  # by which the size changes at most

    def __init__(self, size: int, most: int, seconds: float | None = None) -> None:
        self._seconds = STEP_SECONDS if seconds is None else seconds
        self._most = most
        self.size = min(size, most)

    @contextmanager
    def step(self) -> Iterator[None]:
        """Time a step: inside its transaction, so that waiting for the lock is not counted."""
        began = time.monotonic()
        yield
        self.note(time.monotonic() - began)

    def note(self, took: float) -> None:
        """A step of this size took so many seconds."""
        change = min(self.FASTER, max(self.SLOWER, self._seconds / max(took, 1e-6)))
        self.size = min(self._most, max(self.LEAST, int(self.size * change)))


def pause(began: float) -> None:
    """Wait as long as the step took that began at a moment of time.monotonic(), so that others write as much."""
    time.sleep(max(MIN_PAUSE_SECONDS, time.monotonic() - began))
