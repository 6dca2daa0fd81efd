"""Rejected events as people see them: in full, to be edited and sent again, or removed."""

from __future__ import annotations

import html
import json
import re

import pytest

from app.admin.words import stamp
from app.store import events, rejected
from tests.admin.conftest import Visitor
from tests.conftest import PASSWORD
from tests.support.client import event
from tests.support.threads import at_once

HALF = '{"customer": "BARCHART", "product": '
ADDRESS = {"REMOTE_ADDR": "203.0.113.77"}


@pytest.fixture
def refuse(nobody, services):
    """Send events of which each is refused; their ids, oldest first."""

    def send(*wrong: object) -> list[int]:
        answer = nobody.post("/events", list(wrong), headers={"Prefer": "handling=lenient"}, environ_overrides=ADDRESS)
        assert answer.headers["X-Rejected-Events"] == str(len(wrong))
        services.rejected.flush()
        return sorted(one.id for one in rejected.newest(len(wrong)))

    return send


@pytest.fixture
def olga(operator, app) -> Visitor:
    """An operator, signed in."""
    return Visitor(app).sign_in("olga")


@pytest.fixture
def limited(app, services) -> Visitor:
    """An operator of the customer BARCHART only, signed in."""
    services.accounts.add("otto", "operator", ["BARCHART"], PASSWORD)
    return Visitor(app).sign_in("otto")


def typed(page: str) -> str:
    """What stands in the form."""
    return html.unescape(re.search(r"<textarea[^>]*>\n?(.*?)</textarea>", page, re.DOTALL)[1])


def stored() -> list[tuple]:
    return [(row.customer, row.type, row.timestamp, row.context) for row in events.newest(10)]


def test_an_invalid_event_stands_on_the_page_in_full(olga, nobody, services):
    wrong = event(timestamp=-5, context=["<b>", {"a": 1}], own="kept")
    answer = nobody.post("/events", {"events": [event(), wrong]}, environ_overrides=ADDRESS)
    services.rejected.flush()
    page = olga.see("/admin/rejected")
    assert "events[1].timestamp is -5; it must be a whole number" in page
    assert "events[1].context[1] is an object" in page
    assert json.dumps(wrong, separators=(",", ":")) in page
    assert "203.0.113.0/24" in page
    assert "203.0.113.77" not in page
    assert answer.headers["X-Request-ID"] in page
    assert "event 2" in page


def test_a_broken_line_stands_there_as_it_came(olga, nobody, services):
    nobody.post("/events", HALF.encode(), content_type="application/x-ndjson")
    services.rejected.flush()
    assert HALF in olga.see("/admin/rejected")


def test_the_newest_come_first_a_page_at_a_time(olga, refuse, monkeypatch):
    monkeypatch.setattr("app.admin.rejected.PAGE", 3)
    ids = refuse(*[event(timestamp=-number) for number in range(1, 8)])
    path, shown = "/admin/rejected", []
    while path:
        page = olga.see(path)
        shown += [int(key) for key in re.findall(r'href="/admin/rejected/(\d+)"', page)]
        older = re.search(r'href="(/admin/rejected\?before=\d+)"', page)
        path = older and older[1]
    assert shown == ids[::-1]


def test_the_left_bar_leads_there(olga):
    assert '<a href="/admin/rejected" aria-current="page">' in olga.see("/admin/rejected")
    assert "Whatever was sent was accepted." in olga.see("/admin/rejected")


def test_an_analyst_neither_sees_the_place_nor_gets_there(anna, refuse):
    (key,) = refuse(event(timestamp=-1))
    assert "/admin/rejected" not in anna.see("/admin/")
    for path in ("/admin/rejected", f"/admin/rejected/{key}", f"/admin/rejected/{key}/remove"):
        assert anna.get(path).status_code == 403
    for path in (f"/admin/rejected/{key}", f"/admin/rejected/{key}/remove"):
        assert anna.send(path, {"event": "{}"}, form="/admin/").status_code == 403
    assert rejected.newest(1)


