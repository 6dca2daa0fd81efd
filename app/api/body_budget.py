"""Limit on the memory that the request bodies of a process may use together.

A body of ten megabytes uses ten times as much memory while its events are parsed, and 64 clients may each send one at
the same time. Large bodies therefore wait for each other, and a request that waits for too long receives a 503. Bodies
below SMALL_BYTES, which are nearly all, do not count, because all threads together hold only a few megabytes of them.
"""

from __future__ import annotations

import threading

from app.exceptions import Overloaded

SMALL_BYTES = 100_000
RECEIVED_BYTES = 80 * 1024 * 1024  # of all bodies that are being received or are in memory
# Of the bodies whose events are being parsed or stored, each of which uses ten times its size.
WORK_BYTES = 20 * 1024 * 1024
WAIT_SECONDS = 10.0


class Budget:
    """Number of bytes that requests share. A request that needs more than the total must be the only one.

    Attributes:
        held: the bytes that requests hold at this moment.
    """

    def __init__(self, total: int) -> None:
        self._total = total
        self.held = 0
        self._changed = threading.Condition()

    def acquire(self, count: int, wait_seconds: float = 0.0) -> None:
        """Acquire `count` bytes, waiting until they are free.

        Raises:
            Overloaded: the bytes did not become free in time.
        """
        with self._changed:
            is_free = self._changed.wait_for(lambda: not self.held or self.held + count <= self._total, wait_seconds)
            if not is_free:
                raise Overloaded("More data is being received than this process takes at a time.")
            self.held += count

    def release(self, count: int) -> None:
        """Release `count` bytes."""
        with self._changed:
            self.held -= count
            self._changed.notify_all()


received, work = Budget(RECEIVED_BYTES), Budget(WORK_BYTES)  # per process, because its apps share its memory


class Share:
    """Share of one request in both budgets."""

    def __init__(self) -> None:
        self._received = self._work = 0

    def receive(self, count: int, wait_seconds: float = 0.0) -> None:
        """Acquire bytes that are about to arrive. A request that already holds bytes must not wait for more.

        Raises:
            Overloaded: see `Budget.acquire`.
        """
        received.acquire(count, wait_seconds)
        self._received += count

    def work(self, count: int) -> None:
        """Wait until a body of `count` bytes may be processed.

        Raises:
            Overloaded: see `Budget.acquire`.
        """
        work.acquire(count, WAIT_SECONDS)
        self._work = count

    def release(self) -> None:
        """Release everything when the request no longer needs its body."""
        received.release(self._received)
        work.release(self._work)
        self._received = self._work = 0
