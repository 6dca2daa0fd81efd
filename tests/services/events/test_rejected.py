"""Rejected events are kept beside the way in: bounded, whatever comes, and never in the way of the good ones."""

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


def kept() -> list[int]:
    """The places of what is kept, oldest first."""
    return [one.place for one in reversed(store.newest(10_000))]


@pytest.fixture
def keep(services) -> Callable[..., None]:
    """Keep rejected events, and wait until they are written."""

    def keep(*events: Rejected, refused: RefusedRequest | None = None) -> None:
        services.rejected.keep(events, ORIGIN, None, refused)
        services.rejected.flush()

    return keep


@pytest.fixture
def away(monkeypatch):
    """Make the database unavailable until this is called."""
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
def test_an_address_tells_no_person(address, short):
    assert shortened(address) == short


def test_what_was_sent_is_kept_with_where_it_came_from(keep, services):
    before = time.time_ns() // 1_000_000
    keep(invalid(7, '{"customer": "A"}'))
    (one,) = services.rejected.page(SYSTEM, 10)
    assert before <= one.received <= time.time_ns() // 1_000_000
    assert (one.address, one.request_id, one.place) == ("203.0.113.0/24", "request-1", 7)
    assert (one.event, one.customer, one.field) == ('{"customer": "A"}', "A", "type")
    assert one.reasons == ["events[6].type is wrong."]


@pytest.mark.parametrize(
    "customer", ["5", '""', '"a\\u0000b"', '"a\\nb"', '["A"]', "null", '"\\ud800"', f'"{"x" * 129}"']
)
def test_whose_it_is_is_nobodys_where_it_does_not_say_so(keep, services, customer):
    keep(*[invalid(text=f'{{"customer": {customer}}}'), invalid(text="{"), invalid(text="[]")])
    assert {one.customer for one in services.rejected.page(SYSTEM, 10)} == {""}


def test_who_is_limited_to_customers_sees_theirs_only(keep, services):
    keep(*[invalid(1, '{"customer": "A"}', "x"), invalid(2, '{"customer": "B"}'), invalid(3)])
    (mine,) = services.rejected.page(LIMITED, 10)
    assert mine.place == 1
    assert services.rejected.get(LIMITED, mine.id) == mine
    assert services.rejected.by_field(LIMITED) == [("x", 1)]
    assert services.rejected.by_field() == [("type", 2), ("x", 1)]
    for key in (mine.id + 1, mine.id + 2, 999):
        with pytest.raises(RejectedUnknown):
            services.rejected.get(LIMITED, key)


def test_many_reasons_are_cut_and_counted(keep, services):
    faults = [FieldError(f"fault {number}") for number in range(100)]
    keep(Rejected(1, "{}", faults))
    (one,) = services.rejected.page(SYSTEM, 1)
    assert one.reasons == [f"fault {number}" for number in range(20)] + ["And 80 more."]


def test_the_queue_is_bounded_sampled_and_what_is_dropped_is_counted(services, away):
    flood = [invalid(number) for number in range(1, 50_001)]
    services.rejected.keep(flood, ORIGIN)
    away()
    services.rejected.flush()
    places = kept()
    assert len(places) == rejected.QUEUE_EVENTS
    assert places[: rejected.SAMPLED_FROM] == list(range(1, rejected.SAMPLED_FROM + 1))
    assert {b - a for a, b in zip(places[1000:], places[1001:], strict=False)} == {rejected.SAMPLE}
    assert services.rejected.dropped() == 50_000 - len(places)


def test_the_queue_is_bounded_in_bytes_too(keep, services, away, monkeypatch):
    monkeypatch.setattr(rejected, "QUEUE_BYTES", 1_200)
    monkeypatch.setattr(rejected, "ROW_BYTES", 0)
    services.rejected.keep([invalid(number, "x" * 300) for number in range(1, 11)], ORIGIN)
    away()
    services.rejected.flush()
    assert kept() == [1, 2, 3]
    keep(*[invalid(number, "x" * 300) for number in range(11, 14)])  # there is room again
    assert kept() == [1, 2, 3, 11, 12, 13]
    assert services.rejected.dropped() == 7


def test_a_monster_is_cut(keep, services, monkeypatch):
    monkeypatch.setattr(rejected, "MAX_TEXT", 10)
    keep(*[invalid(text="x" * 1_000)])
    assert services.rejected.page(SYSTEM, 1)[0].event == "x" * 10


