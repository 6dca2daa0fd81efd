"""Removal of many rows in small transactions, so that other writers do not wait for long."""

from __future__ import annotations

import time

from peewee import Expression, Model

from app.store.step_size import Pace, pause

FIRST, MOST = 200, 5_000  # rows per transaction, at first and at most


def purge(table: type[Model], condition: Expression) -> int:
    """Remove the rows that match a condition, and return their number.

    Call it outside a transaction.
    """
    pace, number, key = Pace(FIRST, MOST), 0, table._meta.primary_key
    while True:
        began, asked = time.monotonic(), pace.size
        some = table.select(key).where(condition).limit(asked)
        gone = table.delete().where(key.in_(some)).execute()
        number += gone
        if gone < asked:
            return number
        pace.note(time.monotonic() - began)
        pause(began)
