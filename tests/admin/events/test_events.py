"""The events: what an address filters, page by page and live; one of them with its batch."""

from __future__ import annotations

import html
import re
from urllib.parse import parse_qs, urlsplit

import pytest

from app.admin.events import events as module
from app.store.events import search
from app.support.clock import now
from tests.admin.conftest import words
from tests.support.client import FIRST, event

HOUR = 3_600_000
MARKUP = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    '" autofocus onfocus=alert(1) x="',
    "</textarea><svg/onload=alert(1)>",
    "{{ 7*7 }}",
    "javascript:alert(1)",
    "\u202e\u2066evil",
]


def types_on(page: str) -> list[str]:
    """The types of the rows, in their order."""
    return re.findall(r'<td class="code type name" title="[^"]*"><a href="[^"]*"><bdi>([^<]*)</bdi>', page)


def link(page: str, word: str) -> str:
    """Where the link of that word leads."""
    return next(
        address for address, told in re.findall(r'<a class="[^"]*" href="([^"]*)">([^<]*)</a>', page) if told == word
    )


def key_of(page: str, kind: str) -> int:
    """The id of the event of a type in a list."""
    return int(re.search(rf'href="/admin/events/(\d+)"><bdi>{re.escape(kind)}<', page)[1])


@pytest.fixture
def several(admin, services) -> None:
    """Four events of two customers and two products, an hour apart, counted."""
    admin.send(
        event(type="A", timestamp=FIRST, context=["user-1", "Overview"]),
        event(type="B", product="ALERT", timestamp=FIRST + HOUR, context=["user-2", None, ""]),
        event(type="C", customer="OTHER", timestamp=FIRST + 2 * HOUR, context=["user-9"]),
        event(type="D", customer="OTHER", product="SECRET", timestamp=FIRST + 3 * HOUR, context=["user-1"]),
    )
    services.scheduler._count()


