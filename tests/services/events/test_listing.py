"""The listing: an event with its batch, and the latest events, limited to visible customers."""

from __future__ import annotations

import pytest

from app.exceptions import EventUnknown, InputInvalid
from app.services.events.ingest import as_row
from app.services.people.accounts import SYSTEM, Principal
from app.store.database import database, transaction
from app.store.events import pages
from app.store.events.filters import EventFilter
from tests.support.client import event

ANNA = Principal(1, "anna", "analyst", ("A", "C"), "")


def test_an_event_is_listed_with_its_whole_batch(services, nobody):
    nobody.send(event(type="OTHER"))
    sent = nobody.send(*[event(type=f"T{number}") for number in range(12)])
    nobody.send(event(type="OTHER"))
    key, listed = services.listing.arrivals(SYSTEM, 14)[5]
    batch = services.listing.batch(SYSTEM, key, services.listing.one(SYSTEM, key))
    assert [stored_event.type for _, stored_event in batch] == [stored_event["type"] for stored_event in sent]
    assert listed.batch == sent[0]["batch"]
    assert (key, listed) in batch


def test_a_batch_is_found_if_its_ids_interleave_with_those_of_others(services, nobody):
    """Ids interleave when several web processes write to PostgreSQL at once."""
    batches = [nobody.send(event(type=f"B{number}"))[0]["batch"] for number in range(2)]
    templates = {stored_event.batch: stored_event for _, stored_event in services.listing.arrivals(SYSTEM, 2)}
    with transaction():
        for sequence in range(2, 30):
            for name in batches:
                stored_event = templates[name]
                stored_event.sequence = sequence
                database.insert_encoded([database.encode_events([as_row(stored_event, 0)])])
    key = next(key for key, stored_event in services.listing.arrivals(SYSTEM, 60) if stored_event.batch == batches[0])
    batch = services.listing.batch(SYSTEM, key, services.listing.one(SYSTEM, key))
    assert [stored_event.sequence for _, stored_event in batch] == list(range(1, 30))


def test_a_batch_shows_only_events_of_visible_customers(services, nobody):
    nobody.send(event(customer="A"), event(customer="B"), event(customer="C"))
    keys = {stored_event.customer: key for key, stored_event in services.listing.arrivals(SYSTEM, 3)}
    event_of_a = services.listing.one(ANNA, keys["A"])
    assert [stored_event.customer for _, stored_event in services.listing.batch(ANNA, keys["A"], event_of_a)] == [
        "A",
        "C",
    ]
    for key in (keys["B"], 10**17):
        with pytest.raises(EventUnknown, match=f"There is no event {key}, or it is not yours"):
            services.listing.one(ANNA, key)


def test_arrivals_are_listed_in_the_order_of_acceptance(services, nobody):
    nobody.send(event(type="FIRST", timestamp=9), event(type="SECOND", timestamp=5))
    nobody.send(event(type="THIRD", timestamp=7))
    assert [stored_event.type for _, stored_event in services.listing.arrivals(SYSTEM, 2)] == ["THIRD", "SECOND"]


@pytest.mark.parametrize("recent", [0, 3, 2_000])
def test_arrivals_of_visible_customers_are_found_among_many_others(services, nobody, monkeypatch, recent):
    monkeypatch.setattr(pages, "RECENT", recent)
    nobody.send(*[event(customer="A", timestamp=number) for number in range(5)])
    nobody.send(*[event(customer="B", timestamp=number) for number in range(50)])
    nobody.send(event(customer="C", timestamp=99))
    assert [stored_event.timestamp for _, stored_event in services.listing.arrivals(ANNA, 4)] == [99, 4, 3, 2]
    assert services.listing.arrivals(Principal(2, "nobody", "analyst", (), ""), 4) == []


def test_a_page_has_cursors_in_both_directions(services, nobody):
    nobody.send(*[event(timestamp=number) for number in range(10)])
    first = services.listing.page(SYSTEM, EventFilter(), 4)
    second = services.listing.page(SYSTEM, EventFilter(), 4, first.next)
    last = services.listing.page(SYSTEM, EventFilter(), 4, second.next)
    assert (first.previous, last.next) == (None, None)
    back = services.listing.page(SYSTEM, EventFilter(), 4, before=last.previous)
    assert [stored_event.timestamp for stored_event in back.events] == [5, 4, 3, 2]
    assert (back.next, back.previous) == (second.next, second.previous)
    top = services.listing.page(SYSTEM, EventFilter(), 4, before=back.previous)
    assert [stored_event.timestamp for stored_event in top.events] == [9, 8, 7, 6]
    assert (top.previous, top.next) == (None, first.next)
    assert [key for key, _ in top.entries] == list(top.keys)


def test_an_invalid_cursor_is_rejected_by_its_name(services):
    with pytest.raises(InputInvalid) as error:
        services.listing.page(SYSTEM, EventFilter(), 10, before="x")
    assert error.value.field_errors[0].message.startswith('before is "x"; it must be')
