"""Rate limits over the last minutes, counted in Redis for all processes together.

The sliding window of the library `limits` uses one script in Redis that checks and counts, so that two processes
cannot both use the last slot. Rejected requests are not counted; a client may retry as soon as its oldest requests are
a minute old.

If Redis is unavailable, all events are accepted. They matter more than limits: rejected events are lost, whereas an
unenforced limit only costs some load. Wrong passwords are then counted in this process alone. In both cases Redis is
not used for a few seconds, so that requests do not wait for it.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from functools import cached_property

import structlog
from limits import RateLimitItemPerMinute
from limits.errors import StorageError
from limits.storage import MemoryStorage, RedisStorage
from limits.strategies import SlidingWindowCounterRateLimiter

from app.redis.queue import connect

PREFIX = "tally:rate"
TIMEOUT_SECONDS = 0.25  # for connecting to Redis and for each reply, because requests wait for it
PAUSE_SECONDS = 5.0

Ask = Callable[[SlidingWindowCounterRateLimiter, RateLimitItemPerMinute, str, str], bool]
log = structlog.get_logger(__name__)


class RateLimit:
    """Counts of the last minute, or minutes.

    Args:
        url: `redis://…` or `unix://…`; the first counted request connects to it.
        local_fallback: whether this process counts by itself while Redis is unavailable; otherwise every request is
            accepted then.
    """

    def __init__(self, url: str, *, local_fallback: bool = False) -> None:
        self._url = url
        self._has_fallback = local_fallback
        self._away_until = 0.0

    def count(self, kind: str, who: str, most: int, minutes: int = 1) -> int | None:
        """Count a request. Return None if it is accepted, or after how many seconds it may be retried."""
        return self._ask(SlidingWindowCounterRateLimiter.hit, kind, who, most, minutes)

    def check(self, kind: str, who: str, most: int) -> int | None:
        """Return the same as `count` without counting a request: None, or the seconds until a request is accepted."""
        return self._ask(SlidingWindowCounterRateLimiter.test, kind, who, most)

    def reset(self, kind: str, who: str, most: int, minutes: int = 1) -> None:
        """Forget the requests that `count` has counted."""
        self._ask(_clear, kind, who, most, minutes)

    def _ask(self, ask: Ask, kind: str, who: str, most: int, minutes: int = 1) -> int | None:
        item = RateLimitItemPerMinute(most, minutes)
        if time.monotonic() >= self._away_until:
            if self._away_until:  # one thread checks whether Redis is back, and the others do not wait
                self._away_until = time.monotonic() + PAUSE_SECONDS
            try:
                left = _answer(ask, self._in_redis, item, kind, who)
            except StorageError as error:
                self._away_until = time.monotonic() + PAUSE_SECONDS
                what = "counted in this process alone" if self._has_fallback else "not limited"
                log.warning(f"requests are {what}, as Redis is away", reason=str(error.storage_error))
            else:
                self._away_until = 0.0
                return left
        return _answer(ask, self._in_process, item, kind, who) if self._has_fallback else None

    @cached_property
    def _in_redis(self) -> SlidingWindowCounterRateLimiter:
        pool = connect(self._url, TIMEOUT_SECONDS, TIMEOUT_SECONDS).connection_pool
        storage = RedisStorage(self._url, connection_pool=pool, key_prefix=PREFIX, wrap_exceptions=True)
        return SlidingWindowCounterRateLimiter(storage)

    @cached_property
    def _in_process(self) -> SlidingWindowCounterRateLimiter:
        return SlidingWindowCounterRateLimiter(MemoryStorage())


def _clear(limiter: SlidingWindowCounterRateLimiter, item: RateLimitItemPerMinute, kind: str, who: str) -> bool:
    limiter.clear(item, kind, who)
    return True


def _answer(
    ask: Ask, limiter: SlidingWindowCounterRateLimiter, item: RateLimitItemPerMinute, kind: str, who: str
) -> int | None:
    if ask(limiter, item, kind, who):
        return None
    return max(1, math.ceil(limiter.get_window_stats(item, kind, who).reset_time - time.time()))
