"""An erasure removes exactly the matching events and keeps every count right despite concurrent work."""

from __future__ import annotations

import math
import random
import time
import uuid
from collections.abc import Callable

import pytest

from app.store import step_size
from app.store.catalog import catalog
from app.store.database import database
from app.store.events import erase as erasing
from app.store.events import hourly_counts, select
from app.store.events.filters import EventFilter
from app.store.models import Event
from app.store.step_size import Pace
from tests.store.events.test_hourly_counts import HOUR, TOP, count_all, counts, truth
from tests.support.client import event
from tests.support.rows import fill
from tests.support.threads import BackgroundThreads, at_once


def erase(**criteria: object) -> int:
    return sum(erasing.erase(EventFilter(snapshot_max_id=erasing.counted_cut(), **criteria)))


def erase_up_to(cut: int) -> int:
    return sum(erasing.erase(EventFilter("BARCHART", snapshot_max_id=cut)))


def contexts() -> set[str]:
    return {row.context[0] for row in Event.select()}


@pytest.fixture
def set_chunk(monkeypatch) -> Callable[[int], None]:
    """Return a function that sets the number of events of a chunk, regardless of how long chunks take."""

    def set_both(size: int) -> None:
        for name in ("CHUNK", "WHOLE"):
            monkeypatch.setattr(erasing, name, size)
        monkeypatch.setattr(step_size, "STEP_SECONDS", math.inf)
        monkeypatch.setattr(erasing, "WHOLE_SECONDS", math.inf)

    return set_both


@pytest.fixture
def stored(nobody):
    """Store events that each differ from the first in one field, and return the batch of the second.

    The first context item names the event.
    """
    nobody.send(event(context=["base", "user-7"]))
    batch = nobody.send(event(context=["batch", "user-8"], timestamp=TOP + 5))[0]["batch"]
    nobody.send(
        event(customer="OTHER", context=["customer", "user-7"]),
        event(product="WATCHLIST", context=["product", None, "user-7 and more"]),
        event(type="OPENED", context=["type", None]),
        event(timestamp=TOP - 1, context=["early", "USER-7"]),
        event(timestamp=TOP + HOUR, context=["late", 'a "quoted", [item]']),
    )
    return batch


ALL = {"base", "batch", "customer", "product", "type", "early", "late"}


@pytest.mark.parametrize(
    ("criteria", "erased"),
    [
        ({"customer": "BARCHART"}, ALL - {"customer"}),
        ({"customer": "BARCHART", "product": "WATCHLIST"}, {"product"}),
        ({"customer": "BARCHART", "types": ("OPENED", "CLOSED")}, {"type"}),
        ({"customer": "BARCHART", "end": TOP - 1}, {"early"}),
        ({"customer": "BARCHART", "end": TOP - 2}, set()),
        ({"customer": "BARCHART", "start": TOP + HOUR}, {"late"}),
        ({"customer": "BARCHART", "start": TOP + 5, "end": TOP + 5}, {"batch"}),
        ({"customer": "BARCHART", "item": "user-7"}, {"base"}),
        ({"customer": "BARCHART", "item": 'a "quoted", [item]'}, {"late"}),
        ({"customer": "OTHER", "item": "user-7"}, {"customer"}),
        ({"customer": "NOBODY"}, set()),
        ({"end": TOP - 1}, {"early"}),
    ],
)
def test_matching_events_are_erased_and_no_others(stored, criteria, erased):
    assert select.count(EventFilter(**criteria)) == len(erased)
    assert erase(**criteria) == len(erased)
    assert contexts() == ALL - erased
    assert counts() == truth()


def test_a_batch_is_erased_as_a_whole(stored):
    assert erase(customer="BARCHART", batch=str(uuid.uuid4())) == 0
    assert erase(customer="OTHER", batch=stored) == 0
    assert erase(customer="BARCHART", batch=stored) == 1
    assert contexts() == ALL - {"batch"}
    assert counts() == truth()


def test_events_after_the_snapshot_remain(nobody):
    nobody.send(event(context=["1"]))
    cut = erasing.counted_cut()
    nobody.send(event(context=["2"]))
    assert erase_up_to(cut) == 1
    assert contexts() == {"2"}


def test_events_are_erased_in_chunks_together_with_their_counts(app, set_chunk):
    set_chunk(300)
    fill(1_000)
    steps = erasing.erase(EventFilter("BARCHART", snapshot_max_id=erasing.counted_cut()))
    remaining = 1_000
    for size in (300, 300, 300, 100):
        assert next(steps) == size
        remaining -= size
        assert Event.select().count() == remaining
        assert counts() == truth()
    assert list(steps) == []


