"""Overview page: health, events, volume chart, reports, and instructions for the first event."""

from __future__ import annotations

import io
import re

import pytest

from app.services.operations.health import Check
from app.store.events import hourly_counts
from app.support import browser_client
from app.support.clock import now
from tests.support.client import FIRST, event
from tests.support.page import Element, read

HOUR = 3_600_000


def test_the_latest_events_are_shown_with_all_their_fields(boss, admin):
    admin.send(event(type="OLDER"), event(type="NEWER", context=["user-7", None, ""]))
    newer, older = (row.text for row in boss.read("/admin/").all("tr") if row["data-key"])
    for text in ("NEWER", "BARCHART", "PORTFOLIO", "user-7", "null", "empty"):
        assert text in newer
    assert "OLDER" in older


def test_a_huge_context_is_truncated(boss, admin):
    admin.send(*[event(context=["x" * 4096] * 100)] * 20)
    page = boss.see("/admin/")
    assert "and 99 more" in read(page)
    assert len(page) < 60_000


def test_reports_are_shown_with_state_rows_and_a_download(boss, admin):
    admin.send(event(), event())
    job, _ = admin.run_report()
    row = boss.read("/admin/").row(job["source"])
    assert row.first(class_="state-badge").text == "Complete"
    assert row.first("td", class_="count").text == "2"
    assert f"/admin/reports/{job['source']}/download" in row.links


def test_a_waiting_report_shows_its_place_in_the_queue(boss, admin):
    admin.send(event())
    admin.start_report()
    admin.start_report()
    page = boss.read("/admin/")
    assert page.first(class_="state-badge").text == "Queued"
    assert "2nd in line" in page


def test_instructions_are_shown_before_the_first_event(boss):
    page = boss.read("/admin/")
    assert "Waiting for your first event" in page
    assert "curl https://tally.example/events" in page
    assert "make demo" in page


def test_the_shell_command_for_the_first_event_works(boss, admin):
    command = boss.read("/admin/").first("pre").content
    body = re.search(r"-d '(.*)'$", command, re.DOTALL)[1].replace("'$(date +%s)000'", "1793000000000")
    assert admin.post("/events", body.encode()).status_code == 200
    assert "Waiting for your first event" not in boss.read("/admin/")


def test_the_page_refreshes_faster_while_events_arrive(boss, admin, services):
    admin.send(event())
    assert boss.read("/admin/overview/part").all(data_moving=True)  # an event has just arrived


def test_problems_are_shown_only_to_users_who_can_fix_them(boss, anna, admin):
    admin.send(event())
    assert "No worker has been heard from" in boss.read("/admin/")
    assert "No worker" not in anna.read("/admin/")
    assert anna.read("/admin/").all(class_="strip") == []


@pytest.mark.settings(backup_url="s3://backups/tally")
def test_the_check_of_backups_is_shown(boss, admin):
    admin.send(event())
    (checks,) = boss.read("/admin/").all(class_="strip")
    assert "Backup" in checks.text


def test_an_analyst_sees_own_customers_events_and_own_reports_only(anna, admin, analyst):
    admin.send(event(type="MINE"), event(customer="OTHER", type="THEIRS"))
    admin.start_report()
    analyst.start_report(product="PORTFOLIO", types=["MINE"])
    page = anna.see("/admin/")
    assert "MINE" in page
    assert "THEIRS" not in page
    assert "OTHER" not in page
    assert len(read(page).row_keys("JOB-")) == 1


def bars(page: Element) -> list[Element]:
    """Return the bars of the chart, each of which is a link to its events."""
    return [link for link in page.all("a", data_key=True, aria_label=True) if link["data-key"].isdigit()]


def totals(page: Element) -> list[str]:
    """Return the number of events that each bar has in its label."""
    return [bar["aria-label"].rpartition(": ")[2] for bar in bars(page)]