def test_who_is_limited_to_a_customer_sees_the_rejected_events_of_that_one_only(limited, refuse):
    mine, _, _, _ = refuse(
        event(timestamp=-1), event(customer="OTHER", timestamp=-2), event(customer=5), {"nobody": "knows"}
    )
    page = limited.see("/admin/rejected")
    assert re.findall(r'href="/admin/rejected/(\d+)"', page) == [str(mine)]
    assert "1 rejected event: timestamp (1)." in page
    assert limited.get(f"/admin/rejected/{mine}").status_code == 200
    assert limited.get(f"/admin/rejected/{mine + 1}").status_code == 404


def test_who_is_limited_to_a_customer_sends_events_of_no_other(limited, refuse):
    (key,) = refuse(event(timestamp=-1))
    answer = limited.send(f"/admin/rejected/{key}", {"event": json.dumps(event(customer="OTHER"))})
    assert answer.status_code == 403
    assert "You may not send events of the customer OTHER." in answer.get_data(as_text=True)
    assert stored() == []


def test_the_overview_counts_them_by_reason_and_tells_what_was_dropped(olga, anna, refuse):
    assert "rejected event" not in olga.see("/admin/")
    refuse(event(timestamp=-1), event(timestamp=-2), event(context="x"), "no event")
    rejected.add([], 1200)
    page = olga.see("/admin/overview/part")
    assert "4 rejected events: timestamp (2), the event as a whole (1), context (1)." in page
    assert "1,200 more were dropped" in page
    assert "rejected event" not in anna.see("/admin/overview/part")


def test_an_edited_event_is_stored_and_is_no_rejected_event_any_more(olga, refuse):
    (key,) = refuse(event(timestamp=-1, context=[1.50, None], own="ignored"))
    form = typed(olga.get(f"/admin/rejected/{key}").get_data(as_text=True))
    assert '"own": "ignored"' in form
    answer = olga.send(f"/admin/rejected/{key}", {"event": form.replace("-1", "1793000000001")})
    assert answer.status_code == 302
    assert stored() == [("BARCHART", "PORTFOLIO-APPLICATION-LOADED", 1_793_000_000_001, ["1.5", None])]
    page = olga.see("/admin/rejected")
    assert f"Stored: PORTFOLIO-APPLICATION-LOADED of BARCHART, PORTFOLIO, {stamp(1_793_000_000_001)} UTC" in page
    assert str(events.newest(1)[0].batch) in page
    assert rejected.newest(1) == []


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('{"customer": "A", "x": "</textarea>"', "The event is not valid JSON"),
        (json.dumps(event(type="")), "type has 0 characters"),
        ("[]", "The event is an array; it must be an object"),
        (f"{json.dumps(event())}, {json.dumps(event())}", "The event is not valid JSON: Extra data"),
        ('{"customer": "\\ud800"}', "customer has a lone surrogate"),
        ("", "The event is not valid JSON"),
    ],
)
def test_what_is_still_wrong_stands_beside_what_was_typed(olga, refuse, services, text, told):
    (key,) = refuse(event(timestamp=-1))
    answer = olga.send(f"/admin/rejected/{key}", {"event": text})
    assert answer.status_code == 400
    page = answer.get_data(as_text=True)
    assert told in html.unescape(page)
    assert typed(page) == text
    services.rejected.flush()
    assert [one.id for one in rejected.newest(10)] == [key]
    assert stored() == []


def test_a_number_stays_as_it_was_sent_while_it_is_edited(olga, nobody, services):
    nobody.post(
        "/events", b'[{"customer":"A","n":1e400,"timestamp":1568381886060.50,"context":[1.0,12345678901234567890]}]'
    )
    services.rejected.flush()
    form = typed(olga.get(f"/admin/rejected/{rejected.newest(1)[0].id}").get_data(as_text=True))
    for number in ("1e400", "1568381886060.50", "1.0", "12345678901234567890"):
        assert number in form


