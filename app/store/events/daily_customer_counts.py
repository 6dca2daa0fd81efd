"""Whether the daily counts by customer are complete, and their rebuild from the hourly counts.

Versions before 1.1 change the hourly counts alone, also beside this version during an upgrade. Two columns of `counted`
therefore say how many events the daily counts by customer include. Each change of those counts adds the same numbers
to these columns as to `total` and `erased`, so the columns stay behind once an event was left out.
"""

from __future__ import annotations

import time

from app.store.database import database
from app.store.events.daily_counts import NAMES, OF_CUSTOMERS
from app.store.step_size import Pace, pause

STEP = Pace(500, 2_000)  # rows per transaction on SQLite

# On SQLite they are incomplete while a slice is counted, because they follow the hourly counts.
IS_COMPLETE = "(daily_customer_total = total AND daily_customer_erased = erased)"
INCOMPLETE = f"SELECT total, erased FROM counted WHERE slice_end IS NULL AND NOT {IS_COMPLETE}"  # noqa: S608
COMPLETE = "UPDATE counted SET daily_customer_total = total, daily_customer_erased = erased"
KEY = "day, customer, product"
INSERT = f"INSERT INTO {OF_CUSTOMERS.name} ({KEY}, {NAMES}) {{rows}}"
SUMS = OF_CUSTOMERS.sums("hourly_count")

Row = tuple[object, ...]


def rebuild() -> bool:
    """Rebuild the counts if they are incomplete, and return whether they were. Concurrent calls are safe.

    On SQLite they remain incomplete if the hourly counts change meanwhile.
    """
    totals = _incomplete()
    if totals is None:
        return False
    if database.has_one_writer:
        _rebuild_in_steps(totals)
    else:
        _rebuild_whole()
    return True


def _incomplete() -> Row | None:
    """Return the totals of the hourly counts if these counts do not have them."""
    return next(iter(database.execute_sql(INCOMPLETE).fetchall()), None)


def _rebuild_whole() -> None:
    """Rebuild them in one transaction, for which counting and erasure wait."""
    with database.many_rows():
        if database.execute_sql(f"{INCOMPLETE} FOR UPDATE").fetchall():  # otherwise another process was faster
            database.execute_sql(f"DELETE FROM {OF_CUSTOMERS.name}")  # noqa: S608
            database.execute_sql(INSERT.format(rows=SUMS))
            database.execute_sql(COMPLETE)


def _rebuild_in_steps(totals: Row) -> None:
    """Rebuild them in short transactions, from sums in a temporary table, which take no lock."""
    database.execute_sql("DROP TABLE IF EXISTS temp.rebuilt")
    database.execute_sql(f"CREATE TEMP TABLE rebuilt AS {SUMS}")
    try:
        number, done = database.fetch_int("SELECT count(*) FROM temp.rebuilt"), 0
        with database.without_checkpoints():
            while True:
                began, to = time.monotonic(), min(done + STEP.size, number)
                if not _replace(totals, done, to, number):
                    return
                database.checkpoint()
                if to == number:
                    return
                done = to
                pause(began)
    finally:
        database.execute_sql("DROP TABLE temp.rebuilt")


def _replace(totals: Row, done: int, to: int, number: int) -> bool:
    """Replace the counts between two rows of the sums, or return False if the sums are no longer right.

    Processes that rebuild at the same time have the same sums, so the order of their steps does not matter.
    """
    between, values = "TRUE", list[object]()
    for sign, place in ((">", done), ("<=", to)):
        if 0 < place < number:
            (key,) = database.execute_sql(f"SELECT {KEY} FROM temp.rebuilt WHERE rowid = {place:d}").fetchall()  # noqa: S608
            between += f" AND ({KEY}) {sign} (?, ?, ?)"
            values += key
    with database.atomic(), STEP.step():
        if _incomplete() != totals:
            return False
        database.execute_sql(f"DELETE FROM {OF_CUSTOMERS.name} WHERE {between}", values)  # noqa: S608
        rows = f"SELECT * FROM temp.rebuilt WHERE rowid > {done:d} AND rowid <= {to:d}"  # noqa: S608
        database.execute_sql(INSERT.format(rows=rows))
        if to == number:
            database.execute_sql(COMPLETE)
    return True
