"""Charts and estimates match counts of the events made in Python."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from app.store.database import database, release
from app.store.events import hourly_counts
from app.store.events.filters import EventFilter
from app.store.events.hourly_counts import estimate_matching
from tests.store.events.test_hourly_counts import count_all
from tests.support.client import FIRST, event

HOUR, DAY, MINUTE = 3_600_000, 86_400_000, 60_000
TOP = FIRST - FIRST % DAY
LATER = TOP + 30 * DAY


@pytest.fixture
def filled(nobody) -> None:
    """Store and count events of three customers, two products and four types over three days."""
    chance = random.Random(5)
    nobody.send(
        *[
            event(
                customer=chance.choice("ABC"),
                product=chance.choice("PQ"),
                type=chance.choice("WXYZ"),
                timestamp=TOP + chance.randrange(3 * DAY),
            )
            for _ in range(600)
        ]
    )
    count_all()


def events() -> list[tuple[str, str, str, int]]:
    return database.execute_sql("SELECT customer, product, type, timestamp FROM event").fetchall()


def visible_events(customers) -> list[tuple[str, str, str, int]]:
    return [one for one in events() if customers is None or one[0] in customers]


@pytest.mark.parametrize("customers", [None, ("A",), ("C", "B"), ()])
@pytest.mark.parametrize(("step", "split"), [(HOUR, "product"), (HOUR, "type"), (DAY, "type")])
def test_counts_by_hour_and_by_day_match_the_events(filled, customers, step, split):
    begin, end = TOP + DAY, TOP + 2 * DAY + 5 * HOUR
    truth = Counter(
        (time // step * step, product if split == "product" else kind)
        for _, product, kind, time in visible_events(customers)
        if begin <= time < end
    )
    actual = {(time, code): number for time, code, number in hourly_counts.by_step(customers, begin, end, step, split)}
    assert actual == truth
    assert hourly_counts.total(customers, begin, end) == truth.total()


@pytest.mark.parametrize("customers", [None, ("A",), ("C", "B"), ()])
def test_counts_by_minute_come_from_the_events(filled, nobody, customers):
    nobody.send(event(customer="A", product="NEW", timestamp=TOP + DAY))  # not in the hourly counts yet
    begin, end = TOP + DAY, TOP + DAY + 3 * HOUR
    truth = Counter(
        (time // MINUTE * MINUTE, product, kind)
        for _, product, kind, time in visible_events(customers)
        if begin <= time < end
    )
    actual: Counter[tuple[int, str, str]] = Counter()
    for time, product, kind, number in hourly_counts.by_minute(customers, begin, end):
        actual[time, product, kind] += number
    assert actual == truth


def test_counts_by_minute_include_pairs_missing_from_the_hourly_counts(nobody, services):
    for first in (0, 4):
        nobody.send(*[event(customer=f"C{number}", timestamp=TOP) for number in range(first, first + 4)])
        database.execute_sql(f"DELETE FROM observed_code WHERE customer >= 'C{first}'")  # as if not recorded
        release()
        for customers, expected in ((None, 4 + first), (["C0", "C3", "C6"], 2 + first // 4)):
            assert sum(number for *_, number in hourly_counts.by_minute(customers, TOP, TOP + MINUTE)) == expected
        services.scheduler.count()


def test_the_most_active_types(filled):
    truth = Counter((product, kind) for _, product, kind, _ in visible_events(("A", "B")))
    expected = sorted(((*key, number) for key, number in truth.items()), key=lambda row: (-row[2], row[:2]))[:3]
    assert hourly_counts.most_active(("A", "B"), TOP, TOP + 3 * DAY, 3) == expected


@pytest.mark.parametrize(
    "event_filter",
    [
        EventFilter(),
        EventFilter(customers=()),
        EventFilter(customers=("A", "B"), product="P"),
        EventFilter(customer="A", product="P", types=("X", "Y")),
        EventFilter(start=TOP + DAY, end=TOP + 2 * DAY - 1),
        EventFilter(start=TOP + DAY),
        EventFilter(end=TOP + DAY - 1),
    ],
)
def test_an_estimate_of_whole_hours_is_exact(filled, event_filter):
    truth = [
        row
        for row in visible_events(event_filter.customers)
        if event_filter.customer in (None, row[0])
        and event_filter.product in (None, row[1])
        and (not event_filter.types or row[2] in event_filter.types)
        and (event_filter.start is None or row[3] >= event_filter.start)
        and (event_filter.end is None or row[3] <= event_filter.end)
    ]
    assert estimate_matching(event_filter, LATER) == len(truth)


def test_a_partial_hour_is_estimated_by_its_share(nobody):
    nobody.send(*[event(timestamp=TOP + hour * HOUR + place) for hour in range(3) for place in range(100)])
    count_all()
    for start, end, about in [
        (HOUR // 2, 3 * HOUR - 1, 250),
        (0, 2 * HOUR + HOUR // 4 - 1, 225),
        (HOUR // 4, HOUR // 2 - 1, 25),
        (3 * HOUR, 9 * HOUR, 0),
    ]:
        assert estimate_matching(EventFilter(start=TOP + start, end=TOP + end), LATER) == about


def test_the_events_of_the_current_hour_are_spread_over_its_elapsed_part(nobody):
    nobody.send(*[event(timestamp=TOP + place) for place in range(100)])
    count_all()
    now = TOP + 20 * MINUTE - 1
    assert estimate_matching(EventFilter(start=TOP + 5 * MINUTE, end=now), now) == 75
    assert estimate_matching(EventFilter(start=TOP + 5 * MINUTE), now) == 75
    assert estimate_matching(EventFilter(start=TOP), now) == 100
    assert estimate_matching(EventFilter(end=now), now) == 100


def test_uncounted_events_are_counted(filled, nobody):
    assert hourly_counts.uncounted() == 0
    nobody.send(event(), event())
    assert hourly_counts.uncounted() == 2
