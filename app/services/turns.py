"""Whose turn it is: small reports before huge ones, and no user before the others for having asked for more.

Redis only says that there is something to do; what, is decided here from the rows, so that the order is one and the
same for every worker and for the place in the queue that people are told.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Protocol

SMALL_ROWS = 1_000_000  # a report of more is huge, and gives way to smaller ones
GIVES_WAY_MS = 10_000  # so long since it last ran or was accepted: then it takes its turn like any other


class Waiting(Protocol):
    """A report that waits."""

    id: int
    account: int | None
    expected: int
    started: int
    touched: int | None


def is_huge(report: Waiting) -> bool:
    """Whether it gives way."""
    return report.expected > SMALL_ROWS


def in_turn(waiting: Sequence[Waiting], running: Mapping[int | None, int], now: int) -> list[Waiting]:
    """Those who wait in the order in which workers take them.

    Args:
        waiting: in the order of acceptance.
        running: how many reports of each user workers are at already: they count as turns had.
    """
    had = Counter(running)
    keyed = []
    for report in waiting:
        had[report.account] += 1
        yields = is_huge(report) and now - (report.touched or report.started) < GIVES_WAY_MS
        keyed.append(((yields, had[report.account], report.id), report))
    return [report for _, report in sorted(keyed, key=lambda pair: pair[0])]
