"""Erasure of events in short transactions, with the hourly counts kept correct.

Only counted events are erased. Counting (`hourly_counts.advance`) never looks back, so the counts of an event erased
before it was counted could never be subtracted. Erasure therefore counts first, and stops at the watermark.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Sequence
from dataclasses import replace
from typing import Any

from peewee import fn

from app.store.backends.backend import Rows
from app.store.database import database
from app.store.events import count_slices, hourly_counts
from app.store.events.filters import EventFilter, Position
from app.store.models import Event, ObservedCode, Report
from app.store.queries import equal, fetch, fetch_int
from app.store.step_size import Pace, pause

FIRST_CHUNK, CHUNK = 500, 2_000  # events of the first transaction, and the maximum, where other writers wait for it
FIRST_WHOLE, WHOLE = 5_000, 50_000  # the same where only counting waits for it
WHOLE_SECONDS = 0.25  # target duration of such a transaction
RETRY_SECONDS = 0.2  # pause before checking again whether counting has finished
START = (-1, -1)  # before every event

# One pass over the events. Only erasure removes events, one transaction at a time, and an event's row never moves, so
# the rows that the inner query finds are those that the statement deletes.
ERASE = """
    WITH gone AS (
        DELETE FROM event WHERE ctid = ANY(ARRAY(
            SELECT ctid FROM event WHERE {where} ORDER BY timestamp, id LIMIT {size:d}))
        RETURNING timestamp, id, type
    ), fewer AS MATERIALIZED (
        SELECT type, {hour} AS hour, count(*) AS number FROM gone GROUP BY 1, 2
    ), {subtract}, {trace}
    SELECT (SELECT sum(number)::bigint FROM fewer), timestamp, id FROM gone ORDER BY timestamp DESC, id DESC LIMIT 1"""

# What a follower of events compares with its cursor (`changes`). On PostgreSQL it is a part of the statement above, in
# whose snapshot `counted` does not have the new number yet.
TRACE = """
    traced AS (
        INSERT INTO erasure_trace (customer, product, erased, max_id)
        SELECT %s, %s, (SELECT erased FROM counted) + count(*), max(id) FROM gone HAVING count(*) > 0
    ), outdated AS (
        DELETE FROM erasure_trace WHERE customer = %s AND product = %s AND max_id <= (SELECT max(id) FROM gone)
    )"""
ADD_TRACE = """
    INSERT INTO erasure_trace (customer, product, erased, max_id) SELECT ?, ?, erased, ? FROM counted"""
REMOVE_OUTDATED = "DELETE FROM erasure_trace WHERE customer = ? AND product = ? AND max_id <= ?"


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
    if doomed.start is not None:
        query = query.where(Report.end.is_null() | (Report.end >= doomed.start))
    if doomed.end is not None:
        query = query.where(Report.start.is_null() | (Report.start <= doomed.end))
    return [one for one in query if _overlaps(one, doomed)]


def _overlaps(report: Report, doomed: EventFilter) -> bool:
    """Return whether a report's codes include some of those of the events to erase."""
    return (
        (doomed.customer is None or doomed.customer in report.all_customers)
        and (doomed.product is None or doomed.product in report.all_products)
        and (not (report.types and doomed.types) or not set(report.types).isdisjoint(doomed.types))
    )


def newest_report() -> int:
    return fetch_int(Report.select(fn.max(Report.id)))


def erase(doomed: EventFilter) -> Generator[int, None, None]:
    """Erase events in chunks, and yield the number of events of each chunk after its commit.

    If other writers wait for a chunk, a pause follows it.
    """
    has_one_writer, pace = database.has_one_writer, _pace()
    erase_chunk = _erase_rows if has_one_writer else _erase_whole
    pairs = ObservedCode.select(ObservedCode.customer, ObservedCode.product).distinct()
    pairs = equal(pairs, (ObservedCode.customer, doomed.customer), (ObservedCode.product, doomed.product))
    for customer, product in sorted(fetch(pairs)):
        part = replace(doomed, customer=customer, product=product)
        position = START
        try:
            while True:
                began, earlier = time.monotonic(), position
                number, position = erase_chunk(replace(part, before=earlier), pace)
                if position == earlier:
                    break
                yield number
                if has_one_writer:
                    pause(began)
        finally:
            if position != START:
                _forget_seen(customer, product)


def erase_keys(customer: str, product: str, keys: Sequence[int]) -> Generator[int, None, None]:
    """Erase counted events of a customer's product by their ids, in chunks like `erase`."""
    has_one_writer, pace, done = database.has_one_writer, _pace(), 0
    try:
        while done < len(keys):
            began, some = time.monotonic(), list(keys[done : done + pace.size])
            if has_one_writer:
                number = _delete(customer, product, some, pace)
            else:
                found = _delete_whole(customer, product, database.keyed(some), pace)
                number = found[0][0] if found else 0
            done += len(some)
            yield number
            if has_one_writer:
                pause(began)
    finally:
        if done:
            _forget_seen(customer, product)


def _pace() -> Pace:
    return Pace(FIRST_CHUNK, CHUNK) if database.has_one_writer else Pace(FIRST_WHOLE, WHOLE, WHOLE_SECONDS)


def _erase_whole(doomed: EventFilter, pace: Pace) -> tuple[int, Position]:
    """Erase the next events in index order inside the database; return their number and the position of the last."""
    where, values = doomed.where()
    found = _delete_whole(doomed.customer, doomed.product, (where, *values), pace)
    return (found[0][0], found[0][1:]) if found else (0, doomed.before or START)


def _delete_whole(customer: str | None, product: str | None, where: Sequence[Any], pace: Pace) -> Rows:
    """Erase the first events of a condition, and return their number and the position of the last, if there are any.

    Args:
        where: the condition, and its parameters.
    """
    condition, *values = where
    query = ERASE.format(
        where=condition, size=pace.size, hour=count_slices.HOUR, subtract=count_slices.SUBTRACT_WHOLE, trace=TRACE
    )
    pair = (customer, product)
    with database.many_rows():
        database.erase_alone()
        count_slices.hold()
        with pace.step():
            return database.execute_sql(query, [*values, *pair, product, *pair, *pair, *pair]).fetchall()


def _erase_rows(doomed: EventFilter, pace: Pace) -> tuple[int, Position]:
    """Do the same in several statements, and search for the events before the transaction, which others wait for."""
    where, values = doomed.where()
    query = f"SELECT timestamp, id FROM event WHERE {where} ORDER BY timestamp, id LIMIT {pace.size:d}"  # noqa: S608
    found = database.execute_sql(query, values).fetchall()
    if not found:
        return 0, doomed.before or START
    return _delete(doomed.customer, doomed.product, [key for _, key in found], pace), found[-1]


def _delete(customer: str | None, product: str | None, keys: Sequence[int], pace: Pace) -> int:
    """Erase events of a customer's product by their ids, and return how many there were."""
    chosen, value = database.keyed(keys)
    with database.atomic(), pace.step():
        count_slices.subtract(customer, product, chosen, value)
        max_id = database.execute_sql(f"SELECT max(id) FROM event WHERE {chosen}", [value]).fetchone()[0]  # noqa: S608
        if max_id is not None:  # otherwise a concurrent call has erased them all
            trace = (customer, product, max_id)
            database.execute_sql(REMOVE_OUTDATED, trace)
            database.execute_sql(ADD_TRACE, trace)
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
