"""The rows of a report in each output format."""

from __future__ import annotations

import io
import json
from contextlib import closing

import pyarrow.parquet as pq
import pytest

from app.exports import jsonl, parquet
from app.exports.layout import Layout
from app.services.reports import output as formats
from app.services.reports.output import format_of
from app.store.models import Report
from app.store.reports import reports as store
from tests.support.client import FIRST, event

CATALOG = {"products": [{"code": "PORTFOLIO", "columns": ["=run", "userId"]}]}


@pytest.fixture
def report(nobody, admin, services) -> Report:
    """A report of two events with named columns, whose width is set."""
    services.catalog.put(json.dumps(CATALOG).encode())
    nobody.send(event(context=["@x", None]), event(timestamp=FIRST + 1, context=[], version="4.2"))
    report = store.by_job(admin.start_report()["job"])
    report.width = 2
    return report


def written(report: Report, output: dict) -> bytes:
    report.output = output
    with closing(formats.blocks(report, formats.selection(report))) as blocks:
        written_blocks = list(blocks)
    assert sum(number for _, number in written_blocks) == 2
    return b"".join(data for data, _ in written_blocks)


def test_json_lines_contain_the_complete_events(report, admin):
    listed = admin.get("/events?customer=BARCHART&product=PORTFOLIO").get_json()["events"]
    lines = written(report, {"format": "jsonl"}).splitlines()
    assert [json.loads(line) for line in lines] == list(reversed(listed))
    assert [list(json.loads(line)) for line in lines] == [
        [name for name in jsonl.Line.__struct_fields__ if name != "version" or "version" in listed_event]
        for listed_event in listed[::-1]
    ]


def test_a_parquet_part_can_be_joined_to_a_file(report):
    part, file = written(report, {"format": "parquet"}), io.BytesIO()
    assert parquet.join([io.BytesIO(part)], file.write, Layout.from_json(report.layout)) == 2
    assert pq.read_table(io.BytesIO(file.getvalue())).column("type").to_pylist() == [event()["type"]] * 2


@pytest.mark.parametrize("delimiter", ["|", "§"])
def test_names_and_cells_are_escaped_for_spreadsheets_by_either_writer(report, delimiter):
    report.layout = Layout("positional").to_json()
    safe = {"spreadsheetSafe": True, "delimiter": delimiter}
    assert written(report, safe).decode().split("\n")[0] == delimiter.join([str(FIRST), event()["type"], "'@x", ""])
    head_args = Layout("columns", ("=run",)), 0
    assert format_of(safe | {"header": True}).head(*head_args).decode() == delimiter.join(
        ["timestamp", "type", "'=run\n"]
    )
    unsafe = format_of({"delimiter": delimiter, "header": True})
    assert unsafe.head(*head_args).decode() == delimiter.join(["timestamp", "type", "=run\n"])


@pytest.mark.parametrize("name", ["jsonl", "parquet"])
def test_only_csv_has_a_header(name):
    assert format_of({"format": name, "header": True}).head(Layout("positional"), 2) == b""
