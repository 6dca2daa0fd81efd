"""With `spreadsheetSafe`, no cell of a CSV file starts like a formula."""

from __future__ import annotations

import csv as standard
import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.exports.csv import blocks, line_writer
from app.exports.layout import POSITIONAL, Layout

SIGNS = "=+-@\t\r\n＝＋－＠"
TEXT = st.text(st.sampled_from(SIGNS + "'\"|a,"), max_size=3)


@pytest.mark.parametrize("sign", SIGNS)
def test_a_leading_formula_sign_gets_an_apostrophe(sign):
    cell = line_writer("|", safe=True)([f"{sign}1+1"]).decode()
    assert cell == (f'"\'{sign}1+1"\n' if sign in "\r\n" else f"'{sign}1+1\n")


@pytest.mark.parametrize(
    ("text", "cell"),
    [
        (None, ""),
        ("", '""'),
        ("'=1", "'=1"),
        ("a=1", "a=1"),
        (" =1", " =1"),
        ("-", "'-"),
        ('=HYPERLINK("x")', '"\'=HYPERLINK(""x"")"'),
        ("=a|b", '"\'=a|b"'),
    ],
)
def test_other_cells_are_unchanged(text, cell):
    assert line_writer("|", safe=True)([text]).decode() == f"{cell}\n"


@settings(deadline=None)
@given(st.lists(st.none() | TEXT, max_size=5), st.sampled_from("|,=-'\t"))
def test_types_and_contexts_are_escaped_and_other_cells_unchanged(context, delimiter):
    [(line, _)] = blocks([(1793, "+TYPE", context)], Layout(POSITIONAL), 5, delimiter, safe=True)
    (row,) = standard.reader(io.StringIO(line.decode(), newline=""), delimiter=delimiter)
    assert row[:2] == ["1793", "'+TYPE"]
    for cell, item in zip(row[2:], context, strict=False):
        assert cell == ("'" + item if item and item[0] in SIGNS else item or "")
        assert not cell.startswith(tuple(SIGNS))


def test_cells_are_unchanged_without_the_option():
    assert line_writer("|")(["=1", "@x"]) == b"=1|@x\n"
