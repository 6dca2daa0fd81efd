"""A page of events has the events that sorting all of them would give, whichever query finds it."""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Iterator

import pytest

from app.exceptions import Forbidden, InputInvalid
from app.services.events.rejected import Origin
from app.services.people.accounts import SYSTEM, Principal
from app.store.database import database
from app.store.events import daily_counts, hourly_counts
from app.store.events import pages as feed
from app.store.events.filters import EventFilter
from tests.support.client import FIRST, event
from tests.support.pace import times
from tests.support.rows import numbered

HOUR = hourly_counts.HOUR_MS
TOP = FIRST - FIRST % HOUR
HOURS = 40
EVENTS = times(200, 1_000)
ANNA = Principal(1, "anna", "analyst", ("A", "C"), "")

FILTERS = [
    {},
    {"customer": "A"},
    {"product": "P"},
    {"customer": "B", "product": "Q"},
    {"types": ["RARE"]},
    {"types": ["RARE", "BURST"]},
    {"customer": "A", "types": ["COMMON"]},
    {"customer": "A", "product": "P", "types": ["COMMON", "RARE"]},
    {"customer": "C", "product": "P", "types": ["RARE"]},
    {"customer": "A", "product": "P", "types": ["BURST"]},
    {"types": ["COMMON", "OTHER", "RARE", "BURST", "NEW"]},
    {"types": ["NEW"]},
    {"types": ["NOWHERE"]},
    {"customer": "NOBODY"},
    {"start": TOP + 5 * HOUR, "end": TOP + 30 * HOUR},
    {"start": TOP + 3 * HOUR + 77, "types": ["RARE"]},
    {"customer": "A", "end": TOP + 20 * HOUR + 1_000, "types": ["BURST", "RARE"]},
    {"start": TOP + HOURS * HOUR},
    {"end": TOP},
]


def accept(services, events: list[dict]) -> None:
    services.ingest.accept(json.dumps(events).encode(), Origin("", ""))


