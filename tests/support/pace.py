"""The current speed of this machine, which time limits follow, and how often to repeat what `make soak` repeats more.

A suite that shares its processors with other programs must fail because of errors, not because of slowness.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Sequence
from typing import TypeVar

SOAK = bool(os.environ.get("SOAK"))  # `make soak`: the long form of every test

T = TypeVar("T")

BLOCK = bytes(4 * 1024 * 1024)
REFERENCE_SECONDS = 0.003  # of `_measure`, on the idle machine for which the limits were chosen
ROUNDS = 5
SLOWEST = 10.0


def times(short: int, long: int) -> int:
    """Return how often or how much to try: `short` in `make test`, `long` in `make soak`."""
    return long if SOAK else short


def by_turns(items: Sequence[T], place: int, of: int) -> Sequence[T]:
    """Return every `of`-th item, beginning with another one for each `place`; in `make soak` all."""
    return items if SOAK else items[place % of :: of]


def slack(seconds: float) -> float:
    """Return a time limit, extended in proportion to how much slower this machine is than the one it was chosen on."""
    slowness = max(_measure() for _ in range(ROUNDS)) / REFERENCE_SECONDS
    return seconds * min(max(1.0, slowness), SLOWEST)


def _measure() -> float:
    """Return the seconds that a fixed computation takes, including the wait for a processor."""
    began = time.monotonic()
    hashlib.sha256(BLOCK).digest()
    return time.monotonic() - began
