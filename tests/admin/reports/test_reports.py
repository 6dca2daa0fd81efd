"""Pages of reports: the list, a report, its download and its link."""

from __future__ import annotations

import re

import pytest

from app.admin import template_filters
from app.admin.reports import report_rows
from app.admin.reports import reports as pages
from app.store.models import Report
from app.store.reports import reports as report_store
from tests.support.client import event
from tests.support.page import read

NOVEMBER = {"start": 1_793_491_200_000, "end": 1_796_083_199_999}
REQUEST = {"customer": "BARCHART", "product": "PORTFOLIO"}


@pytest.fixture
def complete(admin) -> dict:
    """Run a report, so that it has a file."""
    admin.send(event(), event())
    return admin.run_report(output={"delimiter": ",", "header": True}, types=["PORTFOLIO-APPLICATION-LOADED"])[0]


def test_a_report_is_shown_in_full(boss, complete, services):
    page = boss.read(f"/admin/reports/{complete['source']}")
    row = services.reports.get(services.accounts.everyone()[0], complete["source"])
    for text in ("BARCHART", "PORTFOLIO-APPLICATION-LOADED", row.sha256, "Comma", "2 rows", "with a header row"):
        assert text in page
    assert f"{row.bytes} bytes" in page
    assert "admin" in [element.text for element in page.all("dd")]


def test_a_download_redirects_to_a_new_link_to_the_file(boss, complete, nobody):
    links = [boss.get(f"/admin/reports/{complete['source']}/download").headers["Location"] for _ in range(2)]
    assert links[0] != links[1]
    assert links[0].startswith(f"https://tally.example/files/{complete['source']}?")
    file = nobody.get(links[0].removeprefix("https://tally.example"))
    assert file.get_data().decode().startswith("timestamp,type,")


def test_a_link_is_shown_with_its_expiry(boss, complete, nobody):
    path = f"/admin/reports/{complete['source']}/link"
    assert path in boss.read(f"/admin/reports/{complete['source']}").links
    page = boss.read(path)
    link = page.first("pre", id="link").content.removeprefix("https://tally.example")
    assert nobody.get(link).status_code == 200
    expires = int(re.search(r"expires=(\d+)", link)[1])
    assert "It works until" in page
    assert page.all("time", datetime=template_filters.iso(expires))
    assert "Report link given" in boss.read("/admin/audit")


@pytest.mark.settings(report_attempts=1)
def test_a_failed_report_shows_its_reason(boss, admin, services, monkeypatch):
    admin.send(event())
    job = admin.start_report()
    monkeypatch.setattr("app.storage.local.LocalStorage.create", lambda *arguments: 1 / 0)
    services.runner.run(job["job"])
    page = boss.read(f"/admin/reports/{job['source']}")
    assert page.first(class_="state-badge").text == "Failed"
    assert "division by zero" in page
    answer = boss.get(f"/admin/reports/{job['source']}/download")
    assert answer.status_code == 409
    assert "The file is not available" in read(answer)


def test_a_waiting_report_has_no_download_and_refreshes(boss, admin):
    admin.send(event())
    job = admin.start_report()
    page = boss.read(f"/admin/reports/{job['source']}")
    assert [link for link in page.links if link.endswith("/download")] == []
    assert "1st in line for a worker." in page
    assert page.all(data_moving=True)
    assert boss.get(f"/admin/reports/{job['source']}/download").status_code == 409


def test_an_expired_report_has_no_file(boss, complete, services, monkeypatch):
    for module in (report_store, report_rows):
        monkeypatch.setattr(module, "now", lambda: 4_000_000_000_000)
    services.reports.cleanup.clean_up()
    page = boss.read(f"/admin/reports/{complete['source']}")
    assert page.first(class_="state-badge").text == "Expired"
    assert "The file has expired." in page
    assert boss.get(f"/admin/reports/{complete['source']}/download").status_code == 410


def test_a_similar_report_starts_with_the_same_filter(boss, complete):
    again = "/admin/reports/new?customer=BARCHART&product=PORTFOLIO&types=PORTFOLIO-APPLICATION-LOADED"
    assert boss.read(f"/admin/reports/{complete['source']}").link_to(re.escape(again))


