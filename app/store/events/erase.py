"""Erasure of events in short transactions, with the hourly counts kept correct.

Only counted events are erased. Counting (`hourly_counts.advance`) never looks back, so the counts of an event erased
before it was counted could never be subtracted. Erasure therefore counts first, and stops at the watermark.
"""

from __future__ import annotations

import time
from collections.abc import Generator
from dataclasses import replace

from peewee import fn

from app.store.database import database
from app.store.events import count_slices, hourly_counts
from app.store.events.filters import EventFilter, Position
from app.store.models import Event, ObservedCode, Report
from app.store.queries import equal, fetch, fetch_int
from app.store.step_size import Pace

CHUNK = 2_000  # maximum number of events per transaction
FIRST_CHUNK = 500  # the size of later chunks depends on the duration of the earlier ones
RETRY_SECONDS = 0.2  # pause before checking again whether counting has finished
START = (-1, -1)  # before every event


def counted_cut() -> int:
    """Count all events accepted until now, and return the id of the last event that may be erased."""
    newest = database.settled_cut(hourly_counts.PATIENCE_MS)
    while hourly_counts.watermark() < newest:
        if not hourly_counts.advance():  # another process counted faster
            time.sleep(RETRY_SECONDS)
    return hourly_counts.watermark()


def has_any(doomed: EventFilter, selection: EventFilter) -> bool:
    """Return whether a report's selection contains any of the events to erase."""
    (one, values), (other, more) = doomed.where(), selection.where()
    query = f"SELECT 1 FROM event WHERE {one} AND {other} LIMIT 1"  # noqa: S608
    return database.execute_sql(query, [*values, *more]).fetchone() is not None


def reports(doomed: EventFilter) -> list[Report]:
    """Return running reports, and complete ones whose file still exists, whose filter overlaps the events to erase."""
    query = Report.select().where(Report.status.in_(["RUNNING", "COMPLETE"]), ~Report.removed).order_by(Report.id)
    query = equal(query, (Report.customer, doomed.customer), (Report.product, doomed.product))
    if doomed.start is not None:
        query = query.where(Report.end.is_null() | (Report.end >= doomed.start))
    if doomed.end is not None:
        query = query.where(Report.start.is_null() | (Report.start <= doomed.end))
    return [one for one in query if not (one.types and doomed.types) or set(one.types) & set(doomed.types)]


def newest_report() -> int:
    return fetch_int(Report.select(fn.max(Report.id)))


def erase(doomed: EventFilter) -> Generator[int, None, None]:
    """Erase events in chunks, and yield the number of events of each chunk after its commit."""
    pace = Pace(FIRST_CHUNK, CHUNK)
    pairs = ObservedCode.select(ObservedCode.customer, ObservedCode.product).distinct()
    pairs = equal(pairs, (ObservedCode.customer, doomed.customer), (ObservedCode.product, doomed.product))
    for customer, product in sorted(fetch(pairs)):
        part = replace(doomed, customer=customer, product=product)
        position = START
        try:
            while chunk := _chunk(replace(part, before=position), pace.size):
                position = chunk[-1]
                yield _erase([key for _, key in chunk], pace)
        finally:
            if position != START:
                _forget_seen(customer, product)


def _chunk(doomed: EventFilter, size: int) -> list[Position]:
    """Return the next events to erase, in index order."""
    where, values = doomed.where()
    query = f"SELECT timestamp, id FROM event WHERE {where} ORDER BY timestamp, id LIMIT {size:d}"  # noqa: S608
    return database.execute_sql(query, values).fetchall()


def _erase(keys: list[int], pace: Pace) -> int:
    """Erase events by their ids, and return how many still existed."""
    chosen, value = database.keyed(keys)
    with database.atomic(), pace.step():
        database.erase_alone()
        count_slices.subtract(chosen, value)
        return database.execute_sql(f"DELETE FROM event WHERE {chosen}", [value]).rowcount  # noqa: S608


def _forget_seen(customer: str, product: str) -> None:
    """Stop showing types as seen if a customer's product has no more events of them.

    The rows remain, because processes cache that they recorded them with their widths, and reports rely on that.
    Uncounted events may be many, so all but the newest are read before the transaction. Counting is blocked meanwhile,
    because otherwise a type could be counted in between.
    """
    mark = database.param
    same = "customer = observed_code.customer AND product = observed_code.product AND type = observed_code.type"
    newest = fetch_int(Event.select(fn.max(Event.id)))
    kept = _types_behind(hourly_counts.watermark(), customer, product)
    with database.atomic():
        count_slices.hold()
        kept |= _types_behind(newest, customer, product)
        query = (
            f"SELECT type, id FROM observed_code WHERE customer = {mark} AND product = {mark} AND NOT is_erased "  # noqa: S608
            f"AND NOT EXISTS (SELECT 1 FROM hourly_count WHERE {same})"
        )
        found = database.execute_sql(query, [customer, product]).fetchall()
        chosen, value = database.keyed([key for kind, key in found if kind not in kept])
        database.execute_sql(f"UPDATE observed_code SET is_erased = TRUE WHERE {chosen}", [value])  # noqa: S608


def _types_behind(key: int, customer: str, product: str) -> set[str]:
    """Return the types of the events of a customer's product after an event id."""
    mark = database.param
    # Select by id alone, so that the planner does not scan all events of the customer.
    query = (
        f"WITH tail AS MATERIALIZED (SELECT * FROM event WHERE id > {mark}) "
        f"SELECT DISTINCT type FROM tail WHERE customer = {mark} AND product = {mark}"
    )
    return {kind for (kind,) in database.execute_sql(query, [key, customer, product]).fetchall()}
