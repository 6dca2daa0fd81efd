"""What the bodies of a process's requests may take together: of memory first of all.

A body of ten megabytes becomes ten times as much while its events are read, and 64 clients may send one at the same
time. So large bodies wait for their turn, and a request that waits for too long is answered 503. Bodies below
SMALL_BYTES, as nearly all are, are not counted: all threads together hold a few megabytes of them.
"""

from __future__ import annotations

import threading

from app.exceptions import Overloaded

SMALL_BYTES = 100_000
RECEIVED_BYTES = 80 * 1024 * 1024  # of all bodies that are being received, or are here
WORK_BYTES = (
    20 * 1024 * 1024
)  # of those whose events are being read, stored and answered: each costs ten times its size
WAIT_SECONDS = 10.0


class Budget:
    """So many bytes, which requests share. One that wants more than there are takes all of them, alone."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._taken = 0
        self._changed = threading.Condition()

    def take(self, count: int, wait_seconds: float = 0.0) -> None:
        """Take some, once they are free.

        Raises:
            Overloaded: they were not in time.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: not self._taken or self._taken + count <= self._total, wait_seconds):
                raise Overloaded("More data is being received than this process takes at a time.")
            self._taken += count

    def give_back(self, count: int) -> None:
        """Let others have some."""
        with self._changed:
            self._taken -= count
            self._changed.notify_all()


received, work = Budget(RECEIVED_BYTES), Budget(WORK_BYTES)  # a process's memory is one, however many apps it has


class Share:
    """What one request has of both."""

    def __init__(self) -> None:
        self._received = self._work = 0

    def receive(self, count: int, wait_seconds: float = 0.0) -> None:
        """Count bytes that are about to be here. Whoever holds some already must not wait for more.

        Raises:
            Overloaded: see `Budget.take`.
        """
        received.take(count, wait_seconds)
        self._received += count

    def work(self, count: int) -> None:
        """Wait until a body of so many bytes may be worked on.

        Raises:
            Overloaded: see `Budget.take`.
        """
        work.take(count, WAIT_SECONDS)
        self._work = count

    def give_back(self) -> None:
        """The request is done with its body."""
        received.give_back(self._received)
        work.give_back(self._work)
        self._received = self._work = 0
