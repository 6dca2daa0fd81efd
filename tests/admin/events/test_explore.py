"""Explore: exact numbers as a table and a chart, at a URL that shows the same again."""

from __future__ import annotations

import re
import time

import pytest

from app.services.events import counts
from app.store.events import hourly_counts
from tests.support.client import event
from tests.support.page import Element, read

DAY = 86_400_000
TYPE = "PORTFOLIO-VIEW-CHANGED"


def rows(page: Element) -> list[str]:
    return [row.text for row in page.all("table", class_="numbers")[0].all("tr")]


@pytest.fixture
def stored(sample_catalog, nobody) -> int:
    """Store events of two products and customers on three days, and return the time of the newest."""
    now = time.time_ns() // 1_000_000
    nobody.send(
        *[event(type=TYPE, timestamp=now - age * DAY, context=[f"user-{age % 2}", "Overview"]) for age in range(3)],
        event(type=TYPE, timestamp=now, context=[]),
        *[event(product="CHARTS", type="OPENED", timestamp=now) for _ in range(2)],
        event(customer="FERNHILL", product="CHARTS", type="OPENED", timestamp=now),
    )
    return now


def test_the_groups_are_in_the_table_and_in_the_chart_whose_bars_lead_to_their_events(boss, stored):
    page = boss.read("/admin/explore")
    assert rows(page) == ["Product Events Share", "PORTFOLIO 4 57.1 %", "CHARTS 3 42.9 %"]
    assert "7 events" in page
    bars = page.first("svg", class_="bars").all("a")
    assert [re.search(r": (\d+) event", bar["aria-label"])[1] for bar in bars] == ["1", "1", "5"]
    assert "OPENED" in boss.read(bars[-1]["href"])


def test_the_values_of_a_context_item_are_counted_and_the_chart_has_the_largest(boss, stored, monkeypatch):
    monkeypatch.setattr("app.admin.events.explore.MAX_SERIES", 2)
    page = boss.read("/admin/explore?by=context:userId")
    assert rows(page) == ["userId Events Share", "user-0 2 50.0 %", "user-1 1 25.0 %", "none 1 25.0 %"]
    assert "the 2 most frequent values" in page
    assert [one.text for one in page.first("ul", class_="legend").all("li")] == ["user-0 2", "user-1 1"]


def test_a_form_leads_to_a_url_that_shows_the_same_with_the_range_in_milliseconds(boss, stored):
    sent = {"by": "type", "customer": "FERNHILL", "product": "", "types": "", "start": "", "end": "", "range": "30d"}
    answer = boss.get("/admin/explore", query_string=sent)
    assert (answer.status_code, answer.location) == (302, "/admin/explore?by=type&customer=FERNHILL&range=30d")
    page = boss.read(answer.location)
    assert rows(page)[1:] == ["OPENED 1 100.0 %"]
    custom = boss.read(f"/admin/explore?by=type&types=OPENED&start={stored - DAY}&end={stored}")
    assert rows(custom)[1:] == ["OPENED 3 100.0 %"]


def test_groups_beyond_those_shown_are_counted_and_others_are_in_the_chart(boss, nobody, monkeypatch):
    monkeypatch.setattr("app.admin.events.explore.SHOWN_GROUPS", 6)
    now = time.time_ns() // 1_000_000
    nobody.send(*[event(type=f"T{kind}", timestamp=now) for kind in range(8) for _ in range(9 - kind)])
    page = boss.read("/admin/explore?by=type")
    assert rows(page)[-1] == "2 others 5 11.4 %"
    legend = [one.text for one in page.first("ul", class_="legend").all("li")]
    assert legend == ["T0 9", "T1 8", "T2 7", "T3 6", "T4 5", "others 9"]


def test_an_analyst_explores_only_the_own_customers(anna, stored):
    assert rows(anna.read("/admin/explore?by=customer"))[1:] == ["BARCHART 6 100.0 %"]
    assert anna.get("/admin/explore?customer=FERNHILL").status_code == 403


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("by=colour", 'Count by has "colour"'),
        ("by=context:nothing", "Name the item in the catalog, in the context of its type."),
        ("product=PORTFOLI", "PORTFOLIO"),
        ("start=2&end=1", "To is"),
        ("start=1&end=99999999999999", "366 days"),
    ],
)
def test_a_wrong_question_is_explained_beside_the_form(boss, stored, query, words):
    answer = boss.get(f"/admin/explore?{query}")
    assert answer.status_code == 400
    assert words in read(answer)


def test_a_question_that_reads_too_many_events_says_how_to_ask_less(boss, stored, monkeypatch):
    while hourly_counts.advance():
        pass
    monkeypatch.setattr(counts, "MAX_READ", 1)
    answer = boss.get("/admin/explore?by=context:userId")
    assert answer.status_code == 400
    assert "narrow the period" in read(answer)
