"""Peewee fields of columns that the two databases store differently, or that hold JSON."""

from __future__ import annotations

import orjson
from peewee import Field

from app.event_columns import Context
from app.store.database import database


class ContextField(Field):
    """List of strings and nulls: text[] on PostgreSQL, for the fastest export; JSON text on SQLite."""

    field_type = "TEXT"

    def db_value(self, value: Context) -> object:
        return database.context_value(value)

    def python_value(self, value: str | list[str | None]) -> list[str | None]:
        items: list[str | None] = orjson.loads(value) if isinstance(value, str) else value
        return items


class JsonField(Field):
    """JSON value stored as text on both databases, with keys in the given order."""

    field_type = "TEXT"

    def db_value(self, value: object) -> str | None:
        return None if value is None else orjson.dumps(value).decode()

    def python_value(self, value: str | None) -> object:
        return None if value is None else orjson.loads(value)
