"""Independent readers get the same events back from every format, for any text and layout."""

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
quick = settings(deadline=None, max_examples=times(12, 60), suppress_health_check=[HealthCheck.function_scoped_fixture])


@dataclass(frozen=True)
class StoredEvent:
    """Stored event, with its fields in the order of `jsonl.FullRow`."""

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
        """Return the row that the database returns for CSV."""
        return self.timestamp, self.type, self.context

    @property
    def full_row(self) -> tuple:
        """Return the row that the database returns for JSON Lines and Parquet."""
        return tuple(vars(self).values())


events = st.builds(
    StoredEvent,
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
def small_groups(monkeypatch) -> None:
    """Limit row groups to a few rows, so that parts and groups end in different places."""
    monkeypatch.setattr(parquet, "GROUP_ROWS", 4)
    monkeypatch.setattr(parquet, "GROUP_TEXT", 60)


def flat(parts: list[list[StoredEvent]]) -> list[StoredEvent]:
    return [event for part in parts for event in part]


def max_width(sent: list[StoredEvent]) -> int:
    return max((len(event.context) for event in sent), default=0)


def csv_file(parts: list[list[StoredEvent]], layout: Layout, delimiter: str) -> bytes:
    """Return the concatenated lines of the parts."""
    width = max_width(flat(parts))
    blocks = [csv.blocks((event.row for event in part), layout, width, delimiter) for part in parts]
    return b"".join(data for part in blocks for data, _ in part)


def parquet_file(parts: list[list[StoredEvent]], layout: Layout) -> bytes:
    """Return the file that joins the parts."""
    streams = []
    for part in parts:
        blocks = list(parquet.blocks((event.full_row for event in part), layout))
        assert sum(rows for _, rows in blocks) == len(part)
        streams.append(io.BytesIO(b"".join(data for data, _ in blocks)))
    file = io.BytesIO()
    assert parquet.join(streams, file.write, layout) == len(flat(parts))
    return file.getvalue()


def named_cells(event: StoredEvent, layout: Layout) -> list[str | None]:
    """Return the cells of an event's columns, by an implementation independent of the product's."""
    names = layout.contexts.get(event.type, ())
    named = dict(zip(names, event.context, strict=False))
    extra = [
        item for place, item in enumerate(event.context) if place >= len(names) or names[place] not in layout.columns
    ]
    return [
        (json.dumps(extra, ensure_ascii=False, separators=(",", ":")) if extra else None)
        if column == "*"
        else named.get(column)
        for column in layout.columns
    ]


def expected(sent: list[StoredEvent], layout: Layout) -> list[list[str | None]]:
    """Return the cells of a CSV file."""
    width = max_width(sent)
    rows = []
    for event in sent:
        padded = event.context + [None] * (width - len(event.context))
        cells = named_cells(event, layout) if layout.kind == COLUMNS else padded
        rows.append([str(event.timestamp), event.type, *cells])
    return rows


def without_nulls(rows: list[list[str | None]]) -> list[list[str]]:
    """Return the cells with nulls as empty strings, as readers without nulls do."""
    return [[cell or "" for cell in row] for row in rows]


@quick
@given(parts, LAYOUTS, DELIMITERS)
def test_python_s_csv_and_the_import_command_read_csv_back(parts, layout, delimiter):
    file, rows = csv_file(parts, layout, delimiter), expected(flat(parts), layout)
    rows_read = list(standard.reader(io.StringIO(file.decode(), newline=""), delimiter=delimiter))
    assert rows_read == without_nulls(rows)
    records = CsvRecords(delimiter)
    assert [records.cells(record.decode()) for record in records.cut(file, True)[0]] == rows


@quick
@given(parts.filter(flat), LAYOUTS, DELIMITERS)
def test_duckdb_reads_csv_back_including_nulls(tmp_path: Path, parts, layout, delimiter):
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
def test_pandas_reads_csv_back(parts, layout, delimiter):
    import pandas  # imported here because it takes a second

    read = pandas.read_csv(
        io.BytesIO(csv_file(parts, layout, delimiter)),
        sep=delimiter,
        header=None,
        dtype=str,
        keep_default_na=False,
        engine="c" if delimiter.isascii() else "python",
        skip_blank_lines=False,
    )
    assert read.to_numpy().tolist() == without_nulls(expected(flat(parts), layout))


@quick
@given(parts)
@example([[StoredEvent("a", "b", "c", None, 0, [None, "", "\x7f\u2028\\"], 1, uuid.UUID(int=7), 5)]])
def test_python_s_json_reads_json_lines_back(parts):
    file = jsonl_file(parts)
    assert file.count(b"\n") == len(flat(parts))
    assert [json.loads(line) for line in file.split(b"\n")[:-1]] == [as_json(event) for event in flat(parts)]


@quick
@given(parts.filter(flat))
def test_duckdb_and_pandas_read_json_lines_back(tmp_path: Path, parts):
    import pandas  # imported here because it takes a second

    path, sent = tmp_path / "report.jsonl", [as_json(event) for event in flat(parts)]
    path.write_bytes(jsonl_file(parts))
    columns = dict.fromkeys(("customer", "product", "type", "version", "batch"), "VARCHAR")
    columns |= dict.fromkeys(("timestamp", "sequence", "received"), "BIGINT") | {"context": "VARCHAR[]"}
    with duckdb.connect() as connection:
        query = "SELECT * FROM read_json(?, format='newline_delimited', columns=?)"
        result = connection.execute(query, [str(path), columns])
        names = [column[0] for column in result.description]
        read = [dict(zip(names, row, strict=True)) for row in result.fetchall()]
    assert [
        {key: value for key, value in event.items() if key != "version" or value is not None} for event in read
    ] == sent
    frame = pandas.read_json(path, lines=True, dtype=False)
    assert frame[["customer", "type", "context"]].to_dict("records") == [
        {key: event[key] for key in ("customer", "type", "context")} for event in sent
    ]


@quick
@given(parts, LAYOUTS)
def test_pyarrow_duckdb_and_pandas_read_parquet_back(tmp_path: Path, parts, layout):
    import pandas  # imported here because it takes a second

    path, sent = tmp_path / "report.parquet", flat(parts)
    path.write_bytes(parquet_file(parts, layout))
    rows = [[event.timestamp, event.type, *typed_cells(event, layout)] for event in sent]
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
    assert frame["type"].tolist() == [event.type for event in sent]
    assert frame["timestamp"].astype("int64").tolist() == [event.timestamp for event in sent]


def typed_cells(event: StoredEvent, layout: Layout) -> list[object]:
    rest = [event.customer, event.product, event.version, event.sequence, str(event.batch), event.received]
    if layout.kind != COLUMNS:
        return [event.context, *rest]
    cells = dict(zip(layout.columns, named_cells(event, layout), strict=True))
    extra = [cells.pop("*")] if "*" in cells else []
    return [*cells.values(), *rest, *extra]


def as_rows(table: pa.Table) -> list[list[object]]:
    return [list(row) for row in zip(*(column.to_pylist() for column in table.columns), strict=True)]


def jsonl_file(parts: list[list[StoredEvent]]) -> bytes:
    return b"".join(data for part in parts for data, _ in jsonl.blocks(event.full_row for event in part))


def as_json(event: StoredEvent) -> dict[str, object]:
    """Return an event as the API does."""
    fields = vars(event) | {"batch": str(event.batch)}
    return {key: value for key, value in fields.items() if key != "version" or value is not None}
