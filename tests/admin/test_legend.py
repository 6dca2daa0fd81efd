"""The legend: each page whose table has badges says what they mean, from the one place that defines them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from app.admin.states import LEGEND

TEMPLATES = Path(__file__).parents[2] / "templates" / "admin"


def test_the_page_system_explains_every_state_by_icon_word_and_sentence(olga):
    legend = olga.read("/admin/system").first("details", class_="states")
    assert [heading.text for heading in legend.all("h2")] == list(LEGEND)
    states = [state for states in LEGEND.values() for state in states.values()]
    assert [badge.text for badge in legend.all(class_="state-badge")] == [state.word for state in states]
    assert [badge["class"] for badge in legend.all(class_="state-badge")] == [
        f"state-badge {one.tone}" for one in states
    ]
    assert [meaning.text for meaning in legend.all("dd")] == [state.meaning for state in states]
    assert len(legend.all("svg")) == len(states)


@pytest.mark.parametrize(
    ("path", "first"),
    [("reports", "Queued"), ("reports/recurring", "Active"), ("alerts", "Pending"), ("tokens", "Active")],
)
def test_a_list_with_states_explains_its_own(boss, path, first):
    legend = boss.read(f"/admin/{path}").first("details", class_="states")
    assert legend.first("dt").text == first


def test_no_template_draws_a_state_of_its_own():
    drawn = [page.name for page in TEMPLATES.rglob("*.html") if re.search(r'class="[^"]*state-badge', page.read_text())]
    assert drawn == ["_macros.html"]
