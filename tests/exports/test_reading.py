"""A file is read back as it was written, for any text and any block size."""

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
def small_limits(monkeypatch) -> None:
    """Limit chunks and blocks to a few records, so that tests reach every limit."""
    monkeypatch.setattr(reading, "CHUNK_BYTES", 20)
    monkeypatch.setattr(reading, "MAX_CHUNK_RECORDS", 3)


def blocks(content: bytes, size: int) -> list[bytes]:
    return [content[begin : begin + size] for begin in range(0, len(content), size)]


@EXAMPLES
@given(rows, st.sampled_from(DELIMITERS), st.integers(1, 50))
@example([["1", "\r"], ["2", None]], "|", 1)
def test_csv_is_read_back_as_it_was_written(rows: list[list[str | None]], delimiter: str, size: int):
    line, form = csv.line_writer(delimiter), CsvRecords(delimiter)
    content = b"".join(line(row) for row in rows)
    records = [record for chunk in chunks(blocks(content, size), form.cut) for record in chunk.records]
    assert [form.cells(record.decode()) for record in records] == rows


@EXAMPLES
@given(st.binary(max_size=120) | rows.map(lambda rows: b"".join(map(csv.line_writer("|"), rows))), st.integers(1, 50))
@example(b"\xef\xbb\xbf\n\n", 1)
@example(b'a"\n"b\n"c', 3)
def test_reading_can_resume_after_any_chunk(content: bytes, size: int):
    for cut in (lines, CsvRecords("|").cut):
        whole = list(chunks(blocks(content, size), cut))
        for number, chunk in enumerate(whole, 1):
            rest = list(chunks(blocks(content[chunk.end :], 7), cut, end=chunk.end, line=chunk.lines[-1]))
            assert records_with_lines(rest) == records_with_lines(whole[number:])
            assert chunk.lines[-1] == content[: chunk.end].count(b"\n") + 1 + (chunk.end > len(content))


def records_with_lines(parsed: list[reading.Chunk]) -> list[tuple[int, bytes]]:
    """Return each record with its line number."""
    return [pair for chunk in parsed for pair in zip(chunk.lines, chunk.records, strict=False)]


@EXAMPLES
@given(rows, st.lists(st.binary(max_size=8).map(lambda text: text.replace(b"\n", b"")), max_size=3))
def test_an_invalid_csv_row_does_not_affect_other_rows(rows: list[list[str | None]], broken: list[bytes]):
    line, form = csv.line_writer("|"), CsvRecords("|")
    plain = [[(cell or "x").replace("\n", " ") for cell in row] for row in rows]
    content = b"".join(b'no"csv' + text.replace(b'"', b"") + b"\n" for text in broken) + b"".join(map(line, plain))
    records = [record for chunk in chunks([content], form.cut) for record in chunk.records]
    assert [form.cells(record.decode()) for record in records[len(broken) :]] == plain


def test_an_unclosed_quote_does_not_swallow_the_file(monkeypatch):
    monkeypatch.setattr(reading, "MAX_RECORD_BYTES", 100)
    content = b'1|A|"open\n' + b"".join(b"%d|B|x\n" % number for number in range(50))
    records = [record for chunk in chunks(blocks(content, 30), CsvRecords("|").cut) for record in chunk.records]
    assert records == content.split(b"\n")[:-1]


def test_an_overlong_line_is_truncated_and_later_lines_are_not(monkeypatch):
    monkeypatch.setattr(reading, "MAX_RECORD_BYTES", 100)
    monkeypatch.setattr(reading, "OVERLONG_BYTES", 10)
    for content in (b"a\n" + b"x" * 1000 + b"\nb\nc", b"a\n" + b"x" * 1000):
        for size in (1, 7, 64, 2000):
            for cut in (lines, CsvRecords("|").cut):
                parsed = list(chunks(blocks(content, size), cut))
                records = [record for chunk in parsed for record in chunk.records]
                overlong = records[1]
                assert records == [b"a", overlong, *content.split(b"\n")[2:]]
                # truncated, unless the block that exceeds the limit also has its end
                assert overlong in (b"x" * 10, b"x" * 1000)
                assert parsed[-1].end >= len(content)