def make_event(chance: random.Random, number: int) -> dict:
    """Build a random event: most types are COMMON, RARE is rare, BURST occurs in one hour only, and times repeat."""
    hour = chance.randrange(HOURS)
    kind = chance.choices(["COMMON", "OTHER", "RARE"], [90, 7, 3])[0]
    if hour == 17 and chance.random() < 0.8:
        kind = "BURST"
    time = TOP + hour * HOUR + chance.randrange(0, HOUR, HOUR // 40)
    return event(
        customer=chance.choice("AABC"), product=chance.choice("PPPQ"), type=kind, timestamp=time, context=[str(number)]
    )


def fill(services, *, counted: bool | None) -> None:
    """Store events in random order of time.

    Args:
        counted: whether the hourly counts include the events; None includes half of them.
    """
    chance = random.Random(11)
    events = [make_event(chance, number) for number in range(EVENTS)]
    events += [event(customer="A", product="P", type="NEW", timestamp=TOP + hour * HOUR) for hour in (0, 39)]
    half = EVENTS // 2
    accept(services, events[:half])
    if counted is not False:
        services.scheduler.count()
    accept(services, events[half:])
    if counted:
        services.scheduler.count()


def truth(event_filter: EventFilter) -> list[int]:
    """Return the ids of all matching events, newest first, computed in Python."""
    rows = database.execute_sql("SELECT id, timestamp, customer, product, type FROM event").fetchall()
    matches = [
        (time, key)
        for key, time, customer, product, kind in rows
        if (event_filter.customers is None or customer in event_filter.customers)
        and event_filter.customer in (None, customer)
        and event_filter.product in (None, product)
        and (not event_filter.types or kind in event_filter.types)
        and (event_filter.start is None or time >= event_filter.start)
        and (event_filter.end is None or time <= event_filter.end)
    ]
    return [key for _, key in sorted(matches, reverse=True)]


def walk_pages(event_filter: EventFilter, limit: int) -> Iterator[list[feed.Position]]:
    """Yield the positions of each page until the last."""
    after = None
    while True:
        rows = feed.page(EventFilter(**vars(event_filter) | {"after": after}), limit)
        if not rows:
            return
        yield [(row[4], row[-1]) for row in rows]
        after = (rows[-1][4], rows[-1][-1])


def check(event_filter: EventFilter, limit: int) -> None:
    """Check that the pages have all matching events and that paging backward returns the same pages."""
    pages = list(walk_pages(event_filter, limit))
    assert [key for page in pages for _, key in page] == truth(event_filter)
    assert all(len(page) == limit for page in pages[:-1])
    for page, front in itertools.pairwise([[], *pages]):
        if front:
            assert feed.positions(EventFilter(**vars(event_filter) | {"before": front[0]}), limit) == page


@pytest.fixture(params=[True, None, False], ids=["counted", "half counted", "not counted"])
def filled(request, services) -> None:
    fill(services, counted=request.param)


def test_every_filter_matches_a_sort_of_all_events(filled):
    for given in FILTERS:
        check(EventFilter(**given), 60)
        check(EventFilter(**given, customers=("C", "B")), 300)


def test_consecutive_pages_of_any_size_have_no_gap_or_overlap(filled):
    for limit, filters in ((1, FILTERS[8:10]), (7, FILTERS[3:9]), (1_000, FILTERS[3:9])):
        for given in filters:
            check(EventFilter(**given), limit)


@pytest.mark.parametrize(
    ("rare", "batch_size", "pairs", "full"),
    [(0, 1, 9, 9), (0, 100, 9, 9), (10**9, 1, 9, 9), (3, 2, 9, 9), (3, 2, 0, 5), (3, 100, 0, 10**9)],
)
def test_every_query_strategy_finds_the_same_events(services, monkeypatch, rare, batch_size, pairs, full):
    """The strategies scan backward, or read hours from the counts, for each pair or for many pairs together."""
    monkeypatch.setattr(feed, "MANY_PAIRS", pairs)
    monkeypatch.setattr(feed, "SLICE_EVENTS", full)
    monkeypatch.setattr(feed, "RARE", rare)
    monkeypatch.setattr(hourly_counts, "HOURS", batch_size)
    monkeypatch.setattr(feed, "TERMS", batch_size)
    fill(services, counted=None)
    for given in FILTERS[4:13]:
        check(EventFilter(**given), 25)
    check(EventFilter(customers=("A", "C")), 60)
    for given in FILTERS[:2] + FILTERS[-5:-3]:
        check(EventFilter(**given), times(12, 4))


@pytest.mark.parametrize("pairs", [100, 0])
def test_events_are_found_before_their_codes_are_recorded(services, monkeypatch, pairs):
    monkeypatch.setattr(feed, "MANY_PAIRS", pairs)
    accept(services, [event(customer=f"C{number % 3}", type=f"T{number % 2}") for number in range(9)])
    database.execute_sql("DELETE FROM observed_code")
    for given in ({}, {"types": ["T1"]}, {"customer": "C2"}, {"customer": "C2", "product": "PORTFOLIO"}):
        check(EventFilter(**given), 2)
        check(EventFilter(**given, customers=("C1", "C2")), 2)


@pytest.mark.parametrize("full", [5, 10**9])
def test_a_search_ends_at_a_time_within_an_hour(services, monkeypatch, full):
    monkeypatch.setattr(feed, "MANY_PAIRS", 0)
    monkeypatch.setattr(feed, "SLICE_EVENTS", full)
    accept(services, [event(timestamp=TOP + number * 1_000) for number in range(20)])
    while hourly_counts.advance():
        pass
    for given in ({"start": TOP + 5_500}, {"end": TOP + 5_500}, {"start": TOP + 5_500, "end": TOP + 9_500}):
        check(EventFilter(**given), 60)
        check(EventFilter(**given), 2)


PAIRS = 20_000


def test_twenty_thousand_customer_and_product_pairs_need_few_statements(services, statements):
    """Ten minutes have an event of each pair, so one hour holds them all."""
    context = "ARRAY['x']" if database.param == "%s" else "'[\"x\"]'"
    batch = "'8d0f3f6e-0d0c-4b59-9a53-1c4f0f9d1d5b'" + ("::uuid" if database.param == "%s" else "")
    codes = "'C' || (n - n / 200 * 200), 'P' || (n / 200), 'T'"
    hour, time = TOP // HOUR * HOUR, f"{TOP // HOUR * HOUR} + n * 30"
    for query in (
        "INSERT INTO event (customer, product, type, timestamp, context, sequence, batch, received) "
        f"SELECT {codes}, {time}, {context}, 1, {batch}, 0",
        f"INSERT INTO observed_code (customer, product, type, first_observed_at, width) SELECT {codes}, 0, 1",
        "INSERT INTO hourly_count (customer, product, type, hour, number, first_at, last_at) "
        f"SELECT {codes}, {hour}, 1, {time}, {time}",
    ):
        numbered(query, PAIRS)
    database.execute_sql(daily_counts.OF_TYPES.add(daily_counts.OF_TYPES.sums("hourly_count")))
    database.execute_sql(f"UPDATE counted SET up_to = {PAIRS}")
    statements.clear()
    for given in ({"types": ["T"]}, {}, {"customers": ["C7", "C8"]}):
        keys = [row[-1] for row in feed.page(EventFilter(**given), 100)]
        assert keys == (truth(EventFilter(**given)))[:100]
        after = (hour + 6_000 * 30, 6_001)
        assert len(feed.page(EventFilter(**given, after=after), 50)) == 50
    assert len(statements) < 60


def test_a_page_of_many_pairs_needs_few_statements_wherever_it_is_in_an_hour(services, monkeypatch, statements):
    monkeypatch.setattr(feed, "MANY_PAIRS", 0)
    monkeypatch.setattr(feed, "SLICE_EVENTS", 5)
    accept(services, [event(customer=f"C{number % 9}", timestamp=TOP + number) for number in range(40)])
    services.scheduler.count()
    statements.clear()
    assert [key for _, key in feed.positions(EventFilter(), 7)] == truth(EventFilter())[:7]
    assert len(statements) <= 6


def test_events_of_the_same_time_are_ordered_by_acceptance(services):
    for _ in range(3):
        accept(services, [event(timestamp=5) for _ in range(10)])
    for given in ({}, {"types": [event()["type"]]}):
        check(EventFilter(**given), 4)


def test_a_rare_type_in_very_many_hours_fills_a_large_page(services):
    accept(services, [event(type="RARE", timestamp=TOP + 2 * hour * HOUR) for hour in range(1_200)])
    services.scheduler.count()
    for limit in (1_001, 50):
        check(EventFilter(types=["RARE"]), limit)


def test_very_many_types_and_pairs_are_queried_at_once(services, monkeypatch):
    accept(
        services,
        [event(customer=f"C{number % 150}", type=f"T{number % 30}", timestamp=number) for number in range(900)],
    )
    types = [f"T{number}" for number in range(1_000)]
    for counted in (False, True):
        check(EventFilter(types=types), 500)
        check(EventFilter(), 500)
        if not counted:
            services.scheduler.count()


def test_counts_that_are_too_high_hide_no_event(services):
    """The counts of an hour can be too high after events are erased."""
    fill(services, counted=True)
    database.execute_sql(f"DELETE FROM event WHERE type = 'RARE' AND timestamp >= {TOP + 30 * HOUR}")
    for limit in (1, 5, 100):
        check(EventFilter(types=["RARE"]), limit)


def test_events_counted_while_a_page_is_read_are_not_missed(services, monkeypatch):
    fill(services, counted=None)
    expected = truth(EventFilter(types=["RARE"]))
    newest = hourly_counts.newest

    def counted_in_between(*args: object, **kwargs: object) -> list:
        hours = newest(*args, **kwargs)
        services.scheduler.count()
        return hours

    monkeypatch.setattr(hourly_counts, "newest", counted_in_between)
    assert [row[-1] for row in feed.page(EventFilter(types=["RARE"]), 1_000)] == expected


def test_a_page_has_the_stored_events_and_the_position_of_the_next_page(services):
    accept(services, [event(timestamp=number, context=["é", None, '"']) for number in range(5)])
    first = services.listing.page(SYSTEM, EventFilter(), 3)
    second = services.listing.page(SYSTEM, EventFilter(), 3, first.next)
    assert [listed.timestamp for listed in (*first.events, *second.events)] == [4, 3, 2, 1, 0]
    assert first.events[0].context == ["é", None, '"']
    assert [listed.sequence for listed in first.events] == [5, 4, 3]
    assert second.next is None
    assert services.listing.page(SYSTEM, EventFilter(), 5).next is None  # the events end exactly with the page


def test_users_see_only_events_of_their_customers(services):
    fill(services, counted=True)
    for given in ({}, {"types": ["RARE"]}, {"product": "Q"}, {"customer": "C"}):
        page = services.listing.page(ANNA, EventFilter(**given), 1_000)
        assert {one.customer for one in page.events} <= {"A", "C"}
        assert len(page.events) == min(1_000, len(truth(EventFilter(**given, customers=("A", "C")))))
    with pytest.raises(Forbidden):
        services.listing.page(ANNA, EventFilter(customer="B"), 10)
    nobody = Principal(2, "nobody", "analyst", (), "")
    for given in ({}, {"types": ["RARE"]}):
        assert services.listing.page(nobody, EventFilter(**given), 10).events == []


@pytest.mark.parametrize(
    "cursor", ["", "5", "5-", "-1-2", "5-x", "5-5-5", "９-９", "1" * 16 + "-1", "5-" + "1" * 19, "5-5\n"]
)
def test_an_invalid_cursor_is_rejected(services, cursor):
    with pytest.raises(InputInvalid):
        services.listing.page(SYSTEM, EventFilter(), 10, cursor)
