"""The same rows make the same bytes, in however many parts they are written."""

from __future__ import annotations

import io
import random
import uuid
from collections.abc import Iterator, Sequence

import orjson
import pyarrow.parquet as pq
import pytest

from app.exports import csv, jsonl, parquet
from app.exports.file import BLOCK_BYTES, STEP_ROWS, Block, gather, steps
from app.exports.layout import COLUMNS, POSITIONAL, Layout

NUMBER = 9_000
CUTS = [[], [0, 1, 1, 5_000], [4_321], list(range(700, NUMBER, 700)), [NUMBER, NUMBER]]
LAYOUTS = [Layout(POSITIONAL), Layout(COLUMNS, ("userId", "*"), {"LOADED": ("x", "userId"), "ADDED": ("userId",)})]
BATCH = uuid.UUID(int=7)


def made() -> list[tuple[int, str, list[str | None]]]:
    """Short contexts, long ones and none, as they come."""
    chance = random.Random(11)
    lengths = [0, 1, 10, 100, 2_000]
    return [
        (
            number // 3,
            chance.choice(["LOADED", "ADDED"]),
            [None if chance.random() < 0.1 else "é" * chance.choice(lengths) for _ in range(chance.randrange(4))],
        )
        for number in range(NUMBER)
    ]


ROWS = made()


def split(cuts: Sequence[int]) -> list[list]:
    ends = [*cuts, NUMBER]
    return [ROWS[begin:end] for begin, end in zip([0, *cuts], ends, strict=True)]


def written(some: Iterator[Block]) -> bytes:
    return b"".join(data for data, _ in some)


def full(row: tuple) -> tuple:
    return "BARCHART", "PORTFOLIO", row[1], None, row[0], row[2], 1, BATCH, row[0]


def file_of(cuts: Sequence[int], layout: Layout) -> bytes:
    file = io.BytesIO()
    streams = [io.BytesIO(written(parquet.blocks(map(full, part), layout))) for part in split(cuts)]
    assert parquet.join(streams, file.write, layout) == NUMBER
    assert all(stream.closed for stream in streams)
    return file.getvalue()


def test_json_lines_do_not_show_how_they_were_cut():
    whole = {b"".join(written(jsonl.blocks(map(full, part))) for part in split(cuts)) for cuts in CUTS}
    assert len(whole) == 1


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.kind)
def test_csv_does_not_show_how_it_was_cut(layout):
    whole = {b"".join(written(csv.blocks(iter(part), layout, 3, "|")) for part in split(cuts)) for cuts in CUTS}
    assert len(whole) == 1


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.kind)
def test_parquet_does_not_show_how_it_was_cut(layout, monkeypatch):
    monkeypatch.setattr(parquet, "GROUP_ROWS", 1_000)
    monkeypatch.setattr(parquet, "GROUP_TEXT", 1024 * 1024)
    whole = {file_of(cuts, layout) for cuts in CUTS}
    assert len(whole) == 1
    assert pq.ParquetFile(io.BytesIO(whole.pop())).num_row_groups > 9


def test_a_row_group_ends_with_the_row_that_fills_it(monkeypatch):
    monkeypatch.setattr(parquet, "GROUP_ROWS", 1_000)
    monkeypatch.setattr(parquet, "GROUP_TEXT", 50_000)
    file = pq.ParquetFile(io.BytesIO(file_of([4_321], LAYOUTS[0])))
    groups = [file.read_row_group(number) for number in range(file.num_row_groups)]
    fixed = len("BARCHART") + len("PORTFOLIO") + len(str(BATCH))
    sizes = [
        [fixed + len(kind) + sum(len((item or "").encode()) for item in context) for kind, context in pairs]
        for pairs in (zip(group["type"].to_pylist(), group["context"].to_pylist(), strict=True) for group in groups)
    ]
    for size in sizes[:-1]:
        assert sum(size) >= 50_000 > sum(size[:-1])


def test_a_context_is_the_same_as_a_list_and_as_json_text():
    context = ["a", None, "", '"\\\n\t\x01\x7f\u2028é🐎', "/<>&'"]
    text = orjson.dumps(context).decode()
    for layout in LAYOUTS:
        pairs = [[(5, "ADDED", context)], [(5, "ADDED", text)]]
        one, other = (
            [written(parquet.blocks(map(full, rows), layout)), written(csv.blocks(rows, layout, 5, "|"))]
            for rows in pairs
        )
        assert one == other
    one, other = (written(jsonl.blocks(iter([full((5, "ADDED", form))]))) for form in (context, text))
    assert one == other


