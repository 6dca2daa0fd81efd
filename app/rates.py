"""How often somebody came within the last minute, counted in Redis for all processes together.

A sliding window of the library `limits`: one script in Redis looks and counts, so that two processes cannot both take
the last place. Whoever is refused is not counted, and may come again as soon as the oldest requests are a minute old.

Where Redis is away, everybody passes. Events matter more than limits: what is refused is lost, and a limit that is
not kept for a while costs some load. Then Redis is left alone for a few seconds, so that requests do not wait for it.
"""

from __future__ import annotations

import math
import time

import structlog
from limits import RateLimitItemPerMinute
from limits.errors import StorageError
from limits.storage import RedisStorage
from limits.strategies import SlidingWindowCounterRateLimiter

from app.queue import connect

PREFIX = "tally:rate"
SECONDS = 0.25  # to reach Redis, and for each answer: requests wait for it
PAUSE_SECONDS = 5.0

log = structlog.get_logger(__name__)


class Rates:
    """The counts of the last minute.

    Args:
        url: `redis://…` or `unix://…`; it is connected to by the first request that is counted.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._limiter: SlidingWindowCounterRateLimiter | None = None
        self._away_until = 0.0

    def count(self, kind: str, who: str, most: int) -> int | None:
        """Count a request, and let it pass (None), or tell after how many seconds it may come again.

        Args:
            kind: what `who` is, such as an address.
            most: requests a minute.
        """
        if time.monotonic() < self._away_until:
            return None
        item = RateLimitItemPerMinute(most)
        try:
            limiter = self._connected()
            if limiter.hit(item, kind, who):
                return None
            reset = limiter.get_window_stats(item, kind, who).reset_time
        except StorageError as error:
            self._away_until = time.monotonic() + PAUSE_SECONDS
            log.warning("requests are not limited, as Redis is away", reason=str(error.storage_error))
            return None
        return max(1, math.ceil(reset - time.time()))

    def _connected(self) -> SlidingWindowCounterRateLimiter:
        if self._limiter is None:
            pool = connect(self._url, SECONDS, SECONDS).connection_pool
            storage = RedisStorage(self._url, connection_pool=pool, key_prefix=PREFIX, wrap_exceptions=True)
            self._limiter = SlidingWindowCounterRateLimiter(storage)
        return self._limiter
