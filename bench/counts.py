"""Counts without a report: the time of each kind of question among ten million events, and a tenth of that.

    python -m bench.counts [--short] [--json FILE]

The events are those of `bench.scale_rows`: 300 customers, 40 types, 90 days. It runs in one process with the service's
own code; the short form has a million events alone. What the hourly counts know has a goal. A question about a context
value reads events, so its time follows their number.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from statistics import quantiles

from app.services.catalog.lookup import Catalog
from app.services.events.counts import Counting
from app.services.people.principal import SYSTEM
from app.store import database
from app.store.events.filters import EventFilter
from app.store.events.pages import arrivals
from app.store.models import EventType
from bench.databases import Stage, measure_each
from bench.report import Figure, Goal, command, progress
from bench.scale_rows import LARGEST, Filling

EVENTS, FEWER = 10_000_000, 1_000_000
TIMES = 20
HOUR, DAY = 3_600_000, 86_400_000
GOAL = Goal(100, at_most=True)  # milliseconds
ITEM = "userId"

Question = tuple[str, EventFilter, str]  # its name, its filter, and what it groups by


def run(short: bool) -> list[Figure]:
    """Measure both databases."""
    return measure_each(lambda stage: _measure(stage, (FEWER,) if short else (FEWER, EVENTS)))


def _measure(stage: Stage, sizes: tuple[int, ...]) -> Iterator[Figure]:
    before: dict[str, float] = {}
    for count in sizes:
        url, table = stage.create(f"counts_{count}")
        table.close()  # it would lock SQLite's file
        Filling(url, count).run()
        database.open_database(url)
        newest = arrivals(1, None)[0][4] // DAY * DAY
        for name, wanted, by in _questions(newest):
            progress(f"{stage.database}, {count:,} events: {name}")
            milliseconds, earlier = _p95(wanted, by), before.get(name)
            yield Figure(
                f"count {name}, {stage.database}, {count:,} events, p95",
                milliseconds,
                "ms",
                None if earlier is None else f"{sizes[0]:,} events",
                None if earlier is None else milliseconds / earlier,
                None if "context" in by or earlier is not None else GOAL,
            )
            if earlier is not None and "context" not in by:
                yield Figure(f"count {name}, {stage.database}, {count:,} events", milliseconds, "ms", goal=GOAL)
            before[name] = milliseconds
        database.release()


def _questions(newest: int) -> Iterator[Question]:
    customer, product = LARGEST
    yield "by day and product", EventFilter(), "day,product"
    yield "by type", EventFilter(), "type"
    yield "by hour of a week", EventFilter(start=newest - 7 * DAY, end=newest - 1), "hour"
    yield "by customer of a day", EventFilter(start=newest - DAY, end=newest - 1), "customer"
    yield "by customer of a month", EventFilter(start=newest - 30 * DAY, end=newest - 1), "customer"
    shifted = EventFilter(start=newest - 30 * DAY - 5 * HOUR, end=newest - 5 * HOUR - 1)
    yield "by customer of a month that begins at 19:00 UTC", shifted, "customer"
    one = EventFilter(customer, product)
    yield "by day and type of a customer and product", one, "day,type"
    parts = EventFilter(customer, start=newest - DAY - HOUR // 2, end=newest - 7)
    yield "of a customer in parts of hours", parts, "type"
    some = EventFilter(customer, product, start=newest - DAY, end=newest - 1)
    yield "by context value of a day", some, "context"


def _p95(wanted: EventFilter, by: str) -> float:
    """Return the milliseconds, without the first time, which fills the caches."""
    counting = Counting(Catalog())
    _name_items()
    spent = []
    for _ in range(TIMES + 1):
        began = time.perf_counter()
        counting.ask(SYSTEM, wanted, by.split(","), ITEM if by == "context" else None)
        spent.append((time.perf_counter() - began) * 1000)
    return quantiles(spent[1:], n=20)[-1]


def _name_items() -> None:
    """Name the first context item of each type in the catalog, once."""
    if EventType.select().exists():
        return
    pairs = database.database.execute_sql("SELECT DISTINCT product, type FROM observed_code").fetchall()
    rows = [{"product": product, "code": kind, "description": "", "context": [ITEM]} for product, kind in pairs]
    EventType.insert_many(rows).execute()


if __name__ == "__main__":
    command("bench.counts", "The time of counts.", run)