def test_a_flood_waits_for_no_database_and_holds_up_no_good_event(services, monkeypatch):
    """However slow it is to keep them: the writing is held up here until all is answered."""
    go_on, transactions = threading.Event(), []
    add = store.add

    def slowly(rows: list, dropped: int, requests: list) -> None:
        transactions.append(len(rows))
        assert go_on.wait(60)
        add(rows, dropped, requests)

    monkeypatch.setattr(store, "add", slowly)
    flood = json.dumps([event(timestamp=-1)] * 10_000).encode()
    for _ in range(5):
        assert services.ingest.accept(flood, ORIGIN, lenient=True).rejected == 10_000
        services.ingest.accept(json.dumps([event()]).encode(), ORIGIN)
    assert services.ingest.count() == 5
    go_on.set()
    services.rejected.flush()
    assert len(transactions) <= rejected.QUEUE_EVENTS / rejected.GROUP_EVENTS + 2
    assert len(kept()) + services.rejected.dropped() == 50_000


def test_what_waits_while_the_database_is_away_is_kept_when_it_is_back(services, away):
    services.rejected.keep([invalid(1), invalid(2)], ORIGIN)
    with pytest.raises(StoreUnavailable):
        services.rejected.flush()
    services.rejected.keep([invalid(3)], ORIGIN)
    away()
    wait_until(lambda: len(kept()) == 3, 10)
    assert kept() == [1, 2, 3]
    assert services.rejected.dropped() == 0


def test_what_the_database_never_takes_is_counted_and_holds_up_nothing(services, monkeypatch):
    add = store.add
    monkeypatch.setattr(rejected, "AWAY_SECONDS", 0.01)
    monkeypatch.setattr(
        store, "add", lambda rows, dropped, _: 1 / 0 if rows and rows[0]["place"] == 1 else add(rows, dropped)
    )
    services.rejected.keep([invalid(1)], ORIGIN)
    wait_until(lambda: services.rejected.dropped() == 1, 10)
    services.rejected.keep([invalid(2)], ORIGIN)
    wait_until(lambda: kept() == [2], 10)


def test_the_thread_ends_when_there_is_nothing_left_and_comes_again(app):
    keeper = RejectedEvents(1, 100, 2**20)
    for place in (1, 2):
        keeper.keep([invalid(place)], ORIGIN)
        wait_until(lambda: keeper._thread is None, 10)
    assert kept() == [1, 2]


def test_a_process_that_ends_writes_what_it_has(app, settings, tmp_path):
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
    assert len(kept()) == 900


@pytest.mark.parametrize(
    "limits", [(30, 3, 10**6), (30, 100, 1_000)], ids=["too many", "too many bytes"]
)  # 300 bytes and a reason each
def test_the_oldest_go_when_there_are_too_many(keep, services, monkeypatch, limits):
    monkeypatch.setattr(services.rejected, "_bounds", limits)
    keep(*[invalid(place, "é" * 150) for place in range(1, 6)])
    for _ in range(2):
        services.scheduler.run_all()
        assert kept() == [3, 4, 5]


def test_requests_that_are_kept_whole_are_bounded_alike(keep, services, monkeypatch):
    for number in range(4):
        whole = RefusedRequest(random.randbytes(400), False, None, [])
        keep(invalid(number), refused=whole)
    monkeypatch.setattr(services.rejected, "_bounds", (30, 3, 10**6))
    services.rejected.purge()
    assert len(services.rejected.requests(SYSTEM, 10)) == 3
    monkeypatch.setattr(services.rejected, "_bounds", (30, 3, 1_000))
    services.rejected.purge()
    assert len(services.rejected.requests(SYSTEM, 10)) == 2
    monkeypatch.setattr(services.rejected, "_bounds", (0, 3, 1_000))
    monkeypatch.setattr(rejected, "now", lambda: time.time_ns() // 1_000_000 + 1_000)
    services.rejected.purge()
    assert services.rejected.requests(SYSTEM, 10) == []


def test_a_flood_is_bounded_while_it_is_written_not_by_the_scheduler_alone(keep, services, monkeypatch):
    monkeypatch.setattr(rejected, "PURGE_BYTES", 1_000)
    monkeypatch.setattr(services.rejected, "_bounds", (30, 100, 1_000))
    keep(*[invalid(place, "x" * 300) for place in range(1, 9)])
    assert kept() == [6, 7, 8]


@pytest.mark.settings(rejected_keep_days=2)
def test_they_go_when_they_are_too_old(keep, services, monkeypatch):
    keep(invalid(1))
    first = services.rejected.page(SYSTEM, 1)[0].received
    monkeypatch.setattr("app.services.events.rejected.server_time", lambda: first + 2 * DAY)
    services.scheduler.run_all()
    assert kept() == [1]
    monkeypatch.setattr("app.services.events.rejected.server_time", lambda: first + 2 * DAY + 1)
    services.scheduler.run_all()
    assert kept() == []
