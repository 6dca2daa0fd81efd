"""A short report's columns follow from what was seen of its types; where that does not tell, each row is looked at."""

from __future__ import annotations

import pytest

from app.layout import Layout
from app.store import catalog, events
from tests.support.client import event

COLUMNS = Layout("columns", ("a", "b"), {"T": ("a", "b"), "U": ("a",)})
POSITIONAL = Layout("positional")


@pytest.fixture
def looked(monkeypatch) -> list[events.Selection]:
    """The selections of which each row was looked at."""
    found = []
    measure = events.measure
    monkeypatch.setattr(events, "measure", lambda rows, layout: found.append(rows) or measure(rows, layout))
    return found


def selection(**more: object) -> events.Selection:
    return events.Selection("BARCHART", "PORTFOLIO", **more)


def send(admin, *contexts: tuple[str, list, int]) -> None:
    admin.send(*[event(type=kind, context=items, timestamp=at) for kind, items, at in contexts])


def test_the_widest_context_that_was_seen_of_each_type_is_remembered(admin, app):
    send(admin, ("T", ["1", "2"], 1), ("U", [], 1))
    send(admin, ("T", ["1"], 2), ("U", ["1", "2", "3"], 2))
    assert catalog.widths("BARCHART", "PORTFOLIO") == {"T": 2, "U": 3}
    assert catalog.widths("BARCHART", "PORTFOLIO", ["U", "NEVER"]) == {"U": 3}


def test_what_was_seen_tells_the_width_where_a_row_has_it(admin, app):
    send(admin, ("T", ["1", "2"], 1), ("T", ["1", "2", "3"], 5))
    assert events.shape(selection(), POSITIONAL, 2) == events.Measure(2, 3, None)
    assert events.shape(selection(end=4), POSITIONAL, 1) is None
    assert events.shape(selection(types=["NEVER"]), POSITIONAL, 0) is None


def test_what_was_seen_tells_that_no_item_is_left_out(admin, app):
    send(admin, ("T", ["1", "2"], 1), ("U", ["1"], 5))
    assert events.shape(selection(), COLUMNS, 2) == events.Measure(2, 0, 0)
    send(admin, ("U", ["1", "2"], 5))
    assert events.shape(selection(), COLUMNS, 3) is None
    assert events.shape(selection(types=["T"]), COLUMNS, 1) == events.Measure(1, 0, 0)


def test_a_report_looks_at_each_row_only_where_it_must(admin, looked):
    send(admin, ("T", ["1", "2"], 1), ("T", ["1", "2", "3"], 5))
    assert admin.run_report({"layout": "positional"})[1] == b"1|T|1|2|\n5|T|1|2|3\n"
    assert looked == []
    assert admin.run_report({"layout": "positional"}, end=4)[1] == b"1|T|1|2\n"
    assert len(looked) == 1


def test_the_rows_told_are_those_written_though_the_total_was_an_estimate(admin, services):
    send(admin, *[("T", ["1"], at) for at in range(5)])
    job, _ = admin.run_report({"layout": "positional"}, start=1, end=2)
    told = admin.get(f"/reports/{job['source']}/progress").get_json()
    assert (told["rows"], told["total"], told["percent"]) == (2, 2, 100)
