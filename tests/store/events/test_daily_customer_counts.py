"""The daily counts by customer are read only while they are complete, and are rebuilt otherwise."""

from __future__ import annotations

import itertools
import random
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from peewee import SQL

from app.store.events import count_slices, counts, daily_customer_counts, erase, hourly_counts
from app.store.events.counts import Grouping
from app.store.events.filters import EventFilter
from app.store.models import Counted, DailyCustomerCount, Event
from app.store.step_size import Pace
from tests.support.client import FIRST
from tests.support.threads import at_once

HOUR, DAY = 3_600_000, 86_400_000
TOP = FIRST - FIRST % DAY
CUSTOMERS, PRODUCTS = ("A", "B"), ("P", "Q")
EDGES = (None, TOP, TOP + DAY - 1, TOP + DAY, TOP + DAY + 5 * HOUR, TOP + DAY + 5 * HOUR + 7, TOP + 2 * DAY - HOUR)

pytestmark = pytest.mark.both_databases


@pytest.fixture(autouse=True)
def small_steps(app, monkeypatch) -> None:
    monkeypatch.setattr(daily_customer_counts, "STEP", Pace(3, 3))
    monkeypatch.setattr(count_slices, "STEPS", [Pace(3, 3)] * 3)


def store_events(chance: random.Random, number: int) -> None:
    """Store events of three days."""
    rows = [
        {
            "customer": chance.choice(CUSTOMERS),
            "product": chance.choice(PRODUCTS),
            "type": chance.choice("XYZ"),
            "timestamp": TOP + chance.choice([0, DAY - 1, DAY, 3 * DAY - 1, chance.randrange(3 * DAY)]),
            "context": [],
            "sequence": 1,
            "batch": str(uuid.uuid4()),
            "received": TOP,
        }
        for _ in range(number)
    ]
    Event.insert_many(rows).execute()


def count_all() -> None:
    while hourly_counts.advance():
        pass