def test_a_similar_report_starts_with_the_same_output(boss, admin):
    admin.send(event())
    output = {"delimiter": "\t", "header": True, "spreadsheetSafe": True, "layout": "positional"}
    page = boss.read(f"/admin/reports/{admin.start_report(output=output)['source']}")
    form = boss.read(page.link_to(r"/admin/reports/new\?customer="))
    names = ("delimiter", "layout", "header", "spreadsheetSafe")
    assert [form.value(name) for name in names] == ["tab", "positional", "y", "y"]


def test_a_similar_report_has_no_header_if_the_report_has_none(boss, admin):
    admin.send(event())
    page = boss.read(f"/admin/reports/{admin.start_report()['source']}")
    form = boss.read(page.link_to(r"/admin/reports/new\?customer="))
    assert [form.value(name) for name in ("delimiter", "header")] == ["|", None]


def test_a_single_attempt_that_succeeded_has_no_table(boss, complete, services):
    page = boss.read(f"/admin/reports/{complete['source']}")
    assert not page.all("table")
    Report.update(status="FAILED", reason="full").execute()
    assert "Complete after" in boss.read(f"/admin/reports/{complete['source']}").first("table")


def test_a_deleted_report_is_kept_no_longer_and_can_be_started_again(boss, complete):
    path = f"/admin/reports/{complete['source']}"
    assert "Kept until" in boss.read(path)
    boss.send(f"{path}/delete", {})
    page = boss.read(path)
    assert "Kept until" not in page
    form = boss.read(page.first("a", class_="btn-primary")["href"])
    assert page.first("a", class_="btn-primary").text == "Start it again"
    names = ("customer", "product", "types", "delimiter", "header")
    assert [form.value(name) for name in names] == [*REQUEST.values(), "PORTFOLIO-APPLICATION-LOADED", ",", "y"]


def test_a_report_whose_worker_was_killed_says_so_within_five_seconds(boss, admin):
    admin.send(event())
    job = admin.start_report()
    heard = report_store.now()
    Report.update(token="held", worker="killed", heartbeat_at=heard).execute()
    assert boss.read(f"/admin/reports/{job['source']}").first(class_="state-badge").text == "Running"
    page = boss.read(f"/admin/reports/{job['source']}")
    assert page.all(data_moving=True), "it refreshes every 2 seconds"
    Report.update(heartbeat_at=heard - 3_000).execute()
    page = boss.read(f"/admin/reports/{job['source']}")
    assert page.first(class_="state-badge").text == "No heartbeat"
    assert "Its worker was last heard 3 s ago." in page
    assert "Another attempt continues at most 20 seconds after it was last heard." in page
    assert boss.read("/admin/reports").row(job["source"]).first(class_="state-badge").text == "No heartbeat"


def test_the_list_shows_size_and_owner(boss, complete, services):
    row = services.reports.get(services.accounts.everyone()[0], complete["source"])
    page = boss.read("/admin/reports")
    assert page.all(title=f"{row.bytes} bytes")
    assert "by admin" in page
    assert not page.all("progress"), "a bar at 100 % says no more than the badge"
    assert "attempt 1" not in page, "the first goes without saying"


def test_the_list_shows_that_a_report_was_retried(boss, complete):
    Report.update(attempt=3).execute()
    assert "attempt 3" in boss.read("/admin/reports")


def test_the_list_is_sorted_with_the_latest_first(boss, complete, admin):
    later = admin.start_report()
    page = boss.read("/admin/reports")
    assert page.row_keys("JOB-") == [report["source"].removeprefix("JOB-") for report in (later, complete)]
    assert "1 running or queued." in page


def test_every_list_tells_reports_apart_by_name_types_and_period(boss, admin):
    admin.send(event(type="A"), event(type="B"))
    plain, narrow = admin.start_report(), admin.start_report(types=["A", "B"], **NOVEMBER)
    path = f"/admin/reports/{narrow['source']}"
    boss.send(f"{path}/name", {"name": " Monthly "}, form=path)
    for path in ("/admin/", "/admin/reports"):
        page = boss.read(path)
        assert page.row(plain["source"]).first(class_="name").text == "PORTFOLIO BARCHART All time, all types"
        shown = page.row(narrow["source"]).first(class_="name").text
        assert shown == "Monthly PORTFOLIO, BARCHART 1–30 Nov 2026 UTC, A, B"


