"""Rejected events: the time of the queries of the pages *Rejected* and *By reason*, for each kind of filter.

    python -m bench.rejected [--short] [--json FILE]

The events arrived over 30 days, from 300 customers, with 5 products, 40 types and 4 reasons. There are ten times as
many as `REJECTED_MAX` allows by default, or in the short form as many. It runs in one process with the code of the
service.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from statistics import median

from app import create_app
from app.config import Settings
from app.services import Services
from app.services.people.principal import SYSTEM
from app.store import database
from app.store.events.rejected_filter import RejectedFilter
from app.support.clock import DAY_MS, now
from bench.databases import Stage, measure_each
from bench.report import Figure, Goal, command, progress

EVENTS, EVENTS_SHORT = 1_000_000, 100_000
AT_ONCE = 10_000
TIMES = 7
PAGE = 51  # events of a page, and one more to know whether there is another
SECRET = "of the benchmark alone"
FIELDS, FAULTS = ("timestamp", "type", "customer", ""), ("wrong", "missing", "unknown", "wrong")
REASONS = '["events[0].timestamp is wrong; it must be a whole number of milliseconds."]'
NAMES = "received_at, address, request_id, place, event, field, reasons, customer, product, type, fault, bytes"
QUESTION = Goal(500, at_most=True)  # milliseconds
FILTERS = {
    "all": RejectedFilter(),
    "of a customer": RejectedFilter(customer="C7"),
    "of a product": RejectedFilter(product="P3"),
    "of a type": RejectedFilter(type="T9"),
    "of a reason": RejectedFilter(field="timestamp", fault="wrong"),
    "from an address": RejectedFilter(address="198.51.100.7"),
    "with a text": RejectedFilter(text="user-17"),
    "with a text that is missing": RejectedFilter(text="nowhere"),
}


def run(short: bool) -> list[Figure]:
    """Measure both databases."""
    return measure_each(lambda stage: _measure(stage, EVENTS_SHORT if short else EVENTS))


def _measure(stage: Stage, count: int) -> Iterator[Figure]:
    url, table = stage.create("rejected")
    table.close()  # it would lock SQLite's file
    settings = Settings(database_url=url, secret_key=SECRET, data_dir=stage.folder / "var")
    services: Services = create_app(settings).extensions["services"]
    progress(f"{stage.database}: filling a table with {count:,} rejected events")
    _fill(count)
    for name, wanted in FILTERS.items():
        progress(f"{stage.database}: {name}")
        lists = _median(lambda wanted=wanted: services.rejected.page(SYSTEM, PAGE, None, wanted.within_reach()))
        groups = _median(lambda wanted=wanted: services.rejected_groups.every(SYSTEM, "day", wanted))
        yield Figure(f"list, {name}, {stage.database}, {count:,} events", lists, "ms", goal=QUESTION)
        yield Figure(f"groups, {name}, {stage.database}, {count:,} events", groups, "ms", goal=QUESTION)
    database.release()


def _fill(count: int) -> None:
    step, last = 30 * DAY_MS // count, now()
    marks = ", ".join([database.database.param] * len(NAMES.split(",")))
    insert = f"INSERT INTO rejected_event ({NAMES}) VALUES ({marks})"  # noqa: S608
    for begin in range(0, count, AT_ONCE):
        rows = [_row(number, last - (count - number) * step) for number in range(begin, min(begin + AT_ONCE, count))]
        with database.transaction():
            database.database.cursor().executemany(insert, rows)
    database.database.execute_sql("ANALYZE rejected_event")


def _row(number: int, received_at: int) -> tuple[object, ...]:
    customer, product, kind = f"C{number % 300}", f"P{number % 5}", f"T{number % 40}"
    event = f'{{"customer": "{customer}", "product": "{product}", "context": ["user-{number % 5000}", "{number:032}"]}}'
    reason = FIELDS[number // 7 % 4], REASONS, customer, product, kind, FAULTS[number // 7 % 4]
    origin = received_at, f"198.51.100.{number % 200}", f"request-{number // 40}", number % 40 + 1
    return (*origin, event, *reason, len(event))


def _median(ask: Callable[[], object]) -> float:
    """Return the milliseconds of a question."""
    spent = []
    for _ in range(TIMES):
        began = time.perf_counter()
        ask()
        spent.append((time.perf_counter() - began) * 1000)
    return median(spent)


if __name__ == "__main__":
    command("bench.rejected", "The time of questions about rejected events.", run)
