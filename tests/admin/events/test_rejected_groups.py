"""Pages of groups of similar rejected events: list, resend and remove them."""

from __future__ import annotations

import time

import pytest

from app.admin.template_filters import stamp
from app.store.events import rejected
from tests.admin.conftest import Visitor
from tests.admin.events.conftest import GROUP, audit_entries, sending, stored
from tests.admin.events.test_rejected import shown_ids
from tests.support.client import event
from tests.support.page import Element, read
from tests.support.rows import newest_events
from tests.support.threads import at_once

LIST = "/admin/rejected"
REMOVE = GROUP.replace("group", "group/remove")


def groups(page: Element) -> dict[str, str]:
    """Return the text of each group in the list, by its reason."""
    return {row.first(class_="group-reason").text: row.text for row in page.all("tr", class_="leads")}


def up_to(visitor: Visitor, path: str) -> str:
    """Return the id of the last event that a page includes."""
    return visitor.read(path).value("up_to")


def test_similar_events_are_grouped_largest_first(olga, refuse):
    refuse(
        event(timestamp=-1), event(timestamp="soon"), event(timestamp=-3, type="OTHER"), "nothing", {"customer": "A"}
    )
    refuse(event(timestamp=None), event(context={}))
    page = olga.read(LIST)
    by_reason = groups(page)
    assert list(by_reason)[0] == "timestamp is wrong"
    assert len(page.all("tr", class_="leads")) == 6
    assert "PORTFOLIO PORTFOLIO-APPLICATION-LOADED" in by_reason["timestamp is missing"]
    assert by_reason["Not an event"].startswith("Not an event unknown")
    assert "context is wrong" in by_reason
    assert "product is missing" in by_reason


@pytest.mark.settings(catalog_mode="strict")
def test_an_unknown_code_is_a_separate_reason(olga, refuse):
    refuse(event(), event())
    assert groups(olga.read(LIST)).keys() == {"customer is not known"}


def test_each_group_has_its_trend_by_hour_or_day(olga, refuse, monkeypatch):
    refuse(event(timestamp=-1), event(timestamp=-2))
    for path, span in (("", "last 30 days"), ("?by=day", "last 30 days"), ("?by=hour", "last 24 hours")):
        page = olga.read(f"{LIST}{path}")
        assert page.all(aria_label=f"2 received in the {span}")
        assert len(page.all("rect")) == 1
    later = time.time_ns() // 1_000_000 + 40 * 86_400_000
    monkeypatch.setattr("app.services.events.rejected_groups.now", lambda: later)
    page = olga.read(LIST)
    assert page.all("rect") == []
    assert "timestamp is wrong" in page


def test_a_group_is_shown_with_its_events(olga, refuse):
    refuse(event(timestamp=-1, context=["first"]), event(timestamp=-2, context=["second"]), event(context={}))
    page = olga.read(GROUP)
    assert "2 events of" in page
    assert ["second" in element.content for element in page.all(class_="sent")] == [True, False]
    assert "Send all 2 again…" in page


def test_the_events_of_a_group_are_paginated(olga, refuse, monkeypatch):
    monkeypatch.setattr("app.admin.events.rejected_group.PAGE_SIZE", 3)
    ids = refuse(*[event(timestamp=-number) for number in range(1, 8)])
    assert [key for page in olga.pages(GROUP, "Older") for key in shown_ids(page)] == ids[::-1]


@pytest.mark.settings(catalog_mode="strict")
def test_a_group_is_resent_unchanged_after_the_catalog_was_fixed(olga, refuse, services):
    refuse(event(context=["1"]), event(context=["2"]), event(context=["3"], type="UNKNOWN"))
    services.catalog.load_sample()
    group = "/admin/rejected/group?field=customer&fault=unknown&product=PORTFOLIO&type=PORTFOLIO-APPLICATION-LOADED"
    answer = olga.send(sending(group), {"up_to": up_to(olga, sending(group))})
    assert answer.headers["Location"] == LIST
    assert "2 events are stored." in olga.read(LIST)
    assert sorted(row.context for row in newest_events(10)) == [["1"], ["2"]]
    (row,) = rejected.newest(10)
    assert row.type == "UNKNOWN"
    (note,) = audit_entries()
    assert note[0] == "rejected event sent again"
    assert note[2] == {"stored": 2, "refused": 0, "changed": "nothing"}


def test_a_group_is_resent_with_one_change(olga, refuse):
    refuse(event(type="", context=["1"]), event(type="", context=["2"]), event(type="", timestamp=-1))
    group = "/admin/rejected/group?field=type&fault=wrong&product=PORTFOLIO&type="
    path = sending(group, "type", " OPENED ")
    answer = olga.send(path, {"up_to": up_to(olga, path)})
    assert answer.status_code == 302
    page = olga.read(answer.headers["Location"])
    assert "2 events are stored. 1 is still rejected. First reason: timestamp is -1" in page
    assert sorted((row.type, row.context) for row in newest_events(10)) == [("OPENED", ["1"]), ("OPENED", ["2"])]
    (row,) = rejected.newest(10)
    assert '"type":""' in row.event
    assert audit_entries()[0][2]["changed"] == "type: OPENED"


def test_a_missing_time_becomes_the_time_of_arrival(olga, refuse):
    refuse(event(timestamp=None))
    (row,) = rejected.newest(1)
    group = GROUP.replace("wrong", "missing")
    path = sending(group, "timestamp")
    olga.send(path, {"up_to": up_to(olga, path)})
    assert [row.timestamp for row in newest_events(1)] == [row.received_at]


