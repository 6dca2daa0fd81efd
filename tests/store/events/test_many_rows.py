"""What PostgreSQL is told for a report: no compiling, room to sort, and that a part of the rows is in the index."""

from __future__ import annotations

import pytest

from app.store.database import database

NAMES = ("jit", "work_mem", "random_page_cost")
SETTINGS = ", ".join(f"current_setting('{name}')" for name in NAMES)


@pytest.fixture
def database_url(postgres_url) -> str:
    """SQLite is told nothing."""
    return postgres_url


def told(*, picked: bool) -> str:
    """The settings while rows are on their way."""
    return b"".join(data for data, _ in database.csv_blocks(f"SELECT {SETTINGS}", [], "|", picked=picked)).decode()


def now() -> tuple[str, ...]:
    return database.execute_sql(f"SELECT {SETTINGS}").fetchone()


def test_of_a_part_pages_out_of_order_count_little(app):
    assert told(picked=True) == "off|64MB|1.1\n"


def test_of_all_rows_they_count_as_usual(app):
    assert told(picked=False) == "off|64MB|4\n"


def test_what_an_operator_has_set_stays(app):
    database.execute_sql("SET work_mem = '256MB'")
    database.execute_sql("SET random_page_cost = 2")
    assert told(picked=True) == "off|256MB|2\n"


def test_afterwards_all_is_as_before(app):
    before = now()
    told(picked=True)
    with database.many_rows():
        assert now()[:2] == ("off", "64MB")
    assert now() == before