def test_a_double_click_stores_it_once_and_both_are_told(olga, refuse):
    (key,) = refuse(event(timestamp=-1))
    fields = {"event": json.dumps(event())}
    form = olga.get(f"/admin/rejected/{key}").get_data(as_text=True)
    fields["csrf_token"] = re.search(r'name="csrf_token"[^>]* value="([^"]+)"', form)[1]
    answers = [olga.post(f"/admin/rejected/{key}", fields) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [302, 302]
    assert "It was sent again before, and is stored once" in olga.see("/admin/rejected")
    assert len(stored()) == 1


def test_two_operators_at_once_store_it_once_whatever_they_made_of_it(app, operator, refuse):
    (key,) = refuse(event(timestamp=-1))
    people = [Visitor(app).sign_in("olga") for _ in range(4)]
    tokens = [person.get(f"/admin/rejected/{key}").get_data(as_text=True) for person in people]
    tokens = [re.search(r'name="csrf_token"[^>]* value="([^"]+)"', page)[1] for page in tokens]

    def send(number: int) -> int:
        edited = json.dumps(event(context=[f"edit {number}"]))
        return (
            people[number].post(f"/admin/rejected/{key}", {"event": edited, "csrf_token": tokens[number]}).status_code
        )

    assert at_once(4, send) == [302] * 4
    assert len(stored()) == 1
    assert rejected.newest(1) == []


@pytest.mark.settings(catalog_mode="strict")
def test_the_catalog_is_asked_in_strict_mode(olga, refuse, services):
    services.catalog.load_sample()
    (key,) = refuse(event(type="UNKNOWN"))
    answer = olga.send(f"/admin/rejected/{key}", {"event": json.dumps(event(type="PORTFOLIO-APPLICATION-LOADEDD"))})
    assert answer.status_code == 400
    assert "which is not known; the nearest known: PORTFOLIO-APPLICATION-LOADED" in answer.get_data(as_text=True)


def test_before_one_is_removed_it_is_named(olga, refuse):
    keep, key = refuse(event(timestamp=-1), event(timestamp=-2, context=["this one"]))
    page = olga.see(f"/admin/rejected/{key}/remove")
    assert "this one" in page
    assert "timestamp is -2" in page
    assert [one.id for one in rejected.newest(10)] == [key, keep]
    answer = olga.send(f"/admin/rejected/{key}/remove", {})
    assert answer.status_code == 302
    assert [one.id for one in rejected.newest(10)] == [keep]
    assert "is removed." in olga.see("/admin/rejected")
    assert olga.send(f"/admin/rejected/{key}/remove", {}, form="/admin/rejected").status_code == 404


def test_a_form_without_its_token_does_nothing(olga, refuse):
    (key,) = refuse(event(timestamp=-1))
    assert olga.post(f"/admin/rejected/{key}", {"event": json.dumps(event())}).status_code == 400
    assert olga.post(f"/admin/rejected/{key}/remove", {}).status_code == 400
    assert len(rejected.newest(10)) == 1
    assert stored() == []


@pytest.mark.parametrize("key", ["0", "999", "x", "-1", "9" * 30, "%00"])
def test_what_is_not_there_is_not_found(olga, key):
    assert olga.get(f"/admin/rejected/{key}").status_code == 404
    assert olga.get(f"/admin/rejected/{key}/remove").status_code == 404


def test_a_long_event_is_cut_in_the_list_and_whole_in_its_form(olga, refuse):
    (key,) = refuse(event(timestamp=-1, context=["x" * 4000] * 90 + ["the end"]))
    assert "the end" not in olga.see("/admin/rejected")
    page = olga.get(f"/admin/rejected/{key}").get_data(as_text=True)
    assert "the end" in typed(page)
    answer = olga.send(f"/admin/rejected/{key}", {"event": typed(page).replace("-1", "1")})
    assert answer.status_code == 302
    assert len(stored()) == 1
