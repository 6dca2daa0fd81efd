"""The list of reports, one report, and its download."""

from __future__ import annotations

import re

import pytest

from app.admin import template_filters
from app.admin.reports import report_rows
from app.store.models import Report
from app.store.reports import reports as report_store
from tests.support.client import event


@pytest.fixture
def complete(admin) -> dict:
    """A report with its file."""
    admin.send(event(), event())
    return admin.run_report(output={"delimiter": ",", "header": True}, types=["PORTFOLIO-APPLICATION-LOADED"])[0]


def test_one_report_is_told_in_full(boss, complete, services):
    page = boss.see(f"/admin/reports/{complete['source']}")
    row = services.reports.get(services.accounts.everyone()[0], complete["source"])
    for told in ("BARCHART", "PORTFOLIO-APPLICATION-LOADED", row.sha256, "Comma", "2 rows", "with a header row"):
        assert told in page
    assert f"{row.bytes} bytes" in page
    assert "<dd><bdi>admin</bdi></dd>" in page


def test_a_download_is_a_fresh_link_to_the_file(boss, complete, nobody):
    links = [boss.get(f"/admin/reports/{complete['source']}/download").headers["Location"] for _ in range(2)]
    assert links[0] != links[1]
    assert links[0].startswith(f"https://tally.example/files/{complete['source']}?")
    file = nobody.get(links[0].removeprefix("https://tally.example"))
    assert file.get_data().decode().startswith("timestamp,type,")


def test_a_link_can_be_copied_and_says_until_when_it_works(boss, complete, nobody):
    assert f"/admin/reports/{complete['source']}/link" in boss.see(f"/admin/reports/{complete['source']}")
    page = boss.see(f"/admin/reports/{complete['source']}/link")
    link = re.search(r'<pre class="secret" id="link"[^>]*>https://tally.example(/files/[^<]+)</pre>', page)[1]
    assert nobody.get(link).status_code == 200
    expires = int(re.search(r"expires=(\d+)", link)[1])
    assert f'It works until <time datetime="{template_filters.iso(expires)}"' in re.sub(r"\s+", " ", page)
    assert "Report link given" in boss.see("/admin/audit")


@pytest.mark.settings(report_attempts=1)
def test_a_report_that_failed_says_why(boss, admin, services, monkeypatch):
    admin.send(event())
    job = admin.start_report()
    monkeypatch.setattr("app.storage.local.LocalStorage.create", lambda *given: 1 / 0)
    services.runner.run(job["job"])
    page = boss.see(f"/admin/reports/{job['source']}")
    assert "</svg>Failed</span>" in page
    assert "division by zero" in page
    answer = boss.get(f"/admin/reports/{job['source']}/download")
    assert answer.status_code == 409
    assert "The file is not available" in answer.get_data(as_text=True)


def test_a_report_that_still_waits_has_no_download_and_moves(boss, admin):
    admin.send(event())
    job = admin.start_report()
    page = boss.see(f"/admin/reports/{job['source']}")
    assert "/download" not in page
    assert "1st in line for a worker." in page
    assert "data-moving" in page
    assert boss.get(f"/admin/reports/{job['source']}/download").status_code == 409


def test_an_expired_report_says_that_its_file_is_gone(boss, complete, services, monkeypatch):
    for module in (report_store, report_rows):
        monkeypatch.setattr(module, "now", lambda: 4_000_000_000_000)
    services.reports.cleanup.clean_up()
    page = boss.see(f"/admin/reports/{complete['source']}")
    assert "</svg>Expired</span>" in page
    assert "The file has expired." in page
    assert boss.get(f"/admin/reports/{complete['source']}/download").status_code == 410


def test_another_like_it_starts_from_its_filter(boss, complete):
    page = boss.see(f"/admin/reports/{complete['source']}")
    assert "/admin/reports/new?customer=BARCHART&product=PORTFOLIO&types=PORTFOLIO-APPLICATION-LOADED" in page


def test_another_like_it_has_the_same_file(boss, admin):
    admin.send(event())
    output = {"delimiter": "\t", "header": True, "spreadsheetSafe": True, "layout": "positional"}
    page = boss.see(f"/admin/reports/{admin.start_report(output=output)['source']}")
    form = boss.see(re.search(r'"(/admin/reports/new\?customer=[^"]+)"', page)[1])
    assert 'name="delimiter" value="tab"' in form
    assert '<option value="positional" selected>' in form
    assert all(f'id="{name}" name="{name}" value="y" checked' in form for name in ("header", "spreadsheetSafe"))


def test_the_first_attempt_is_told_as_well(boss, complete):
    assert "Complete after" in boss.see(f"/admin/reports/{complete['source']}")


def test_the_list_tells_size_hash_and_who(boss, complete, services):
    row = services.reports.get(services.accounts.everyone()[0], complete["source"])
    page = re.sub(r"\s+", " ", boss.see("/admin/reports"))
    assert f'title="{row.bytes} bytes"' in page
    assert f'title="SHA-256 {row.sha256}">SHA <code>{row.sha256[:8]}</code>' in page
    assert "by <bdi>admin</bdi>" in page
    assert "attempt 1" not in page, "the first goes without saying"


def test_the_list_tells_that_a_report_was_tried_again(boss, complete):
    Report.update(attempt=3).execute()
    assert "attempt 3" in boss.see("/admin/reports")


def test_the_list_has_them_newest_first(boss, complete, admin):
    later = admin.start_report()
    page = boss.see("/admin/reports")
    assert page.index(later["source"]) < page.index(complete["source"])
    assert "1 running or queued." in page


def test_an_empty_list_says_how_to_start_one(boss):
    assert "No reports yet." in boss.see("/admin/reports")


@pytest.mark.parametrize("ending", ["", "/part", "/download", "/link"])
def test_anothers_report_and_none_at_all_cannot_be_told_apart(anna, complete, ending):
    theirs = anna.get(f"/admin/reports/{complete['source']}{ending}")
    none = anna.get(f"/admin/reports/JOB-00000000-0000-4000-8000-000000000000{ending}")
    assert (theirs.status_code, none.status_code) == (404, 404)
    assert anna.get(f"/admin/reports/JOB-x{ending}").status_code == 404


def test_parts_are_parts_of_their_pages(boss, complete):
    for path in ("/admin/reports", f"/admin/reports/{complete['source']}"):
        part = boss.see(f"{path}/part")
        assert part.strip().startswith(f'<div data-live="{path}/part"')
        assert "<html" not in part
