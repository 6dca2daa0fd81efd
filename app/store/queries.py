"""Peewee queries with typed results, and the conditions that recur in them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any, TypeVar

from peewee import ColumnBase, Delete, Insert, IntegrityError, Model, ModelSelect, Select, Update

from app.store.backends.backend import Rows

Codes = str | Sequence[str]  # one code, or several, any of which may match
AnySelect = TypeVar("AnySelect", bound=Select)
AnyModel = TypeVar("AnyModel", bound=Model)


def fetch(query: Select) -> Rows:
    """Return the rows of a query as tuples."""
    return list(query.tuples())


def fetch_unconverted(query: ModelSelect[Any]) -> Rows:
    """Return the rows of a query as the driver does, without Peewee's conversions, which take longer than the query."""
    rows: Rows = query.model._meta.database.execute_sql(*query.sql()).fetchall()
    return rows


def fetch_column(query: Select) -> list[Any]:
    """Return the values of a query for one column."""
    return [value for (value,) in fetch(query)]


def fetch_int(query: Select) -> int:
    """Return the whole number that a query for one value returns, or 0 for null or no row."""
    return int(query.scalar() or 0)


def find_one(model: type[AnyModel], name: str, value: object) -> AnyModel | None:
    """Return the row with a value in a unique column, or None.

    Its SQL is made once, which takes Peewee three times as long as all the rest.
    """
    return next(iter(model.raw(_select_by(model, name, model._meta.database.param), value)), None)


@cache
def _select_by(model: type[Model], name: str, parameter: str) -> str:
    columns = ", ".join(f'"{field.column_name}"' for field in model._meta.sorted_fields)
    return f'SELECT {columns} FROM "{model._meta.table_name}" WHERE "{name}" = {parameter}'  # noqa: S608


def execute(query: Update | Delete | Insert) -> int:
    """Execute a statement that writes, and return the number of changed rows."""
    number: int = query.execute()
    return number


def create_unique(model: type[AnyModel], **values: object) -> AnyModel | None:
    """Store a row, or return None if another row has a value that must be unique."""
    try:
        with model._meta.database.atomic():
            return model.create(**values)
    except IntegrityError:
        return None


def change_unique(model: type[AnyModel], key: int, **values: object) -> int | None:
    """Change a row, and return 1, 0 if it was removed, or None if another row has a value that must be unique."""
    try:
        with model._meta.database.atomic():
            return execute(model.update(values).where(model._meta.primary_key == key))
    except IntegrityError:
        return None


def equal(query: AnySelect, *pairs: tuple[ColumnBase, object]) -> AnySelect:
    """Limit a query to rows whose columns have these values. None means any value."""
    for column, value in pairs:
        if value is not None:
            query = query.where(column == value)
    return query


def among(query: AnySelect, column: ColumnBase, values: Sequence[object] | None) -> AnySelect:
    """Limit a query to rows whose column has one of these values. None means any value."""
    return query if values is None else query.where(column.in_(list(values)))


def of_codes(query: AnySelect, column: ColumnBase, codes: Codes) -> AnySelect:
    """Limit a query to rows whose column has the code, or one of the codes."""
    return query.where(column == codes if isinstance(codes, str) else column.in_(list(codes)))


def newest(query: ModelSelect[AnyModel], key: ColumnBase, limit: int, before: int | None = None) -> list[AnyModel]:
    """Return the rows with the highest ids, in that order; `before` is the last id of the previous page."""
    query = query.order_by(key.desc()).limit(limit)
    return list(query if before is None else query.where(key < before))
