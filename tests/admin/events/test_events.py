"""Event pages: the filter in the URL, pagination, refreshing, and a single event with its batch."""

from __future__ import annotations

import csv
import io
import json
from urllib.parse import parse_qs, urlsplit

import pytest

from app.admin.events import events as module
from app.services.events import download
from app.store.database import database
from app.store.events import hourly_counts, search
from app.store.models import AuditEntry
from app.support.clock import now
from tests.admin.conftest import TOKEN, Visitor
from tests.support.client import FIRST, event
from tests.support.page import Element, read

HOUR = 3_600_000


def types_on(page: Element) -> list[str]:
    """Return the types of the listed events, in order."""
    return [cell.text for cell in page.all("td", class_="type")]


def read_event(visitor: Visitor, kind: str) -> Element:
    """Return the page of the listed event of a type."""
    rows = visitor.read("/admin/events").all("tr", class_="leads")
    row = next(row for row in rows if row.first("td", class_="type").text == kind)
    return visitor.read(row.first("td", class_="name").links[0])


@pytest.fixture
def four_events(admin) -> None:
    """Store and count four events of two customers and two products, an hour apart."""
    admin.send(
        event(type="A", timestamp=FIRST, context=["user-1", "Overview"]),
        event(type="B", product="ALERT", timestamp=FIRST + HOUR, context=["user-2", None, ""]),
        event(type="C", customer="OTHER", timestamp=FIRST + 2 * HOUR, context=["user-9"]),
        event(type="D", customer="OTHER", product="SECRET", timestamp=FIRST + 3 * HOUR, context=["user-1"]),
    )
    hourly_counts.advance()


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
    def test_the_url_filters_events(self, boss, four_events, query, expected):
        page = boss.read(f"/admin/events?{query}")
        assert types_on(page) == list(expected)
        if not expected:
            assert "No matching events." in page or "Searched 4 events" in page

    def test_a_named_range_ends_now(self, boss, admin):
        admin.send(event(type="LATELY", timestamp=now() - 60_000), event(type="EARLIER", timestamp=now() - 2 * HOUR))
        assert types_on(boss.read("/admin/events?range=1h")) == ["LATELY"]
        page = boss.read("/admin/events?range=24h")
        assert types_on(page) == ["LATELY", "EARLIER"]
        assert page.first(aria_current="true").text == "24 hours"

    def test_a_submitted_form_is_redirected_to_the_shortest_url(self, boss):
        answer = boss.get(
            "/admin/events?customer=BARCHART&product=&text=+&range=1h&start=2026-10-26T07:33&end=&types=A%0D%0AB&x=1"
        )
        assert answer.status_code == 302
        query = parse_qs(urlsplit(answer.headers["Location"]).query)
        assert query == {"customer": ["BARCHART"], "start": [str(FIRST - 20_000)], "types": ["A", "B"]}
        assert boss.get(answer.headers["Location"]).status_code == 200

    def test_a_minute_as_the_end_is_included_entirely(self, boss):
        query = parse_qs(urlsplit(boss.get("/admin/events?end=2026-10-26T07:33").headers["Location"]).query)
        assert query == {"end": [str(FIRST - 20_000 + 59_999)]}

    def test_times_are_read_and_shown_in_the_chosen_zone(self, boss, four_events):
        boss.choose_zone("Europe/Berlin")
        answer = boss.get("/admin/events?start=2026-10-26T08:33:20")
        assert answer.headers["Location"] == f"/admin/events?start={FIRST}"
        page = boss.read(answer.headers["Location"])
        assert page.value("start") == "2026-10-26T08:33:20"
        assert "Since 26 Oct 2026, 08:33:20 Europe/Berlin" in page

    def test_the_form_shows_the_filter(self, boss, four_events):
        page = boss.read(f"/admin/events?customer=BARCHART&product=ALERT&types=B&start={FIRST}&text=user")
        filled = [page.value(name) for name in ("customer", "product", "types", "start", "text")]
        assert filled == ["BARCHART", "ALERT", "B", "2026-10-26T07:33:20", "user"]

    def test_the_offered_types_fit_the_rest_of_the_filter(self, boss, four_events):
        boxes = boss.read("/admin/events?customer=BARCHART").all("input", name="types")
        assert [box["value"] for box in boxes] == ["A", "B"]

    def test_very_many_types_are_entered_as_text(self, boss, four_events, monkeypatch):
        monkeypatch.setattr(module, "OFFERED_TYPES", 3)
        page = boss.read("/admin/events?types=A&types=B")
        assert page.value("types") == "A\nB"
        assert page.all(type="checkbox") == []

    @pytest.mark.parametrize(
        ("query", "message"),
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
    def test_an_invalid_filter_is_reported_beside_its_field(self, boss, four_events, query, message):
        answer = boss.get(f"/admin/events?{query}", follow_redirects=True)
        assert answer.status_code == 400
        page = read(answer)
        assert message in page
        assert types_on(page) == []

    def test_an_invalid_filter_of_the_refreshing_part_is_answered_400(self, boss):
        assert boss.get("/admin/events/part?start=soon").status_code == 400


class TestPages:
    @pytest.fixture(autouse=True)
    def many(self, admin, monkeypatch) -> None:
        monkeypatch.setattr(module, "PAGE_SIZE", 3)
        admin.send(*[event(type=f"T{number}", timestamp=FIRST + number) for number in range(10)])

    def test_links_lead_to_the_last_page_and_back(self, boss):
        page = boss.read("/admin/events?customer=BARCHART")
        pages = [types_on(page)]
        for _ in range(3):
            page = boss.read(page.link("Older"))
            pages.append(types_on(page))
        assert pages == [["T9", "T8", "T7"], ["T6", "T5", "T4"], ["T3", "T2", "T1"], ["T0"]]
        assert page.link("Older") is None
        for expected in (pages[2], pages[1]):
            page = boss.read(page.link("Newer"))
            assert types_on(page) == expected
        answer = boss.get(page.link("Newer"))
        assert answer.headers["Location"] == "/admin/events?customer=BARCHART"  # the latest events refresh themselves
        assert page.link("Latest") == "/admin/events?customer=BARCHART"

    def test_only_the_latest_page_refreshes_itself(self, boss):
        page = boss.read("/admin/events")
        assert page.all(data_live="/admin/events/part", data_moving=True)
        assert page.all(data_pause=True)
        for path in (page.link("Older"), f"/admin/events?end={FIRST + 5}"):
            assert boss.read(path).all(data_live=True) == []

    def test_the_refreshing_part_keeps_the_filter(self, boss):
        part = boss.read("/admin/events/part?types=T1&types=T2")
        assert part.first("div")["data-live"] == "/admin/events/part?types=T1&types=T2"
        assert types_on(part) == ["T2", "T1"]

    def test_a_search_shows_its_progress_and_continues(self, boss, admin, monkeypatch):
        monkeypatch.setattr(search, "LOOK", 4)
        admin.send(event(type="OLDEST", timestamp=FIRST - 1, context=["needle"]))
        page = boss.read("/admin/events?text=needle")
        assert "Searched the latest 4 events (back to 2026-10-26 07:33:20.006 UTC): no match." in page
        page = boss.read(page.link("Search further back"))
        assert "Searched 4 events (back to 2026-10-26 07:33:20.002 UTC): no match." in page
        page = boss.read(page.link("Search further back"))
        assert types_on(page) == ["OLDEST"]
        assert "Searched 3 events (back to the first)." in page
        assert page.all(data_calm=True) == []

    def test_a_refreshing_search_refreshes_slowly(self, boss):
        assert boss.read("/admin/events?text=user").all(data_calm=True)


class TestContextFilter:
    @pytest.mark.parametrize(
        ("query", "expected"),
        [("context=userId&value=user-1", "A"), ("value=user-1", "DA"), ("value=user", "")],
    )
    def test_a_named_value_filters(self, boss, services, four_events, query, expected):
        named = {"code": "A", "description": "", "product": "PORTFOLIO", "context": ["userId"]}
        services.catalog.put(json.dumps({"customers": [], "products": [], "types": [named]}).encode())
        page = boss.read(f"/admin/events?{query}")
        assert types_on(page) == list(expected)
        assert [option["value"] for option in page.first(id="item-names").all("option")] == ["userId"]

    def test_an_unknown_name_and_a_name_without_value_are_faults_of_the_form(self, boss, four_events):
        page = read(boss.get("/admin/events?context=userld&value=x"))
        assert "which no event type of the filter has in the catalog" in page
        assert "Name the item in the catalog, in the context of its type." in page
        assert page.all(aria_invalid="true")[0]["id"] == "context"
        assert read(boss.get("/admin/events?context=userId")).all(aria_invalid="true")[0]["id"] == "value"

    def test_a_value_on_the_page_of_an_event_leads_to_the_events_with_it(self, boss, four_events):
        page = read_event(boss, "A")
        assert types_on(boss.read(page.link("user-1"))) == ["D", "A"]

    def test_a_search_by_value_that_is_not_over_says_how_far_it_came(self, boss, four_events, monkeypatch):
        monkeypatch.setattr(search, "LOOK", 2)
        monkeypatch.setattr(search, "LOOK_BEFORE_INDEX", 2)
        monkeypatch.setattr(database.obj, "has_item_index", lambda: False)
        page = boss.read("/admin/events?value=user-2")
        assert "Searched the latest 2 events (back to " in page
        assert types_on(boss.read(page.link("Search further back"))) == ["B"]


class TestBatchFilter:
    def test_the_events_of_a_batch_are_shown_those_of_the_future_included(self, boss, admin, four_events):
        sent = admin.send(event(type="X", timestamp=now() + HOUR), event(type="Y", product="ALERT"))
        page = boss.read(f"/admin/events?batch={sent[0]['batch']}")
        assert types_on(page) == ["X", "Y"]
        assert "before the batch filter. Reports ignore it" in page
        assert page.value("batch") == sent[0]["batch"]
        assert types_on(boss.read(f"/admin/events?batch={sent[0]['batch']}&product=ALERT")) == ["Y"]

    def test_a_batch_of_version_1_0_that_is_not_found_says_how_far_was_searched(self, boss, four_events):
        page = boss.read("/admin/events?batch=0f0f6a1e-31a3-4b1b-8a0c-3d1f6f7a9b10")
        assert "Version 1.0 assigned this batch id, so only the latest 200,000 events were searched" in page
        page = boss.read("/admin/events?batch=0199a1e8-31a3-7b1b-8a0c-3d1f6f7a9b10")
        assert "No matching events. Show all" in page

    def test_what_is_no_uuid_is_a_fault_of_its_field(self, boss, four_events):
        page = read(boss.get("/admin/events?batch=12"))
        assert "batch is" not in page.first("h1").text
        assert page.all(aria_invalid="true")[0]["id"] == "batch"
        assert "it must be the UUID of a batch" in page


class TestLinks:
    """The codes and values in the table lead to the events with them; the other filters stay."""

    def test_a_code_replaces_the_filter_of_its_kind(self, boss, four_events):
        page = boss.read(f"/admin/events?customer=OTHER&start={FIRST}")
        address = page.all("tr", class_="leads")[0].first("td", class_="type").links[0]
        assert parse_qs(urlsplit(address).query) == {"customer": ["OTHER"], "start": [str(FIRST)], "types": ["D"]}
        assert types_on(boss.read(address)) == ["D"]
        assert types_on(boss.read(boss.read("/admin/events?customer=OTHER").link("SECRET"))) == ["D"]
        assert types_on(boss.read(boss.read("/admin/events?types=A&types=B&types=D").link("A"))) == ["A"]

    def test_a_value_is_looked_for_under_its_name_in_the_catalog(self, boss, services, four_events):
        entry = {"code": "A", "description": "", "product": "PORTFOLIO", "context": ["userId"]}
        services.catalog.put(json.dumps({"customers": [], "products": [], "types": [entry]}).encode())
        page = boss.read("/admin/events?customer=BARCHART&context=userId&value=user-1")
        named, other = page.first("td", class_="what").links
        assert named == "/admin/events?customer=BARCHART&context=userId&value=user-1"
        assert other == "/admin/events?customer=BARCHART&value=Overview"
        assert types_on(boss.read(other)) == ["A"]

    def test_a_value_that_is_cut_in_the_table_is_a_link_on_the_page_of_its_event(self, boss, admin):
        admin.send(event(type="LONG", context=["x" * 500 + "&é"]))
        assert boss.read("/admin/events").link("x" * 160 + "…") is None
        address = read_event(boss, "LONG").link("x" * 500 + "&é")
        assert parse_qs(urlsplit(address).query) == {"value": ["x" * 500 + "&é"]}

    def test_the_tab_key_stops_once_in_a_row(self, boss, four_events):
        for row in boss.read("/admin/events").all("tr", class_="leads"):
            assert len([link for link in row.all("a") if link["tabindex"] is None]) == 1

    def test_the_page_of_an_event_leads_to_its_batch_and_codes(self, boss, admin, four_events):
        sent = admin.send(event(type="E"), event(type="F", customer="OTHER"))
        page = read_event(boss, "E")
        assert types_on(boss.read(page.link(sent[0]["batch"]))) == ["F", "E"]
        assert types_on(boss.read(page.link("E"))) == ["E"]
        assert page.link("BARCHART") == "/admin/events?customer=BARCHART"


class TestExport:
    def test_the_export_link_fills_in_the_form_of_a_new_report(self, boss, four_events):
        page = boss.read(f"/admin/events?customer=BARCHART&product=ALERT&types=A&types=B&start={FIRST}")
        form = boss.read(page.first("a", class_="btn-primary")["href"])
        filled = [form.value(name) for name in ("customer", "product", "types", "start")]
        assert filled == ["BARCHART", "ALERT", "A\nB", "2026-10-26T07:33:20"]

    def test_the_estimated_number_of_events_is_shown(self, boss, four_events):
        page = boss.read("/admin/events?customer=BARCHART")
        assert "All time:" in page
        assert "about 2 events." in page
        assert page.all(title="Estimated from hourly counts, which are a few seconds behind")
        page = boss.read("/admin/events?customer=BARCHART&text=x")
        assert "about 2 events before the context filter. Reports ignore it" in page

    def test_events_that_are_not_counted_yet_can_be_exported(self, boss, admin):
        admin.send(event())
        assert "about 0 events." in boss.read("/admin/events")
        assert "Export these" in boss.read("/admin/events")

    def test_an_empty_list_has_no_export(self, boss):
        assert "Export these" not in boss.read("/admin/events")


class TestDownload:
    """The CSV of what is shown."""

    @staticmethod
    def read(visitor: Visitor, path: str) -> list[list[str]]:
        """Return the cells of the file that the page links to."""
        answer = visitor.get(visitor.read(path).link("Download what is shown"))
        assert answer.status_code == 200
        return list(csv.reader(io.StringIO(answer.data.decode("utf-8-sig"))))

    def test_the_file_has_what_the_page_shows_with_its_filters_of_the_context(self, boss, four_events):
        for query in ("", "customer=BARCHART", "types=A&types=C", "text=user-1", "value=user-1"):
            shown = types_on(boss.read(f"/admin/events?{query}"))
            assert [row[3] for row in self.read(boss, f"/admin/events?{query}")[1:]] == shown

    def test_a_spreadsheet_opens_the_file(self, boss, admin):
        sent = admin.send(event(context=['=1+1,"', None, "Zürich"], version="5"), event(context=[]))[0]
        answer = boss.get("/admin/events/download?customer=BARCHART")
        assert answer.headers["Content-Disposition"] == "attachment; filename=events.csv"
        assert answer.data.startswith(b"\xef\xbb\xbftime (UTC),customer,product,type,version,context,timestamp,")
        rows = self.read(boss, "/admin/events?customer=BARCHART")
        row = dict(zip(rows[0], rows[2], strict=True))
        assert (row["time (UTC)"], row["timestamp"]) == ("2026-10-26 07:33:20.000", str(FIRST))
        assert (row["version"], row["sequence"], row["batch"]) == ("5", "1", sent["batch"])
        assert json.loads(row["context"]) == ['=1+1,"', None, "Zürich"]

    def test_a_product_s_columns_are_named_and_formulas_are_escaped(self, boss, admin, sample_catalog):
        admin.send(event(type="PORTFOLIO-VIEW-CHANGED", context=["=1+1", None, "", "more"]))
        names, cells = self.read(boss, "/admin/events?product=PORTFOLIO")
        row = dict(zip(names, cells, strict=True))
        assert (row["userId"], row["viewName"], row["extra"]) == ("'=1+1", "", '["","more"]')

    def test_the_latest_rows_are_kept_and_the_page_and_the_file_s_name_say_so(self, boss, four_events, monkeypatch):
        monkeypatch.setattr(download, "MAX_ROWS", 2)
        monkeypatch.setattr(download, "ROWS_AT_ONCE", 1)
        monkeypatch.setattr(module, "MAX_ROWS", 2)
        assert "The latest 2 as CSV. Export these for all." in boss.read("/admin/events")
        assert [row[3] for row in self.read(boss, "/admin/events")[1:]] == ["D", "C"]
        name = boss.get("/admin/events/download").headers["Content-Disposition"]
        assert name == "attachment; filename=events_latest-2.csv"
        entry = AuditEntry.select().order_by(AuditEntry.id.desc()).first()
        assert (entry.action, entry.details) == ("events downloaded", {"rows": 2, "cut": True})

    def test_a_text_is_searched_up_to_a_limit_and_the_file_s_name_says_so(self, boss, four_events, monkeypatch):
        monkeypatch.setattr(search, "LOOK", 1)
        answer = boss.get("/admin/events/download?text=user-1")
        assert answer.headers["Content-Disposition"] == "attachment; filename=events.csv"
        assert answer.data.count(b"\n") == 3
        monkeypatch.setattr(download, "MAX_SEARCHED", 2)
        answer = boss.get("/admin/events/download?text=user-1")
        assert answer.headers["Content-Disposition"] == "attachment; filename=events_latest-1.csv"

    def test_an_analyst_downloads_events_of_own_customers_only(self, anna, four_events):
        assert {row[1] for row in self.read(anna, "/admin/events")[1:]} == {"BARCHART"}
        assert anna.get("/admin/events/download?customer=OTHER").status_code == 403

    def test_few_files_are_downloaded_at_once(self, boss, four_events):
        opened = [boss.get("/admin/events/download", buffered=False) for _ in range(download.MAX_AT_ONCE)]
        assert boss.get("/admin/events/download").status_code == 429
        for answer in opened:
            answer.close()
        assert boss.get("/admin/events/download").status_code == 200


class TestEventPage:
    def test_context_items_have_their_names_from_the_catalog(self, boss, admin, sample_catalog):
        admin.send(event(version="5.2.0", context=["user-7", None, "", "extra"], type="PORTFOLIO-VIEW-CHANGED"))
        page = read_event(boss, "PORTFOLIO-VIEW-CHANGED")
        named = list(zip(page.all("dt"), page.all("dd"), strict=True))
        assert [(name.text, item.text) for name, item in named if item["class"] == "item"] == [
            ("userId", "user-7 Find everywhere"),
            ("viewName", "null"),
            ("previousViewName", "empty"),
            ("item 4", "extra Find everywhere"),
        ]
        assert "The user went from one view to another" in page
        assert "5.2.0" in page

    def test_an_event_is_shown_as_json(self, boss, admin):
        sent = admin.send(event(context=["user-1", None]))[0]
        page = read_event(boss, sent["type"])
        shown = page.first("pre", id="json").content
        assert shown.startswith('{\n  "customer": "BARCHART",\n  "product": "PORTFOLIO",')
        assert f'"batch": "{sent["batch"]}"' in shown
        assert page.all(data_copy="json")

    def test_an_event_is_shown_with_its_batch(self, boss, admin):
        admin.send(event(type="ALONE"))
        admin.send(*[event(type=f"T{number}") for number in range(4)])
        assert types_on(read_event(boss, "T2")) == ["T0", "T1", "T2", "T3"]
        alone = read_event(boss, "ALONE")
        assert types_on(alone) == []
        assert "1, alone" in alone

    def test_a_large_batch_is_shown_in_part_around_the_event(self, boss, admin, monkeypatch):
        monkeypatch.setattr(module, "SHOWN_OF_BATCH", 4)
        admin.send(*[event(type=f"T{number:02}", timestamp=FIRST - number) for number in range(20)])
        page = read_event(boss, "T10")
        assert "20 events in this batch" in page
        assert types_on(page) == ["T08", "T09", "T10", "T11"]
        assert types_on(boss.read(page.link("Later in the batch"))) == ["T12", "T13", "T14", "T15"]
        assert types_on(boss.read(page.link("Earlier in the batch"))) == ["T04", "T05", "T06", "T07"]

    def test_an_unknown_event_is_not_found(self, boss):
        answer = boss.get("/admin/events/999999")
        assert answer.status_code == 404
        assert "Page not found" in read(answer)


class TestAnAnalyst:
    def test_sees_own_customers_events_only(self, anna, four_events):
        page = anna.read("/admin/events")
        assert types_on(page) == ["B", "A"]
        for word in ("OTHER", "SECRET", ">C<", ">D<"):
            assert word not in anna.see("/admin/events")
        assert "about 2 events" in page
        assert types_on(anna.read("/admin/events?text=user-1")) == ["A"]
        assert types_on(anna.read("/admin/events/part")) == ["B", "A"]
        assert types_on(anna.read("/admin/events?types=C&types=D")) == []

    def test_gets_403_for_other_customers_even_if_they_do_not_exist(self, anna, four_events):
        for name in ("OTHER", "NOWHERE"):
            for path in ("/admin/events", "/admin/events/part"):
                answer = anna.get(f"{path}?customer={name}")
                assert answer.status_code == 403
                assert f"You may not see data of the customer {name}." in read(answer)
                assert "SECRET" not in answer.get_data(as_text=True)

    def test_cannot_distinguish_another_customer_s_event_from_a_missing_event(self, anna, boss, four_events):
        hidden, answers = boss.read("/admin/events").first("td", class_="name").links[0], []
        for path in (hidden, "/admin/events/999999"):
            answer = anna.get(path, headers={"X-Request-ID": "same"})
            assert answer.status_code == 404
            page = TOKEN.sub("", answer.get_data(as_text=True))  # it contains the second in which it was made
            answers.append(page.replace(f"event {path.rpartition('/')[2]},", "event KEY,"))
        assert answers[0] == answers[1]

    def test_sees_the_visible_events_of_a_batch(self, anna, four_events):
        page = read_event(anna, "A")
        assert types_on(page) == ["A", "B"]
        assert "2 events in this batch that you may see" in page
        assert "OTHER" not in page

    def test_without_events_sees_how_to_send_the_first_event(self, anna, admin):
        admin.send(event(customer="OTHER", type="THEIRS"))
        assert "Waiting for your first event" in anna.read("/admin/events")
        assert "THEIRS" not in anna.see("/admin/events")


def test_future_events_are_excluded_unless_requested(boss, admin):
    moment = now()
    admin.send(*[event(type="FUTURE", timestamp=moment + 86_400_000 + number) for number in range(60)])
    admin.send(event(type="PRESENT", timestamp=moment - 1000))
    hourly_counts.advance()
    for address in ("/admin/events", "/admin/events?range=15m", "/admin/events?customer=BARCHART"):
        assert types_on(boss.read(address)) == ["PRESENT"], address
    page = boss.read("/admin/events")
    assert "Latest first, by event time." in page
    assert "About 60 events are dated in the future." in page
    later = page.link_to(r"/admin/events\?start=\d+&end=")
    assert set(types_on(boss.read(later))) == {"FUTURE"}
