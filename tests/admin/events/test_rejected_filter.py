"""Filters of rejected events on their pages: in the URL, kept over pages, tabs and groups."""

from __future__ import annotations

import pytest

from app.store.events import rejected, rejected_filter
from app.store.models import RejectedEvent
from tests.admin.events.conftest import GROUP, sending
from tests.admin.events.test_rejected import shown_ids
from tests.admin.events.test_rejected_groups import groups, up_to
from tests.support.client import event

LIST = "/admin/rejected/by/event"


@pytest.fixture
def ids(refuse) -> list[int]:
    """Return the ids of rejected events that differ in everything that a filter has, received a second apart."""
    found = refuse(
        event(timestamp=-1),
        event(timestamp=-2, customer="OTHER"),
        event(product="WATCHLIST", timestamp=None),
        event(type="", context=["Zebra 100%"]),
        "nothing",
    )
    for place, key in enumerate(found):
        moved = {"received_at": 1_790_000_000_000 + 1_000 * place, "request_id": f"request-{place}"}
        RejectedEvent.update(moved).where(RejectedEvent.id == key).execute()
    return found


@pytest.mark.parametrize(
    ("query", "places"),
    [
        ("customer=OTHER", [1]),
        ("customer=NOBODY", []),
        ("product=WATCHLIST", [2]),
        ("type=PORTFOLIO-APPLICATION-LOADED&customer=BARCHART", [0, 2]),
        ("reason=timestamp-wrong", [0, 1]),
        ("reason=timestamp-missing", [2]),
        ("reason=event", [4]),
        ("start=1790000001000&end=1790000002999", [1, 2]),
        ("origin=request-3", [3]),
        ("origin=203.0.113.9", [0, 1, 2, 3, 4]),
        ("origin=198.51.100.0/24", []),
        ("text=zebra+100%25", [3]),
        ("text=100_", []),
        ("text=is+-2", [1]),
        ("text=is+%22%22", []),
        ("text=has+0+characters", [3]),
        ("customer=&product=&reason=&text=", [0, 1, 2, 3, 4]),
    ],
)
def test_each_filter_selects_its_events(olga, ids, query, places):
    page = olga.read(f"{LIST}?{query}")
    assert shown_ids(page) == [ids[place] for place in reversed(places)]
    found = f"{len(places)} " if places else "No "
    assert page.first("p", class_="state").text.startswith(found)


def test_the_filter_stays_over_pages_tabs_and_groups(olga, refuse, monkeypatch):
    monkeypatch.setattr("app.admin.events.rejected.PAGE_SIZE", 2)
    refuse(*[event(timestamp=-number) for number in range(1, 6)], event(timestamp=-9, customer="OTHER"))
    pages = list(olga.pages(f"{LIST}?customer=BARCHART&text=portfolio", "Older"))
    assert [len(shown_ids(page)) for page in pages] == [2, 2, 1]
    assert pages[-1].value("customer") == "BARCHART"
    page = olga.read(pages[-1].link("By reason"))
    assert [row.first(class_="count").text for row in page.all("tr", class_="leads")] == ["5"]
    page = olga.read(page.link("timestamp is wrong"))
    assert "5 events of" in page
    assert "Only events with customer BARCHART, text portfolio." in page
    assert "6 events of" in olga.read(page.link("Show the whole group"))


def test_a_group_is_sent_and_removed_within_its_filter(olga, refuse):
    refuse(*[event(timestamp=-1 - number, customer="ABC"[number % 3]) for number in range(9)])
    path = sending(f"{GROUP}&customer=A", "timestamp")
    assert "Send 3 events again?" in olga.read(path)
    answer = olga.send(path, {"up_to": up_to(olga, path)})
    assert answer.headers["Location"] == "/admin/rejected?customer=A"
    assert sorted({row.customer for row in rejected.newest(10)}) == ["B", "C"]
    path = f"{GROUP}&text=%22B%22".replace("/group?", "/group/remove?")
    assert "Remove 3 rejected events?" in olga.read(path)
    olga.send(path, {"up_to": up_to(olga, path)})
    assert {row.customer for row in rejected.newest(10)} == {"C"}


@pytest.mark.both_databases
def test_a_text_is_looked_for_in_the_latest_events_and_then_further_back(olga, refuse, monkeypatch):
    monkeypatch.setattr(rejected_filter, "SEARCHED", 3)
    found = refuse(event(timestamp=-1, context=["zebra"]), *[event(timestamp=-number) for number in range(2, 7)])
    pages = list(olga.pages(f"{LIST}?text=zebra", "Search older events"))
    assert [shown_ids(page) for page in pages] == [[], [found[0]]]
    assert "No match in the latest 20,000 events." in pages[0]
    assert groups(olga.read("/admin/rejected?text=zebra")) == {}
    assert olga.get(f"{GROUP}&text=zebra").status_code == 404


def test_requests_are_filtered_by_themselves_and_by_their_events(olga, nobody, services):
    nobody.post("/events", [event(), event(timestamp=-1)])
    nobody.post("/events", [event(), event(customer="OTHER", product="WATCHLIST", context={})])
    services.rejected.flush()
    first, second = (f"/admin/rejected/request/{one.uuid}" for one in reversed(rejected.requests(2)))
    for query, shown in (
        ("customer=BARCHART", [first]),
        ("customer=OTHER", [second]),
        ("product=WATCHLIST", [second]),
        ("reason=timestamp-wrong", [first]),
        ("text=is+-1", [first]),
        ("end=5", []),
        ("", [second, first]),
    ):
        page = olga.read(f"/admin/rejected/by/request?{query}")
        assert [row.first("a")["href"] for row in page.all("tr", class_="leads")] == shown, query


@pytest.mark.parametrize("path", ["/admin/rejected", LIST, "/admin/rejected/by/request", "/admin/rejected/by/reason"])
@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("start=yesterday", "Received from is not a date and time in UTC"),
        ("start=2000&end=1000", "Received to is before"),
        ("reason=colour", 'Reason is "colour"; it must be one of event, customer-missing'),
        ("origin=10.0.0.0/8", "addresses are stored as networks of /24, so give one of these or smaller."),
        ("origin=2001:db8::/32", "addresses are stored as networks of /48"),
        (f"text={'x' * 201}", "Text has 201 characters; it must have at most 200."),
    ],
)
def test_an_invalid_filter_is_explained_at_its_field(olga, path, query, message):
    answer = olga.get(f"{path}?{query}")
    assert answer.status_code == 400
    assert message in answer.get_data(as_text=True).replace("&#34;", '"')


def test_an_invalid_filter_sends_nothing(olga, refuse):
    refuse(event(timestamp=-1))
    path = f"{sending()}&start=yesterday"
    assert olga.get(path).status_code == 400
    assert olga.send(path, {"up_to": "99"}, form=sending()).status_code == 400
    assert len(rejected.newest(10)) == 1


def test_a_limited_operator_finds_nothing_of_other_customers(limited, refuse):
    refuse(event(timestamp=-1, customer="OTHER", context=["secret"]))
    for query in ("customer=OTHER", "text=secret", "origin=203.0.113.9", ""):
        assert shown_ids(limited.read(f"{LIST}?{query}")) == []
        assert groups(limited.read(f"/admin/rejected?{query}")) == {}
