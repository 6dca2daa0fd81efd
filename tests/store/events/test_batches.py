"""The events of a batch are found by its id, wherever they are, without reading all others."""

from __future__ import annotations

import json
import uuid

import pytest

from app.services.events.ingest import batch_name
from app.services.events.rejected import Origin
from app.services.people.accounts import SYSTEM, Principal
from app.store.events import batches
from app.store.events.filters import EventFilter
from app.store.models import Event, ReceivedRange
from app.support.clock import now
from tests.support.client import event

ANNA = Principal(1, "anna", "analyst", ("A",), "")


@pytest.fixture
def accept(services):
    """Return a function that stores a batch and returns its id."""

    def accept(*events: dict) -> str:
        receipt = services.ingest.accept(json.dumps(events).encode(), Origin("", ""))
        return json.loads(receipt.answer)[0]["batch"]

    return accept


def find(services, batch: str, who: Principal = SYSTEM, limit: int = 100, **more: object) -> list[str]:
    page = services.listing.page(who, EventFilter(batch=batch, **more), limit)
    return [one.context[0] for one in page.events]


def test_an_id_is_a_uuid_of_version_7_with_the_time_of_receipt():
    names = {batch_name(1_793_000_000_123) for _ in range(1000)}
    assert len(names) == 1000
    for name in names:
        parsed = uuid.UUID(name)
        assert (str(parsed), parsed.version, parsed.variant) == (name, 7, uuid.RFC_4122)
        assert batches.time_of(name) == 1_793_000_000_123
    assert batches.time_of(str(uuid.uuid4())) is None


@pytest.fixture
def spread(services, accept, monkeypatch) -> dict[str, list[str]]:
    """Store batches over several spans of ids, most of them recorded, and return the values of each."""
    monkeypatch.setattr(batches, "SPAN", 7)
    monkeypatch.setattr(batches, "SPANS_AT_ONCE", 2)
    stored: dict[str, list[str]] = {}
    for number in range(12):
        values = [f"{number}-{place}" for place in range(number)] or ["alone"]
        stored[accept(*(event(customer="AB"[at % 2], context=[value]) for at, value in enumerate(values)))] = values
        if number == 9:
            services.scheduler.count()
    return stored


def test_every_batch_is_found_whole_recorded_or_not(services, spread):
    assert ReceivedRange.select().count() > 3
    for batch, values in spread.items():
        assert sorted(find(services, batch)) == sorted(values)


def test_a_batch_combines_with_the_rest_of_a_filter_and_with_what_one_may_see(services, spread):
    batch, values = list(spread.items())[-1]
    assert sorted(find(services, batch, ANNA)) == sorted(values[::2])
    assert sorted(find(services, batch, customer="B")) == sorted(values[1::2])
    assert find(services, batch, item=values[3]) == [values[3]]
    page = services.listing.page(SYSTEM, EventFilter(batch=batch), 100, text=values[2])
    assert [one.context[0] for one in page.events] == [values[2]]


def test_pages_of_a_batch_have_each_event_once(services, spread):
    batch, values = list(spread.items())[-1]
    found: list[str] = []
    after = None
    while True:
        page = services.listing.page(SYSTEM, EventFilter(batch=batch), 3, after)
        found += [one.context[0] for one in page.events]
        after = page.next
        if after is None:
            break
    assert sorted(found) == sorted(values)


def test_a_search_reads_the_spans_of_its_time_and_those_without_a_record_only(services, spread, monkeypatch):
    first = Event.get_by_id(1)
    others = Event.update(received=first.received + 60_000).where(Event.batch != first.batch)
    others.execute()
    ReceivedRange.delete().execute()
    services.scheduler.count()
    newest = max(one.span for one in ReceivedRange.select())
    assert batches._spans(str(first.batch)) == [(0, 7), ((newest + 1) * 7, None)]


def test_events_that_waited_on_local_disk_are_found_among_later_ones(services, accept, monkeypatch):
    monkeypatch.setattr(batches, "SPAN", 4)
    for _ in range(3):
        accept(*(event(context=["later"]) for _ in range(4)))
    received = now() - 3_600_000
    name = batch_name(received)
    Event.update(batch=name, received=received, context=["late"]).where(Event.id == 6).execute()
    services.scheduler.count()
    assert find(services, name) == ["late"]


def test_any_number_of_events_without_a_record_hides_no_batch(services, accept, monkeypatch):
    """Millions arrive between two counts, or while no scheduler runs."""
    batch = accept(event(context=["sought"]))
    accept(*(event() for _ in range(6)))
    monkeypatch.setattr(batches, "LATEST", 3)
    assert find(services, batch) == ["sought"]


def test_a_span_that_is_recorded_during_a_search_is_found_once(services, accept, monkeypatch):
    monkeypatch.setattr(batches, "SPAN", 4)
    batch = accept(*(event(context=[str(number)]) for number in range(8)))
    monkeypatch.setattr(batches, "_spans", lambda batch: [(0, 4), (0, None)])
    assert sorted(find(services, batch)) == list("01234567")


def test_a_batch_of_version_1_0_is_found_among_the_latest_events(services, accept, monkeypatch):
    accept(*(event(context=[str(number)]) for number in range(6)))
    old, recent = str(uuid.uuid4()), str(uuid.uuid4())
    Event.update(batch=old).where(Event.id == 1).execute()
    Event.update(batch=recent).where(Event.id == 5).execute()
    assert find(services, old) == ["0"]
    monkeypatch.setattr(batches, "LATEST", 3)
    assert (find(services, old), find(services, recent)) == ([], ["4"])


def test_an_id_that_no_batch_has_finds_nothing(services, spread):
    assert find(services, batch_name(now())) == []
    assert find(services, str(uuid.uuid4())) == []


def test_erased_spans_do_not_stop_the_recording(services, spread):
    Event.delete().where(Event.id > 14, Event.id <= 35).execute()
    ReceivedRange.delete().execute()
    services.scheduler.count()
    assert {one.span for one in ReceivedRange.select()} >= {0, 1, 5}
    batch, values = list(spread.items())[9]
    assert sorted(find(services, batch)) == sorted(values)
