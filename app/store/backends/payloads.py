"""Conversion of spooled events between the databases, for a spool that outlives a move or a restore.

A spooled payload is in the form of the database for which it was encoded: a JSON list for SQLite, lines of COPY's text
format for PostgreSQL. The last character distinguishes them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import orjson

from app.event_columns import EventRow

ESCAPE = re.compile(r"\\(.)", re.DOTALL)
LETTERS = {"n": "\n", "r": "\r", "t": "\t"}
ITEM = re.compile(r'"((?:[^"\\]|\\.)*)"|NULL', re.DOTALL)


def is_postgres(data: bytes) -> bool:
    """Return whether a payload has the form of PostgreSQL, which an empty one has, too."""
    return not data.endswith(b"]")


def rows_from_sqlite(data: bytes) -> Iterator[EventRow]:
    """Yield the events of a payload in the form of SQLite."""
    for c, p, t, v, at, context, s, b, r in orjson.loads(data):
        yield c, p, t, v, at, orjson.loads(context), s, b, r


def from_postgres(data: bytes) -> list[list[object]]:
    """Return a payload in the form of PostgreSQL in that of SQLite."""
    rows: list[list[object]] = []
    for line in data.decode().split("\n")[:-1]:
        c, p, t, v, at, context, s, b, r = (None if field == "\\N" else _unescape(field) for field in line.split("\t"))
        rows.append([c, p, t, v, int(at or 0), _json(context or "{}"), int(s or 0), b, int(r or 0)])
    return rows


def _unescape(field: str) -> str:
    return ESCAPE.sub(lambda found: LETTERS.get(found[1], found[1]), field)


def _json(array: str) -> str:
    items = [None if found[1] is None else ESCAPE.sub(r"\1", found[1]) for found in ITEM.finditer(array)]
    return orjson.dumps(items).decode()
