"""Current time and units of time, in milliseconds."""

from __future__ import annotations

import time
from datetime import UTC, datetime

MINUTE_MS, HOUR_MS, DAY_MS = 60_000, 3_600_000, 86_400_000
SKEW_MS = 300_000  # allowed difference between the clocks of machines; a time further ahead comes from a wrong clock


def now() -> int:
    """Return whole milliseconds since 1970-01-01T00:00:00Z."""
    return time.time_ns() // 1_000_000


def iso(milliseconds: int) -> str:
    """Return a time in ISO 8601, in UTC and with milliseconds."""
    return datetime.fromtimestamp(milliseconds / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
