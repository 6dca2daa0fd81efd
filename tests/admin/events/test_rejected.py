"""Rejected events as people see them: in full, to be edited and sent again, or removed."""

from __future__ import annotations

import html
import json
import re
import time

import pytest

from app.admin.template_filters import stamp
from app.store.events import rejected, select
from app.store.models import AuditEntry
from tests.admin.conftest import Visitor, words
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
    return [(row.customer, row.type, row.timestamp, row.context) for row in select.newest(10)]


def test_an_invalid_event_stands_on_the_page_in_full(olga, nobody, services):
    wrong = event(timestamp=-5, context=["<b>", {"a": 1}], own="kept")
    answer = nobody.post("/events", {"events": [event(), wrong]}, environ_overrides=ADDRESS)
    services.rejected.flush()
    page = olga.see("/admin/rejected/by/event")
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
    assert HALF in olga.see("/admin/rejected/by/event")


def test_the_newest_come_first_a_page_at_a_time(olga, refuse, monkeypatch):
    monkeypatch.setattr("app.admin.events.rejected.PAGE_SIZE", 3)
    ids = refuse(*[event(timestamp=-number) for number in range(1, 8)])
    path, shown = "/admin/rejected/by/event", []
    while path:
        page = olga.see(path)
        shown += [int(key) for key in re.findall(r'href="/admin/rejected/(\d+)"', page)]
        older = re.search(r'href="(/admin/rejected/by/event\?before=\d+)"', page)
        path = older and older[1]
    assert shown == ids[::-1]


def test_the_left_bar_leads_there(olga):
    assert '<a href="/admin/rejected" aria-current="page">' in olga.see("/admin/rejected/by/event")
    assert "Nothing has been rejected." in olga.see("/admin/rejected/by/event")


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
    page = limited.see("/admin/rejected/by/event")
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
    page = olga.see("/admin/rejected/by/event")
    assert f"Stored: PORTFOLIO-APPLICATION-LOADED of BARCHART, PORTFOLIO, {stamp(1_793_000_000_001)} UTC" in page
    assert str(select.newest(1)[0].batch) in page
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
    assert "It had already been sent again, and is stored once" in olga.see("/admin/rejected/by/event")
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
    assert "is removed." in olga.see("/admin/rejected/by/event")
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
    assert "the end" not in olga.see("/admin/rejected/by/event")
    page = olga.get(f"/admin/rejected/{key}").get_data(as_text=True)
    assert "the end" in typed(page)
    answer = olga.send(f"/admin/rejected/{key}", {"event": typed(page).replace("-1", "1")})
    assert answer.status_code == 302
    assert len(stored()) == 1


GROUP = "/admin/rejected/group?field=timestamp&fault=wrong&product=PORTFOLIO&type=PORTFOLIO-APPLICATION-LOADED"


def groups(page: str) -> dict[str, str]:
    """The text of each row of the list of groups, by its reason."""
    rows = re.findall(r'<tr class="leads" data-key="[^"]*">(.*?)</tr>', page, re.DOTALL)
    texts = [" ".join(re.sub(r"<[^>]+>", " ", row).split()) for row in rows]
    return {re.search(r">([^<]+)</a>", row)[1]: text for row, text in zip(rows, texts, strict=True)}


def up_to(visitor, path: str) -> str:
    """The last event that a page tells of."""
    return re.search(r'name="up_to" value="(\d+)"', visitor.get(path).get_data(as_text=True))[1]


def noted() -> list[tuple[str, str, dict]]:
    rows = AuditEntry.select().where(AuditEntry.action.startswith("rejected")).order_by(AuditEntry.id)
    return [(row.action, row.object, row.details) for row in rows]


