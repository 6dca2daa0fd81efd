"""How many requests came, and how long each took: counted in this process, added up in Redis for all of them.

Whoever answers a request only adds to numbers in memory; a thread takes them to Redis. What a process has not handed
over when it is killed is lost, two seconds at most.
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
Times = list[float]  # how many took at most each bound, how many longer, and the seconds of all


class RequestMetrics:
    """The requests of one process, and of all of them."""

    def __init__(self, queue: ReportQueue) -> None:
        self._queue = queue
        self._fresh: dict[Kind, Times] = {}
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def note(self, verb: str, route: str, status: int, seconds: float) -> None:
        """Count a request. Every one passes here, so it must cost nothing: half a microsecond."""
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
        """Hand over what was counted.

        Raises:
            QueueUnavailable: Redis is away; it is kept until the next time.
        """
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
        """The requests of every process, as far as they handed them over.

        Raises:
            QueueUnavailable: Redis is away.
        """
        return self._queue.times(len(BOUNDS) + 2)

    def _start(self) -> None:
        self._thread = threading.Thread(target=self._run, name="meter", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        """Until nothing is left; the next request starts another."""
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
