"""Erasing takes what was named and nothing else, and leaves every count right, whoever works beside it."""

from __future__ import annotations

import math
import random
import time
import uuid

import pytest

from app.store import step_size
from app.store.catalog import catalog
from app.store.events import erase as erasing
from app.store.events import hourly_counts
from app.store.events.filters import EventFilter
from app.store.models import Event
from app.store.step_size import Pace
from tests.store.events.test_hourly_counts import HOUR, TOP, count_all, counts, truth
from tests.support.client import event
from tests.support.rows import fill
from tests.support.threads import Aside, at_once


def erase(**wanted: object) -> int:
    return sum(erasing.erase(EventFilter(snapshot_max_id=erasing.counted_cut(), **wanted)))


def erase_up_to(cut: int) -> int:
    return sum(erasing.erase(EventFilter("BARCHART", snapshot_max_id=cut)))


def contexts() -> set[str]:
    return {row.context[0] for row in Event.select()}


@pytest.fixture
def stored(nobody):
    """Events that differ in one thing each from the first, named by their context."""
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
    ("wanted", "gone"),
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
def test_what_is_named_goes_and_nothing_else(stored, wanted, gone):
    assert erasing.number(EventFilter(**wanted)) == len(gone)
    assert erase(**wanted) == len(gone)
    assert contexts() == ALL - gone
    assert counts() == truth()


def test_a_batch_goes_as_a_whole(stored):
    assert erase(customer="BARCHART", batch=str(uuid.uuid4())) == 0
    assert erase(customer="OTHER", batch=stored) == 0
    assert erase(customer="BARCHART", batch=stored) == 1
    assert contexts() == ALL - {"batch"}
    assert counts() == truth()


def test_what_came_after_the_cut_stays(nobody):
    nobody.send(event(context=["1"]))
    cut = erasing.counted_cut()
    nobody.send(event(context=["2"]))
    assert erase_up_to(cut) == 1
    assert contexts() == {"2"}


def test_it_goes_chunk_by_chunk_each_with_its_counts(app, monkeypatch):
    monkeypatch.setattr(erasing, "CHUNK", 300)
    monkeypatch.setattr(step_size, "STEP_SECONDS", math.inf)
    fill(1_000)
    steps = erasing.erase(EventFilter("BARCHART", snapshot_max_id=erasing.counted_cut()))
    left = 1_000
    for size in (300, 300, 300, 100):
        assert next(steps) == size
        left -= size
        assert Event.select().count() == left
        assert counts() == truth()
    assert list(steps) == []


def test_events_of_one_moment_are_not_passed_over_at_the_end_of_a_chunk(nobody, monkeypatch):
    monkeypatch.setattr(erasing, "CHUNK", 3)
    nobody.send(*[event(timestamp=TOP + number // 5) for number in range(20)])
    assert erase(customer="BARCHART") == 20


def test_what_was_not_counted_yet_is_counted_before_it_goes(nobody, monkeypatch):
    monkeypatch.setattr(hourly_counts, "SLICE", 2)
    nobody.send(*[event(timestamp=TOP + number * HOUR, type="AB"[number % 2]) for number in range(7)])
    assert hourly_counts.watermark() == 0
    assert erase(customer="BARCHART", types=("A",)) == 4
    assert counts() == truth()
    assert sum(counts().values()) == 3


def test_what_nobody_has_any_more_was_never_seen(stored, services):
    erase(customer="OTHER")
    erase(customer="BARCHART", types=("OPENED",))
    assert catalog.seen() == [
        ("BARCHART", "PORTFOLIO", "PORTFOLIO-APPLICATION-LOADED"),
        ("BARCHART", "WATCHLIST", "PORTFOLIO-APPLICATION-LOADED"),
    ]
    assert services.catalog.known() == (["BARCHART"], ["PORTFOLIO", "WATCHLIST"])


def test_what_is_left_of_a_type_keeps_it_seen(nobody):
    nobody.send(event(timestamp=TOP), event(timestamp=TOP + 1))
    erase(customer="BARCHART", end=TOP)
    assert len(catalog.seen()) == 1


def test_a_code_is_seen_again_although_its_process_remembers_it(nobody, admin):
    """The process that takes events notes a code once; that it was erased meanwhile, it does not know."""
    nobody.send(event())
    assert erase(customer="BARCHART") == 1
    assert catalog.seen() == []
    nobody.send(event())
    assert catalog.seen() == []
    count_all()
    assert len(catalog.seen()) == 1
    assert len(admin.get("/events").get_json()["events"]) == 1


def test_one_that_stops_halfway_leaves_what_is_seen_right(nobody, monkeypatch):
    monkeypatch.setattr(erasing, "CHUNK", 2)
    nobody.send(event(type="A", timestamp=1), event(type="B", timestamp=2), *[event(type="C", timestamp=3)] * 4)
    steps = erasing.erase(EventFilter("BARCHART", snapshot_max_id=erasing.counted_cut()))
    next(steps)
    steps.close()
    assert [kind for _, _, kind in catalog.seen()] == ["C"]
    assert counts() == truth()


def test_several_who_erase_and_count_at_once_leave_the_counts_exact(app, monkeypatch):
    monkeypatch.setattr(erasing, "CHUNK", 50)
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


def test_events_that_come_meanwhile_are_kept_and_counted(app, nobody, services, monkeypatch):
    monkeypatch.setattr(erasing, "CHUNK", 40)
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

    with Aside() as aside:
        others = [aside.start(send), aside.start(count), aside.start(count)]
        gone = sum(aside.start(erase_up_to, cut).result() for _ in range(2))
        for other in others:
            other.result()
    count_all()
    assert gone == 1_200
    assert contexts() == {f"late {number}" for number in range(60)}
    assert counts() == truth()
    assert len(catalog.seen()) == 1


def test_as_many_statements_erase_many_hours_as_few(nobody, statements):
    """A statement an hour held SQLite's write lock for seconds."""
    numbers = []
    for hours_of in (1, 60):
        nobody.send(*[event(timestamp=TOP + number * HOUR) for number in range(hours_of)])
        cut = erasing.counted_cut()
        statements.clear()
        assert erase_up_to(cut) == hours_of
        numbers.append(len(statements))
    assert numbers[0] == numbers[1]
    assert counts() == {}


def test_a_slow_chunk_makes_the_next_ones_smaller(app, monkeypatch):
    monkeypatch.setattr(step_size, "STEP_SECONDS", 0.0)
    fill(1_000)
    sizes = list(erasing.erase(EventFilter("BARCHART", snapshot_max_id=erasing.counted_cut())))
    assert sizes[0] == 500
    assert set(sizes[3:]) == {Pace.LEAST}


def test_a_code_whose_events_are_not_counted_yet_stays_seen(nobody):
    nobody.send(event())
    cut = erasing.counted_cut()
    nobody.send(event())
    assert erase_up_to(cut) == 1
    assert len(catalog.seen()) == 1
