"""Pages of refused requests: show them with their invalid events, resend or remove them."""

from __future__ import annotations

import json

import pytest

from app.store.events import rejected
from tests.admin.events.conftest import GROUP, audit_entries, sending, stored
from tests.support.client import event
from tests.support.page import read
from tests.support.rows import newest_events

LIST = "/admin/rejected/by/request"


@pytest.fixture
def refused(nobody, services) -> str:
    """Refuse a request with an invalid event between two valid ones, and return the path of its page."""
    nobody.post("/events", [event(context=["1"]), event(timestamp=-1, context=["2"]), event(context=["3"])])
    services.rejected.flush()
    return f"/admin/rejected/request/{rejected.requests(1)[0].uuid}"


def newest() -> str:
    """Return the path of the newest rejected event."""
    return f"/admin/rejected/{rejected.newest(1)[0].id}"


def test_a_request_is_shown_once_and_named_beside_its_invalid_event(olga, refused):
    assert olga.read(LIST).links.count(refused) == 1
    for path in (GROUP, "/admin/rejected/by/event", newest()):
        page = olga.read(path)
        assert refused in page.links
        assert "together with 2 valid events" in page
    assert "with 2 valid events was refused whole" in olga.read("/admin/rejected")
    page = olga.read(refused)
    assert "timestamp is -1" in page
    assert "would store them twice" in page
    assert "would store them twice" in olga.read(sending())
    assert any('"context": ["3"]' in element.content for element in page.all("pre"))


def test_a_request_is_resent_completely_from_its_page_or_its_event_s(olga, refused):
    answer = olga.send(f"{refused}/send", {})
    assert answer.status_code == 400
    assert "events[1].timestamp is -1" in read(answer)
    fields = {"event": json.dumps(event(context=["2"])), "with_request": "yes"}
    assert olga.send(newest(), fields).status_code == 302
    assert sorted(row.context for row in newest_events(10)) == [["1"], ["2"], ["3"]]
    assert len({row.batch for row in newest_events(10)}) == 1
    assert "Stored: 3 events are in the batch" in olga.read(LIST)
    assert olga.get(refused).status_code == 404


def test_a_removed_event_is_excluded_when_the_request_is_resent(olga, refused):
    olga.send(f"{newest()}/remove", {})
    assert "Send all 2 again…" in olga.read(refused)
    assert olga.send(f"{refused}/send", {}).status_code == 302
    assert sorted(row.context for row in newest_events(10)) == [["1"], ["3"]]


def test_the_question_names_the_contents_of_a_request(olga, refused):
    page = olga.read(f"{refused}/send")
    for words in ("Send 3 events again?", "BARCHART, PORTFOLIO (3)", "will be stored twice"):
        assert words in page
    assert stored() == []


def test_a_request_is_removed_with_its_events(olga, refused):
    assert "It has 3 events, including valid ones." in olga.read(f"{refused}/remove")
    assert olga.send(f"{refused}/remove", {}).status_code == 302
    assert (rejected.requests(1), rejected.newest(1)) == ([], [])
    assert audit_entries()[-1][0] == "rejected request removed"
    assert olga.get(f"{refused}/remove").status_code == 404


def test_a_limited_operator_sees_their_event_of_a_mixed_request_but_not_the_request(limited, nobody, services):
    nobody.post("/events", [event(timestamp=-1), event(customer="OTHER", context=["secret"])])
    services.rejected.flush()
    path, uuid = newest(), rejected.newest(1)[0].request
    for page in (limited.see(place) for place in ("/admin/rejected", "/admin/rejected/by/event", path, GROUP)):
        assert [words for words in ("request/", "refused whole", "a refused request") if words in page] == []
    assert limited.get(f"/admin/rejected/request/{uuid}").status_code == 404
    fields = {"event": json.dumps(event())}
    assert limited.send(path, fields | {"with_request": "yes"}).status_code == 404
    assert limited.send(path, fields).status_code == 302
    assert len(stored()) == 1


def test_an_event_of_a_removed_request_is_resent_alone(olga, refused):
    rejected.RejectedRequest.delete().execute()
    assert "a refused request" not in olga.read(newest())
    assert olga.send(newest(), {"event": json.dumps(event())}).status_code == 302