class TestVolume:
    @pytest.fixture
    def volume(self, admin, uncached) -> int:
        """Store and count events of two products in this hour and the previous one. Return the hour's start."""
        this = now() // HOUR * HOUR
        admin.send(*[event(timestamp=this - 1 - number) for number in range(3)])
        admin.send(event(timestamp=this, product="ALERT", type="RANG"))
        admin.send(event(timestamp=this - HOUR, customer="OTHER", product="SECRET", type="HIDDEN"))
        hourly_counts.advance()
        return this

    def test_bars_show_their_numbers_and_link_to_their_events(self, boss, volume):
        page = boss.read("/admin/")
        assert totals(page) == ["4 events", "1 event"]
        address = bars(page)[0]["href"]
        assert address == f"/admin/events?start={volume - HOUR}&end={volume - 1}"
        assert len(boss.read(address).row_keys("event-")) == 4

    def test_the_chart_is_also_a_table(self, boss, volume):
        page = boss.read("/admin/?by=type")
        head, *rows = page.first("table", class_="numbers").all("tr")
        names = [cell.text for cell in head.all("th", class_="count")]
        assert names == ["PORTFOLIO-APPLICATION-LOADED", "HIDDEN", "RANG", "Events"]
        numbers = [[cell.text for cell in row.all("td", class_="count")] for row in rows]
        assert len(numbers) == 24
        assert numbers[-2:] == [["3", "1", "0", "4"], ["0", "0", "1", "1"]]

    def test_totals_are_shown_with_the_change_since_the_previous_period(self, boss, admin, services, volume):
        admin.send(*[event(timestamp=volume - 25 * HOUR)] * 9)
        hourly_counts.advance()
        page = boss.read("/admin/")
        assert "5 events" in page
        assert "the 24 hours before" not in page  # which had too few events
        admin.send(event(timestamp=volume - 25 * HOUR))
        hourly_counts.advance()
        page = boss.read("/admin/")
        assert "−60 % on the 24 hours before" in page
        assert "The comparison leaves out the current hour." in page
        admin.send(*[event(timestamp=volume - HOUR)] * 16)
        hourly_counts.advance()
        assert "+100 % on the 24 hours before" in boss.read("/admin/")

    @pytest.mark.parametrize(
        ("query", "unit", "count"),
        [("range=1h", "minute", 60), ("", "hour", 24), ("range=7d", "hour", 168), ("range=30d", "day", 30)],
    )
    def test_a_range_is_divided_into_minutes_hours_or_days(self, boss, volume, query, unit, count):
        page = boss.read(f"/admin/?{query}")
        assert page.all(aria_label=f"Events per {unit}, select a bar to list its events")
        assert len(page.first("table", class_="numbers").all("tr")) == count + 1

    def test_a_custom_range_is_in_the_url_in_milliseconds(self, boss, volume):
        answer = boss.get("/admin/?start=2026-10-26T07:00&end=2026-10-26T07:59&by=type")
        address = f"/admin/?start={FIRST - 2_000_000}&end={FIRST - 2_000_000 + HOUR - 1}&by=type"
        assert answer.headers["Location"] == address
        assert "Per minute, 26 Oct 2026, 07:00 to 26 Oct 2026, 08:00 UTC." in boss.read(address)

    @pytest.mark.parametrize(
        ("query", "message"),
        [
            ("start=2026-11-20T00:00&end=2026-11-19T00:00", "To is 2026-11-19 00:00:59.999 UTC, before From,"),
            ("start=soon&end=2026-11-19T00:00", 'From is "soon"; it must be a date and time in UTC'),
            ("start=2020-01-01T00:00&end=2026-11-19T00:00", "To is more than 366 days after From; ask for less."),
            ("end=2026-11-19T00:00", "To is more than 366 days after From; ask for less."),
        ],
    )
    def test_an_invalid_range_is_reported_and_the_default_range_is_shown(self, boss, volume, query, message):
        answer = boss.get(f"/admin/?{query}")
        assert answer.status_code == 400
        page = read(answer)
        assert message in page
        assert len(bars(page)) == 2
        assert page.all(data_live="/admin/overview/chart")  # the default chart refreshes itself

    def test_default_values_are_left_out_of_the_url(self, boss):
        assert boss.get("/admin/?range=24h&by=product").headers["Location"] == "/admin/"
        assert boss.get("/admin/?range=no&by=no&x=1").headers["Location"] == "/admin/"
        assert boss.get("/admin/?range=7d&by=type").status_code == 200

    def test_the_most_active_types_link_to_their_events(self, boss, volume):
        active = boss.read("/admin/").first("table", class_="active")
        assert [code.text for code in active.all("bdi")] == ["PORTFOLIO-APPLICATION-LOADED", "RANG", "HIDDEN"]
        assert len(boss.read(active.links[1]).row_keys("event-")) == 1

    def test_the_chart_refreshes_separately_from_the_rest_of_the_page(self, boss, volume):
        live = {"class_": "traffic", "data_live": "/admin/overview/chart?range=7d", "data_calm": True}
        assert boss.read("/admin/overview/chart?range=7d").first("section", **live).all("svg", class_="bars")
        section = boss.read("/admin/overview/part?range=7d").first("section", **live)
        assert "Counting events…" in section
        assert section.all("svg", class_="bars") == []

    def test_the_delay_of_the_counts_is_shown(self, boss, admin, volume, monkeypatch, services):
        assert "Counts are a few seconds behind." in boss.read("/admin/")
        monkeypatch.setattr(services.volume, "uncounted", lambda: 1_234_567)
        assert "Up to 1,234,567 events are not counted yet." in boss.read("/admin/")
        assert "Counted just now." in boss.read("/admin/?range=1h")

    def test_an_analyst_sees_own_customers_numbers_only(self, anna, volume, monkeypatch, services):
        monkeypatch.setattr(services.volume, "uncounted", lambda: 1_234_567)
        for query in ("", "?by=type", "?range=1h", "?range=7d&by=type", "?range=30d"):
            page = anna.see(f"/admin/{query}")
            for word in ("OTHER", "SECRET", "HIDDEN", "1,234,567"):
                assert word not in page
        assert totals(anna.read("/admin/")) == ["3 events", "1 event"]
        assert "HIDDEN" not in anna.see("/admin/overview/chart?by=type")

    def test_a_range_without_events_is_described(self, boss, admin):
        admin.send(event(timestamp=FIRST))
        assert "No events in this period." in boss.read("/admin/?range=1h")


