"""Rejected events are recorded in the background: limited in size, and without delaying accepted events."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable

import pytest

from app.exceptions import FieldError, RejectedUnknown, StoreUnavailable
from app.schemas.events import Rejected
from app.services.events import rejected
from app.services.events.rejected import Origin, RefusedRequest, RejectedEvents, shortened
from app.services.people.accounts import SYSTEM, Principal
from app.store.events import rejected as store
from tests.support.client import event
from tests.support.running import ROOT, wait_until

ORIGIN = Origin("203.0.113.77", "request-1")
DAY = 86_400_000  # milliseconds
LIMITED = Principal(1, "otto", "operator", ("A",), "")


def invalid(number: int = 1, text: str = "{}", field: str = "type") -> Rejected:
    return Rejected(number, text, [FieldError(f"events[{number - 1}].{field} is wrong.", field=field)])


def stored_indexes() -> list[int]:
    """Return the indexes of the recorded events, oldest first."""
    return [rejected_event.place for rejected_event in reversed(store.newest(10_000))]


@pytest.fixture
def record(services) -> Callable[..., None]:
    """Return a function that records rejected events, and waits until they are written."""

    def record(*events: Rejected, refused: RefusedRequest | None = None) -> None:
        services.rejected.keep(events, ORIGIN, None, refused)
        services.rejected.flush()

    return record


@pytest.mark.both_databases
def test_a_group_has_the_number_of_its_events_and_of_their_customers(services, record):
    for number, customer in enumerate(("A", "A", "B", "", None), 1):
        record(invalid(number, json.dumps({"customer": customer})))
    record(invalid(6, "{}", "version"))
    found = services.rejected_groups.every(SYSTEM, "day")
    assert [(one.key.field, one.number, one.customers, sum(one.trend)) for one in found] == [
        ("type", 5, 3, 5),
        ("version", 1, 1, 1),
    ]


@pytest.fixture
def restore_database(monkeypatch):
    """Make the database unavailable until the returned function is called."""
    add = store.add

    def refuse(rows: object, dropped: int, requests: object) -> None:
        raise StoreUnavailable("It is away.")

    monkeypatch.setattr(store, "add", refuse)
    monkeypatch.setattr(rejected, "AWAY_SECONDS", 0.01)
    return lambda: monkeypatch.setattr(store, "add", add)


@pytest.mark.parametrize(
    ("address", "short"),
    [
        ("203.0.113.77", "203.0.113.0/24"),
        ("10.1.2.3", "10.1.2.0/24"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1::/48"),
        ("::ffff:203.0.113.77", "203.0.113.0/24"),
        ("::1", "::/48"),
        ("fe80::1%eth0", "fe80::/48"),
        ("", ""),
        ("unix:", ""),
    ],
)
def test_a_recorded_address_is_truncated(address, short):
    assert shortened(address) == short


def test_a_rejected_event_is_recorded_with_its_origin(record, services):
    before = time.time_ns() // 1_000_000
    record(invalid(7, '{"customer": "A"}'))
    (rejected_event,) = services.rejected.page(SYSTEM, 10)
    assert before <= rejected_event.received_at <= time.time_ns() // 1_000_000
    assert (rejected_event.address, rejected_event.request_id, rejected_event.place) == (
        "203.0.113.0/24",
        "request-1",
        7,
    )
    assert (rejected_event.event, rejected_event.customer, rejected_event.field) == ('{"customer": "A"}', "A", "type")
    assert rejected_event.reasons == ["events[6].type is wrong."]


@pytest.mark.parametrize(
    "customer", ["5", '""', '"a\\u0000b"', '"a\\nb"', '["A"]', "null", '"\\ud800"', f'"{"x" * 129}"']
)
def test_an_event_without_a_valid_customer_belongs_to_no_customer(record, services, customer):
    record(*[invalid(text=f'{{"customer": {customer}}}'), invalid(text="{"), invalid(text="[]")])
    assert {rejected_event.customer for rejected_event in services.rejected.page(SYSTEM, 10)} == {""}


def test_a_limited_user_sees_only_rejected_events_of_their_customers(record, services):
    record(*[invalid(1, '{"customer": "A"}', "x"), invalid(2, '{"customer": "B"}'), invalid(3)])
    (visible,) = services.rejected.page(LIMITED, 10)
    assert visible.place == 1
    assert services.rejected.get(LIMITED, visible.id) == visible
    assert services.rejected.by_field(LIMITED) == [("x", 1)]
    assert services.rejected.by_field() == [("type", 2), ("x", 1)]
    for key in (visible.id + 1, visible.id + 2, 999):
        with pytest.raises(RejectedUnknown):
            services.rejected.get(LIMITED, key)


def test_many_reasons_are_truncated_and_counted(record, services):
    field_errors = [FieldError(f"fault {number}") for number in range(100)]
    record(Rejected(1, "{}", field_errors))
    (rejected_event,) = services.rejected.page(SYSTEM, 1)
    assert rejected_event.reasons == [f"fault {number}" for number in range(20)] + ["And 80 more."]


def test_a_full_queue_samples_events_and_counts_those_dropped(services, restore_database):
    flood = [invalid(number) for number in range(1, 50_001)]
    services.rejected.keep(flood, ORIGIN)
    restore_database()
    services.rejected.flush()
    indexes = stored_indexes()
    assert len(indexes) == rejected.QUEUE_EVENTS
    assert indexes[: rejected.SAMPLED_FROM] == list(range(1, rejected.SAMPLED_FROM + 1))
    assert {b - a for a, b in zip(indexes[1000:], indexes[1001:], strict=False)} == {rejected.SAMPLE}
    assert services.rejected.dropped() == 50_000 - len(indexes)


def test_the_queue_is_limited_in_bytes(record, services, restore_database, monkeypatch):
    monkeypatch.setattr(rejected, "QUEUE_BYTES", 1_200)
    monkeypatch.setattr(rejected, "ROW_BYTES", 0)
    services.rejected.keep([invalid(number, "x" * 300) for number in range(1, 11)], ORIGIN)
    restore_database()
    services.rejected.flush()
    assert stored_indexes() == [1, 2, 3]
    record(*[invalid(number, "x" * 300) for number in range(11, 14)])  # the queue has space again
    assert stored_indexes() == [1, 2, 3, 11, 12, 13]
    assert services.rejected.dropped() == 7


def test_a_very_large_event_is_truncated(record, services, monkeypatch):
    monkeypatch.setattr(rejected, "MAX_TEXT", 10)
    record(*[invalid(text="x" * 1_000)])
    assert services.rejected.page(SYSTEM, 1)[0].event == "x" * 10


def test_a_flood_of_invalid_events_does_not_delay_valid_ones(services, monkeypatch):
    """The first write is blocked until all requests are answered."""
    may_write, transactions = threading.Event(), []
    add = store.add

    def add_slowly(rows: list, dropped: int, requests: list) -> None:
        transactions.append(len(rows))
        assert may_write.wait(60)
        add(rows, dropped, requests)

    monkeypatch.setattr(store, "add", add_slowly)
    flood = json.dumps([event(timestamp=-1)] * 10_000).encode()
    for _ in range(5):
        assert services.ingest.accept(flood, ORIGIN, lenient=True).rejected == 10_000
        services.ingest.accept(json.dumps([event()]).encode(), ORIGIN)
    assert services.ingest.count() == 5
    may_write.set()
    services.rejected.flush()
    assert len(transactions) <= rejected.QUEUE_EVENTS / rejected.GROUP_EVENTS + 2
    assert len(stored_indexes()) + services.rejected.dropped() == 50_000


def test_events_queued_during_an_outage_are_recorded_after_it(services, restore_database):
    services.rejected.keep([invalid(1), invalid(2)], ORIGIN)
    with pytest.raises(StoreUnavailable):
        services.rejected.flush()
    services.rejected.keep([invalid(3)], ORIGIN)
    restore_database()
    wait_until(lambda: len(stored_indexes()) == 3, 10)
    assert stored_indexes() == [1, 2, 3]
    assert services.rejected.dropped() == 0


def test_events_that_the_database_rejects_are_counted_and_block_nothing(services, monkeypatch):
    add = store.add
    monkeypatch.setattr(rejected, "AWAY_SECONDS", 0.01)
    monkeypatch.setattr(
        store, "add", lambda rows, dropped, _: 1 / 0 if rows and rows[0]["place"] == 1 else add(rows, dropped)
    )
    services.rejected.keep([invalid(1)], ORIGIN)
    wait_until(lambda: services.rejected.dropped() == 1, 10)
    services.rejected.keep([invalid(2)], ORIGIN)
    wait_until(lambda: stored_indexes() == [2], 10)


def test_the_thread_ends_when_the_queue_is_empty_and_starts_again(app):
    rejected_events = RejectedEvents(1, 100, 2**20)
    for place in (1, 2):
        rejected_events.keep([invalid(place)], ORIGIN)
        wait_until(lambda: "rejected" not in {thread.name for thread in threading.enumerate()}, 10)
    assert stored_indexes() == [1, 2]


def test_a_process_writes_its_queue_before_it_ends(app, settings, tmp_path):
    program = (
        "from app import create_app\n"
        "from app.services.events.rejected import Origin\n"
        "services = create_app().extensions['services']\n"
        "services.ingest.accept(b'[' + b','.join([b'{}'] * 900) + b']', Origin('', ''), lenient=True)\n"
    )
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(ROOT),
        "DATA_DIR": str(settings.data_dir),
        "DATABASE_URL": settings.database_url,
    }
    subprocess.run([sys.executable, "-c", program], env=environment, cwd=tmp_path, check=True, timeout=60)
    assert len(stored_indexes()) == 900


@pytest.mark.parametrize(
    "limits", [(30, 3, 10**6), (30, 100, 1_000)], ids=["too many", "too many bytes"]
)  # each has 300 bytes and a reason
def test_the_oldest_events_are_removed_above_the_limits(record, limits):
    record(*[invalid(place, "é" * 150) for place in range(1, 6)])
    for _ in range(2):
        RejectedEvents(*limits).purge()
        assert stored_indexes() == [3, 4, 5]


def test_recorded_requests_are_limited_too(record, services, monkeypatch):
    for number in range(4):
        request = RefusedRequest(random.randbytes(400), False, None, [])
        record(invalid(number), refused=request)
    RejectedEvents(30, 3, 10**6).purge()
    assert len(services.rejected.requests(SYSTEM, 10)) == 3
    RejectedEvents(30, 3, 1_000).purge()
    assert len(services.rejected.requests(SYSTEM, 10)) == 2
    monkeypatch.setattr(rejected, "now", lambda: time.time_ns() // 1_000_000 + 1_000)
    RejectedEvents(0, 3, 1_000).purge()
    assert services.rejected.requests(SYSTEM, 10) == []


@pytest.mark.settings(rejected_max_bytes=1_000)
def test_the_limits_are_enforced_while_events_are_written(record, monkeypatch):
    monkeypatch.setattr(rejected, "PURGE_BYTES", 1_000)
    record(*[invalid(place, "x" * 300) for place in range(1, 9)])
    assert stored_indexes() == [6, 7, 8]


@pytest.mark.settings(rejected_keep_days=2)
def test_rejected_events_are_purged_at_their_age_limit(record, services, monkeypatch):
    record(invalid(1))
    first = services.rejected.page(SYSTEM, 1)[0].received_at
    monkeypatch.setattr("app.services.events.rejected.server_time", lambda: first + 2 * DAY)
    services.scheduler.run_all()
    assert stored_indexes() == [1]
    monkeypatch.setattr("app.services.events.rejected.server_time", lambda: first + 2 * DAY + 1)
    services.scheduler.run_all()
    assert stored_indexes() == []
