"""Count a slice of events into the hourly counts inside the database, without loading rows into this process.

On PostgreSQL this takes one statement. SQLite has a single write lock, which ingestion also needs. There the slice is
first grouped into a temporary table, which takes no lock. Short transactions then add the groups to the counts, and
each of them also records the progress. If a process dies during a slice, the next process groups the slice again and
resumes at the recorded group. This is safe because the same events in the same order give the same groups, and no event
of a slice is erased before the whole slice is counted.

In a larger slice there are fewer groups per event, and they are closer together in the table.

Along with the counts, the statements record the codes of the events and their widest context (`observed_code`). Every
counted code is therefore in `observed_code`, even if the process that stored the event failed to record it.
"""

from __future__ import annotations

import time
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import orjson

from app.store.database import database
from app.store.events import daily_counts
from app.store.models import Counted
from app.store.queries import execute
from app.store.step_size import Pace, pause
from app.support.clock import HOUR_MS

# Groups per transaction on SQLite, of the counts by hour and of each table by day: a row takes longer in one of them.
STEPS = tuple(Pace(500, 10_000) for _ in (None, *daily_counts.TABLES))
WHOLE = Pace(250_000, 1_000_000, seconds=10.0)  # events per transaction on PostgreSQL, for which erasure waits

HOUR = f"timestamp / {HOUR_MS} * {HOUR_MS}"
GROUPS = f"""
    SELECT customer, product, type, {HOUR} AS hour, count(*) AS number,
        min(timestamp) AS first_at, max(timestamp) AS last_at, max({{width}}) AS width
    FROM event WHERE id > {{begin:d}} AND id <= {{end:d}} GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4"""

# Rows are always written in the order of `catalog.note_seen`, so that concurrent transactions do not deadlock.
NOTE_SEEN = """
    INSERT INTO observed_code (customer, product, type, first_observed_at, width)
    SELECT customer, product, type, {clock}, width
    FROM (SELECT customer, product, type, max(width) AS width FROM {groups} GROUP BY 1, 2, 3) AS widest
    WHERE NOT EXISTS (
        SELECT 1 FROM observed_code AS known WHERE known.customer = widest.customer
            AND known.product = widest.product AND known.type = widest.type
            AND known.width >= widest.width AND NOT known.is_erased)
    ORDER BY {order}
    ON CONFLICT (customer, product, type) DO UPDATE SET is_erased = false,
        width = CASE WHEN observed_code.width < excluded.width THEN excluded.width ELSE observed_code.width END"""

ADD_STEP = """
    INSERT INTO hourly_count (customer, product, type, hour, number, first_at, last_at)
    SELECT customer, product, type, hour, number, first_at, last_at FROM {groups}
    ON CONFLICT (customer, product, type, hour) DO UPDATE SET number = number + excluded.number,
        first_at = min(first_at, excluded.first_at), last_at = max(last_at, excluded.last_at)"""

# MERGE takes three quarters of the time of INSERT … ON CONFLICT. No other transaction writes counts at the same time,
# because every writer of counts first locks the row of `counted`.
ADD_WHOLE = """
    WITH slice AS MATERIALIZED ({groups}), noted AS ({note_seen}), moved AS (
        UPDATE counted SET up_to = {end:d}, total = total + number, daily_customer_total = daily_customer_total + number
        FROM (SELECT coalesce(sum(number), 0) AS number FROM slice) AS added
    ), {add_days}
    MERGE INTO hourly_count AS h USING slice AS s
        ON h.customer = s.customer AND h.product = s.product AND h.type = s.type AND h.hour = s.hour
    WHEN MATCHED THEN UPDATE SET
        number = h.number + s.number, first_at = least(h.first_at, s.first_at), last_at = greatest(h.last_at, s.last_at)
    WHEN NOT MATCHED THEN INSERT (customer, product, type, hour, number, first_at, last_at)
        VALUES (s.customer, s.product, s.type, s.hour, s.number, s.first_at, s.last_at)"""

