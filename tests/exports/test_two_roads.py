"""A report's lines are cut by the database where it can and by us elsewhere; nobody can tell from the file which."""

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
    """Three hundred events with all that is awkward in their contexts, in the order of a report."""
    services.catalog.put(json.dumps(CATALOG).encode())
    chance = random.Random(7)
    made = [
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
    nobody.send(*made)
    return sorted(made, key=lambda one: one["timestamp"])


def expected(sent: list[dict], layout: Layout, delimiter: str) -> bytes:
    """The file by our road alone, from what was sent."""
    width = max(len(one["context"]) for one in sent)
    rows = ((one["timestamp"], one["type"], one["context"]) for one in sent)
    return b"".join(data for data, _ in csv.blocks(rows, layout, width, delimiter))


@pytest.mark.parametrize("delimiter", ["|", ",", "\t", "\x01", "\\", "1", "e", " ", "§", "🐎"])
@pytest.mark.parametrize("layout", ["columns", "positional"])
def test_a_report_s_file_is_the_same_by_either_road_and_on_either_database(admin, services, sent, layout, delimiter):
    _, file = admin.run_report({"layout": layout, "delimiter": delimiter})
    assert file == expected(sent, services.catalog.layout("PORTFOLIO", layout), delimiter)


@pytest.mark.parametrize("safe", [False, True])
def test_the_database_s_lines_and_rows_agree(app, services, sent, safe):
    for wanted in ("columns", "positional"):
        layout = services.catalog.layout("PORTFOLIO", wanted)
        width = select.measure(SELECTION, layout).width if wanted == "positional" else 0
        lines = select.csv_blocks(SELECTION, layout, width, "|", safe=safe)
        if lines is not None:
            with closing(lines):
                theirs = b"".join(data for data, _ in lines)
            ours = csv.blocks(select.rows(SELECTION), layout, width, "|", safe=safe)
            assert theirs == b"".join(data for data, _ in ours)
            assert (b"|'=" in theirs) == safe


def test_what_is_measured_beforehand_is_what_there_is(app, services, sent):
    positional = select.measure(SELECTION, services.catalog.layout("PORTFOLIO", "positional"))
    assert (positional.total, positional.width, positional.extra_rows) == (300, 5, None)
    layout = Layout("columns", ("userId", "viewName"), {code: tuple(names) for code, names in TYPES.items()})
    left_out = [one for one in sent if has_more(one, layout)]
    assert select.measure(SELECTION, layout).extra_rows == len(left_out) > 0


def has_more(one: dict, layout: Layout) -> bool:
    """Whether an event has an item without a column."""
    names = layout.contexts.get(one["type"], ())
    places = range(len(one["context"]))
    return any(place >= len(names) or names[place] not in layout.columns for place in places)
