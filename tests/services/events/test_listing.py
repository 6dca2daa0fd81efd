"""One event with its batch, and those that came last, for whoever may see them."""

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


def test_an_event_has_its_whole_batch(services, nobody):
    nobody.send(event(type="OTHER"))
    sent = nobody.send(*[event(type=f"T{number}") for number in range(12)])
    nobody.send(event(type="OTHER"))
    key, shown = services.listing.arrivals(SYSTEM, 14)[5]
    found = services.listing.batch(SYSTEM, key, services.listing.one(SYSTEM, key))
    assert [one.type for _, one in found] == [one["type"] for one in sent]
    assert shown.batch == sent[0]["batch"]
    assert (key, shown) in found


def test_a_batch_is_found_where_others_were_stored_at_the_same_time(services, nobody):
    """As web processes do on PostgreSQL: the ids of their batches interleave."""
    batches = [nobody.send(event(type=f"B{number}"))[0]["batch"] for number in range(2)]
    known = {one.batch: one for _, one in services.listing.arrivals(SYSTEM, 2)}
    with transaction():
        for sequence in range(2, 30):
            for name in batches:
                one = known[name]
                one.sequence = sequence
                database.insert_encoded([database.encode_events([as_row(one, 0)])])
    key = next(key for key, one in services.listing.arrivals(SYSTEM, 60) if one.batch == batches[0])
    found = services.listing.batch(SYSTEM, key, services.listing.one(SYSTEM, key))
    assert [one.sequence for _, one in found] == list(range(1, 30))


def test_the_others_of_a_batch_may_not_be_yours_to_see(services, nobody):
    nobody.send(event(customer="A"), event(customer="B"), event(customer="C"))
    keys = {one.customer: key for key, one in services.listing.arrivals(SYSTEM, 3)}
    mine = services.listing.one(ANNA, keys["A"])
    assert [one.customer for _, one in services.listing.batch(ANNA, keys["A"], mine)] == ["A", "C"]
    for key in (keys["B"], 10**17):
        with pytest.raises(EventUnknown, match=f"There is no event {key}, or it is not yours"):
            services.listing.one(ANNA, key)


def test_arrivals_come_in_the_order_of_their_acceptance(services, nobody):
    nobody.send(event(type="FIRST", timestamp=9), event(type="SECOND", timestamp=5))
    nobody.send(event(type="THIRD", timestamp=7))
    assert [one.type for _, one in services.listing.arrivals(SYSTEM, 2)] == ["THIRD", "SECOND"]


@pytest.mark.parametrize("recent", [0, 3, 2_000])
def test_somebodys_arrivals_are_found_among_those_of_many_others(services, nobody, monkeypatch, recent):
    monkeypatch.setattr(pages, "RECENT", recent)
    nobody.send(*[event(customer="A", timestamp=number) for number in range(5)])
    nobody.send(*[event(customer="B", timestamp=number) for number in range(50)])
    nobody.send(event(customer="C", timestamp=99))
    assert [one.timestamp for _, one in services.listing.arrivals(ANNA, 4)] == [99, 4, 3, 2]
    assert services.listing.arrivals(Principal(2, "nobody", "analyst", (), ""), 4) == []


def test_a_page_says_what_lies_on_either_side(services, nobody):
    nobody.send(*[event(timestamp=number) for number in range(10)])
    first = services.listing.page(SYSTEM, EventFilter(), 4)
    second = services.listing.page(SYSTEM, EventFilter(), 4, first.next)
    last = services.listing.page(SYSTEM, EventFilter(), 4, second.next)
    assert (first.previous, last.next) == (None, None)
    back = services.listing.page(SYSTEM, EventFilter(), 4, before=last.previous)
    assert [one.timestamp for one in back.events] == [5, 4, 3, 2]
    assert (back.next, back.previous) == (second.next, second.previous)
    top = services.listing.page(SYSTEM, EventFilter(), 4, before=back.previous)
    assert [one.timestamp for one in top.events] == [9, 8, 7, 6]
    assert (top.previous, top.next) == (None, first.next)
    assert [key for key, _ in top.entries] == list(top.keys)


def test_what_is_no_cursor_is_refused_by_its_name(services):
    with pytest.raises(InputInvalid) as error:
        services.listing.page(SYSTEM, EventFilter(), 10, before="x")
    assert error.value.field_errors[0].message.startswith('before is "x"; it must be')