def test_a_block_ends_at_a_line_s_end_and_is_of_about_one_size():
    lines = [b"x" * size + b"\n" for size in (10, 5_000, 0, 200) * 500]
    found = list(gather((b"".join(step), len(step)) for step in steps(iter(lines))))
    assert b"".join(data for data, _ in found) == b"".join(lines)
    assert [rows for _, rows in found] == [data.count(b"\n") for data, _ in found]
    assert all(BLOCK_BYTES <= len(data) < BLOCK_BYTES + STEP_ROWS * 5_001 for data, _ in found[:-1])


def test_no_rows_make_no_lines_and_an_empty_parquet():
    assert list(csv.blocks(iter([]), LAYOUTS[0], 0, "|")) == list(jsonl.blocks(iter([]))) == []
    for layout in LAYOUTS:
        for parts in ([], [io.BytesIO(written(parquet.blocks(iter([]), layout)))]):
            file = io.BytesIO()
            assert parquet.join(parts, file.write, layout) == 0
            table = pq.read_table(io.BytesIO(file.getvalue()))
            assert (table.num_rows, table.schema.equals(parquet.schema(layout))) == (0, True)


@pytest.mark.parametrize(
    "begin",
    [
        lambda rows: csv.blocks(rows, LAYOUTS[0], 3, "|"),
        lambda rows: jsonl.blocks(full(row) for row in rows),
        lambda rows: parquet.blocks((full(row) for row in rows), LAYOUTS[1]),
    ],
)
def test_rows_are_closed_when_nobody_wants_more(begin):
    ended = []

    def rows() -> Iterator[tuple]:
        try:
            yield from ROWS
        finally:
            ended.append(True)

    some = begin(rows())
    next(some)
    some.close()
    assert ended == [True]


def test_a_part_that_is_none_is_refused():
    whole = written(parquet.blocks(map(full, ROWS), LAYOUTS[0]))
    for broken in (b"", b"no part at all", whole[: len(whole) // 2]):
        with pytest.raises((ValueError, OSError)):
            parquet.join([io.BytesIO(broken)], io.BytesIO().write, LAYOUTS[0])
    with pytest.raises(ValueError, match="part 2 has the columns"):
        other = written(parquet.blocks(iter([]), LAYOUTS[1]))
        parquet.join([io.BytesIO(whole), io.BytesIO(other)], io.BytesIO().write, LAYOUTS[0])


def test_a_disk_that_is_full_is_told_and_nothing_is_written_after_it():
    room = [2_000]
    rest = []

    def write(data: bytes) -> None:
        if room[0] < 0:
            rest.append(data)
        room[0] -= len(data)
        if room[0] < 0:
            raise OSError(28, "No space left on device")

    part = io.BytesIO(written(parquet.blocks(map(full, ROWS), LAYOUTS[0])))
    with pytest.raises(OSError, match="No space left on device"):
        parquet.join([part], write, LAYOUTS[0])
    assert rest == []


FIXED = ["customer", "product", "version", "sequence", "batch", "received"]


def test_no_two_columns_have_names_that_differ_in_capitals_only():
    layout = Layout(
        COLUMNS, ("type", "timestamp_2", "timestamp", "Type", "Batch", "extra", "EXTRA", "e", "é", "É", "*")
    )
    names = ["type_2", "timestamp_2", "timestamp_3", "Type_3", "Batch_2", "extra_2", "EXTRA_3", "e", "é", "É_2"]
    found = parquet.schema(layout).names
    assert found == ["timestamp", "type", *names, *FIXED, "extra"]
    assert len({name.casefold() for name in found}) == len(found)


def test_a_header_has_no_name_twice():
    layout = Layout(COLUMNS, ("type", "Type", "extra", "extra_2", "timestamp", "*"))
    assert layout.header(0) == ["timestamp", "type", "type_2", "Type", "extra_3", "extra_2", "timestamp_2", "extra"]
    assert Layout(COLUMNS, ("extra",)).header(0) == ["timestamp", "type", "extra"]
