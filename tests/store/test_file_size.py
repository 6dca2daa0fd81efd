"""SQLite's file shrinks after events are erased or rows are purged."""

from __future__ import annotations

import math
import sqlite3
from contextlib import closing

import pytest

from app.store import step_size
from app.store.backends import sqlite
from app.store.database import database, give_back_space, release
from app.store.events import erase as erasing
from app.store.events.filters import EventFilter
from app.store.models import Event
from tests.support.rows import fill, numbered

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


def file_bytes() -> int:
    database.checkpoint()
    return database.path.stat().st_size


def erase_all() -> None:
    assert sum(erasing.erase(EventFilter("BARCHART", snapshot_max_id=erasing.counted_cut()))) == 5_000


def test_the_scheduler_shortens_the_file_after_a_purge(services):
    empty = file_bytes()
    numbered("INSERT INTO idempotency_key (key, digest, answer, created_at) SELECT n, '', zeroblob(1000), 1", 2_000)
    full = file_bytes()
    assert full > empty + 2_000_000
    services.scheduler.run_all()
    assert database.fetch_int("SELECT count(*) FROM idempotency_key") == 0
    assert file_bytes() < empty + (full - empty) // 5


def test_the_file_is_intact_after_it_was_shortened_in_many_steps(app, monkeypatch):
    for name in ("FIRST_FREED_PAGES", "MAX_FREED_PAGES"):
        monkeypatch.setattr(sqlite, name, 60)
    monkeypatch.setattr(step_size, "STEP_SECONDS", math.inf)
    fill(5_000)
    erase_all()
    fill(100)
    full = file_bytes()
    give_back_space()
    assert file_bytes() < full // 2
    assert database.execute_sql("PRAGMA integrity_check").fetchall() == [("ok",)]
    assert Event.select().count() == 100


@pytest.fixture
def steps(app, monkeypatch) -> list[int]:
    """Return a list that collects the number of pages of each step from now on."""
    numbers: list[int] = []
    free_pages = database.obj.free_pages

    def record(number: int) -> None:
        numbers.append(number)
        free_pages(number)

    monkeypatch.setattr(database.obj, "free_pages", record)
    return numbers


def test_each_step_frees_its_number_of_pages(steps):
    fill(5_000)
    erase_all()
    free = database.fetch_int("PRAGMA freelist_count")
    give_back_space()
    assert sum(steps) == free - database.fetch_int("PRAGMA freelist_count")
    assert max(steps) >= sqlite.FIRST_FREED_PAGES


def test_a_slow_step_makes_the_next_steps_smaller(steps, monkeypatch):
    """Other writers wait for each step."""
    monkeypatch.setattr(step_size, "STEP_SECONDS", 0.0)
    fill(5_000)
    erase_all()
    give_back_space()
    assert steps[0] == sqlite.FIRST_FREED_PAGES
    assert set(steps[1:]) == {step_size.Pace.LEAST}


def test_a_few_free_pages_are_kept_for_later_inserts(steps):
    fill(5_000)
    database.execute_sql("DELETE FROM event WHERE id <= 100")
    assert 0 < database.fetch_int("PRAGMA freelist_count") < sqlite.MIN_FREED_PAGES
    give_back_space()
    assert not steps


def test_a_file_of_an_earlier_version_still_works_and_shrinks_after_a_vacuum(app):
    release()
    with closing(sqlite3.connect(database.path)) as connection:
        connection.execute("PRAGMA auto_vacuum = NONE")
        connection.execute("VACUUM")
    fill(5_000)
    full = file_bytes()
    erase_all()
    give_back_space()
    assert file_bytes() >= full
    release()
    with closing(sqlite3.connect(database.path)) as connection:
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
        connection.execute("VACUUM")
    assert database.fetch_int("PRAGMA auto_vacuum") == sqlite.INCREMENTAL
    assert file_bytes() < full // 2
