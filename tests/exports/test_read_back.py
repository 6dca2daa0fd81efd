"""Every format reads back to the same events, whatever their text and layout, by readers that are not ours."""

from __future__ import annotations

import csv as standard
import io
import json
import uuid
from dataclasses import dataclass
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from app.exports import csv, jsonl, parquet
from app.exports.layout import COLUMNS, POSITIONAL, Layout
from app.exports.reading import CsvRecords
from tests.support.pace import times

LAST = 253_402_300_799_999  # the last millisecond of the year 9999
AWKWARD = ["", " ", "|", '"', '""', ",", ";", "\t", "\n", "\r", "\r\n", "\\", "\\N", "NULL", "null", "NaN", "'", "=1"]
AWKWARD += ["[]", "é", "🐎", "\u2028", "\x01", "\x7f", "\ufeff", "1793", "true"]

anything = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=12)
text = st.lists(st.sampled_from(AWKWARD), max_size=3).map("".join) | anything
code = st.sampled_from(["LOADED", "ADDED", "NONE"]) | anything.filter(bool) | st.sampled_from(AWKWARD).filter(bool)
DELIMITERS = st.sampled_from([chr(code) for code in range(1, 128) if chr(code) not in '"\r\n'] + ["§", "€", "🐎"])
BY_NAME = Layout(
    COLUMNS, ("userId", "*", "view name", 'a"|', "userid"), {"LOADED": ("view name", "userId"), "ADDED": ("x", 'a"|')}
)
WITHOUT_EXTRAS = Layout(COLUMNS, ("view name", "timestamp"), {"LOADED": ("view name", "timestamp"), "ADDED": ("x",)})
LAYOUTS = st.sampled_from([Layout(POSITIONAL), BY_NAME, WITHOUT_EXTRAS])
quick = settings(deadline=None, max_examples=times(25, 60), suppress_health_check=[HealthCheck.function_scoped_fixture])


@dataclass(frozen=True)
class Sent:
    """An event; its fields in the order of `jsonl.FullRow`."""

    customer: str
    product: str
    type: str
    version: str | None
    timestamp: int
    context: list[str | None]
    sequence: int
    batch: uuid.UUID
    received: int

    @property
    def row(self) -> tuple:
        """What the database gives for CSV."""
        return self.timestamp, self.type, self.context

    @property
    def full_row(self) -> tuple:
        """What it gives for JSON Lines and Parquet."""
        return tuple(vars(self).values())


events = st.builds(
    Sent,
    customer=code,
    product=code,
    type=code,
    version=st.none() | text,
    timestamp=st.sampled_from([0, LAST]) | st.integers(0, LAST),
    context=st.lists(st.none() | text, max_size=6),
    sequence=st.integers(1, 10_000),
    batch=st.uuids(),
    received=st.integers(0, LAST),
)
parts = st.lists(st.lists(events, max_size=6), min_size=1, max_size=4)


@pytest.fixture(autouse=True)
def small(monkeypatch) -> None:
    """Row groups of a few rows, so that parts and groups end in different places."""
    monkeypatch.setattr(parquet, "GROUP_ROWS", 4)
    monkeypatch.setattr(parquet, "GROUP_TEXT", 60)


def flat(parts: list[list[Sent]]) -> list[Sent]:
    return [one for part in parts for one in part]


def width_of(sent: list[Sent]) -> int:
    return max((len(one.context) for one in sent), default=0)


def csv_file(parts: list[list[Sent]], layout: Layout, delimiter: str) -> bytes:
    """The parts' lines, one part behind the other."""
    width = width_of(flat(parts))
    blocks = [csv.blocks((one.row for one in part), layout, width, delimiter) for part in parts]
    return b"".join(data for part in blocks for data, _ in part)


def parquet_file(parts: list[list[Sent]], layout: Layout) -> bytes:
    """The file that the parts are joined to."""
    streams = []
    for part in parts:
        blocks = list(parquet.blocks((one.full_row for one in part), layout))
        assert sum(rows for _, rows in blocks) == len(part)
        streams.append(io.BytesIO(b"".join(data for data, _ in blocks)))
    file = io.BytesIO()
    assert parquet.join(streams, file.write, layout) == len(flat(parts))
    return file.getvalue()


def by_name(one: Sent, layout: Layout) -> list[str | None]:
    """What the contract says of an event's columns, in other words than the product's."""
    names = layout.contexts.get(one.type, ())
    named = dict(zip(names, one.context, strict=False))
    extra = [
        item for place, item in enumerate(one.context) if place >= len(names) or names[place] not in layout.columns
    ]
    return [
        (json.dumps(extra, ensure_ascii=False, separators=(",", ":")) if extra else None)
        if column == "*"
        else named.get(column)
        for column in layout.columns
    ]


def expected(sent: list[Sent], layout: Layout) -> list[list[str | None]]:
    """The cells of a CSV file."""
    width = width_of(sent)
    rows = []
    for one in sent:
        padded = one.context + [None] * (width - len(one.context))
        cells = by_name(one, layout) if layout.kind == COLUMNS else padded
        rows.append([str(one.timestamp), one.type, *cells])
    return rows


def plain(rows: list[list[str | None]]) -> list[list[str]]:
    """As a reader sees them who cannot tell null from empty."""
    return [[cell or "" for cell in row] for row in rows]