def test_a_chunk_may_end_between_events_of_the_same_time(nobody, set_chunk):
    set_chunk(3)
    nobody.send(*[event(timestamp=TOP + number // 5) for number in range(20)])
    assert erase(customer="BARCHART") == 20


def test_uncounted_events_are_counted_before_they_are_erased(nobody, monkeypatch):
    monkeypatch.setattr(hourly_counts, "SLICE", 2)
    nobody.send(*[event(timestamp=TOP + number * HOUR, type="AB"[number % 2]) for number in range(7)])
    assert hourly_counts.watermark() == 0
    assert erase(customer="BARCHART", types=("A",)) == 4
    assert counts() == truth()
    assert sum(counts().values()) == 3


def test_a_code_without_events_is_no_longer_observed(stored, services):
    erase(customer="OTHER")
    erase(customer="BARCHART", types=("OPENED",))
    assert catalog.seen() == [
        ("BARCHART", "PORTFOLIO", "PORTFOLIO-APPLICATION-LOADED"),
        ("BARCHART", "WATCHLIST", "PORTFOLIO-APPLICATION-LOADED"),
    ]
    assert services.catalog.known() == (["BARCHART"], ["PORTFOLIO", "WATCHLIST"])


def test_a_code_with_remaining_events_stays_observed(nobody):
    nobody.send(event(timestamp=TOP), event(timestamp=TOP + 1))
    erase(customer="BARCHART", end=TOP)
    assert len(catalog.seen()) == 1


def test_a_code_is_observed_again_although_the_process_has_cached_it(nobody, admin):
    """The process that accepts events records each code once, and does not notice when the code is erased."""
    nobody.send(event())
    assert erase(customer="BARCHART") == 1
    assert catalog.seen() == []
    nobody.send(event())
    assert catalog.seen() == []
    count_all()
    assert len(catalog.seen()) == 1
    assert len(admin.get("/events").get_json()["events"]) == 1


def test_an_interrupted_erasure_leaves_the_observed_codes_right(nobody, set_chunk):
    set_chunk(2)
    nobody.send(event(type="A", timestamp=1), event(type="B", timestamp=2), *[event(type="C", timestamp=3)] * 4)
    steps = erasing.erase(EventFilter("BARCHART", snapshot_max_id=erasing.counted_cut()))
    next(steps)
    steps.close()
    assert [kind for _, _, kind in catalog.seen()] == ["C"]
    assert counts() == truth()


def test_concurrent_erasures_and_counts_leave_the_counts_exact(app, monkeypatch, set_chunk):
    set_chunk(50)
    monkeypatch.setattr(hourly_counts, "SLICE", 170)
    fill(3_000)
    cut = 3_000

    def work(number: int) -> int:
        if number % 2:
            count_all()
            return 0
        while hourly_counts.watermark() < cut:
            time.sleep(0.01)
        return erase_up_to(cut)

    assert sum(at_once(6, work)) == 3_000
    assert counts() == truth() == {}


def test_events_that_arrive_during_an_erasure_are_stored_and_counted(app, nobody, services, set_chunk):
    set_chunk(40)
    fill(1_200)
    chance = random.Random(5)
    cut = erasing.counted_cut()

    def send() -> None:
        for number in range(60):
            nobody.send(event(context=[f"late {number}"], timestamp=TOP + chance.randrange(HOUR)))

    def count() -> None:
        for _ in range(60):
            hourly_counts.advance()
            time.sleep(0.005)

    with BackgroundThreads() as threads:
        others = [threads.start(send), threads.start(count), threads.start(count)]
        erased = sum(threads.start(erase_up_to, cut).result() for _ in range(2))
        for other in others:
            other.result()
    count_all()
    assert erased == 1_200
    assert contexts() == {f"late {number}" for number in range(60)}
    assert counts() == truth()
    assert len(catalog.seen()) == 1


def test_the_number_of_statements_does_not_depend_on_the_number_of_hours(nobody, statements):
    """One statement per hour would hold SQLite's write lock for seconds."""
    statement_counts = []
    for hours in (1, 60):
        nobody.send(*[event(timestamp=TOP + number * HOUR) for number in range(hours)])
        cut = erasing.counted_cut()
        statements.clear()
        assert erase_up_to(cut) == hours
        statement_counts.append(len(statements))
    assert statement_counts[0] == statement_counts[1]
    assert counts() == {}


def test_a_slow_chunk_makes_the_next_chunks_smaller(app, monkeypatch):
    monkeypatch.setattr(step_size, "STEP_SECONDS", 0.0)
    monkeypatch.setattr(erasing, "WHOLE_SECONDS", 0.0)
    monkeypatch.setattr(erasing, "FIRST_WHOLE", 500)
    fill(1_000)
    sizes = list(erasing.erase(EventFilter("BARCHART", snapshot_max_id=erasing.counted_cut())))
    assert sizes[0] == 500
    assert set(sizes[3:]) == {Pace.LEAST}


def test_a_code_with_uncounted_events_stays_observed(nobody):
    nobody.send(event())
    cut = erasing.counted_cut()
    nobody.send(event())
    assert erase_up_to(cut) == 1
    assert len(catalog.seen()) == 1


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_autovacuum_reuses_the_space_before_a_tenth_of_the_table_is_erased(app):
    options = database.execute_sql("SELECT reloptions FROM pg_class WHERE relname = 'event'").fetchone()[0]
    (share,) = [float(one.split("=")[1]) for one in options if one.startswith("autovacuum_vacuum_scale_factor=")]
    assert share < 0.1
