"""Adaptive size of transactions, so that other writers do not wait for long, and the removal of many rows in them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from peewee import Expression, Field

from app.store.queries import execute

STEP_SECONDS = 0.015  # per transaction, because SQLite's other writers wait for it and retry every few milliseconds
MIN_PAUSE_SECONDS = 0.01
FIRST_PURGED_ROWS, MAX_PURGED_ROWS = 200, 5_000  # per transaction


class Pace:
    """Size of the next step, adjusted by the duration of the last step.

    Args:
        size: size of the first step.
        most: upper limit of the size.
        seconds: target duration of a step. None means STEP_SECONDS.
    """

    LEAST = 50
    FASTER, SLOWER = 1.25, 0.3  # the largest changes of the size per step

    def __init__(self, size: int, most: int, seconds: float | None = None) -> None:
        self._seconds = STEP_SECONDS if seconds is None else seconds
        self._most = most
        self.size = min(size, most)

    @contextmanager
    def step(self) -> Iterator[None]:
        """Time a step. Enter it inside the transaction, so that the wait for the lock does not count."""
        began = time.monotonic()
        yield
        self.note(time.monotonic() - began)

    def note(self, took: float) -> None:
        """Adjust the size after a step that took `took` seconds."""
        change = min(self.FASTER, max(self.SLOWER, self._seconds / max(took, 1e-6)))
        self.size = min(self._most, max(self.LEAST, int(self.size * change)))


def pause(began: float) -> None:
    """Sleep for as long as the step that began at `began` (time.monotonic()) took, so that others can write."""
    time.sleep(max(MIN_PAUSE_SECONDS, time.monotonic() - began))


def purge(key: Field[Any], condition: Expression) -> int:
    """Remove the rows of a table that match a condition, and return their number.

    Call it outside a transaction.

    Args:
        key: the primary key of the table.
    """
    pace, number, table = Pace(FIRST_PURGED_ROWS, MAX_PURGED_ROWS), 0, key.model
    while True:
        began, asked = time.monotonic(), pace.size
        gone = execute(table.delete().where(key.in_(table.select(key).where(condition).limit(asked))))
        number += gone
        if gone < asked:
            return number
        pace.note(time.monotonic() - began)
        pause(began)
