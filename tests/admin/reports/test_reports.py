"""Pages of reports: the list, a report, its download and its link."""

from __future__ import annotations

import re

import pytest

from app.admin import template_filters
from app.admin.reports import report_rows
from app.store.models import Report
from app.store.reports import reports as report_store
from tests.support.client import event
from tests.support.page import read


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


def test_the_first_attempt_is_shown(boss, complete):
    assert "Complete after" in boss.read(f"/admin/reports/{complete['source']}")


def test_the_list_shows_size_hash_and_owner(boss, complete, services):
    row = services.reports.get(services.accounts.everyone()[0], complete["source"])
    page = boss.read("/admin/reports")
    assert page.all(title=f"{row.bytes} bytes")
    assert page.first(title=f"SHA-256 {row.sha256}").text == f"SHA {row.sha256[:8]}"
    assert "by admin" in page
    assert "attempt 1" not in page, "the first goes without saying"


def test_the_list_shows_that_a_report_was_retried(boss, complete):
    Report.update(attempt=3).execute()
    assert "attempt 3" in boss.read("/admin/reports")


def test_the_list_is_sorted_with_the_latest_first(boss, complete, admin):
    later = admin.start_report()
    page = boss.read("/admin/reports")
    assert page.row_keys("JOB-") == [report["source"].removeprefix("JOB-") for report in (later, complete)]
    assert "1 running or queued." in page


def test_an_empty_list_explains_how_to_start_a_report(boss):
    assert "No reports yet." in boss.read("/admin/reports")


@pytest.mark.parametrize("ending", ["", "/part", "/download", "/link"])
def test_another_customer_s_report_looks_like_a_missing_report(anna, complete, ending):
    hidden = anna.get(f"/admin/reports/{complete['source']}{ending}")
    missing = anna.get(f"/admin/reports/JOB-00000000-0000-4000-8000-000000000000{ending}")
    assert (hidden.status_code, missing.status_code) == (404, 404)
    assert anna.get(f"/admin/reports/JOB-x{ending}").status_code == 404
