"""A report's file is the same whether the database or the service formats its lines."""

from __future__ import annotations

import json
import random
from contextlib import closing

import pytest

from app.exports import csv
from app.exports.layout import Layout
from app.store.events import select
from tests.support.client import FIRST, event

PIECES = [
    "",
    "a",
    "|",
    '"',
    "\n",
    "\r",
    "\\",
    "\\N",
    "NULL",
    "{}",
    ",",
    "=",
    "-",
    "'",
    "＋",
    " ",
    "\t",
    "é",
    "🐎",
    "שלום",
    "\x01",
    "\x7f",
    "€",
]
TYPES = {"LOADED": ["userId", "viewName"], "ADDED": ["symbol", "userId", "x"], "TWICE'%": ["y", "userId"], "@NONE": []}
CATALOG = {
    "products": [{"code": "PORTFOLIO", "columns": ["userId", "*", "viewName", "symbol", "nobody's"]}],
    "types": [{"code": code, "product": "PORTFOLIO", "context": names} for code, names in TYPES.items()],
}
SELECTION = select.Selection("BARCHART", "PORTFOLIO")


@pytest.fixture
def sent(nobody, services) -> list[dict]:
    """Send 300 events with awkward contexts, and return them in the order of a report."""
    services.catalog.put(json.dumps(CATALOG).encode())
    chance = random.Random(7)
    events = [
        event(
            type=chance.choice([*TYPES, "UNKNOWN"]),
            timestamp=FIRST + chance.randrange(50),
            context=[
                None if chance.random() < 0.2 else "".join(chance.choices(PIECES, k=chance.randrange(4)))
                for _ in range(chance.randrange(6))
            ],
        )
        for _ in range(300)
    ]
    nobody.send(*events)
    return sorted(events, key=lambda sent_event: sent_event["timestamp"])


def expected(sent: list[dict], layout: Layout, delimiter: str) -> bytes:
    """Return the file that the service alone formats from the sent events."""
    width = max(len(sent_event["context"]) for sent_event in sent)
    rows = ((sent_event["timestamp"], sent_event["type"], sent_event["context"]) for sent_event in sent)
    return b"".join(data for data, _ in csv.blocks(rows, layout, width, delimiter))


@pytest.mark.parametrize("delimiter", ["|", ",", "\t", "\x01", "\\", "1", "e", " ", "§", "🐎"])
@pytest.mark.parametrize("layout", ["columns", "positional"])
def test_a_report_s_file_is_the_same_on_both_databases(admin, services, sent, layout, delimiter):
    _, file = admin.run_report({"layout": layout, "delimiter": delimiter})
    assert file == expected(sent, services.catalog.layout("PORTFOLIO", layout), delimiter)


@pytest.mark.parametrize("safe", [False, True])
def test_lines_of_the_database_equal_lines_of_the_service(app, services, sent, safe):
    for kind in ("columns", "positional"):
        layout = services.catalog.layout("PORTFOLIO", kind)
        width = select.measure(SELECTION, layout).width if kind == "positional" else 0
        lines = select.csv_blocks(SELECTION, layout, width, "|", safe=safe)
        if lines is not None:
            with closing(lines):
                from_database = b"".join(data for data, _ in lines)
            from_rows = csv.blocks(select.rows(SELECTION), layout, width, "|", safe=safe)
            assert from_database == b"".join(data for data, _ in from_rows)
            assert (b"|'=" in from_database) == safe


def test_the_measured_size_matches_the_events(app, services, sent):
    positional = select.measure(SELECTION, services.catalog.layout("PORTFOLIO", "positional"))
    assert (positional.total, positional.width, positional.extra_rows) == (300, 5, None)
    layout = Layout("columns", ("userId", "viewName"), {code: tuple(names) for code, names in TYPES.items()})
    left_out = [sent_event for sent_event in sent if has_extra_item(sent_event, layout)]
    assert select.measure(SELECTION, layout).extra_rows == len(left_out) > 0


def has_extra_item(sent_event: dict, layout: Layout) -> bool:
    """Return whether an event has an item without a column."""
    names = layout.contexts.get(sent_event["type"], ())
    places = range(len(sent_event["context"]))
    return any(place >= len(names) or names[place] not in layout.columns for place in places)
