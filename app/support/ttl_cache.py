"""Cache of values for a short time, so that many concurrent views of a page cost as much as a single view."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

Value = TypeVar("Value")
MAX_VALUES = 200  # the cache is cleared beyond that


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
        if known and not making.acquire(blocking=False):
            return known[1]
        if not known:
            making.acquire()
        try:
            known = self._values.get(key)  # another caller may have computed it while this caller waited
            if known and known[0] > time.monotonic():
                return known[1]
            value = make()
            with self._lock:
                if len(self._values) >= MAX_VALUES:
                    self._values, self._making = {}, {}
                self._values[key] = (time.monotonic() + self.seconds, value)
            return value
        finally:
            making.release()