class TestFilters:
    @pytest.mark.parametrize(
        ("query", "expected"),
        [
            ("", "DCBA"),
            ("customer=BARCHART", "BA"),
            ("product=PORTFOLIO", "CA"),
            ("customer=OTHER&product=SECRET", "D"),
            ("types=A&types=C", "CA"),
            (f"start={FIRST + HOUR}", "DCB"),
            (f"end={FIRST + HOUR}", "BA"),
            (f"start={FIRST + HOUR}&end={FIRST + 2 * HOUR}", "CB"),
            ("text=user-1", "DA"),
            ("text=OVERVIEW", "A"),
            ("customer=NOBODY", ""),
            ("text=nowhere", ""),
        ],
    )
    def test_the_address_says_which_events(self, boss, several, query, expected):
        page = boss.see(f"/admin/events?{query}")
        assert types_on(page) == list(expected)
        if not expected:
            assert "No matching events." in page or "Searched 4 events" in page

    def test_a_range_that_has_a_name_ends_now(self, boss, admin):
        admin.send(event(type="LATELY", timestamp=now() - 60_000), event(type="EARLIER", timestamp=now() - 2 * HOUR))
        assert types_on(boss.see("/admin/events?range=1h")) == ["LATELY"]
        page = boss.see("/admin/events?range=24h")
        assert types_on(page) == ["LATELY", "EARLIER"]
        assert re.search(r'href="/admin/events\?range=24h" aria-current="true">24 hours<', page)

    def test_what_a_form_sends_is_led_to_the_shortest_address(self, boss):
        answer = boss.get(
            "/admin/events?customer=BARCHART&product=&text=+&range=1h&start=2026-10-26T07:33&end=&types=A%0D%0AB&x=1"
        )
        assert answer.status_code == 302
        asked = parse_qs(urlsplit(answer.headers["Location"]).query)
        assert asked == {"customer": ["BARCHART"], "start": [str(FIRST - 20_000)], "types": ["A", "B"]}
        assert boss.get(answer.headers["Location"]).status_code == 200

    def test_a_minute_that_was_named_as_the_end_counts_whole(self, boss):
        asked = parse_qs(urlsplit(boss.get("/admin/events?end=2026-10-26T07:33").headers["Location"]).query)
        assert asked == {"end": [str(FIRST - 20_000 + 59_999)]}

    def test_times_are_read_and_shown_in_the_chosen_zone(self, boss, several):
        boss.choose_zone("Europe/Berlin")
        answer = boss.get("/admin/events?start=2026-10-26T08:33:20")
        assert answer.headers["Location"] == f"/admin/events?start={FIRST}"
        page = boss.see(answer.headers["Location"])
        assert 'value="2026-10-26T08:33:20"' in page
        assert "Since 26 Oct 2026, 08:33:20 Europe/Berlin" in page

    def test_the_form_shows_what_was_asked_for(self, boss, several):
        page = boss.see(f"/admin/events?customer=BARCHART&product=ALERT&types=B&start={FIRST}&text=user")
        assert "<option selected>BARCHART</option>" in page
        assert "<option selected>ALERT</option>" in page
        assert 'value="2026-10-26T07:33:20"' in page
        assert 'value="user"' in page
        assert re.search(r'name="types" value="B" checked', page)

    def test_types_are_offered_as_far_as_they_fit_the_rest(self, boss, several):
        offered = re.findall(r'name="types" value="(\w)"', boss.see("/admin/events?customer=BARCHART"))
        assert offered == ["A", "B"]

    def test_very_many_types_are_typed(self, boss, several, monkeypatch):
        monkeypatch.setattr(module, "OFFERED_TYPES", 3)
        page = boss.see("/admin/events?types=A&types=B")
        assert ">A\nB</textarea>" in page
        assert 'type="checkbox"' not in page

    @pytest.mark.parametrize(
        ("query", "told"),
        [
            ("start=soon", 'From is "soon"; it must be a date and time in UTC, such as 2026-11-23T10:57.'),
            ("start=2026-11-20T00:00&end=2026-11-19T00:00", "To is 2026-11-19 00:00:59.999 UTC, before start,"),
            ("start=999999999999999", 'From is "999999999999999"; it must be a date and time in UTC'),
            (f"customer={'x' * 129}", "Customer has 129 characters; it must be a string of 1 to 128 characters"),
            ("customer=%01", "Customer has a control character"),
            ("text=" + "x" * 201, "Text in the context has 201 characters; it must have 1 to 200"),
            ("text=a%01b", "none of them a control character."),
            ("after=x", 'after is "x"; it must be the value of next in an earlier answer.'),
            ("before=1-2-3", 'before is "1-2-3"; it must be'),
            ("types=" + "x" * 129, "has 129 characters"),
        ],
    )
    def test_what_is_no_filter_is_told_beside_its_field(self, boss, several, query, told):
        answer = boss.get(f"/admin/events?{query}", follow_redirects=True)
        assert answer.status_code == 400
        page = html.unescape(answer.get_data(as_text=True))
        assert told in page
        assert types_on(page) == []

    def test_a_part_with_a_fault_is_no_server_error(self, boss):
        assert boss.get("/admin/events/part?start=soon").status_code == 400


class TestPages:
    @pytest.fixture(autouse=True)
    def many(self, admin, monkeypatch) -> None:
        monkeypatch.setattr(module, "PAGE_SIZE", 3)
        admin.send(*[event(type=f"T{number}", timestamp=FIRST + number) for number in range(10)])

    def test_they_lead_to_the_end_and_back(self, boss):
        page = boss.see("/admin/events?customer=BARCHART")
        seen = [types_on(page)]
        for _ in range(3):
            page = boss.see(link(page, "Older"))
            seen.append(types_on(page))
        assert seen == [["T9", "T8", "T7"], ["T6", "T5", "T4"], ["T3", "T2", "T1"], ["T0"]]
        assert ">Older<" not in page
        for expected in (seen[2], seen[1]):
            page = boss.see(link(page, "Newer"))
            assert types_on(page) == expected
        answer = boss.get(link(page, "Newer"))
        assert answer.headers["Location"] == "/admin/events?customer=BARCHART"  # the newest are live
        assert link(page, "Latest") == "/admin/events?customer=BARCHART"

    def test_only_the_newest_page_is_live(self, boss):
        page = boss.see("/admin/events")
        assert 'data-live="/admin/events/part" data-moving' in page
        assert "data-pause" in page
        assert "data-live" not in boss.see(link(page, "Older"))
        assert "data-live" not in boss.see(f"/admin/events?end={FIRST + 5}")

    def test_the_part_that_refreshes_is_the_part_of_the_page(self, boss):
        part = boss.see("/admin/events/part?types=T1&types=T2").strip()
        assert part.startswith('<div class="panel panel-events" data-live="/admin/events/part?types=T1&types=T2"')
        assert "<html" not in part
        assert types_on(part) == ["T2", "T1"]

    def test_a_search_says_how_far_it_looked_and_goes_on(self, boss, admin, monkeypatch):
        monkeypatch.setattr(search, "LOOK", 4)
        admin.send(event(type="OLDEST", timestamp=FIRST - 1, context=["needle"]))
        page = boss.see("/admin/events?text=needle")
        assert "Searched the latest 4 events (back to 2026-10-26 07:33:20.006 UTC): no match." in words(page)
        page = boss.see(link(page, "Search further back"))
        assert "Searched 4 events (back to 2026-10-26 07:33:20.002 UTC): no match." in words(page)
        page = boss.see(link(page, "Search further back"))
        assert types_on(page) == ["OLDEST"]
        assert "Searched 3 events (back to the first)." in words(page)
        assert "data-calm" not in page

    def test_a_search_that_is_live_does_not_hurry(self, boss):
        assert "data-calm" in boss.see("/admin/events?text=user")


