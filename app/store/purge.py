"""Removal of many rows in small transactions, so that other writers do not wait for long."""

from __future__ import annotations

import time
from typing import Any

from peewee import Expression, Field

from app.store.queries import execute
from app.store.step_size import Pace, pause

FIRST, MOST = 200, 5_000  # rows per transaction, at first and at most


def purge(key: Field[Any], condition: Expression) -> int:
    """Remove the rows of a table that match a condition, and return their number.

    Call it outside a transaction.

    Args:
        key: the primary key of the table.
    """
    pace, number, table = Pace(FIRST, MOST), 0, key.model
    while True:
        began, asked = time.monotonic(), pace.size
        gone = execute(table.delete().where(key.in_(table.select(key).where(condition).limit(asked))))
        number += gone
        if gone < asked:
            return number
        pace.note(time.monotonic() - began)
        pause(began)
