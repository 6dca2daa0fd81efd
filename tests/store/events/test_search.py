"""Search finds text in contexts, alike on both databases, and reads a limited number of events at a time."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from app.exceptions import Forbidden, InputInvalid
from app.services.events.listing import Page
from app.services.events.rejected import Origin
from app.services.people.accounts import SYSTEM, Principal
from app.store.events import search
from app.store.events.filters import EventFilter
from tests.support.client import event

ANNA = Principal(1, "anna", "analyst", ("A",), "")
CONTEXTS = [
    ["user-1", "Overview"],
    ['said "sell", then left', None],
    ["50% off_everything~", "back\\slash"],
    ["two\nlines", ""],
    ["Zürich – ÉCOLE", "日本株 📈"],
    ["true", "1.50"],
    ["a\x1fb", "left", "right"],
    [],
]


def accept(services, contexts: list[list], **changes) -> None:
    events = [event(timestamp=number, context=context, **changes) for number, context in enumerate(contexts)]
    services.ingest.accept(json.dumps(events).encode(), Origin("", ""))


def find_contexts(services, text: str, **criteria) -> list[list]:
    page = services.listing.page(SYSTEM, EventFilter(**criteria), 100, text=text)
    return [CONTEXTS.index(listed.context) for listed in reversed(page.events)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("user-1", [0]),
        ("OVERVIEW", [0]),
        ("OvErV", [0]),
        ('"sell"', [1]),
        ("sell, then", []),  # a quote separates them
        ("null", []),  # null is not text
        ("50%", [2]),
        ("5%", []),
        ("f_e", [2]),
        ("f e", []),
        ("~", [2]),
        ("back\\slash", [2]),
        ("lines", [3]),
        ("Zürich", [4]),
        ("ZÜRICH", []),  # only ASCII letters match in both cases
        ("école", []),
        ("École", [4]),
        ("📈", [4]),
        ("1.5", [5]),
        ("[", []),  # JSON syntax is not part of the text
        ('","', []),
        ("leftright", []),
        ("b", [2, 6]),
    ],
)
def test_a_text_is_found_in_the_matching_contexts(services, text, expected):
    accept(services, CONTEXTS)
    assert find_contexts(services, text) == expected


@pytest.fixture
def look(monkeypatch) -> None:
    monkeypatch.setattr(search, "LOOK", 10)


def walk_pages(services, limit: int, text: str) -> Iterator[Page]:
    """Yield each page of a search until the last."""
    after = None
    while True:
        page = services.listing.page(SYSTEM, EventFilter(), limit, after, text=text)
        yield page
        if page.next is None:
            return
        after = page.next


def test_a_search_returns_its_progress_and_resumes_from_there(services, look):
    accept(services, [["here"] if number in (2, 13) else ["away"] for number in range(25)])
    assert [[listed.timestamp for listed in page.events] for page in walk_pages(services, 5, "HERE")] == [[], [13], [2]]


def test_a_search_without_a_match_proceeds_in_limited_steps(services, look):
    accept(services, [["x"]] * 25)
    pages = [(page.events, page.looked.events, page.looked.reached_at) for page in walk_pages(services, 5, "y")]
    assert pages == [([], 10, 15), ([], 10, 5), ([], 5, None)]


def test_consecutive_pages_have_no_gap_or_overlap_in_both_directions(services, look):
    accept(services, [["yes" if number % 3 else "no"] for number in range(40)])
    expected = [number for number in range(39, -1, -1) if number % 3]
    pages = list(walk_pages(services, 4, "yes"))
    assert [listed.timestamp for page in pages for listed in page.events] == expected
    last = pages[-1].events[0].timestamp
    back, before = [], f"{last}-{pages[-1].keys[0]}"
    while before:
        page = services.listing.page(SYSTEM, EventFilter(), 4, before=before, text="yes")
        back = [listed.timestamp for listed in page.events] + back
        before = page.previous
    assert back == expected[: expected.index(last)]


def test_a_search_of_a_rare_type_reads_fewer_events(services, monkeypatch):
    monkeypatch.setattr(search, "LOOK_RARE", 3)
    accept(services, [["x"]] * 200, type="COMMON")
    accept(services, [["x"]] * 8, type="RARE")
    services.scheduler.count()
    assert services.listing.page(SYSTEM, EventFilter(types=["RARE"]), 5, text="y").looked.events == 8
    monkeypatch.setattr(search, "LOOK", 60)
    assert services.listing.page(SYSTEM, EventFilter(types=["RARE"]), 5, text="y").looked.events == 3


@pytest.mark.parametrize("text", ["", "x" * 201, "a\nb", "\x00"])
def test_an_invalid_search_text_is_rejected(services, text):
    with pytest.raises(InputInvalid, match="cannot be searched"):
        services.listing.page(SYSTEM, EventFilter(), 5, text=text)


def test_users_search_only_events_of_their_customers(services):
    accept(services, [["secret"]], customer="A", type="MINE")
    accept(services, [["secret"]], customer="B", type="THEIRS")
    page = services.listing.page(ANNA, EventFilter(), 10, text="secret")
    assert ([listed.type for listed in page.events], page.looked.events) == (["MINE"], 1)
    with pytest.raises(Forbidden):
        services.listing.page(ANNA, EventFilter(customer="B"), 10, text="secret")
