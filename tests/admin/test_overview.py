"""The overview."""

from __future__ import annotations

import re

from tests.support.client import FIRST, event


def test_the_newest_events_are_shown_with_all_that_they_carry(boss, admin):
    admin.send(event(type="OLDER"), event(type="NEWER", context=["user-7", None, ""]))
    page = boss.see("/admin/")
    assert page.index("NEWER") < page.index("OLDER")
    assert "<bdi>BARCHART</bdi>" in page
    assert "<bdi>PORTFOLIO</bdi>" in page
    assert "<bdi>user-7</bdi>" in page
    assert "null" in page
    assert "empty" in page


def test_an_events_time_is_shown_in_full_with_its_zone_on_hover(boss, admin):
    admin.send(event(timestamp=FIRST + 7))
    page = boss.see("/admin/")
    assert 'datetime="2026-10-26T07:33:20.007Z"' in page
    assert 'title="Monday 26 October 2026, 07:33:20.007 UTC"' in page
    assert ">2026-10-26 07:33:20.007</time>" in page


def test_times_at_both_ends_of_what_is_allowed_are_shown(boss, admin):
    admin.send(event(timestamp=0), event(timestamp=253_402_300_799_999))
    page = boss.see("/admin/")
    assert "1970-01-01 00:00:00.000" in page
    assert "9999-12-31 23:59:59.999" in page


def test_a_huge_context_is_cut(boss, admin):
    admin.send(*[event(context=["x" * 4096] * 100)] * 20)
    page = boss.see("/admin/")
    assert "and 99 more" in page
    assert len(page) < 60_000


def test_reports_are_shown_with_state_bar_rows_and_a_download(boss, admin):
    admin.send(event(), event())
    job, _ = admin.run_report()
    page = boss.see("/admin/")
    assert re.search(r'<progress class="good" max="100" value="100"', page)
    assert "</svg>Complete</span>" in page
    assert '<td class="count">2</td>' in page
    assert f'href="/admin/reports/{job["source"]}/download"' in page


def test_a_waiting_report_says_its_place_in_line(boss, admin):
    admin.send(event())
    admin.start_report()
    admin.start_report()
    page = boss.see("/admin/")
    assert "</svg>Queued</span>" in page
    assert "2nd in line" in page


def test_without_events_it_says_how_to_send_the_first(boss):
    page = boss.see("/admin/")
    assert "Waiting for your first event" in page
    assert "curl https://tally.example/events" in page
    assert "make demo" in page


def test_the_first_events_command_is_accepted_as_it_stands(boss, admin):
    command = re.search(r"<pre[^>]*>(.*?)</pre>", boss.see("/admin/"), re.DOTALL)[1]
    body = re.search(r"-d '(.*)'$", command, re.DOTALL)[1].replace("'$(date +%s)000'", "1793000000000")
    assert admin.post("/events", body.encode()).status_code == 200
    assert "Waiting for your first event" not in boss.see("/admin/")


def test_the_part_that_refreshes_is_the_part_of_the_page(boss, admin):
    admin.send(event())
    part = boss.see("/admin/overview/part").strip()
    assert part.startswith('<div data-live="/admin/overview/part"')
    assert "<html" not in part
    assert re.search(r"<tbody>.*</tbody>", part, re.DOTALL)[0] in boss.see("/admin/")


def test_it_says_whether_more_is_to_come(boss, admin, services):
    admin.send(event())
    assert "data-moving" in boss.see("/admin/overview/part")  # an event came just now


def test_somebody_who_can_mend_it_is_told_what_is_wrong(boss, anna, admin):
    admin.send(event())
    assert "No worker has been heard from" in boss.see("/admin/")
    assert "No worker" not in anna.see("/admin/")


def test_an_analyst_sees_own_customers_events_and_own_reports_only(anna, admin, analyst):
    admin.send(event(type="MINE"), event(customer="OTHER", type="THEIRS"))
    admin.start_report()
    analyst.start_report(product="PORTFOLIO", types=["MINE"])
    page = anna.see("/admin/")
    assert "MINE" in page
    assert "THEIRS" not in page
    assert "OTHER" not in page
    assert page.count('data-key="JOB-') == 1
