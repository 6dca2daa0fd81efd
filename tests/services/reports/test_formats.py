"""A report's rows in the form that its output asks for."""

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
    """Planned, with two events and columns by name."""
    services.catalog.put(json.dumps(CATALOG).encode())
    nobody.send(event(context=["@x", None]), event(timestamp=FIRST + 1, context=[], version="4.2"))
    report = store.by_job(admin.start_report()["job"])
    report.width = 2
    return report


def written(report: Report, output: dict) -> bytes:
    report.output = output
    with closing(formats.blocks(report, formats.selection(report))) as blocks:
        found = list(blocks)
    assert sum(number for _, number in found) == 2
    return b"".join(data for data, _ in found)


def test_json_lines_are_the_events_whole(report, admin):
    listed = admin.get("/events?customer=BARCHART&product=PORTFOLIO").get_json()["events"]
    lines = written(report, {"format": "jsonl"}).splitlines()
    assert [json.loads(line) for line in lines] == list(reversed(listed))
    assert [list(json.loads(line)) for line in lines] == [
        [name for name in jsonl.Line.__struct_fields__ if name != "version" or "version" in one] for one in listed[::-1]
    ]


def test_a_part_of_a_parquet_is_joined_to_a_file(report):
    part, file = written(report, {"format": "parquet"}), io.BytesIO()
    assert parquet.join([io.BytesIO(part)], file.write, Layout.from_json(report.layout)) == 2
    assert pq.read_table(io.BytesIO(file.getvalue())).column("type").to_pylist() == [event()["type"]] * 2


@pytest.mark.parametrize("delimiter", ["|", "§"])
def test_names_and_cells_are_made_harmless_on_either_road(report, delimiter):
    report.layout = Layout("positional").to_json()
    safe = {"spreadsheetSafe": True, "delimiter": delimiter}
    assert written(report, safe).decode().split("\n")[0] == delimiter.join([str(FIRST), event()["type"], "'@x", ""])
    named = Layout("columns", ("=run",)), 0
    assert format_of(safe | {"header": True}).head(*named).decode() == delimiter.join(["timestamp", "type", "'=run\n"])
    unsafe = format_of({"delimiter": delimiter, "header": True})
    assert unsafe.head(*named).decode() == delimiter.join(["timestamp", "type", "=run\n"])


@pytest.mark.parametrize("name", ["jsonl", "parquet"])
def test_only_csv_has_a_header(name):
    assert format_of({"format": name, "header": True}).head(Layout("positional"), 2) == b""