def test_those_that_are_alike_stand_together_most_first(olga, refuse):
    refuse(
        event(timestamp=-1), event(timestamp="soon"), event(timestamp=-3, type="OTHER"), "nothing", {"customer": "A"}
    )
    refuse(event(timestamp=None), event(context={}))
    told = groups(olga.see("/admin/rejected"))
    assert list(told)[0] == "timestamp is wrong"
    rows = re.findall(r"group-reason.*?</tr>", olga.see("/admin/rejected"), re.DOTALL)
    assert len(rows) == 6
    assert "PORTFOLIO PORTFOLIO-APPLICATION-LOADED" in told["timestamp is missing"]
    assert told["Not an event"].startswith("Not an event unknown")
    assert "context is wrong" in told
    assert "product is missing" in told


@pytest.mark.settings(catalog_mode="strict")
def test_what_is_not_in_the_catalog_is_a_reason_of_its_own(olga, refuse):
    refuse(event(), event())
    assert groups(olga.see("/admin/rejected")).keys() == {"customer is not known"}


def test_each_group_has_its_trend_by_hour_or_day(olga, refuse, monkeypatch):
    refuse(event(timestamp=-1), event(timestamp=-2))
    for path, span in (("", "last 30 days"), ("?by=day", "last 30 days"), ("?by=hour", "last 24 hours")):
        page = olga.see(f"/admin/rejected{path}")
        assert f'aria-label="2 received in the {span}"' in page
        assert page.count("<rect ") == 1
    later = time.time_ns() // 1_000_000 + 40 * 86_400_000
    monkeypatch.setattr("app.services.events.rejected_groups.now", lambda: later)
    page = olga.see("/admin/rejected")
    assert "<rect " not in page
    assert "timestamp is wrong" in page


def test_a_group_is_shown_with_its_events(olga, refuse):
    refuse(event(timestamp=-1, context=["first"]), event(timestamp=-2, context=["second"]), event(context={}))
    page = olga.see(GROUP)
    assert "2 events of" in page
    assert page.index("second") < page.index("first")
    assert page.count('class="sent"') == 2
    assert "Send all 2 again" in page


def test_a_group_s_events_come_a_page_at_a_time(olga, refuse, monkeypatch):
    monkeypatch.setattr("app.admin.events.rejected_group.PAGE_SIZE", 3)
    ids = refuse(*[event(timestamp=-number) for number in range(1, 8)])
    path, shown = GROUP, []
    while path:
        page = olga.see(path)
        shown += [int(key) for key in re.findall(r'href="/admin/rejected/(\d+)"', page)]
        older = re.search(r'href="(/admin/rejected/group\?before=[^"]+)"', page)
        path = older and older[1]
    assert shown == ids[::-1]


@pytest.mark.settings(catalog_mode="strict")
def test_a_group_is_sent_again_as_it_is_once_the_catalog_has_what_was_missing(olga, refuse, services):
    refuse(event(context=["1"]), event(context=["2"]), event(context=["3"], type="UNKNOWN"))
    services.catalog.load_sample()
    group = "/admin/rejected/group?field=customer&fault=unknown&product=PORTFOLIO&type=PORTFOLIO-APPLICATION-LOADED"
    answer = olga.send(group, {"up_to": up_to(olga, group)})
    assert answer.headers["Location"] == "/admin/rejected"
    assert "2 events are stored." in olga.see("/admin/rejected")
    assert sorted(row.context for row in select.newest(10)) == [["1"], ["2"]]
    (one,) = rejected.newest(10)
    assert one.type == "UNKNOWN"
    (note,) = noted()
    assert note[0] == "rejected event sent again"
    assert note[2] == {"stored": 2, "refused": 0, "changed": "nothing"}


def test_a_group_is_sent_again_with_one_thing_changed(olga, refuse):
    refuse(event(type="", context=["1"]), event(type="", context=["2"]), event(type="", timestamp=-1))
    group = "/admin/rejected/group?field=type&fault=wrong&product=PORTFOLIO&type="
    answer = olga.send(group, {"up_to": up_to(olga, group), "change": "type", "value": " OPENED "})
    assert answer.status_code == 302
    page = olga.see(answer.headers["Location"])
    assert "2 events are stored. 1 is still rejected. First reason: timestamp is -1" in page
    assert sorted((row.type, row.context) for row in select.newest(10)) == [("OPENED", ["1"]), ("OPENED", ["2"])]
    (one,) = rejected.newest(10)
    assert '"type":""' in one.event
    assert noted()[0][2]["changed"] == "type: OPENED"


