"""A line that is cut out of a context's JSON text is the line that is written with care."""

from __future__ import annotations

import itertools

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.exceptions import RowTooWide
from app.exports import csv
from app.exports.layout import COLUMNS, POSITIONAL, Layout
from app.exports.plain import plain_lines
from app.exports.reading import CsvRecords
from tests.support.pace import times

BY_NAME = {"LOADED": ("viewName", "userId"), "=ADDED": ("x", "userId", "y")}
LAYOUTS = [
    Layout(POSITIONAL),
    Layout(COLUMNS, ("userId", "*", "viewName"), BY_NAME),
    Layout(COLUMNS, ("userId", "viewName", "nobody's"), BY_NAME),
    Layout(COLUMNS, ("userId",), BY_NAME),
    Layout(COLUMNS, ("*",), BY_NAME),
    Layout(COLUMNS, (), BY_NAME),
]
DELIMITERS = list("|,;\t 17en[]u\\'=") + ["\x01", "§", "🐎"]
SMALL = st.text(st.sampled_from('a",|[]=-\\nul1 \n\t\x7fé🐎'), max_size=3)
ITEM = st.sampled_from(["user-1", "Overview", "null", "", '","', '"]', None]) | SMALL
EVENTS = st.lists(
    st.tuples(st.integers(0, 99), st.sampled_from(["LOADED", "=ADDED", "a|b", "1"]), st.lists(ITEM, max_size=5)),
    max_size=8,
)


SHORT = [None, "", "a", ",", "|", "=", '"', "\n", "]", "null", '","']
SHORT_CONTEXTS = [list(items) for count in range(4) for items in itertools.product(SHORT, repeat=count)]


@pytest.mark.parametrize("delimiter", ["|", ",", "1", "n", "[", "=", "§"])
@pytest.mark.parametrize("layout", LAYOUTS[:4], ids=["positional", "extras", "some", "one"])
def test_it_is_the_same_for_every_short_context(layout, delimiter):
    rows = [(7, kind, context) for context in SHORT_CONTEXTS for kind in ("LOADED", "=ADDED")]
    as_text = [(timestamp, kind, orjson.dumps(context).decode()) for timestamp, kind, context in rows]
    for safe in (False, True):
        careful = list(csv.lines(rows, layout, 3, delimiter, safe=safe))
        assert list(csv.lines(as_text, layout, 3, delimiter, safe=safe)) == careful


@settings(deadline=None, max_examples=times(100, 300))
@given(EVENTS, st.sampled_from(LAYOUTS), st.sampled_from(DELIMITERS), st.booleans())
def test_it_is_the_same(rows, layout, delimiter, safe):
    as_text = [(timestamp, kind, orjson.dumps(context).decode()) for timestamp, kind, context in rows]
    careful = b"".join(csv.lines(rows, layout, 5, delimiter, safe=safe))
    assert b"".join(csv.lines(as_text, layout, 5, delimiter, safe=safe)) == careful
    assert b"".join(data for data, _ in csv.blocks(iter(as_text), layout, 5, delimiter, safe=safe)) == careful


@pytest.mark.parametrize(
    ("layout", "delimiter", "line"),
    [
        (LAYOUTS[0], "|", "7|LOADED|Overview|user 1|\n"),
        (LAYOUTS[0], ",", "7,LOADED,Overview,user 1,\n"),
        (LAYOUTS[1], "\t", "7\tLOADED\tuser 1\t\tOverview\n"),
    ],
)
@pytest.mark.parametrize("number", [1, 2, 32])
def test_what_is_plain_takes_this_road(layout, delimiter, line, number):
    made = plain_lines(layout, 3, delimiter, str, not_plain)
    assert made([(7, "LOADED", '["Overview","user 1"]')] * number) == line * number


def test_rows_that_fill_all_columns_take_it_all_at_once():
    made = plain_lines(LAYOUTS[0], 2, "|", str, not_plain)
    rows = [(1, "LOADED", '[",","a"]'), (2, "=ADDED", '["null",","]'), (3, "LOADED", '["]","["]')]
    assert made(rows) == "1|LOADED|,|a\n2|=ADDED|null|,\n3|LOADED|]|[\n"


@pytest.mark.parametrize("text", ["[]", '[""]', "[null]", '["a\\n"]', '["a|b"]', '["say \\"so\\""]'])
@pytest.mark.parametrize("width", [1, 3])
def test_what_is_not_plain_does_not(text, width):
    made = plain_lines(LAYOUTS[0], width, "|", str, lambda *row: "with care\n")
    assert made([(7, "LOADED", text)]) == "with care\n"
    plain = (7, "LOADED", '["a"]')
    assert made([plain, (7, "LOADED", text), plain]).splitlines()[1] == "with care"


def not_plain(*row: object) -> str:
    raise AssertionError(f"{row} is plain")


@settings(max_examples=times(70, 200))
@given(
    contexts=st.lists(st.lists(ITEM, max_size=5), min_size=1, max_size=6),
    width=st.integers(0, 4),
    delimiter=st.sampled_from(["|", ",", "§", "1"]),
    safe=st.booleans(),
)
def test_rows_fill_the_columns_or_are_refused_and_never_make_another_number_of_them(contexts, width, delimiter, safe):
    """Wider rows beside narrower ones have as many items together as if all filled the columns."""
    rows = [(7, "LOADED", orjson.dumps(context).decode()) for context in contexts]
    if max(map(len, contexts)) > width:
        with pytest.raises(RowTooWide):
            list(csv.blocks(rows, Layout(POSITIONAL), width, delimiter, safe=safe))
        return
    [(made, number)] = csv.blocks(rows, Layout(POSITIONAL), width, delimiter, safe=safe)
    records = CsvRecords(delimiter)
    cut, rest = records.cut(made, True)
    assert ({len(records.cells(one.decode())) for one in cut}, len(cut), rest) == ({2 + width}, number, b"")


def test_a_wide_row_is_noticed_among_narrow_ones_that_make_up_for_it():
    rows = [(1, "T", '["a"]'), (2, "T", '["b","c","d"]')]
    with pytest.raises(RowTooWide):
        list(csv.blocks(rows, Layout(POSITIONAL), 2, "|"))
