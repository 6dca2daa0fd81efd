"""CSV lines equal PostgreSQL's byte for byte."""

from __future__ import annotations

import psycopg
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from app.exports.csv import line_writer
from tests.support.pace import times

NOT_DELIMITERS = '"\r\n\0'
AWKWARD = st.sampled_from(
    ["", " ", "|", '"', '""', ",", ";", "\t", "\n", "\r", "\r\n", "\\", "\\.", "\\N", "NULL", "'", "=1+1", "🐎", "שלום"]
)
TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20)
CELL = st.none() | TEXT | st.lists(AWKWARD, max_size=4).map("".join)
ROWS = st.lists(st.tuples(CELL, CELL, CELL), min_size=1, max_size=30)
DELIMITER = st.sampled_from([chr(code) for code in range(1, 128) if chr(code) not in NOT_DELIMITERS])
quick = settings(
    deadline=None, max_examples=times(60, 150), suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@pytest.fixture(scope="module")
def postgresql(postgres_server: str):
    with psycopg.connect(postgres_server, autocommit=True) as connection:
        yield connection


def write_lines(rows: list[tuple], delimiter: str) -> bytes:
    line = line_writer(delimiter)
    return b"".join(line(row) for row in rows)


@quick
@given(rows=ROWS, delimiter=DELIMITER)
@example(rows=[("\\.", None, ""), (None, None, None), ("", "", "")], delimiter="|")
@example(rows=[(" a ", "\x7f\x01", "a\u2028b")], delimiter=" ")
def test_lines_equal_postgresql_s(postgresql, rows, delimiter):
    columns = [list(column) for column in zip(*rows, strict=True)]
    query = "COPY (SELECT * FROM unnest(%s::text[], %s::text[], %s::text[])) TO STDOUT (FORMAT csv, DELIMITER %s)"
    with postgresql.cursor() as cursor, cursor.copy(query, [*columns, delimiter]) as copy:
        expected = b"".join(copy)
    assert write_lines(rows, delimiter) == expected


@pytest.mark.parametrize(
    ("cells", "line"),
    [
        ([None, "", None], b'|""|\n'),
        (["a", "b c", " d "], b"a|b c| d \n"),
        (["a|b", 'say "so"', "two\nlines"], b'"a|b"|"say ""so"""|"two\nlines"\n'),
        (["\r", "\t", "\\"], b'"\r"|\t|\\\n'),
        (["é", "🐎", "שלום"], "é|🐎|שלום\n".encode()),
    ],
)
def test_only_cells_that_need_quotes_are_quoted(cells, line):
    assert line_writer("|")(cells) == line


def test_a_digit_may_be_the_delimiter():
    assert line_writer("1")(["1793", "loaded"]) == b'"1793"1loaded\n'
