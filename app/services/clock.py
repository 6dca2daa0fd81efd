"""The time, in the product's unit."""

from __future__ import annotations

import time

SKEW_MS = 300_000  # by which machines' clocks may differ; a time further ahead was written by a wrong clock


def now() -> int:
    """Whole milliseconds since 1970-01-01T00:00:00Z."""
    return time.time_ns() // 1_000_000
