"""Whose turn it is: small reports before huge ones, and no user before the others for having asked for more.

Redis only says that there is something to do; what, is decided here from the rows, so that the order is one and the
same for every worker and for the place in the queue that people are told.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Protocol

from app.store.reports import reports as store

SMALL_ROWS = 1_000_000  # a report of more is huge, and gives way to smaller ones
GIVES_WAY_MS = 10_000  # so long since it last ran or was accepted: then it takes its turn like any other


class WaitingReport(Protocol):
    """A report that waits."""

    id: int
    account: int | None
    estimated_rows: int
    started: int
    heartbeat_at: int | None


def is_huge(report: WaitingReport) -> bool:
    """Whether it gives way."""
    return report.estimated_rows > SMALL_ROWS


def small_waits() -> bool:
    """Whether a report waits to which huge ones give way."""
    return store.small_waits(SMALL_ROWS)


def due() -> list[store.Waiting]:
    """The reports that may be taken now, in the order in which workers take them."""
    waiting = store.due()
    served = store.last_served({report.account for report in waiting})
    return in_turn(waiting, store.running_by_account(), served, store.now())


def queue() -> list[store.Waiting]:
    """All that wait: behind those that may be taken now the ones that are to be tried later."""
    first = due()
    known = {report.id for report in first}
    later = [report for report in store.waiting() if report.id not in known]
    return first + sorted(later, key=lambda report: report.not_before or 0)


def in_turn(
    waiting: Sequence[WaitingReport], running: Mapping[int | None, int], served: Mapping[int | None, int], now: int
) -> list[WaitingReport]:
    """Those who wait in the order in which workers take them.

    A user's first report before anybody's second. Of two users' first ones, that of whoever has waited longer: since
    the report was accepted, or since a worker was last at another one of theirs.

    Args:
        running: how many reports of each user workers are at already: they count as turns had.
        served: when a worker was last at a report of each user's.
    """
    had = Counter(running)
    keyed = []
    for yields, _, report in sorted((_gives_way(one, now), one.id, one) for one in waiting):
        had[report.account] += 1
        since = max(report.started, served.get(report.account, 0))
        keyed.append(((yields, had[report.account], since, report.id), report))
    return [report for _, report in sorted(keyed, key=lambda pair: pair[0])]


def _gives_way(report: WaitingReport, now: int) -> bool:
    return is_huge(report) and now - (report.heartbeat_at or report.started) < GIVES_WAY_MS
