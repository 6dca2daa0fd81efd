"""Pages of rejected events: show them in full, edit and resend them, or remove them."""

from __future__ import annotations

import json

import pytest

from app.admin.template_filters import stamp
from app.store.events import rejected
from tests.admin.conftest import Visitor
from tests.admin.events.conftest import ADDRESS, audit_entries, stored
from tests.support.client import event
from tests.support.page import Element, read
from tests.support.rows import newest_events
from tests.support.threads import at_once

HALF = '{"customer": "BARCHART", "product": '
LIST = "/admin/rejected/by/event"


def shown_ids(page: Element) -> list[int]:
    """Return the ids of the events in a list."""
    links = [anchor["href"] for anchor in page.all("a") if anchor.text == "Edit and send again"]
    return [int(link.rpartition("/")[2]) for link in links]


def test_an_invalid_event_is_shown_in_full(olga, nobody, services):
    invalid = event(timestamp=-5, context=["<b>", {"a": 1}], own="kept")
    answer = nobody.post("/events", {"events": [event(), invalid]}, environ_overrides=ADDRESS)
    services.rejected.flush()
    page = olga.read(LIST)
    assert "events[1].timestamp is -5; it must be a whole number" in page
    assert "events[1].context[1] is an object" in page
    assert page.first("pre", class_="sent").content == json.dumps(invalid, separators=(",", ":"))
    assert "203.0.113.0/24" in page
    assert "203.0.113.77" not in olga.see(LIST)
    assert answer.headers["X-Request-ID"] in page
    assert "event 2" in page


def test_an_invalid_line_is_shown_as_received(olga, nobody, services):
    nobody.post("/events", HALF.encode(), content_type="application/x-ndjson")
    services.rejected.flush()
    assert olga.read(LIST).first("pre", class_="sent").content == HALF


def test_the_latest_events_come_first_and_are_paginated(olga, refuse, monkeypatch):
    monkeypatch.setattr("app.admin.events.rejected.PAGE_SIZE", 3)
    ids = refuse(*[event(timestamp=-number) for number in range(1, 8)])
    assert [key for page in olga.pages(LIST, "Older") for key in shown_ids(page)] == ids[::-1]


def test_an_empty_list_is_described(olga):
    assert "Nothing has been rejected." in olga.read(LIST)


def test_a_limited_operator_sees_rejected_events_of_their_customers_only(limited, refuse):
    mine, *_ = refuse(
        event(timestamp=-1), event(customer="OTHER", timestamp=-2), event(customer=5), {"nobody": "knows"}
    )
    page = limited.read(LIST)
    assert shown_ids(page) == [mine]
    assert "1 rejected event: timestamp (1)." in page
    assert limited.get(f"/admin/rejected/{mine}").status_code == 200
    assert limited.get(f"/admin/rejected/{mine + 1}").status_code == 404


def test_a_limited_operator_cannot_resend_for_other_customers(limited, refuse):
    (key,) = refuse(event(timestamp=-1))
    answer = limited.send(f"/admin/rejected/{key}", {"event": json.dumps(event(customer="OTHER"))})
    assert answer.status_code == 403
    assert "You may not send events of the customer OTHER." in read(answer).wrong("event")
    assert stored() == []


def test_the_overview_counts_rejected_events_by_field(olga, anna, refuse):
    assert "rejected event" not in olga.read("/admin/")
    refuse(event(timestamp=-1), event(timestamp=-2), event(context="x"), "no event")
    rejected.add([], 1200)
    page = olga.read("/admin/overview/part")
    assert "4 rejected events: timestamp (2), the event as a whole (1), context (1)." in page
    assert "1,200 more were dropped" in page
    assert "rejected event" not in anna.see("/admin/overview/part")


def test_an_edited_event_is_stored_and_no_longer_rejected(olga, refuse):
    (key,) = refuse(event(timestamp=-1, context=[1.50, None], own="ignored"))
    form = olga.read(f"/admin/rejected/{key}").value("event")
    assert '"own": "ignored"' in form
    answer = olga.send(f"/admin/rejected/{key}", {"event": form.replace("-1", "1793000000001")})
    assert answer.status_code == 302
    assert stored() == [("BARCHART", "PORTFOLIO-APPLICATION-LOADED", 1_793_000_000_001, ["1.5", None])]
    page = olga.read(LIST)
    assert f"Stored: PORTFOLIO-APPLICATION-LOADED of BARCHART, PORTFOLIO, {stamp(1_793_000_000_001)} UTC" in page
    assert str(newest_events(1)[0].batch) in page
    assert rejected.newest(1) == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"customer": "A", "x": "</textarea>"', "The event is not valid JSON"),
        (json.dumps(event(type="")), "type has 0 characters"),
        ("[]", "The event is an array; it must be an object"),
        (f"{json.dumps(event())}, {json.dumps(event())}", "The event is not valid JSON: Extra data"),
        ('{"customer": "\\ud800"}', "customer has a lone surrogate"),
        ("", "The event is not valid JSON"),
    ],
)
def test_an_event_that_is_still_invalid_stays_in_the_form_with_its_errors(olga, refuse, services, text, message):
    (key,) = refuse(event(timestamp=-1))
    answer = olga.send(f"/admin/rejected/{key}", {"event": text})
    assert answer.status_code == 400
    assert message in read(answer).wrong("event")
    assert read(answer).value("event") == text
    services.rejected.flush()
    assert [row.id for row in rejected.newest(10)] == [key]
    assert stored() == []


