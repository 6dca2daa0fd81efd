"""The time, in the product's unit."""

from __future__ import annotations

import time


def now() -> int:
    """Whole milliseconds since 1970-01-01T00:00:00Z."""
    return time.time_ns() // 1_000_000
