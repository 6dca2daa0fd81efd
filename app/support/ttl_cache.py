"""A value kept for a moment, so that a page which many look at costs what one of them does."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

Value = TypeVar("Value")
MOST = 200  # values at a time; beyond that all are made again


class TTLCache(Generic[Value]):
    """Values by key, each made at most once in so many seconds by this process.

    While one caller makes a value anew, the others are given the last one: whoever waits for a Redis that does not
    answer waits alone.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._values: dict[Hashable, tuple[float, Value]] = {}
        self._making: dict[Hashable, threading.Lock] = {}
        self._lock = threading.Lock()

    def get(self, key: Hashable, make: Callable[[], Value]) -> Value:
        """The value of a key, not older than the time that it is kept, unless it is just being made anew."""
        known = self._values.get(key)
        if known and known[0] > time.monotonic():
            return known[1]
        with self._lock:
            making = self._making.setdefault(key, threading.Lock())
        if not making.acquire(blocking=known is None):
            return known[1]
        try:
            return self._fresh(key, make)
        finally:
            making.release()

    def _fresh(self, key: Hashable, make: Callable[[], Value]) -> Value:
        known = self._values.get(key)  # whoever waited may find that somebody else made it
        if known and known[0] > time.monotonic():
            return known[1]
        value = make()
        with self._lock:
            if len(self._values) >= MOST:
                self._values, self._making = {}, {}
            self._values[key] = (time.monotonic() + self.seconds, value)
        return value