def test_a_missing_time_becomes_the_time_of_arrival(olga, refuse):
    refuse(event(timestamp=None))
    (one,) = rejected.newest(1)
    group = GROUP.replace("wrong", "missing")
    olga.send(group, {"up_to": up_to(olga, group), "change": "timestamp"})
    assert [row.timestamp for row in select.newest(1)] == [one.received]


def test_what_came_since_it_was_looked_at_is_not_sent_and_not_removed(olga, refuse):
    refuse(event(timestamp=-1))
    last = up_to(olga, GROUP)
    (late,) = refuse(event(timestamp=-2))
    olga.send(GROUP, {"up_to": last, "change": "timestamp"})
    assert [one.id for one in rejected.newest(10)] == [late]
    refuse(event(timestamp=-3))
    olga.send(GROUP.replace("group", "group/remove"), {"up_to": str(late)})
    assert [one.id for one in rejected.newest(10)] == [late + 1]


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"change": "customer", "value": "  "}, "New value is missing."),
        ({"change": "context", "value": "x"}, "Change before sending has no such choice."),
    ],
)
def test_a_wrong_change_is_told_and_sends_nothing(olga, refuse, fields, told):
    refuse(event(timestamp=-1))
    answer = olga.send(GROUP, {"up_to": up_to(olga, GROUP)} | fields)
    assert answer.status_code == 400
    assert told in html.unescape(answer.get_data(as_text=True))
    assert stored() == []
    assert len(rejected.newest(10)) == 1


def test_a_group_that_takes_too_long_is_sent_as_far_as_it_goes(olga, refuse, monkeypatch):
    monkeypatch.setattr("app.services.events.rejected_groups.AT_ONCE", 2)
    monkeypatch.setattr("app.services.events.rejected_groups.BUDGET_SECONDS", 0)
    refuse(*[event(timestamp=-number) for number in range(1, 6)])
    answer = olga.send(GROUP, {"up_to": up_to(olga, GROUP), "change": "timestamp"})
    page = olga.see(answer.headers["Location"])
    assert "2 events are stored. 3 were not tried because the time limit was reached. Send them again." in page
    assert len(stored()) == 2


def test_two_who_send_a_group_at_once_store_each_event_once(app, operator, refuse):
    refuse(*[event(timestamp=-number) for number in range(1, 30)])
    people = [Visitor(app).sign_in("olga") for _ in range(2)]
    pages = [person.get(GROUP).get_data(as_text=True) for person in people]
    tokens = [re.search(r'name="csrf_token"[^>]* value="([^"]+)"', page)[1] for page in pages]
    fields = {"up_to": up_to(people[0], GROUP), "change": "timestamp"}
    at_once(2, lambda number: people[number].post(GROUP, fields | {"csrf_token": tokens[number]}).status_code)
    assert len(select.newest(100)) == 29
    assert rejected.newest(1) == []


def test_before_a_group_is_removed_the_number_is_said(olga, refuse):
    refuse(*[event(timestamp=-number, context=[f"number {number}"]) for number in range(1, 6)], event(context={}))
    ask = GROUP.replace("group", "group/remove")
    page = olga.see(ask)
    assert "Remove 5 rejected events?" in page
    assert "number 5" in page
    assert "And 2 more like these." in page
    assert len(rejected.newest(10)) == 6
    answer = olga.send(ask, {"up_to": up_to(olga, ask)})
    assert answer.headers["Location"] == "/admin/rejected"
    assert "5 rejected events are removed." in olga.see("/admin/rejected")
    (kept,) = rejected.newest(10)
    assert kept.field == "context"
    (note,) = noted()
    assert (note[0], note[2]) == ("rejected events purged", {"number": 5})


