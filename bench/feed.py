"""Reading back: the time of a page of events, newest first, among ten million stored ones, for each kind of filter.

    python -m bench.feed [--short] [--json FILE]

It runs in one process with the service's own queries; the short form has a million events.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from statistics import quantiles

from app.store import database
from app.store.catalog import catalog
from app.store.events import hourly_counts, pages
from bench.databases import Stage, measure_each
from bench.load import CUSTOMERS, PRODUCT, TYPE
from bench.report import Figure, Goal, command, progress

EVENTS, EVENTS_SHORT = 10_000_000, 1_000_000
PAGE = 100
TIMES = 40
FAST, RARE = Goal(20, at_most=True), Goal(100, at_most=True)  # milliseconds


def run(short: bool) -> list[Figure]:
    """Measure both databases."""
    return measure_each(lambda stage: _measure(stage, EVENTS_SHORT if short else EVENTS))


def _measure(stage: Stage, count: int) -> Iterator[Figure]:
    progress(f"{stage.database}: filling a table with {count:,} events")
    url, table = stage.create("feed")
    table.fill(count)
    database.open_database(url)
    _note_seen()
    progress(f"{stage.database}: counting them by hour")
    while hourly_counts.advance():
        pass
    for name, wanted, goal in _filters():
        progress(f"{stage.database}: reading {name}")
        yield Figure(f"page of {name}, {stage.database}, {count:,} events, p95", _p95(wanted), "ms", goal=goal)
    database.release()


def _note_seen() -> None:
    """Record what ingestion of the events would have recorded."""
    catalog.note_seen([(one, PRODUCT, kind, 3) for one in CUSTOMERS for kind in (TYPE, "RARE")], 0)


def _filters() -> Iterator[tuple[str, pages.EventFilter, Goal]]:
    one = CUSTOMERS[0]
    newest, _ = pages.page(pages.EventFilter(), 2)
    oldest = newest[4] - 85 * 86_400_000
    yield "everything", pages.EventFilter(), FAST
    yield "a customer", pages.EventFilter(customer=one), FAST
    yield "a product", pages.EventFilter(product=PRODUCT), FAST
    yield "a customer and product", pages.EventFilter(customer=one, product=PRODUCT), FAST
    yield "a customer, product and common type", pages.EventFilter(customer=one, product=PRODUCT, types=(TYPE,)), FAST
    yield "a time range", pages.EventFilter(customer=one, product=PRODUCT, start=oldest, end=oldest + 3_600_000), FAST
    yield "everything, near the end", pages.EventFilter(after=(oldest, 0)), FAST
    yield "a rare type", pages.EventFilter(types=("RARE",)), RARE
    yield (
        "a customer's rare type, near the end",
        pages.EventFilter(customer=one, types=("RARE",), after=(oldest, 0)),
        RARE,
    )


def _p95(wanted: pages.EventFilter) -> float:
    """Return the milliseconds, without the first time, which fills the caches."""
    pages.page(wanted, PAGE)
    spent = []
    for _ in range(TIMES):
        began = time.perf_counter()
        pages.page(wanted, PAGE)
        spent.append((time.perf_counter() - began) * 1000)
    return quantiles(spent, n=20)[-1]


if __name__ == "__main__":
    command("bench.feed", "The time of a page of events, newest first.", run)
