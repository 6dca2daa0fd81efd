"""How fast this machine is at this moment, so that a bound on time follows it; and how much is to be tried.

A suite that shares its processors with other programs must fail for what is wrong, not for what is slow.
"""

from __future__ import annotations

import hashlib
import os
import time

SOAK = bool(os.environ.get("SOAK"))  # `make soak`: the long form of every test

BLOCK = bytes(4 * 1024 * 1024)
REFERENCE_SECONDS = 0.003  # of `_measure`, on the quiet machine that the bounds were chosen on
ROUNDS = 5
SLOWEST = 10.0


def times(short: int, long: int) -> int:
    """Return how often or how much something is tried: `short` in `make test`, `long` in `make soak`."""
    return long if SOAK else short


def slack(seconds: float) -> float:
    """Return a bound on time, longer by as much as this machine is slower than the one it was chosen on."""
    slowness = max(_measure() for _ in range(ROUNDS)) / REFERENCE_SECONDS
    return seconds * min(max(1.0, slowness), SLOWEST)


def _measure() -> float:
    """Return the seconds that a fixed piece of work takes, waiting for a processor included."""
    began = time.monotonic()
    hashlib.sha256(BLOCK).digest()
    return time.monotonic() - began