class TestExport:
    def test_it_fills_in_the_form_of_a_new_report(self, boss, several):
        page = boss.see(f"/admin/events?customer=BARCHART&product=ALERT&types=A&types=B&start={FIRST}")
        address = re.search(r'class="btn btn-primary" href="([^"]*)"', page)[1]
        form = boss.see(address)
        assert "<option selected>BARCHART</option>" in form
        assert "<option selected>ALERT</option>" in form
        assert ">A\nB</textarea>" in form
        assert 'value="2026-10-26T07:33:20"' in form

    def test_about_how_many_there_are_is_said_before_and_that_it_is_an_estimate(self, boss, several):
        page = boss.see("/admin/events?customer=BARCHART")
        assert "All time:" in page
        assert "about 2 events." in page
        assert "Estimated from hourly counts" in page
        page = boss.see("/admin/events?customer=BARCHART&text=x")
        assert "about 2 events before the text filter. Export ignores the text filter." in page

    def test_where_there_is_nothing_there_is_nothing_to_export(self, boss):
        assert "Export these" not in boss.see("/admin/events")


class TestOneEvent:
    def test_its_context_is_named_by_the_catalog(self, boss, admin, sample_catalog):
        admin.send(event(version="5.2.0", context=["user-7", None, "", "extra"], type="PORTFOLIO-VIEW-CHANGED"))
        page = boss.see(f"/admin/events/{key_of(boss.see('/admin/events'), 'PORTFOLIO-VIEW-CHANGED')}")
        named = re.findall(
            r"<dt>(?:<bdi>|<i class=\"nothing\">)([^<]*)</(?:bdi|i)></dt>\s*<dd class=\"item\">(.*?)</dd>", page
        )
        assert [(name, re.sub("<[^>]*>", "", item)) for name, item in named] == [
            ("userId", "user-7"),
            ("viewName", "null"),
            ("previousViewName", "empty"),
            ("item 4", "extra"),
        ]
        assert "The user went from one view to another" in page
        assert "<bdi>5.2.0</bdi>" in page

    def test_it_is_there_as_json(self, boss, admin):
        sent = admin.send(event(context=["user-1", None]))[0]
        page = boss.see(f"/admin/events/{key_of(boss.see('/admin/events'), sent['type'])}")
        shown = re.search(r'<pre id="json"[^>]*>(.*?)</pre>', page, re.DOTALL)[1]
        assert shown.startswith('{\n  "customer": "BARCHART",\n  "product": "PORTFOLIO",')
        assert f'"batch": "{sent["batch"]}"' in shown
        assert 'data-copy="json"' in page

    def test_its_whole_batch_is_beside_it(self, boss, admin):
        admin.send(event(type="ALONE"))
        admin.send(*[event(type=f"T{number}") for number in range(4)])
        page = boss.see("/admin/events")
        assert types_on(boss.see(f"/admin/events/{key_of(page, 'T2')}")) == ["T0", "T1", "T2", "T3"]
        alone = boss.see(f"/admin/events/{key_of(page, 'ALONE')}")
        assert types_on(alone) == []
        assert "1, alone" in alone

    def test_a_large_batch_is_shown_around_it(self, boss, admin, monkeypatch):
        monkeypatch.setattr(module, "SHOWN_OF_BATCH", 4)
        admin.send(*[event(type=f"T{number:02}", timestamp=FIRST - number) for number in range(20)])
        page = boss.see(f"/admin/events/{key_of(boss.see('/admin/events'), 'T10')}")
        assert "20 events in this batch" in page
        assert types_on(page) == ["T08", "T09", "T10", "T11"]
        assert types_on(boss.see(link(page, "Later in the batch"))) == ["T12", "T13", "T14", "T15"]
        assert types_on(boss.see(link(page, "Earlier in the batch"))) == ["T04", "T05", "T06", "T07"]

    @pytest.mark.parametrize("key", ["0", "999999", "x", "1.5", "-1", "1" * 19, "９"])
    def test_one_that_is_not_there_is_told_on_a_page(self, boss, several, key):
        answer = boss.get(f"/admin/events/{key}")
        assert answer.status_code == 404
        assert "Page not found" in answer.get_data(as_text=True)


