"""A CSV line made from a context's JSON text equals the line made from the parsed context."""

from __future__ import annotations

import itertools

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.exceptions import RowTooWide
from app.exports import csv
from app.exports.layout import COLUMNS, POSITIONAL, Layout
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
DELIMITERS = list("|,;\t 17en[]u\\'=%s") + ["\x01", "§", "🐎"]
SMALL = st.text(st.sampled_from('a",|[]=-\\nul1 \n\t\x7fé🐎'), max_size=3)
ITEM = st.sampled_from(["user-1", "Overview", "null", "", '","', '"]', None]) | SMALL
EVENTS = st.lists(
    st.tuples(st.integers(0, 99), st.sampled_from(["LOADED", "=ADDED", "a|b", "1"]), st.lists(ITEM, max_size=5)),
    max_size=8,
)
SHORT = [None, "", "a", ",", "|", "=", '"', "\n", "]", "null", '","']
SHORT_CONTEXTS = [list(items) for count in range(4) for items in itertools.product(SHORT, repeat=count)]


def write_lines(rows: list[tuple], *form: object, safe: bool = False) -> bytes:
    return b"".join(data for data, _ in csv.blocks(rows, *form, safe=safe))


def as_text(rows: list[tuple]) -> list[tuple]:
    return [(timestamp, kind, orjson.dumps(context).decode()) for timestamp, kind, context in rows]


@pytest.mark.parametrize("delimiter", ["|", ",", "1", "n", "[", "=", "§"])
@pytest.mark.parametrize("layout", LAYOUTS[:4], ids=["positional", "extras", "some", "one"])
def test_every_short_context_gives_the_same_line(layout, delimiter):
    rows = [(7, kind, context) for context in SHORT_CONTEXTS for kind in ("LOADED", "=ADDED")]
    for safe in (False, True):
        form = layout, 3, delimiter
        assert write_lines(as_text(rows), *form, safe=safe) == write_lines(rows, *form, safe=safe)


@pytest.mark.parametrize("delimiter", ["|", ",", "%", "s", "[", "§"])
@pytest.mark.parametrize("layout", LAYOUTS[1:], ids=["extras", "some", "one", "only extras", "none"])
def test_plain_rows_together_give_the_same_lines(layout, delimiter):
    contexts = [list(items) for count in range(1, 5) for items in itertools.product(["a", "%s", "é%"], repeat=count)]
    rows = [(7, kind, context) for context in contexts for kind in ("LOADED", "=ADDED", "s|%s")]
    assert write_lines(as_text(rows), layout, 0, delimiter) == write_lines(rows, layout, 0, delimiter)


@settings(deadline=None, max_examples=times(100, 300))
@given(EVENTS, st.sampled_from(LAYOUTS), st.sampled_from(DELIMITERS), st.booleans())
def test_any_event_gives_the_same_line(rows, layout, delimiter, safe):
    form = layout, 5, delimiter
    assert write_lines(as_text(rows), *form, safe=safe) == write_lines(rows, *form, safe=safe)


@settings(max_examples=times(70, 200))
@given(
    contexts=st.lists(st.lists(ITEM, max_size=5), min_size=1, max_size=6),
    width=st.integers(0, 4),
    delimiter=st.sampled_from(["|", ",", "§", "1"]),
    safe=st.booleans(),
)
def test_every_row_fills_the_columns_or_is_rejected_as_too_wide(contexts, width, delimiter, safe):
    rows = as_text([(7, "LOADED", context) for context in contexts])
    form = Layout(POSITIONAL), width, delimiter
    if max(map(len, contexts)) > width:
        with pytest.raises(RowTooWide):
            write_lines(rows, *form, safe=safe)
        return
    records = CsvRecords(delimiter)
    lines, rest = records.cut(write_lines(rows, *form, safe=safe), True)
    assert ({len(records.cells(line.decode())) for line in lines}, len(lines), rest) == ({2 + width}, len(rows), b"")


def test_a_row_that_is_too_wide_is_detected_beside_a_narrow_one():
    with pytest.raises(RowTooWide):
        write_lines([(1, "T", '["a"]'), (2, "T", '["b","c","d"]')], Layout(POSITIONAL), 2, "|")