def test_events_newer_than_the_page_are_neither_resent_nor_removed(olga, refuse):
    refuse(event(timestamp=-1))
    last = up_to(olga, sending())
    (late,) = refuse(event(timestamp=-2))
    olga.send(sending(change="timestamp"), {"up_to": last})
    assert [row.id for row in rejected.newest(10)] == [late]
    refuse(event(timestamp=-3))
    olga.send(REMOVE, {"up_to": str(late)})
    assert [row.id for row in rejected.newest(10)] == [late + 1]


@pytest.mark.parametrize(
    ("change", "field", "message"),
    [
        (("customer", "  "), "value", "New value is missing."),
        (("context", "x"), "change", "Change before sending is not one of the choices."),
    ],
)
def test_an_invalid_change_is_reported_and_sends_nothing(olga, refuse, change, field, message):
    refuse(event(timestamp=-1))
    path = sending(GROUP, *change)
    answers = [olga.get(path), olga.send(path, {"up_to": up_to(olga, sending())}, form=sending())]
    for answer in answers:
        assert answer.status_code == 400
        assert read(answer).wrong(field) == message
    assert stored() == []
    assert len(rejected.newest(10)) == 1


def test_the_question_names_what_is_sent_to_whom_and_since_when(olga, refuse):
    refuse(event(timestamp=-1), event(timestamp=-2, customer="OTHER"), event(timestamp=-3))
    first, last = rejected.newest(3)[-1].received_at, rejected.newest(1)[0].received_at
    page = olga.read(sending(GROUP, "version", "2.1"))
    words = (
        "Send 3 events again?",
        "Version: 2.1",
        "BARCHART (2)",
        "OTHER (1)",
        "PORTFOLIO",
        stamp(first),
        stamp(last),
    )
    assert [one for one in words if one not in page] == []
    assert stored() == []
    assert len(rejected.newest(10)) == 3


def test_a_group_is_resent_in_part_if_the_time_limit_is_reached(olga, refuse, monkeypatch):
    monkeypatch.setattr("app.services.events.rejected_groups.AT_ONCE", 2)
    monkeypatch.setattr("app.services.events.rejected_groups.BUDGET_SECONDS", 0)
    refuse(*[event(timestamp=-number) for number in range(1, 6)])
    path = sending(change="timestamp")
    answer = olga.send(path, {"up_to": up_to(olga, path)})
    message = "2 events are stored. 3 were not tried because the time limit was reached. Send them again."
    assert message in olga.read(answer.headers["Location"])
    assert len(stored()) == 2


def test_concurrent_resends_of_a_group_store_each_event_once(app, operator, refuse):
    refuse(*[event(timestamp=-number) for number in range(1, 30)])
    people = [Visitor(app).sign_in("olga") for _ in range(2)]
    path = sending(change="timestamp")
    tokens = [person.read(path).value("csrf_token") for person in people]
    fields = {"up_to": up_to(people[0], path)}
    at_once(2, lambda number: people[number].post(path, fields | {"csrf_token": tokens[number]}).status_code)
    assert len(newest_events(100)) == 29
    assert rejected.newest(1) == []


def test_a_group_is_removed_after_a_confirmation_with_the_number(olga, refuse):
    refuse(*[event(timestamp=-number, context=[f"number {number}"]) for number in range(1, 6)], event(context={}))
    page = olga.read(REMOVE)
    for text in ("Remove 5 rejected events?", "number 5", "And 2 more like these."):
        assert text in page
    assert len(rejected.newest(10)) == 6
    answer = olga.send(REMOVE, {"up_to": up_to(olga, REMOVE)})
    assert answer.headers["Location"] == LIST
    assert "5 rejected events are removed." in olga.read(LIST)
    (remaining,) = rejected.newest(10)
    assert remaining.field == "context"
    (note,) = audit_entries()
    assert (note[0], note[2]) == ("rejected events purged", {"number": 5})


def test_a_limited_operator_sees_groups_of_their_customers_only(limited, refuse):
    refuse(event(timestamp=-1), event(customer="OTHER", timestamp=-2), event(customer="OTHER", context={}), "nothing")
    assert groups(limited.read(LIST)).keys() == {"timestamp is wrong"}
    assert "1 event of" in limited.read(GROUP)
    other = GROUP.replace("timestamp", "context")
    assert limited.get(other).status_code == 404
    last = str(rejected.newest(1)[0].id)
    limited.send(REMOVE, {"up_to": last}, form=LIST)
    assert sorted(row.field for row in rejected.newest(10)) == ["", "context", "timestamp"]
    assert limited.send(sending(other), {"up_to": last}, form=LIST).status_code == 404


def test_a_limited_operator_cannot_move_a_group_to_another_customer(limited, refuse):
    refuse(event(timestamp=-1))
    path = sending(GROUP, "customer", "OTHER")
    answer = limited.send(path, {"up_to": up_to(limited, path)})
    message = "1 is still rejected. First reason: You may not send events of the customer OTHER."
    assert message in limited.read(answer.headers["Location"])
    assert stored() == []


def test_a_group_is_unchanged_if_the_last_event_is_not_given(olga, refuse):
    refuse(event(timestamp=-1))
    for path in (sending(), REMOVE):
        assert olga.send(path, {}).status_code == 404
        assert olga.send(path, {"up_to": "x"}).status_code == 404
    assert len(rejected.newest(10)) == 1


@pytest.mark.parametrize("path", [GROUP, "/admin/rejected/group", REMOVE, sending()])
def test_an_unknown_group_is_not_found(olga, path):
    assert olga.get(path).status_code == 404
