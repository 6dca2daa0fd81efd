"""Hourly counts match the events, however the events arrived and whichever process counts them."""

from __future__ import annotations

import itertools
import math
import random
import uuid
from collections import Counter, defaultdict

import pytest
from peewee import SQL

from app.store.catalog import catalog
from app.store.database import database
from app.store.events import count_slices, daily_customer_counts, erase, hourly_counts
from app.store.events.filters import EventFilter
from app.store.models import Counted, DailyCount, DailyCustomerCount, Event, HourlyCount, ObservedCode
from app.store.step_size import Pace
from tests.support.client import FIRST, event
from tests.support.rows import fill
from tests.support.threads import at_once

HOUR, DAY = hourly_counts.HOUR_MS, 86_400_000
TOP = FIRST - FIRST % HOUR  # the start of an hour


def daily_counts(table: type[DailyCount | DailyCustomerCount], *codes: str) -> dict[tuple, list[int]]:
    return {
        tuple(getattr(one, name) for name in ("day", *codes)): [
            one.number,
            *(getattr(one, f"hour_{place}") for place in range(24)),
        ]
        for one in table.select()
    }


def sums(*codes: str) -> dict[tuple, list[int]]:
    """Return the sums of the hourly counts that the daily counts should be."""
    found: defaultdict[tuple, list[int]] = defaultdict(lambda: [0] * 25)
    for one in HourlyCount.select():
        numbers = found[(one.hour - one.hour % DAY, *(getattr(one, code) for code in codes))]
        numbers[0] += one.number
        numbers[1 + one.hour % DAY // HOUR] += one.number
    return found


def counts() -> dict[tuple, int]:
    """Return the hourly counts, of which the daily counts must be the sums, except within a slice."""
    if Counted.get().slice_end is None:
        assert daily_counts(DailyCount, "product", "type") == sums("product", "type")
        assert daily_counts(DailyCustomerCount, "customer", "product") == sums("customer", "product")
        assert Counted.select().where(SQL(daily_customer_counts.IS_COMPLETE)).exists()
    rows = HourlyCount.select(
        HourlyCount.customer, HourlyCount.product, HourlyCount.type, HourlyCount.hour, HourlyCount.number
    )
    return {row[:-1]: row[-1] for row in rows.tuples()}


def truth() -> dict[tuple, int]:
    rows = database.execute_sql("SELECT customer, product, type, timestamp FROM event").fetchall()
    return Counter((customer, product, kind, time - time % HOUR) for customer, product, kind, time in rows)


def count_all() -> None:
    while hourly_counts.advance():
        pass


def test_an_hour_starts_with_its_first_millisecond(nobody):
    nobody.send(*[event(timestamp=time) for time in (TOP - 1, TOP, TOP + 1, TOP + HOUR - 1, TOP + HOUR, 0)])
    count_all()
    by_hour = {key[-1]: number for key, number in counts().items()}
    assert by_hour == {TOP - HOUR: 1, TOP: 3, TOP + HOUR: 1, 0: 1}


@pytest.mark.parametrize(
    ("begin", "end", "estimate", "maximum"),
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
def test_a_partial_hour_is_estimated_by_its_share(nobody, begin, end, estimate, maximum):
    nobody.send(*[event(timestamp=TOP + 7, type=kind) for kind in "XYYYYY"] * 10, *[event(timestamp=TOP + HOUR)] * 40)
    count_all()
    query = (event()["customer"], event()["product"], [], begin, end)
    assert (hourly_counts.estimate(*query), hourly_counts.number(*query)) == (estimate, maximum)


def test_counts_follow_the_events_slice_by_slice(nobody, monkeypatch):
    monkeypatch.setattr(hourly_counts, "SLICE", 7)
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
    assert hourly_counts.advance() == 0


def test_the_watermark_excludes_uncounted_events(nobody):
    nobody.send(event())
    count_all()
    first = hourly_counts.watermark()
    nobody.send(event(), event())
    assert hourly_counts.watermark() == first
    assert hourly_counts.advance() == 2
    assert hourly_counts.watermark() == first + 2


def test_concurrent_processes_count_every_event_once(app, monkeypatch):
    monkeypatch.setattr(hourly_counts, "SLICE", 100)
    fill(3_000)
    at_once(6, lambda _: count_all())
    assert counts() == truth()
    assert hourly_counts.watermark() == 3_000


def test_without_events_nothing_is_counted(app):
    assert (hourly_counts.advance(), hourly_counts.watermark(), counts()) == (0, 0, {})


def test_the_scheduler_counts_events(nobody, services):
    nobody.send(event(), event())
    services.scheduler.run_all()
    assert counts() == truth() != {}


@pytest.fixture
def counted(nobody):
    """Store and count two events each of type A in hours 0, 1 and 3, and of type B in hours 1 and 2."""
    for kind, times in (("A", (0, 1, 3)), ("B", (1, 2))):
        nobody.send(*[event(type=kind, timestamp=TOP + hour * HOUR) for hour in times for _ in range(2)])
    count_all()


@pytest.mark.parametrize(
    ("types", "begin", "end", "limit", "expected"),
    [
        (["A"], None, None, 10, {3: 2, 1: 2, 0: 2}),
        (["A", "B"], None, None, 3, {3: 2, 2: 2, 1: 4}),
        (["A"], TOP + HOUR + 5, None, 10, {3: 2, 1: 2}),
        (["A"], TOP + 2 * HOUR, None, 10, {3: 2}),
        (["A"], None, TOP + 3 * HOUR, 10, {3: 2, 1: 2, 0: 2}),
        (["A"], None, TOP + 3 * HOUR - 1, 10, {1: 2, 0: 2}),
        (["C"], None, None, 10, {}),
    ],
)
def test_the_newest_or_oldest_hours_of_some_types_are_returned(counted, types, begin, end, limit, expected):
    hours = hourly_counts.newest("BARCHART", "PORTFOLIO", types, begin, end, limit)
    assert [row[:2] for row in hours] == [(TOP + hour * HOUR, number) for hour, number in expected.items()]
    if limit > len(expected):
        assert hourly_counts.newest("BARCHART", "PORTFOLIO", types, begin, end, limit, oldest=True) == hours[::-1]


def test_an_hour_has_its_first_and_last_event_whenever_they_were_counted(nobody):
    bounds = []
    for time in (500, 20, 90_000, 300):
        nobody.send(event(type="A", timestamp=TOP + time), event(type="B", timestamp=TOP + 7))
        count_all()
        bounds.append(hourly_counts.newest("BARCHART", "PORTFOLIO", ["A"], None, None, 1)[0][2:])
    assert bounds == [(TOP + first, TOP + last) for first, last in [(500, 500), (20, 500), (20, 90_000), (20, 90_000)]]


def scatter(number: int, *, kinds: int = 3) -> None:
    """Store events of different hours and types without recording their codes; later events have wider contexts."""
    for place in range(number):
        Event.insert(
            customer="A",
            product="P",
            type=f"T{place % kinds}",
            timestamp=TOP + place * HOUR,
            context=["x"] * (1 + place // kinds),
            sequence=1,
            batch=str(uuid.uuid4()),
            received=TOP,
        ).execute()


def test_the_number_of_statements_does_not_depend_on_the_number_of_groups(statements):
    statement_counts = []
    for groups in (2, 60):
        scatter(groups)
        statements.clear()
        count_all()
        statement_counts.append(len(statements))
        assert counts() == truth()
    assert statement_counts[0] == statement_counts[1]


def test_counted_codes_are_observed_with_their_widest_context(app):
    catalog.note_seen([("A", "P", "T0", 1), ("A", "P", "T1", 9)], 5)
    scatter(6)
    count_all()
    assert catalog.widths("A", "P") == {"T0": 2, "T1": 9, "T2": 2}
    assert ObservedCode.select(ObservedCode.first_observed_at).where(ObservedCode.type == "T0").scalar() == 5


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
class TestSteps:
    """SQLite allows only one writer, so a slice is counted in short transactions."""

    @pytest.fixture(autouse=True)
    def small_steps(self, monkeypatch) -> None:
        monkeypatch.setattr(count_slices, "STEPS", [Pace(7, 7)] * 3)

    def test_a_transaction_counts_at_most_one_step_of_groups(self, app, statements):
        scatter(30)
        statements.clear()
        assert hourly_counts.advance() == 30
        assert len([sql for sql in statements if "INSERT INTO hourly_count" in sql]) == 5
        assert counts() == truth()

    def test_a_transaction_writes_counts_of_one_table_by_the_size_for_that(self, app, monkeypatch, statements):
        sizes = {HourlyCount: 7, DailyCount: 2, DailyCustomerCount: 1}
        monkeypatch.setattr(count_slices, "STEPS", [Pace(size, size) for size in sizes.values()])
        scatter(30)
        statements.clear()
        hourly_counts.advance()
        for model, size in sizes.items():
            steps = [sql for sql in statements if f"INSERT INTO {model._meta.table_name} (" in sql]
            assert len(steps) == math.ceil(model.select().count() / size)

    def test_a_slice_interrupted_between_two_steps_is_resumed(self, app, monkeypatch):
        scatter(30)
        pauses = itertools.chain([None, None], itertools.repeat(KeyboardInterrupt))
        with monkeypatch.context() as patch:
            patch.setattr(count_slices, "pause", lambda began: raise_error(next(pauses)))
            for _ in range(2):  # the first pass fails after three steps, the second at once
                with pytest.raises(KeyboardInterrupt):
                    hourly_counts.advance()
        assert (hourly_counts.watermark(), sum(counts().values())) == (0, 28)
        scatter(5)
        assert hourly_counts.advance() == 30  # the same slice is resumed
        count_all()
        assert counts() == truth()
        assert Counted.get().total == 35

    def test_concurrent_processes_share_a_slice_and_count_it_once(self, app):
        scatter(60)
        at_once(4, lambda _: count_all())
        assert counts() == truth()
        assert Counted.get().total == 60

    def test_events_erased_while_a_slice_is_counted_leave_the_counts_right(self, app, monkeypatch):
        scatter(20)
        count_all()
        scatter(20)
        cut = hourly_counts.watermark()
        monkeypatch.setattr(
            count_slices, "pause", lambda began: sum(erase.erase(EventFilter("A", snapshot_max_id=cut)))
        )
        count_all()
        assert counts() == truth()
        assert len(catalog.seen()) == 3
        assert (Counted.get().total, Counted.get().erased) == (40, 20)


def raise_error(error: type[BaseException] | None) -> None:
    if error:
        raise error


def test_the_step_size_adapts_to_the_time_of_recent_steps():
    pace = Pace(100, 1_000, seconds=0.02)
    pace.note(0.04)
    assert pace.size == 50
    for _ in range(20):
        pace.note(0.001)
    assert pace.size == 1_000
    for _ in range(20):
        pace.note(1)
    assert pace.size == Pace.LEAST