def erase_some(chance: random.Random) -> None:
    start = TOP + chance.randrange(3 * DAY)
    customer, cut = chance.choice([None, *CUSTOMERS]), erase.counted_cut()
    sum(erase.erase(EventFilter(customer, start=start, end=start + DAY // 2, snapshot_max_id=cut)))


@contextmanager
def old_version() -> Iterator[None]:
    """Change counts as a process of version 1.0, which leaves these and their totals as they were."""
    rows, before = list(DailyCustomerCount.select().dicts()), Counted.get()
    yield
    DailyCustomerCount.delete().execute()
    if rows:
        DailyCustomerCount.insert_many(rows).execute()
    totals = ("daily_customer_total", "daily_customer_erased")
    Counted.update({name: getattr(before, name) for name in totals}).execute()


def is_complete() -> bool:
    return Counted.select().where(SQL(daily_customer_counts.IS_COMPLETE)).exists()


def total() -> int:
    return sum(one.number for one in DailyCustomerCount.select())


def check_answers() -> None:
    """Compare numbers by customer in all kinds of ranges with a count of all events."""
    events = list(Event.select(Event.customer, Event.product, Event.timestamp).tuples())
    ranges = [(start, end) for start, end in itertools.product(EDGES, EDGES) if (start or 0) <= (end or TOP * 2)]
    for (start, end), step in zip(ranges, itertools.cycle([None, HOUR, DAY]), strict=False):
        expected = Counter(
            (None if step is None else time // step * step, (customer, product))
            for customer, product, time in events
            if (start is None or time >= start) and (end is None or time <= end)
        )
        grouping = Grouping(("customer", "product"), step)
        numbers, _, _ = counts.read(
            EventFilter(start=start, end=end), grouping, max_groups=100, max_rows=1_000, max_read=1_000
        )
        assert {(time, values): number for time, values, number in numbers.rows} == expected, (start, end, step)


def test_they_are_complete_from_the_start_in_a_new_installation(app):
    assert is_complete()
    assert not daily_customer_counts.rebuild()
    store_events(random.Random(1), 20)
    count_all()
    assert is_complete()
    assert DailyCustomerCount.select().count() > 0


@pytest.mark.parametrize("seed", range(3))
def test_answers_are_exact_whatever_changes_the_counts_in_whichever_order(app, seed):
    chance = random.Random(seed)
    for _ in range(8):
        store_events(chance, chance.randrange(1, 30))
        act = chance.choice([count_all, hourly_counts.advance, lambda: erase_some(chance)])
        if chance.random() < 0.4:
            with old_version():
                act()
        else:
            act()
        if chance.random() < 0.5:
            while daily_customer_counts.rebuild():
                pass
            assert is_complete()
        check_answers()


def test_they_are_read_only_while_they_are_complete(app, statements):
    for change in (count_all, lambda: erase_some(random.Random(4))):
        store_events(random.Random(2), 30)
        with old_version():
            change()
        assert not is_complete()
        for reads_them in (False, True):
            statements.clear()
            check_answers()
            assert any("FROM daily_customer_count" in sql for sql in statements) == reads_them
            assert daily_customer_counts.rebuild() != reads_them


def test_the_scheduler_rebuilds_them(app, services):
    store_events(random.Random(3), 30)
    with old_version():
        count_all()
    services.scheduler.count()
    assert is_complete()
    check_answers()


def test_concurrent_processes_can_rebuild_and_count_them(app):
    store_events(random.Random(5), 60)
    with old_version():
        count_all()
    store_events(random.Random(6), 30)
    at_once(4, lambda place: count_all() if place == 0 else daily_customer_counts.rebuild())
    daily_customer_counts.rebuild()
    assert is_complete()
    check_answers()


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
class TestSteps:
    """SQLite allows only one writer, so they are rebuilt in short transactions."""

    @pytest.fixture(autouse=True)
    def incomplete(self, small_steps) -> None:
        store_events(random.Random(7), 60)
        with old_version():
            count_all()
            erase_some(random.Random(8))

    def test_an_interrupted_rebuild_leaves_them_incomplete_and_starts_again(self, monkeypatch):
        for steps in range(3):
            pauses = iter([None] * steps)
            with monkeypatch.context() as patch:
                patch.setattr(daily_customer_counts, "pause", lambda began, pauses=pauses: next(pauses))
                with pytest.raises(StopIteration):
                    daily_customer_counts.rebuild()
            assert not is_complete()
            check_answers()
        assert daily_customer_counts.rebuild()
        assert is_complete()
        check_answers()

    @pytest.mark.parametrize("change", [count_all, lambda: erase_some(random.Random(9))], ids=["count", "erase"])
    def test_a_change_of_the_counts_ends_a_rebuild(self, monkeypatch, change):
        store_events(random.Random(8), 10)
        with monkeypatch.context() as patch:
            patch.setattr(daily_customer_counts, "pause", lambda began: change())
            assert daily_customer_counts.rebuild()
        assert not is_complete()
        check_answers()
        daily_customer_counts.rebuild()
        assert is_complete()
        check_answers()

    def test_rows_that_no_hourly_count_has_any_more_are_removed(self):
        daily_customer_counts.rebuild()
        with old_version():
            sum(erase.erase(EventFilter("A", snapshot_max_id=erase.counted_cut())))
        daily_customer_counts.rebuild()
        assert {one.customer for one in DailyCustomerCount.select()} == {"B"}
        with old_version():
            sum(erase.erase(EventFilter(snapshot_max_id=erase.counted_cut())))
        daily_customer_counts.rebuild()
        assert not DailyCustomerCount.select().exists()

    def test_a_slice_that_an_old_process_finishes_leaves_them_incomplete(self, monkeypatch):
        daily_customer_counts.rebuild()
        store_events(random.Random(9), 20)
        step = count_slices._step

        def take_some(slice_: object, place: int, done: int, to: int, ends: list[int]) -> bool:
            return done <= ends[1] and step(slice_, place, done, to, ends)

        monkeypatch.setattr(count_slices, "_step", take_some)
        before = total()
        hourly_counts.advance()
        assert before < total() < before + 20
        check_answers()
        # It has no groups left, because it does not know those by customer.
        Counted.update(up_to=Counted.slice_end, slice_end=None, slice_groups=0).execute()
        assert not is_complete()
        check_answers()
        assert daily_customer_counts.rebuild()
        check_answers()