def test_a_report_is_called_by_its_filter_until_it_is_renamed(boss, admin):
    admin.send(event())
    path = f"/admin/reports/{admin.start_report(**NOVEMBER)['source']}"
    assert boss.read(path).first("h1").text == "BARCHART · PORTFOLIO · 1–30 Nov 2026"
    assert boss.send(f"{path}/name", {"name": "Invoices"}, form=path).status_code == 302
    assert boss.read(path).first("h1").text == "Invoices"
    boss.send(f"{path}/name", {"name": "x" * 129}, form=path)
    page = boss.read(path)
    assert page.first("h1").text == "Invoices"
    assert "name has 129 characters; it must have at most 128 characters" in page
    assert "Report renamed" in boss.read("/admin/audit")


def test_a_name_is_no_key_of_a_job(boss, admin, complete):
    path = f"/admin/reports/{complete['source']}"
    boss.send(f"{path}/name", {"name": "Invoices"}, form=path)
    assert list(admin.availability(complete["source"])) == ["job", "source", "status", "filter", "timing", "output"]


@pytest.fixture
def several_reports(admin, anna, services) -> dict[str, str]:
    """Start a named report, one of another user, and one of another customer; return their sources."""
    admin.send(event(), event(customer="OTHER", product="ALERT"))
    named = services.reports.start(services.accounts.named("admin"), REQUEST, None, name="50%_off")
    of_anna = services.reports.start(services.accounts.named("anna"), REQUEST, None)
    other = admin.start_report(customer="OTHER", product="ALERT")["source"]
    return {f"JOB-{named.job}": "named", f"JOB-{of_anna.job}": "anna", other: "other"}


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", ["other", "anna", "named"]),
        ("text=%25_OFF", ["named"]),
        ("text=othe", ["other"]),
        ("text=alert", ["other"]),
        ("text=50_", []),
        ("product=PORTFOLIO", ["anna", "named"]),
        ("user=anna", ["anna"]),
        ("user=admin&product=PORTFOLIO&state=running", ["named"]),
        ("user=admin&state=complete", []),
    ],
)
def test_the_list_is_filtered_by_text_user_and_product(boss, several_reports, query, expected):
    page = boss.read(f"/admin/reports?{query}")
    assert [several_reports[f"JOB-{key}"] for key in page.row_keys("JOB-")] == expected


@pytest.mark.both_databases
def test_a_report_of_many_is_found_by_each_of_its_codes(boss, admin):
    """Three codes at most are named in the list."""
    customers, products = [f'C"{number}%' for number in range(5)], ["P1", "P2"]
    admin.send(*(event(customer=customer, product=product) for customer in customers for product in products))
    sources = [admin.start_report(customer=None, product=None, customers=customers, products=products)["source"]]
    sources.append(admin.start_report(customer=customers[0], product="P1")["source"])
    for query, number in (("text=c%224%25", 1), ("text=C%220%25", 2), ("product=P2", 1), ("product=p2", 0)):
        assert len(boss.read(f"/admin/reports?{query}").row_keys("JOB-")) == number, query


def test_an_analyst_filters_own_reports_only(anna, several_reports):
    page = anna.read("/admin/reports?user=admin")
    assert page.row_keys("JOB-") == []
    assert not page.all("input", name="user")


def test_the_list_leads_to_all_reports_page_by_page(boss, admin, monkeypatch):
    monkeypatch.setattr(pages, "PAGE_SIZE", 2)
    admin.send(event())
    sources = [admin.start_report()["source"] for _ in range(5)]
    shown = list(boss.pages("/admin/reports?product=PORTFOLIO", "Older"))
    assert [f"JOB-{key}" for page in shown for key in page.row_keys("JOB-")] == sources[::-1]
    assert shown[1].link("Latest") == "/admin/reports?product=PORTFOLIO"


def test_an_empty_list_explains_how_to_start_a_report(boss):
    assert "No reports yet." in boss.read("/admin/reports")


@pytest.mark.parametrize("ending", ["", "/part", "/download", "/link"])
def test_another_customer_s_report_looks_like_a_missing_report(anna, complete, ending):
    hidden = anna.get(f"/admin/reports/{complete['source']}{ending}")
    missing = anna.get(f"/admin/reports/JOB-00000000-0000-4000-8000-000000000000{ending}")
    assert (hidden.status_code, missing.status_code) == (404, 404)
    assert anna.get(f"/admin/reports/JOB-x{ending}").status_code == 404
