"""Request metrics: number and duration of requests, counted in each process and added up in Redis.

A request only increments numbers in memory, which a thread sends to Redis. If a process is killed, at most the counts
of the last two seconds are lost.
"""

from __future__ import annotations

import threading
import time
from bisect import bisect_left
from collections.abc import Mapping

from app.exceptions import QueueUnavailable
from app.redis.queue import ReportQueue

BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)  # seconds
PAUSE_SECONDS = 2.0

Kind = tuple[str, str, int]  # verb, route, status
Times = list[float]  # number of requests up to each bound, number above all bounds, and total seconds


class RequestMetrics:
    """Request metrics of this process, and of all processes."""

    def __init__(self, queue: ReportQueue) -> None:
        self._queue = queue
        self._fresh: dict[Kind, Times] = {}
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def note(self, verb: str, route: str, status: int, seconds: float) -> None:
        """Count a request. Every request calls this method, so it takes only half a microsecond."""
        kind, place = (verb, route, status), bisect_left(BOUNDS, seconds)
        with self._lock:
            times = self._fresh.get(kind)
            if times is None:
                times = self._fresh[kind] = [0] * (len(BOUNDS) + 2)
            times[place] += 1
            times[-1] += seconds
            if self._thread is None:
                self._start()

    def flush(self) -> None:
        """Send the counts to Redis. If it is unavailable, keep them until the next call and raise QueueUnavailable."""
        with self._lock:
            taken, self._fresh = self._fresh, {}
        try:
            self._queue.add_times(taken)
        except QueueUnavailable:
            with self._lock:
                for kind, times in taken.items():
                    more = self._fresh.get(kind, [0] * len(times))
                    self._fresh[kind] = [one + other for one, other in zip(times, more, strict=True)]
            raise

    def all(self) -> Mapping[Kind, Times]:
        """Return the requests of all processes, as far as they have sent their counts, or raise QueueUnavailable."""
        return self._queue.times(len(BOUNDS) + 2)

    def _start(self) -> None:
        self._thread = threading.Thread(target=self._run, name="request-metrics", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        """Flush until nothing is left, then end. The next request starts another thread."""
        while True:
            time.sleep(PAUSE_SECONDS)
            try:
                self.flush()
            except QueueUnavailable:
                continue
            with self._lock:
                if not self._fresh:
                    self._thread = None
                    return