class TestHealth:
    def test_the_strip_shows_each_check_and_its_state(self, boss, admin, services):
        services.scheduler.run_all()
        page = boss.read("/admin/")
        strip = page.first(class_="strip").all("li")
        checks = [(item["class"], *item.text.split(" : ")) for item in strip if not item.text.startswith("Workers")]
        names = ("Database", "Valkey", "Scheduler", "Report files", "Disk", "Spool")
        assert [(tone, name, state.split()[0]) for tone, name, state in checks] == [
            ("good", name, "well") for name in names
        ]
        assert (strip[2]["class"], strip[2].text) == ("warning", "Workers : needs attention none")
        assert "1 problem needs attention" in page

    def test_a_healthy_service_shows_its_workers(self, boss, admin, services, monkeypatch):
        well = [Check("database", None), Check("worker", None, "2")]
        monkeypatch.setattr(services.health, "glance", lambda: well)
        admin.send(event(timestamp=now()))
        page = boss.read("/admin/")
        assert "All well" in page
        assert "2 workers" in page
        assert re.search(r"about \d+ events? a minute", page.text)


class TestReports:
    def test_running_reports_come_first_even_if_they_are_old(self, boss, admin, services):
        admin.send(event())
        running = admin.start_report()
        for _ in range(6):
            admin.run_report()
        shown = [key for key in boss.read("/admin/").row_keys() if key.startswith("JOB-")]
        assert (shown[0], len(shown)) == (running["source"], 5)


