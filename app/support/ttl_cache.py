"""Cache of values for a short time, so that many concurrent views of a page cost as much as a single view."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

Value = TypeVar("Value")
MOST = 200  # maximum values; the cache is cleared beyond that


class TTLCache(Generic[Value]):
    """Values by key, each computed at most once in `seconds` by this process.

    While one caller recomputes a value, the others get the previous value, so that only that caller waits for an
    unresponsive Redis.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._values: dict[Hashable, tuple[float, Value]] = {}
        self._making: dict[Hashable, threading.Lock] = {}
        self._lock = threading.Lock()

    def get(self, key: Hashable, make: Callable[[], Value]) -> Value:
        """Return the value of a key: at most `seconds` old, or the previous one while another caller recomputes it."""
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
        known = self._values.get(key)  # another caller may have computed it while this caller waited
        if known and known[0] > time.monotonic():
            return known[1]
        value = make()
        with self._lock:
            if len(self._values) >= MOST:
                self._values, self._making = {}, {}
            self._values[key] = (time.monotonic() + self.seconds, value)
        return value
