"""The hourly counts are what the events say, however they came and whoever counts."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from app.store import hours
from app.store.database import database
from app.store.models import HourlyCount
from tests.support.client import FIRST, event
from tests.support.rows import fill
from tests.support.threads import at_once

HOUR = hours.HOUR_MS
TOP = FIRST - FIRST % HOUR  # the beginning of an hour


def counts() -> dict[tuple, int]:
    rows = HourlyCount.select(
        HourlyCount.customer, HourlyCount.product, HourlyCount.type, HourlyCount.hour, HourlyCount.number
    )
    return {row[:-1]: row[-1] for row in rows.tuples()}


def truth() -> dict[tuple, int]:
    rows = database.execute_sql("SELECT customer, product, type, timestamp FROM event").fetchall()
    return Counter((customer, product, kind, time - time % HOUR) for customer, product, kind, time in rows)


def count_all() -> None:
    while hours.count_up():
        pass


def test_an_hour_begins_with_its_first_millisecond(nobody):
    nobody.send(*[event(timestamp=time) for time in (TOP - 1, TOP, TOP + 1, TOP + HOUR - 1, TOP + HOUR, 0)])
    count_all()
    found = {key[-1]: number for key, number in counts().items()}
    assert found == {TOP - HOUR: 1, TOP: 3, TOP + HOUR: 1, 0: 1}


@pytest.mark.parametrize(
    ("begin", "end", "about", "most"),
    [
        (None, None, 100, 100),
        (TOP, TOP + 2 * HOUR - 1, 100, 100),
        (TOP + HOUR // 2, None, 70, 100),
        (None, TOP + HOUR + HOUR // 4 - 1, 70, 100),
        (TOP + HOUR // 2, TOP + HOUR + HOUR // 4 - 1, 40, 100),
        (TOP + HOUR // 4, TOP + HOUR // 2 - 1, 15, 60),
        (TOP - HOUR // 2, TOP - 1, 0, 0),
    ],
)
def test_of_an_hour_at_an_edge_its_share_is_estimated(nobody, begin, end, about, most):
    nobody.send(*[event(timestamp=TOP + 7, type=kind) for kind in "XYYYYY"] * 10, *[event(timestamp=TOP + HOUR)] * 40)
    count_all()
    asked = (event()["customer"], event()["product"], [], begin, end)
    assert (hours.estimate(*asked), hours.number(*asked)) == (about, most)


def test_they_follow_the_events_slice_by_slice(nobody, monkeypatch):
    monkeypatch.setattr(hours, "SLICE", 7)
    chance = random.Random(3)
    for _ in range(6):
        nobody.send(
            *[
                event(
                    customer=chance.choice("AB"), type=chance.choice("XYZ"), timestamp=TOP + chance.randrange(5 * HOUR)
                )
                for _ in range(chance.randrange(1, 12))
            ]
        )
        count_all()
        assert counts() == truth()
    assert hours.count_up() == 0


def test_what_is_not_counted_yet_is_known_not_to_be(nobody):
    nobody.send(event())
    count_all()
    first = hours.counted_to()
    nobody.send(event(), event())
    assert hours.counted_to() == first
    assert hours.count_up() == 2
    assert hours.counted_to() == first + 2


def test_several_who_count_at_once_count_everything_once(app, monkeypatch):
    monkeypatch.setattr(hours, "SLICE", 100)
    fill(3_000)
    at_once(6, lambda _: count_all())
    assert counts() == truth()
    assert hours.counted_to() == 3_000


def test_nothing_is_counted_while_there_is_nothing(app):
    assert (hours.count_up(), hours.counted_to(), counts()) == (0, 0, {})


def test_the_scheduler_counts(nobody, services):
    nobody.send(event(), event())
    services.upkeep.run_all()
    assert counts() == truth() != {}


@pytest.fixture
def counted(nobody):
    """A in hours 0, 1 and 3, B in 1 and 2, twice each."""
    for kind, times in (("A", (0, 1, 3)), ("B", (1, 2))):
        nobody.send(*[event(type=kind, timestamp=TOP + hour * HOUR) for hour in times for _ in range(2)])
    count_all()


@pytest.mark.parametrize(
    ("types", "begin", "end", "limit", "expected"),
    [
        (["A"], None, None, 10, {3: 2, 1: 2, 0: 2}),
        (["A", "B"], None, None, 10, {3: 2, 2: 2, 1: 4, 0: 2}),
        (["A", "B"], None, None, 3, {3: 2, 2: 2, 1: 4}),
        (["A"], TOP + HOUR + 5, None, 10, {3: 2, 1: 2}),
        (["A"], TOP + 2 * HOUR, None, 10, {3: 2}),
        (["A"], None, TOP + 3 * HOUR, 10, {3: 2, 1: 2, 0: 2}),
        (["A"], None, TOP + 3 * HOUR - 1, 10, {1: 2, 0: 2}),
        (["C"], None, None, 10, {}),
    ],
)
def test_the_newest_hours_of_some_types_are_found(counted, types, begin, end, limit, expected):
    found = hours.newest("BARCHART", "PORTFOLIO", types, begin, end, limit)
    assert [one[:2] for one in found] == [(TOP + hour * HOUR, number) for hour, number in expected.items()]


def test_an_hour_is_told_with_its_first_and_last_event_of_a_type_whenever_they_were_counted(nobody):
    bounds = []
    for time in (500, 20, 90_000, 300):
        nobody.send(event(type="A", timestamp=TOP + time), event(type="B", timestamp=TOP + 7))
        count_all()
        bounds.append(hours.newest("BARCHART", "PORTFOLIO", ["A"], None, None, 1)[0][2:])
    assert bounds == [(TOP + first, TOP + last) for first, last in [(500, 500), (20, 500), (20, 90_000), (20, 90_000)]]


def test_the_oldest_hours_are_found_as_well(counted):
    found = hours.newest("BARCHART", "PORTFOLIO", ["A", "B"], TOP + 5, None, 4, oldest=True)
    assert [one.hour for one in found] == [TOP + hour * HOUR for hour in (0, 1, 2, 3)]


def test_the_events_of_some_hours_are_summed_up(counted):
    assert hours.total("BARCHART", "PORTFOLIO", TOP, TOP) == 2
    assert hours.total("BARCHART", "PORTFOLIO", TOP + HOUR, TOP + 3 * HOUR) == 8
    assert hours.total("BARCHART", "OTHER", TOP, TOP + 3 * HOUR) == 0