def test_numbers_are_unchanged_in_the_form(olga, nobody, services):
    nobody.post(
        "/events", b'[{"customer":"A","n":1e400,"timestamp":1568381886060.50,"context":[1.0,12345678901234567890]}]'
    )
    services.rejected.flush()
    form = olga.read(f"/admin/rejected/{rejected.newest(1)[0].id}").value("event")
    for number in ("1e400", "1568381886060.50", "1.0", "12345678901234567890"):
        assert number in form


def test_a_double_click_stores_the_event_once(olga, refuse):
    path = f"/admin/rejected/{refuse(event(timestamp=-1))[0]}"
    fields = {"event": json.dumps(event()), "csrf_token": olga.read(path).value("csrf_token")}
    assert [olga.post(path, fields).status_code for _ in range(2)] == [302, 302]
    assert "It had already been sent again, and is stored once" in olga.read(LIST)
    assert len(stored()) == 1


def test_concurrent_edits_of_an_event_store_one_version(app, operator, refuse):
    path = f"/admin/rejected/{refuse(event(timestamp=-1))[0]}"
    people = [Visitor(app).sign_in("olga") for _ in range(4)]
    tokens = [person.read(path).value("csrf_token") for person in people]

    def send(number: int) -> int:
        edited = json.dumps(event(context=[f"edit {number}"]))
        return people[number].post(path, {"event": edited, "csrf_token": tokens[number]}).status_code

    assert at_once(4, send) == [302] * 4
    assert len(stored()) == 1
    assert rejected.newest(1) == []


@pytest.mark.settings(catalog_mode="strict")
def test_a_strict_catalog_rejects_a_resent_event(olga, refuse, services):
    services.catalog.load_sample()
    (key,) = refuse(event(type="UNKNOWN"))
    answer = olga.send(f"/admin/rejected/{key}", {"event": json.dumps(event(type="PORTFOLIO-APPLICATION-LOADEDD"))})
    assert answer.status_code == 400
    message = "which is not known; the nearest known: PORTFOLIO-APPLICATION-LOADED"
    assert message in read(answer).wrong("event")


def test_an_event_is_removed_after_a_confirmation(olga, refuse):
    remaining, removed = refuse(event(timestamp=-1), event(timestamp=-2, context=["this one"]))
    path = f"/admin/rejected/{removed}/remove"
    page = olga.read(path)
    assert "this one" in page
    assert "timestamp is -2" in page
    assert [row.id for row in rejected.newest(10)] == [removed, remaining]
    assert olga.send(path, {}).status_code == 302
    assert [row.id for row in rejected.newest(10)] == [remaining]
    assert "is removed." in olga.read(LIST)
    assert olga.send(path, {}, form="/admin/rejected").status_code == 404


def test_a_long_event_is_truncated_in_the_list_and_complete_in_its_form(olga, refuse):
    (key,) = refuse(event(timestamp=-1, context=["x" * 4000] * 90 + ["the end"]))
    assert "the end" not in olga.read(LIST)
    form = olga.read(f"/admin/rejected/{key}").value("event")
    assert "the end" in form
    assert olga.send(f"/admin/rejected/{key}", {"event": form.replace("-1", "1")}).status_code == 302
    assert len(stored()) == 1


def test_removing_and_resending_are_in_the_audit_log(olga, refuse):
    first, second = refuse(event(timestamp=-1), event(timestamp=-2))
    olga.send(f"/admin/rejected/{first}/remove", {})
    olga.send(f"/admin/rejected/{second}", {"event": json.dumps(event())})
    assert [(action, name) for action, name, _ in audit_entries()] == [
        ("rejected event removed", f"rejected event {first}"),
        ("rejected event sent again", f"rejected event {second}"),
    ]
