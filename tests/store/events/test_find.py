"""Events are found by an item of their context, named or not, with the index and without, on pages of any size."""

from __future__ import annotations

import json
import random

import pytest
from structlog.testing import capture_logs

from app.exceptions import InputInvalid
from app.services.events.rejected import Origin
from app.services.operations import scheduler
from app.services.people.accounts import SYSTEM, Principal
from app.store.database import database, index_items
from app.store.events import search
from tests.support.client import event

CATALOG = {
    "customers": [],
    "products": [],
    "types": [
        {"code": "OPENED", "description": "", "product": "P", "context": ["userId", "view"]},
        {"code": "CLOSED", "description": "", "product": "P", "context": ["view", "userId"]},
        {"code": "CLOSED", "description": "", "product": "Q", "context": ["userId"]},
        {"code": "BARE", "description": "", "product": "P", "context": []},
    ],
}
USER_AT = {("OPENED", "P"): 0, ("OPENED", "Q"): 0, ("CLOSED", "P"): 1, ("CLOSED", "Q"): 0}
ANNA = Principal(1, "anna", "analyst", ("A",), "")


@pytest.fixture(params=["indexed", "not indexed"])
def filled(request, services, monkeypatch) -> list[dict]:
    """Store events of several users over some days, and return them."""
    chance = random.Random(5)
    users = ["u-1", "u-1", "u-2", "", "é", *(f"u-{number}" for number in range(3, 40))]
    events = [
        event(
            customer=chance.choice("AB"),
            product=chance.choice("PQ"),
            type=chance.choice(["OPENED", "CLOSED", "BARE"]),
            timestamp=chance.randrange(5 * 86_400_000) // 1000 * 1000,
            context=[*(chance.choice(users) for _ in range(3)), *(["x", None, "u-2"] if chance.random() < 0.1 else [])],
        )
        for _ in range(300)
    ]
    services.catalog.put(json.dumps(CATALOG).encode())
    services.ingest.accept(json.dumps(events).encode(), Origin("", ""))
    services.scheduler.count()
    if request.param == "indexed":
        index_items()
    monkeypatch.setattr(search, "LOOK", 20)
    monkeypatch.setattr(search, "LOOK_RARE", 10)
    monkeypatch.setattr(search, "LOOK_BEFORE_INDEX", 7)
    return events


def matches(events: list[dict], **given: str) -> list[tuple[int, list]]:
    """Return the (timestamp, context) of the matching events in order, computed in Python."""
    found = []
    for one in events:
        place = USER_AT.get((one["type"], one["product"]))
        items = one["context"] if "context" not in given else [] if place is None else one["context"][place : place + 1]
        fits = all(one[name] == given[name] for name in ("customer", "product") if name in given)
        if fits and given["value"] in items and given.get("types", one["type"]) in one["type"]:
            found.append((one["timestamp"], one["context"]))
    return sorted(found, key=repr)


@pytest.mark.parametrize(
    "given",
    [
        {"context": "userId", "value": "u-1"},
        {"context": "userId", "value": ""},
        {"context": "userId", "value": "é", "customer": "A"},
        {"context": "userId", "value": "u-1", "product": "Q"},
        {"context": "userId", "value": "u-2", "product": "P", "types": ["CLOSED"]},
        {"value": "u-2"},
        {"value": "u-7", "customer": "B"},
        {"value": "nobody"},
    ],
)
def test_pages_have_all_events_with_the_item_in_both_directions(services, filled, given):
    wanted = services.catalog.event_filter(SYSTEM, given)
    expected = matches(filled, **given | ({"types": given["types"][0]} if "types" in given else {}))
    for limit in (3, 100):
        forward, after = [], None
        while True:
            page = services.listing.page(SYSTEM, wanted, limit, after)
            forward += page.entries
            if page.next is None:
                break
            after = page.next
        assert sorted([(one.timestamp, one.context) for _, one in forward], key=repr) == expected
        assert [(-one.timestamp, -key) for key, one in forward] == sorted(
            (-one.timestamp, -key) for key, one in forward
        )
        backward, before = [], "0-1"
        while before is not None:
            page = services.listing.page(SYSTEM, wanted, limit, before=before)
            backward = [*page.entries, *backward]
            before = page.previous
        assert [key for key, _ in backward] == [key for key, _ in forward]


def test_users_find_only_events_of_their_customers(services, filled):
    wanted = services.catalog.event_filter(ANNA, {"value": "u-1"})
    found = services.listing.page(ANNA, wanted, 1_000).events
    assert {one.customer for one in found} == {"A"}


def test_a_search_for_an_item_says_how_far_it_came_and_the_next_page_continues(services, filled, monkeypatch):
    monkeypatch.setattr(database.obj, "find_by_item", lambda *_: None)  # takes too long
    wanted = services.catalog.event_filter(SYSTEM, {"value": "nobody"})
    pages, after = 1, None
    while (page := services.listing.page(SYSTEM, wanted, 50, after)).next:
        assert page.events == []
        assert page.looked.reached_at == int(page.next.partition("-")[0])
        after, pages = page.next, pages + 1
    assert pages >= len(filled) // 20


def test_a_text_and_an_item_are_searched_for_together(services, filled):
    wanted = services.catalog.event_filter(SYSTEM, {"value": "u-1"})
    found, after = [], None
    while True:
        page = services.listing.page(SYSTEM, wanted, 100, after, text="U-2")
        found += page.events
        if page.next is None:
            break
        after = page.next
    expected = [one for one in filled if "u-1" in one["context"] and any("u-2" in str(item) for item in one["context"])]
    assert len(found) == len(expected) > 0


def test_a_name_that_no_type_has_is_rejected_with_the_nearest(services, filled):
    with pytest.raises(InputInvalid) as caught:
        services.catalog.event_filter(SYSTEM, {"context": "userid", "value": "u-1"})
    assert "userId" in caught.value.field_errors[0].message
    with pytest.raises(InputInvalid):
        services.catalog.event_filter(SYSTEM, {"context": "view", "value": "u-1", "product": "Q", "types": ["CLOSED"]})


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_the_index_finds_a_rare_item_in_one_page(services, monkeypatch):
    monkeypatch.setattr(search, "LOOK_BEFORE_INDEX", 7)
    events = [event(timestamp=number * 60_000, context=[f"user-{number}", None]) for number in range(2_000)]
    services.ingest.accept(json.dumps(events).encode(), Origin("", ""))
    database.execute_sql("DROP INDEX IF EXISTS event_item")
    index_items()
    index_items()
    assert database.has_item_index()
    page = services.listing.page(SYSTEM, services.catalog.event_filter(SYSTEM, {"value": "user-3"}), 50)
    assert [one.context for one in page.events] == [["user-3", None]]
    assert page.next is None


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_a_very_large_table_is_indexed_on_request_only(services, monkeypatch):
    database.execute_sql("DROP INDEX IF EXISTS event_item")
    monkeypatch.setattr(scheduler, "MAX_INDEXED_BYTES", 0)
    with capture_logs() as logged:
        services.scheduler.run_all()
        services.scheduler.run_all()
    assert [one["event"] for one in logged].count("index of context values not created") == 1
    assert not database.has_item_index()
    assert index_items()
    assert database.has_item_index()