@quick
@given(parts, LAYOUTS, DELIMITERS)
def test_python_s_csv_and_ours_read_a_csv_back(parts, layout, delimiter):
    file, rows = csv_file(parts, layout, delimiter), expected(flat(parts), layout)
    read = list(standard.reader(io.StringIO(file.decode(), newline=""), delimiter=delimiter))
    assert read == plain(rows)
    form = CsvRecords(delimiter)
    assert [form.cells(record.decode()) for record in form.cut(file, True)[0]] == rows


@quick
@given(parts.filter(flat), LAYOUTS, DELIMITERS)
def test_duckdb_reads_a_csv_back_nulls_and_all(tmp_path: Path, parts, layout, delimiter):
    path, rows = tmp_path / "report.csv", expected(flat(parts), layout)
    path.write_bytes(csv_file(parts, layout, delimiter))
    columns = {f"c{number}": "VARCHAR" for number in range(len(rows[0]))}
    with duckdb.connect() as connection:
        read = connection.execute(
            "SELECT * FROM read_csv(?, delim=?, columns=?, header=false, auto_detect=false, quote='\"', escape='\"', "
            "nullstr='', allow_quoted_nulls=false, new_line='\\n')",
            [str(path), delimiter, columns],
        ).fetchall()
    assert [list(row) for row in read] == rows


@quick
@given(parts.filter(flat), LAYOUTS, DELIMITERS)
def test_pandas_reads_a_csv_back(parts, layout, delimiter):
    import pandas  # a second: not in each process of a run

    read = pandas.read_csv(
        io.BytesIO(csv_file(parts, layout, delimiter)),
        sep=delimiter,
        header=None,
        dtype=str,
        keep_default_na=False,
        engine="c" if delimiter.isascii() else "python",
        skip_blank_lines=False,
    )
    assert read.to_numpy().tolist() == plain(expected(flat(parts), layout))


@quick
@given(parts)
@example([[Sent("a", "b", "c", None, 0, [None, "", "\x7f\u2028\\"], 1, uuid.UUID(int=7), 5)]])
def test_python_s_json_reads_json_lines_back(parts):
    file = jsonl_file(parts)
    assert file.count(b"\n") == len(flat(parts))
    assert [json.loads(line) for line in file.split(b"\n")[:-1]] == [as_json(one) for one in flat(parts)]


@quick
@given(parts.filter(flat))
def test_duckdb_and_pandas_read_json_lines_back(tmp_path: Path, parts):
    import pandas  # a second: not in each process of a run

    path, sent = tmp_path / "report.jsonl", [as_json(one) for one in flat(parts)]
    path.write_bytes(jsonl_file(parts))
    columns = dict.fromkeys(("customer", "product", "type", "version", "batch"), "VARCHAR")
    columns |= dict.fromkeys(("timestamp", "sequence", "received"), "BIGINT") | {"context": "VARCHAR[]"}
    with duckdb.connect() as connection:
        query = "SELECT * FROM read_json(?, format='newline_delimited', columns=?)"
        found = connection.execute(query, [str(path), columns])
        names = [column[0] for column in found.description]
        read = [dict(zip(names, row, strict=True)) for row in found.fetchall()]
    assert [{key: value for key, value in one.items() if key != "version" or value is not None} for one in read] == sent
    frame = pandas.read_json(path, lines=True, dtype=False)
    assert frame[["customer", "type", "context"]].to_dict("records") == [
        {key: one[key] for key in ("customer", "type", "context")} for one in sent
    ]


@quick
@given(parts, LAYOUTS)
def test_pyarrow_duckdb_and_pandas_read_a_parquet_back(tmp_path: Path, parts, layout):
    import pandas  # a second: not in each process of a run

    path, sent = tmp_path / "report.parquet", flat(parts)
    path.write_bytes(parquet_file(parts, layout))
    rows = [[one.timestamp, one.type, *typed_cells(one, layout)] for one in sent]
    table = pq.read_table(path)
    assert table.schema.types[:2] == [pa.timestamp("ms", "UTC"), pa.string()]
    for name in ("timestamp", "received"):
        place = table.column_names.index(name)
        table = table.set_column(place, name, table.column(place).cast(pa.int64()))
    assert as_rows(table) == rows
    with duckdb.connect() as connection:
        times = "epoch_ms(timestamp) AS timestamp, epoch_ms(received) AS received"
        query = f"SELECT * REPLACE ({times}) FROM read_parquet(?)"
        assert [list(row) for row in connection.execute(query, [str(path)]).fetchall()] == rows
    frame = pandas.read_parquet(path)
    assert frame["type"].tolist() == [one.type for one in sent]
    assert frame["timestamp"].astype("int64").tolist() == [one.timestamp for one in sent]


def typed_cells(one: Sent, layout: Layout) -> list[object]:
    rest = [one.customer, one.product, one.version, one.sequence, str(one.batch), one.received]
    if layout.kind != COLUMNS:
        return [one.context, *rest]
    cells = dict(zip(layout.columns, by_name(one, layout), strict=True))
    extra = [cells.pop("*")] if "*" in cells else []
    return [*cells.values(), *rest, *extra]


def as_rows(table: pa.Table) -> list[list[object]]:
    return [list(row) for row in zip(*(column.to_pylist() for column in table.columns), strict=True)]


def jsonl_file(parts: list[list[Sent]]) -> bytes:
    return b"".join(data for part in parts for data, _ in jsonl.blocks(one.full_row for one in part))


def as_json(one: Sent) -> dict[str, object]:
    """An event as the API answers it."""
    given = vars(one) | {"batch": str(one.batch)}
    return {key: value for key, value in given.items() if key != "version" or value is not None}