# Subtracts `fewer`, the numbers of erased events by type and hour of one customer's product. The counts are searched
# once. Their rows stay in place meanwhile, because every writer of counts first locks the row of `counted`.
SUBTRACT_WHOLE = f"""
    matched AS MATERIALIZED (
        SELECT h.ctid AS place, h.number - fewer.number AS remaining FROM hourly_count AS h JOIN fewer
            ON h.type = fewer.type AND h.hour = fewer.hour WHERE h.customer = %s AND h.product = %s
    ), lowered AS (
        UPDATE hourly_count SET number = remaining FROM matched WHERE hourly_count.ctid = place AND remaining > 0
    ), removed AS (
        DELETE FROM hourly_count USING matched WHERE hourly_count.ctid = place AND remaining <= 0
    ), {daily_counts.PLACED}, {", ".join(table.subtract_whole() for table in daily_counts.TABLES)}, noted AS (
        UPDATE counted SET erased = erased + number, daily_customer_erased = daily_customer_erased + number
        FROM (SELECT coalesce(sum(number), 0) AS number FROM fewer) AS subtracted)"""
# With a limit, SQLite reads the numbers once instead of once per count of the customer's product.
FEWER = """
    WITH fewer (type, hour, number) AS (
        SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]'), json_extract(value, '$[2]')
        FROM json_each(?) LIMIT -1)"""
LOWER = f"""{FEWER}
    UPDATE hourly_count SET number = hourly_count.number - fewer.number FROM fewer
    WHERE customer = ? AND product = ? AND hourly_count.type = fewer.type AND hourly_count.hour = fewer.hour"""  # noqa: S608
REMOVE = f"""{FEWER}
    DELETE FROM hourly_count WHERE customer = ? AND product = ? AND type IN (SELECT type FROM fewer)
        AND hour BETWEEN ? AND ? AND number <= 0"""  # noqa: S608


@dataclass(frozen=True)
class Slice:
    """Range of events to count: ids above `begin`, up to and including `end`.

    Attributes:
        done: how many groups of the slice are already in the counts: first those by hour, then those by day in the
            order of `daily_counts.TABLES`.
    """

    begin: int
    end: int
    done: int = 0

    def add(self) -> bool:
        """Count the slice, or return False if another process has already counted beyond its start."""
        groups = GROUPS.format(width=database.context_width(), begin=self.begin, end=self.end)
        return _add_in_steps(self, groups) if database.has_one_writer else _add_whole(self, groups)


def longest(most: int) -> int:
    """Return how many events the next slice should have, at most `most`."""
    return most if database.has_one_writer else min(most, WHOLE.size)


def subtract(customer: str | None, product: str | None, chosen: str, keys: object) -> None:
    """Subtract events of a customer's product that are about to be erased from the counts, on SQLite.

    Call it inside the transaction that erases them, and only for counted events.

    Args:
        chosen: a condition on events with one parameter, the keys.
    """
    query = f"SELECT type, {HOUR}, count(*) FROM event WHERE {chosen} GROUP BY 1, 2"  # noqa: S608
    fewer = database.execute_sql(query, [keys]).fetchall()
    if fewer:
        erased = sum(number for *_, number in fewer)
        totals = {column: column + erased for column in (Counted.erased, Counted.daily_customer_erased)}
        execute(Counted.update(totals))
        values = (orjson.dumps(fewer).decode(), customer, product)
        hours = [hour for _, hour, _ in fewer]
        database.execute_sql(LOWER, values)
        database.execute_sql(REMOVE, (*values, min(hours), max(hours)))
        for table in daily_counts.TABLES:
            table.subtract(customer, product, fewer)


def hold() -> None:
    """Block counting until this transaction ends."""
    execute(Counted.update(up_to=Counted.up_to))


def begin_again() -> None:
    """Forget all counts if SQLite had begun a slice of them, so that all events are counted again.

    It had when the database was moved or restored to PostgreSQL, whose groups have another order.
    """
    with database.many_rows():
        if database.execute_sql("SELECT 1 FROM counted WHERE slice_end IS NOT NULL FOR UPDATE").fetchall():
            for table in ("hourly_count", *(table.name for table in daily_counts.TABLES)):
                database.execute_sql(f"DELETE FROM {table}")  # noqa: S608
            totals = dict.fromkeys(("total", "daily_customer_total", "daily_customer_erased"), Counted.erased)
            execute(Counted.update(up_to=0, slice_end=None, slice_groups=0, **totals))