def test_one_that_is_removed_or_sent_stands_in_the_audit_log(olga, refuse):
    first, second = refuse(event(timestamp=-1), event(timestamp=-2))
    olga.send(f"/admin/rejected/{first}/remove", {})
    olga.send(f"/admin/rejected/{second}", {"event": json.dumps(event())})
    assert [(action, name) for action, name, _ in noted()] == [
        ("rejected event removed", f"rejected event {first}"),
        ("rejected event sent again", f"rejected event {second}"),
    ]


def test_who_is_limited_to_a_customer_has_groups_of_that_one_only(limited, refuse):
    refuse(event(timestamp=-1), event(customer="OTHER", timestamp=-2), event(customer="OTHER", context={}), "nothing")
    assert groups(limited.see("/admin/rejected")).keys() == {"timestamp is wrong"}
    assert "1 event of" in limited.see(GROUP)
    other = GROUP.replace("timestamp", "context")
    assert limited.get(other).status_code == 404
    last = str(rejected.newest(1)[0].id)
    limited.send(GROUP.replace("group", "group/remove"), {"up_to": last}, form="/admin/rejected")
    assert sorted(one.field for one in rejected.newest(10)) == ["", "context", "timestamp"]
    answer = limited.send(other, {"up_to": last}, form="/admin/rejected")
    assert answer.status_code == 404


def test_who_is_limited_to_a_customer_cannot_make_a_group_another_s(limited, refuse):
    refuse(event(timestamp=-1))
    fields = {"up_to": up_to(limited, GROUP), "change": "customer", "value": "OTHER"}
    answer = limited.send(GROUP, fields)
    assert "1 is still rejected. First reason: You may not send events of the customer OTHER." in limited.see(
        answer.headers["Location"]
    )
    assert stored() == []


def test_an_analyst_gets_to_no_group(anna, refuse):
    refuse(event(timestamp=-1))
    lists = ("/admin/rejected/by/event", "/admin/rejected/by/reason")
    for path in (GROUP, GROUP.replace("group", "group/remove"), *lists):
        assert anna.get(path).status_code == 403
    for path in (GROUP, GROUP.replace("group", "group/remove")):
        assert anna.send(path, {"up_to": "1"}, form="/admin/").status_code == 403
    assert len(rejected.newest(10)) == 1


def test_a_group_without_its_token_or_its_last_event_is_left_alone(olga, refuse):
    refuse(event(timestamp=-1))
    for path in (GROUP, GROUP.replace("group", "group/remove")):
        assert olga.post(path, {"up_to": "1"}).status_code == 400
        assert olga.send(path, {}).status_code == 404
        assert olga.send(path, {"up_to": "x"}).status_code == 404
    assert len(rejected.newest(10)) == 1


def test_a_group_that_is_not_there_is_not_found(olga):
    assert olga.get(GROUP).status_code == 404
    assert olga.get("/admin/rejected/group").status_code == 404
    assert olga.get(GROUP.replace("group", "group/remove")).status_code == 404


def test_nothing_of_a_group_becomes_markup(olga, refuse):
    text = "<script>alert(1)</script>"
    refuse(event(product=text, type=text, timestamp=-1, context=[text]))
    group = GROUP.replace("PORTFOLIO-APPLICATION-LOADED", text).replace("PORTFOLIO", text)
    for path in ("/admin/rejected", "/admin/rejected/by/event", group, group.replace("group", "group/remove")):
        page = olga.get(path).get_data(as_text=True)
        assert text not in page
        assert "alert(1)" in page


def test_its_part_is_a_part_of_it(olga, refuse):
    refuse(event(timestamp=-1))
    part = olga.see("/admin/rejected/by/reason?by=hour")
    assert part.strip().startswith('<div data-live="/admin/rejected/by/reason?by=hour"')
    assert "<html" not in part


# Requests that were refused whole


@pytest.fixture
def refused(nobody, services) -> str:
    """A request of two valid events and an invalid one between them; its UUID."""
    nobody.post("/events", [event(context=["1"]), event(timestamp=-1, context=["2"]), event(context=["3"])])
    services.rejected.flush()
    return rejected.requests(1)[0].uuid


