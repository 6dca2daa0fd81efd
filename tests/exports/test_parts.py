"""The same rows produce the same bytes, however many parts they are written in."""

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


def make_rows() -> list[tuple[int, str, list[str | None]]]:
    """Make rows with short, long and empty contexts in random order."""
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


ROWS = make_rows()


def split(cuts: Sequence[int]) -> list[list]:
    ends = [*cuts, NUMBER]
    return [ROWS[begin:end] for begin, end in zip([0, *cuts], ends, strict=True)]


def join_blocks(blocks: Iterator[Block]) -> bytes:
    return b"".join(data for data, _ in blocks)


def full_row(row: tuple) -> tuple:
    return "BARCHART", "PORTFOLIO", row[1], None, row[0], row[2], 1, BATCH, row[0]


def write_parquet(cuts: Sequence[int], layout: Layout) -> bytes:
    file = io.BytesIO()
    streams = [io.BytesIO(join_blocks(parquet.blocks(map(full_row, part), layout))) for part in split(cuts)]
    assert parquet.join(streams, file.write, layout) == NUMBER
    assert all(stream.closed for stream in streams)
    return file.getvalue()


def test_json_lines_do_not_depend_on_the_parts():
    contents = {b"".join(join_blocks(jsonl.blocks(map(full_row, part))) for part in split(cuts)) for cuts in CUTS}
    assert len(contents) == 1


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.kind)
def test_csv_does_not_depend_on_the_parts(layout):
    contents = {b"".join(join_blocks(csv.blocks(iter(part), layout, 3, "|")) for part in split(cuts)) for cuts in CUTS}
    assert len(contents) == 1


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.kind)
def test_parquet_does_not_depend_on_the_parts(layout, monkeypatch):
    monkeypatch.setattr(parquet, "GROUP_ROWS", 1_000)
    monkeypatch.setattr(parquet, "GROUP_TEXT", 1024 * 1024)
    contents = {write_parquet(cuts, layout) for cuts in CUTS}
    assert len(contents) == 1
    assert pq.ParquetFile(io.BytesIO(contents.pop())).num_row_groups > 9


def test_a_row_group_ends_with_the_row_that_fills_it(monkeypatch):
    monkeypatch.setattr(parquet, "GROUP_ROWS", 1_000)
    monkeypatch.setattr(parquet, "GROUP_TEXT", 50_000)
    file = pq.ParquetFile(io.BytesIO(write_parquet([4_321], LAYOUTS[0])))
    groups = [file.read_row_group(number) for number in range(file.num_row_groups)]
    fixed = len("BARCHART") + len("PORTFOLIO") + len(str(BATCH))
    sizes = [
        [fixed + len(kind) + sum(len((item or "").encode()) for item in context) for kind, context in pairs]
        for pairs in (zip(group["type"].to_pylist(), group["context"].to_pylist(), strict=True) for group in groups)
    ]
    for size in sizes[:-1]:
        assert sum(size) >= 50_000 > sum(size[:-1])


def test_a_context_as_a_list_and_as_json_text_gives_the_same_output():
    context = ["a", None, "", '"\\\n\t\x01\x7f\u2028é🐎', "/<>&'"]
    text = orjson.dumps(context).decode()
    for layout in LAYOUTS:
        pairs = [[(5, "ADDED", context)], [(5, "ADDED", text)]]
        from_list, from_text = (
            [join_blocks(parquet.blocks(map(full_row, rows), layout)), join_blocks(csv.blocks(rows, layout, 5, "|"))]
            for rows in pairs
        )
        assert from_list == from_text
    from_list, from_text = (join_blocks(jsonl.blocks(iter([full_row((5, "ADDED", form))]))) for form in (context, text))
    assert from_list == from_text