class TestAnAnalyst:
    def test_sees_own_customers_events_only(self, anna, several):
        page = anna.see("/admin/events")
        assert types_on(page) == ["B", "A"]
        for word in ("OTHER", "SECRET", ">C<", ">D<"):
            assert word not in page
        assert "about 2 events" in page
        assert types_on(anna.see("/admin/events?text=user-1")) == ["A"]
        assert types_on(anna.see("/admin/events/part")) == ["B", "A"]
        assert types_on(anna.see("/admin/events?types=C&types=D")) == []

    def test_is_refused_others_by_name_whether_they_are_there_or_not(self, anna, several):
        for name in ("OTHER", "NOWHERE"):
            for path in ("/admin/events", "/admin/events/part"):
                answer = anna.get(f"{path}?customer={name}")
                assert answer.status_code == 403
                page = html.unescape(answer.get_data(as_text=True))
                assert f"You may not see data of the customer {name}." in page
                assert "SECRET" not in page

    def test_cannot_tell_anothers_event_from_one_that_is_not_there(self, anna, boss, several):
        theirs = key_of(boss.see("/admin/events"), "D")
        told = []
        for key in (theirs, 999_999):
            answer = anna.get(f"/admin/events/{key}", headers={"X-Request-ID": "same"})
            assert answer.status_code == 404
            told.append(answer.get_data(as_text=True).replace(f"event {key},", "event KEY,"))
        assert told[0] == told[1]

    def test_sees_of_a_batch_what_is_theirs(self, anna, several):
        page = anna.see(f"/admin/events/{key_of(anna.see('/admin/events'), 'A')}")
        assert types_on(page) == ["A", "B"]
        assert "2 events in this batch that you may see" in page
        assert "OTHER" not in page

    def test_without_events_is_told_how_to_send_the_first(self, anna, admin):
        admin.send(event(customer="OTHER", type="THEIRS"))
        page = anna.see("/admin/events")
        assert "Waiting for your first event" in page
        assert "THEIRS" not in page


@pytest.mark.parametrize("text", MARKUP)
def test_nothing_of_an_event_or_of_the_address_becomes_markup(boss, admin, services, text):
    admin.send(event(customer=text, product=text, type=text, version=text, context=[text, "x"]))
    services.catalog.put(b'{"types": []}')
    args = {"customer": text, "product": text, "types": text, "text": text.lstrip(), "range": text, "after": text}
    pages = [
        boss.get("/admin/events", query_string=args, follow_redirects=True),
        boss.get("/admin/events", query_string=args | {"after": ""}, follow_redirects=True),
        boss.get("/admin/events/1"),
        boss.get(f"/admin/events/{key_of(boss.see('/admin/events'), text)}"),
    ]
    for page in pages:
        shown = page.get_data(as_text=True)
        assert page.status_code in (200, 400, 404)
        for raw in ("<script>alert", "<img src=x", "<svg/onload", '" autofocus'):
            assert raw not in shown
    assert f"<bdi>{text}</bdi>" in html.unescape(pages[1].get_data(as_text=True))


def test_events_dated_in_the_future_stand_before_no_other_unless_they_are_asked_for(boss, admin, services):
    moment = now()
    admin.send(*[event(type="FUTURE", timestamp=moment + 86_400_000 + number) for number in range(60)])
    admin.send(event(type="PRESENT", timestamp=moment - 1000))
    services.scheduler._count()
    for address in ("/admin/events", "/admin/events?range=15m", "/admin/events?customer=BARCHART"):
        assert types_on(boss.see(address)) == ["PRESENT"], address
    page = boss.see("/admin/events")
    assert "Latest first, by event time." in page
    assert "About 60 events are dated in the future." in page
    link = html.unescape(re.search(r'dated in the future. <a href="([^"]*)"', page)[1])
    assert set(types_on(boss.see(link))) == {"FUTURE"}