class TestFirstEvent:
    def test_examples_have_the_address_of_this_host(self, boss):
        page = boss.read("/admin/")
        assert {"From a terminal", "JavaScript", "Python"} <= {element.text for element in page.all("summary")}
        shown = "".join(element.content for element in page.all("pre"))
        client = browser_client.current()
        assert shown.count('new Tally({ url: "https://tally.example" })') == 2  # in a page, and with npm
        assert f'src="https://tally.example/tally.js?v={client.hash}"' in shown
        assert f'integrity="{client.integrity}"' in shown
        assert '"https://tally.example/events",' in shown
        assert "YOUR-KEY" not in shown

    def test_the_python_code_for_the_first_event_works(self, boss, admin, monkeypatch):
        source = boss.read("/admin/").first("pre", id="first-python").content
        sent = []

        def send(request):
            sent.append(admin.post("/events", request.data))
            return io.BytesIO(sent[-1].data)

        monkeypatch.setattr("urllib.request.urlopen", send)
        exec(source, {})
        assert sent[0].status_code == 200

    @pytest.mark.settings(ingest_auth="key")
    def test_the_instructions_include_the_key_if_one_is_required(self, boss, anna):
        page = boss.read("/admin/")
        assert (page.text.count("Bearer YOUR-KEY"), page.text.count('key: "YOUR-KEY"')) == (2, 2)
        assert "/admin/keys/new" in page.links
        assert "/admin/keys/new" not in anna.read("/admin/").links

    def test_rejected_events_are_shown_beside_the_instructions(self, boss, admin):
        admin.post("/events", {"events": [event(timestamp=-1)]})
        admin.app.extensions["services"].rejected.flush()
        assert "1 rejected event: timestamp (1)." in boss.read("/admin/")


def test_times_in_seconds_are_accepted_and_reported(boss, admin, services):
    admin.send(event(), event(timestamp=FIRST // 1000), event(timestamp=FIRST // 1000 + 1))
    hourly_counts.advance()
    page = boss.read("/admin/")
    assert "2 events are dated 1970. The sender used seconds instead of milliseconds" in page
    listing = boss.read(page.link_to(r"/admin/events\?start=0"))
    days = [
        time["datetime"][:10] for row in listing.row_keys("event-") for time in listing.row(f"event-{row}").all("time")
    ]
    assert len(days) >= 2
    assert all(day.startswith("1970") for day in days)


def test_without_events_of_1970_there_is_no_warning(boss, admin, services):
    admin.send(event())
    hourly_counts.advance()
    assert "1970" not in boss.read("/admin/")


def test_future_events_do_not_hide_arrivals_from_an_analyst(anna, admin, monkeypatch):
    """Newer events of other customers fill the list of the latest arrivals."""
    monkeypatch.setattr("app.store.events.pages.RECENT", 5)
    day = 24 * HOUR
    admin.send(*[event(type=f"FUTURE{number}", timestamp=now() + day + number) for number in range(20)])
    admin.send(event(type="PRESENT", timestamp=now()))
    admin.send(*[event(customer="OTHER") for _ in range(10)])
    assert "PRESENT" in anna.read("/admin/")


@pytest.mark.settings(max_codes=5)
@pytest.mark.parametrize(
    ("types", "words"),
    [
        (1, None),
        (2, "Events have 4 of the 5 different customers, products and types that MAX_CODES allows."),
        (3, "Events with a new one are rejected now."),
    ],
)
def test_a_warning_appears_at_four_fifths_of_the_code_limit(boss, admin, types, words):
    admin.send(*[event(type=f"T{number}") for number in range(types)])
    page = boss.read("/admin/")
    assert ("MAX_CODES" in page) == bool(words)
    assert (words or "") in page