def test_a_block_ends_with_a_line_and_has_a_limited_size():
    lines = [b"x" * size + b"\n" for size in (10, 5_000, 0, 200) * 500]
    blocks = list(gather((b"".join(step), len(step)) for step in steps(iter(lines))))
    assert b"".join(data for data, _ in blocks) == b"".join(lines)
    assert [rows for _, rows in blocks] == [data.count(b"\n") for data, _ in blocks]
    assert all(BLOCK_BYTES <= len(data) < BLOCK_BYTES + STEP_ROWS * 5_001 for data, _ in blocks[:-1])


def test_no_rows_give_no_lines_and_an_empty_parquet_file():
    assert list(csv.blocks(iter([]), LAYOUTS[0], 0, "|")) == list(jsonl.blocks(iter([]))) == []
    for layout in LAYOUTS:
        for parts in ([], [io.BytesIO(join_blocks(parquet.blocks(iter([]), layout)))]):
            file = io.BytesIO()
            assert parquet.join(parts, file.write, layout) == 0
            table = pq.read_table(io.BytesIO(file.getvalue()))
            assert (table.num_rows, table.schema.equals(parquet.schema(layout))) == (0, True)


@pytest.mark.parametrize(
    "begin",
    [
        lambda rows: csv.blocks(rows, LAYOUTS[0], 3, "|"),
        lambda rows: jsonl.blocks(full_row(row) for row in rows),
        lambda rows: parquet.blocks((full_row(row) for row in rows), LAYOUTS[1]),
    ],
)
def test_rows_are_closed_when_the_consumer_stops(begin):
    ended = []

    def rows() -> Iterator[tuple]:
        try:
            yield from ROWS
        finally:
            ended.append(True)

    blocks = begin(rows())
    next(blocks)
    blocks.close()
    assert ended == [True]


def test_an_invalid_part_is_rejected():
    whole = join_blocks(parquet.blocks(map(full_row, ROWS), LAYOUTS[0]))
    for broken in (b"", b"no part at all", whole[: len(whole) // 2]):
        with pytest.raises((ValueError, OSError)):
            parquet.join([io.BytesIO(broken)], io.BytesIO().write, LAYOUTS[0])
    with pytest.raises(ValueError, match="part 2 has the columns"):
        other = join_blocks(parquet.blocks(iter([]), LAYOUTS[1]))
        parquet.join([io.BytesIO(whole), io.BytesIO(other)], io.BytesIO().write, LAYOUTS[0])


def test_a_full_disk_is_reported_and_ends_all_writes():
    room = [2_000]
    later_writes = []

    def write(data: bytes) -> None:
        if room[0] < 0:
            later_writes.append(data)
        room[0] -= len(data)
        if room[0] < 0:
            raise OSError(28, "No space left on device")

    part = io.BytesIO(join_blocks(parquet.blocks(map(full_row, ROWS), LAYOUTS[0])))
    with pytest.raises(OSError, match="No space left on device"):
        parquet.join([part], write, LAYOUTS[0])
    assert later_writes == []


FIXED = ["customer", "product", "version", "sequence", "batch", "received"]


def test_column_names_are_unique_without_regard_to_case():
    layout = Layout(
        COLUMNS, ("type", "timestamp_2", "timestamp", "Type", "Batch", "extra", "EXTRA", "e", "é", "É", "*")
    )
    names = ["type_2", "timestamp_2", "timestamp_3", "Type_3", "Batch_2", "extra_2", "EXTRA_3", "e", "é", "É_2"]
    columns = parquet.schema(layout).names
    assert columns == ["timestamp", "type", *names, *FIXED, "extra"]
    assert len({name.casefold() for name in columns}) == len(columns)


def test_header_names_are_unique():
    layout = Layout(COLUMNS, ("type", "Type", "extra", "extra_2", "timestamp", "*"))
    assert layout.header(0) == ["timestamp", "type", "type_2", "Type", "extra_3", "extra_2", "timestamp_2", "extra"]
    assert Layout(COLUMNS, ("extra",)).header(0) == ["timestamp", "type", "extra"]