def test_a_refused_request_is_shown_once_and_named_beside_its_invalid_event(olga, refused):
    link = f'href="/admin/rejected/request/{refused}"'
    assert olga.see("/admin/rejected/by/request").count(link) == 1
    for path in (GROUP, "/admin/rejected/by/event", f"/admin/rejected/{rejected.newest(1)[0].id}"):
        page = olga.see(path)
        assert link in page
        assert "together with 2 valid events" in page
    assert "with 2 valid events was refused whole" in words(olga.see("/admin/rejected"))
    page = olga.see(f"/admin/rejected/request/{refused}")
    assert "timestamp is -1" in page
    assert "would store them twice" in page
    assert '"context": ["3"]' in page


def test_a_request_is_sent_again_whole_from_its_page_or_its_event_s(olga, refused):
    path = f"/admin/rejected/request/{refused}"
    answer = olga.send(path, {})
    assert answer.status_code == 400
    assert "events[1].timestamp is -1" in answer.get_data(as_text=True)
    key = rejected.newest(1)[0].id
    fields = {"event": json.dumps(event(context=["2"])), "with_request": "yes"}
    assert olga.send(f"/admin/rejected/{key}", fields).status_code == 302
    assert sorted(row.context for row in select.newest(10)) == [["1"], ["2"], ["3"]]
    assert len({row.batch for row in select.newest(10)}) == 1
    assert "Stored: 3 events are in the batch" in olga.see("/admin/rejected/by/request")
    assert olga.get(path).status_code == 404


def test_a_request_goes_without_an_event_that_was_removed(olga, refused):
    olga.send(f"/admin/rejected/{rejected.newest(1)[0].id}/remove", {})
    path = f"/admin/rejected/request/{refused}"
    assert "Send all 2 again" in olga.see(path)
    assert olga.send(path, {}).status_code == 302
    assert sorted(row.context for row in select.newest(10)) == [["1"], ["3"]]


def test_a_request_is_removed_with_its_events(olga, refused):
    path = f"/admin/rejected/request/{refused}/remove"
    assert "It has 3 events, including valid ones." in olga.see(path)
    assert olga.send(path, {}).status_code == 302
    assert (rejected.requests(1), rejected.newest(1)) == ([], [])
    assert noted()[-1][0] == "rejected request removed"
    assert olga.get(path).status_code == 404


def test_who_is_limited_sees_the_event_of_a_mixed_request_but_not_the_request(limited, nobody, services):
    nobody.post("/events", [event(timestamp=-1), event(customer="OTHER", context=["secret"])])
    services.rejected.flush()
    (one,) = rejected.newest(1)
    for path in ("/admin/rejected", "/admin/rejected/by/event", f"/admin/rejected/{one.id}", GROUP):
        page = limited.see(path)
        assert "request/" not in page
        assert "refused whole" not in page
        assert "a refused request" not in page
    assert limited.get(f"/admin/rejected/request/{one.request}").status_code == 404
    fields = {"event": json.dumps(event()), "with_request": "yes"}
    assert limited.send(f"/admin/rejected/{one.id}", fields).status_code == 404
    assert limited.send(f"/admin/rejected/{one.id}", {"event": json.dumps(event())}).status_code == 302
    assert len(stored()) == 1


def test_an_event_of_a_request_that_is_gone_goes_alone(olga, refused):
    rejected.RejectedRequest.delete().execute()
    key = rejected.newest(1)[0].id
    assert "a refused request" not in olga.see(f"/admin/rejected/{key}")
    assert olga.send(f"/admin/rejected/{key}", {"event": json.dumps(event())}).status_code == 302


@pytest.mark.parametrize("uuid", ["x", "0" * 36, "6ba7b810-9dad-11d1-80b4-00c04fd430c8"])
def test_a_request_that_is_not_there_is_not_found(olga, uuid):
    assert olga.get(f"/admin/rejected/request/{uuid}").status_code == 404
    assert olga.get(f"/admin/rejected/request/{uuid}/remove").status_code == 404
