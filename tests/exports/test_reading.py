"""A file read back: what was written, whatever its text, and wherever its blocks happen to end."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from app.exports import csv, reading
from app.exports.reading import CsvRecords, chunks, lines
from tests.support.pace import times

EXAMPLES = settings(max_examples=times(70, 200), deadline=None)
DELIMITERS = ["|", ",", ";", "\t", "§", "😀", "a", ".", "\\", "^", " "]

odd = st.text(
    st.sampled_from(['"', "\n", "\r", "|", ",", "§", "a", "é", "😀", " ", "\\", ".", "\0", "\u2028"]), max_size=5
)
cells = st.none() | odd | st.text(st.characters(codec="utf-8"), max_size=5)
rows = st.lists(st.lists(cells, min_size=2, max_size=5), max_size=12)


@pytest.fixture(autouse=True)
def small(monkeypatch) -> None:
    """Chunks and blocks of a few records, so that every limit is met."""
    monkeypatch.setattr(reading, "CHUNK_BYTES", 20)
    monkeypatch.setattr(reading, "MAX_CHUNK_RECORDS", 3)


def blocks(content: bytes, size: int) -> list[bytes]:
    return [content[begin : begin + size] for begin in range(0, len(content), size)]


@EXAMPLES
@given(rows, st.sampled_from(DELIMITERS), st.integers(1, 50))
@example([["1", "\r"], ["2", None]], "|", 1)
def test_csv_comes_back_as_it_was_written(rows: list[list[str | None]], delimiter: str, size: int):
    line, form = csv.line_writer(delimiter), CsvRecords(delimiter)
    content = b"".join(line(row) for row in rows)
    found = [record for chunk in chunks(blocks(content, size), form.cut) for record in chunk.records]
    assert [form.cells(record.decode()) for record in found] == rows


@EXAMPLES
@given(st.binary(max_size=120) | rows.map(lambda rows: b"".join(map(csv.line_writer("|"), rows))), st.integers(1, 50))
@example(b"\xef\xbb\xbf\n\n", 1)
@example(b'a"\n"b\n"c', 3)
def test_the_records_behind_every_chunk_are_found_again_from_where_it_ends(content: bytes, size: int):
    for cut in (lines, CsvRecords("|").cut):
        whole = list(chunks(blocks(content, size), cut))
        for number, chunk in enumerate(whole, 1):
            rest = list(chunks(blocks(content[chunk.end :], 7), cut, end=chunk.end, line=chunk.lines[-1]))
            assert located(rest) == located(whole[number:])
            assert chunk.lines[-1] == content[: chunk.end].count(b"\n") + 1 + (chunk.end > len(content))


def located(some: list[reading.Chunk]) -> list[tuple[int, bytes]]:
    """Each record with its line."""
    return [pair for chunk in some for pair in zip(chunk.lines, chunk.records, strict=False)]


@EXAMPLES
@given(rows, st.lists(st.binary(max_size=8).map(lambda text: text.replace(b"\n", b"")), max_size=3))
def test_a_row_that_is_no_csv_costs_itself_only(rows: list[list[str | None]], broken: list[bytes]):
    line, form = csv.line_writer("|"), CsvRecords("|")
    plain = [[(cell or "x").replace("\n", " ") for cell in row] for row in rows]
    content = b"".join(b'no"csv' + text.replace(b'"', b"") + b"\n" for text in broken) + b"".join(map(line, plain))
    found = [record for chunk in chunks([content], form.cut) for record in chunk.records]
    assert [form.cells(record.decode()) for record in found[len(broken) :]] == plain


def test_a_quote_that_is_never_closed_does_not_eat_the_file(monkeypatch):
    monkeypatch.setattr(reading, "MAX_RECORD_BYTES", 100)
    content = b'1|A|"open\n' + b"".join(b"%d|B|x\n" % number for number in range(50))
    found = [record for chunk in chunks(blocks(content, 30), CsvRecords("|").cut) for record in chunk.records]
    assert found == content.split(b"\n")[:-1]


def test_a_line_without_an_end_is_cut_and_what_follows_is_not(monkeypatch):
    monkeypatch.setattr(reading, "MAX_RECORD_BYTES", 100)
    monkeypatch.setattr(reading, "OVERLONG_BYTES", 10)
    for content in (b"a\n" + b"x" * 1000 + b"\nb\nc", b"a\n" + b"x" * 1000):
        for size in (1, 7, 64, 2000):
            for cut in (lines, CsvRecords("|").cut):
                found = list(chunks(blocks(content, size), cut))
                records = [record for chunk in found for record in chunk.records]
                kept = records[1]
                assert records == [b"a", kept, *content.split(b"\n")[2:]]
                assert kept in (b"x" * 10, b"x" * 1000)  # cut, unless the block that made it too long had its end
                assert found[-1].end >= len(content)
