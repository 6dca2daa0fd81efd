"""Fair queue: the order of waiting reports. Small reports precede huge ones, and users alternate.

Redis only signals that work exists. The rows decide which report is next, so that all workers and the displayed queue
position agree on the order.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from app.store.models import Report
from app.store.reports import reports as store

SMALL_ROWS = 1_000_000  # a report with more rows is huge and lets smaller reports run first
GIVES_WAY_MS = 10_000  # a huge report that has waited this long since it last ran or was accepted yields no more


def is_huge(report: Report | store.Waiting) -> bool:
    """Return whether a report lets smaller reports run first."""
    return report.estimated_rows > SMALL_ROWS


def small_waits() -> bool:
    """Return whether a small report is waiting."""
    return store.small_waits(SMALL_ROWS)


def due() -> list[store.Waiting]:
    """Return the reports that may be claimed now, in the order in which workers claim them."""
    waiting = store.due()
    served = store.last_served({report.account for report in waiting})
    return in_turn(waiting, store.running_by_account(), served, store.now())


def queue() -> list[store.Waiting]:
    """Return all waiting reports. Those to be retried later follow those that may be claimed now."""
    first = due()
    known = {report.id for report in first}
    later = [report for report in store.waiting() if report.id not in known]
    return first + sorted(later, key=lambda report: report.next_attempt_at or 0)


def in_turn(
    waiting: Sequence[store.Waiting], running: Mapping[int | None, int], served: Mapping[int | None, int], now: int
) -> list[store.Waiting]:
    """Return waiting reports in the order in which workers claim them.

    Every user's first report precedes any user's second. Of two users' first reports, the one that has waited longer is
    first. The wait starts when the report was accepted, or when a worker last ran a report of the same user if that is
    later.

    Args:
        running: the number of running reports by user, which count as claimed.
        served: the time at which a worker last ran a report of each user.
    """
    claimed = Counter(running)
    keyed = []
    for yields, _, report in sorted((_gives_way(report, now), report.id, report) for report in waiting):
        claimed[report.account] += 1
        since = max(report.started_at, served.get(report.account, 0))
        keyed.append(((yields, claimed[report.account], since, report.id), report))
    return [report for _, report in sorted(keyed, key=lambda pair: pair[0])]


def _gives_way(report: store.Waiting, now: int) -> bool:
    return is_huge(report) and now - (report.heartbeat_at or report.started_at) < GIVES_WAY_MS