def _add_whole(slice_: Slice, groups: str) -> bool:
    order = ", ".join(f'{name} COLLATE "C"' for name in ("customer", "product", "type"))
    note = NOTE_SEEN.format(clock=database.clock_ms, groups="slice", order=order)
    began = time.monotonic()
    with database.many_rows():
        if database.fetch_int("SELECT up_to FROM counted FOR UPDATE") != slice_.begin:
            return False
        days = ", ".join(f"{table.name}_added AS ({table.add(table.sums('slice'))})" for table in daily_counts.TABLES)
        database.execute_sql(ADD_WHOLE.format(groups=groups, note_seen=note, add_days=days, end=slice_.end))
    if slice_.end - slice_.begin >= WHOLE.size // 2:  # the time of a small slice does not predict that of a large one
        WHOLE.note(time.monotonic() - began)
    return True


def _add_in_steps(slice_: Slice, groups: str) -> bool:
    sums = [table.sums(f"temp.{_temporary(0)}") for table in daily_counts.TABLES]
    sizes = []
    for place, rows in enumerate([groups, *sums]):
        database.execute_sql(f"DROP TABLE IF EXISTS temp.{_temporary(place)}")
        database.execute_sql(f"CREATE TEMP TABLE {_temporary(place)} AS {rows}")
        sizes.append(database.fetch_int(f"SELECT count(*) FROM temp.{_temporary(place)}"))
    ends, done = list(accumulate(sizes)), slice_.done
    try:
        with database.without_checkpoints():
            while True:
                place = bisect_right(ends, done, hi=len(ends) - 1)
                began, to = time.monotonic(), min(done + STEPS[place].size, ends[place])
                if not _step(slice_, place, done, to, ends):
                    return False
                database.checkpoint()
                if to >= ends[-1]:
                    return True
                done = to
                pause(began)
    finally:
        for place in range(len(sizes)):
            database.execute_sql(f"DROP TABLE temp.{_temporary(place)}")


def _temporary(place: int) -> str:
    """Return the name of the temporary table of a slice's groups, by hour (0) or for a table by day (from 1 on)."""
    return f"slice_{place}"


def _step(slice_: Slice, place: int, done: int, to: int, ends: Sequence[int]) -> bool:
    """Count some groups of one temporary table, or return False if another process has counted them.

    Args:
        done, to: of all groups of the slice, those after `done` up to `to`.
        ends: the number of all groups up to the end of each temporary table.
    """
    begin = ends[place - 1] if place else 0
    groups = f"temp.{_temporary(place)} WHERE rowid > {done - begin:d} AND rowid <= {to - begin:d}"
    table = daily_counts.TABLES[place - 1] if place else None
    total = {None: "total", daily_counts.OF_CUSTOMERS: "daily_customer_total"}.get(table)
    more = f", {total} = {total} + (SELECT coalesce(sum(number), 0) FROM {groups})" if total else ""
    progress = (slice_.end, 0, None) if to >= ends[-1] else (slice_.begin, to, slice_.end)
    with database.atomic(), STEPS[place].step():
        moved = database.execute_sql(
            f"UPDATE counted SET up_to = ?, slice_groups = ?, slice_end = ?{more} "  # noqa: S608
            "WHERE up_to = ? AND slice_groups = ? AND (slice_end IS NULL OR slice_end = ?)",
            (*progress, slice_.begin, done, slice_.end),
        )
        if moved.rowcount != 1:
            return False
        if table:
            database.execute_sql(table.add(f"SELECT * FROM {groups}"))
        else:
            database.execute_sql(ADD_STEP.format(groups=groups))
            database.execute_sql(NOTE_SEEN.format(clock=database.clock_ms, groups=groups, order="1, 2, 3"))
    return True
