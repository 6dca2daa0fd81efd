"""A report in every format, from the request to the downloaded file, parsed by independent libraries."""

from __future__ import annotations

import csv
import gzip
import io
import json

import pyarrow.parquet as pq
import pytest
import zstandard

from app.store.models import Report
from tests.support.client import FIRST, event, faults

CONTEXTS = [["user-1", None, ""], [], ['say "so"', "a|b", "two\nlines", "é🐎"], ["=1+1"], [None], ["@x", "y"]]
CATALOG = {
    "products": [{"code": "PORTFOLIO", "columns": ["viewName", "timestamp", "Batch"]}],
    "types": [{"code": "PORTFOLIO-APPLICATION-LOADED", "product": "PORTFOLIO", "context": ["timestamp", "viewName"]}],
}


@pytest.fixture
def sent(nobody) -> list[dict]:
    """Events as they were stored, in the order of a report."""
    made = [
        event(timestamp=FIRST + number, context=context, **({"version": "4.2"} if number % 2 else {}))
        for number, context in enumerate(CONTEXTS)
    ]
    return nobody.send(*made)


def fetch_link(client, source: str) -> str:
    return client.get(f"/reports/{source}", headers={"Accept": "application/json"}).get_json()["link"]


def unpack(data: bytes, compression: str) -> bytes:
    if compression == "gzip":
        return gzip.decompress(data)
    if compression == "zstd":
        return zstandard.ZstdDecompressor().stream_reader(io.BytesIO(data), read_across_frames=True).read()
    return data


@pytest.mark.parametrize("compression", ["none", "gzip", "zstd"])
class TestCompressed:
    def test_a_csv_file_reads_back(self, admin, sent, compression):
        _, file = admin.run_report({"format": "csv", "layout": "positional", "compression": compression})
        read = list(csv.reader(io.StringIO(unpack(file, compression).decode(), newline=""), delimiter="|"))
        items = [[item or "" for item in stored["context"]] for stored in sent]
        assert read == [
            [str(stored["timestamp"]), stored["type"], *row, *[""] * (4 - len(row))]
            for stored, row in zip(sent, items, strict=True)
        ]

    def test_json_lines_are_the_events_as_the_api_lists_them(self, admin, sent, compression):
        _, file = admin.run_report({"format": "jsonl", "compression": compression})
        lines = unpack(file, compression).decode().splitlines()
        listed = admin.get("/events?customer=BARCHART&product=PORTFOLIO").get_json()["events"]
        assert [json.loads(line) for line in lines] == list(reversed(listed))
        assert [list(json.loads(line)) for line in lines] == [[*stored, "received"] for stored in sent]

    def test_an_empty_file_can_be_read(self, admin, sent, compression):
        _, file = admin.run_report({"format": "jsonl", "compression": compression}, start=FIRST + 1_000)
        assert unpack(file, compression) == b""
        assert (file == b"") == (compression == "none")


class TestParquet:
    def test_it_has_every_field_of_every_event_and_the_context_as_a_list(self, admin, sent):
        _, file = admin.run_report({"format": "parquet"})
        rows = pq.read_table(io.BytesIO(file)).to_pylist()
        assert [int(row["timestamp"].timestamp() * 1000) for row in rows] == [stored["timestamp"] for stored in sent]
        names = ("customer", "product", "type", "version", "context", "sequence", "batch")
        assert [{name: row[name] for name in names} for row in rows] == [
            {name: stored.get(name) for name in names} for stored in sent
        ]
        listed = admin.get("/events?customer=BARCHART&product=PORTFOLIO").get_json()["events"]
        received = [int(row["received"].timestamp() * 1000) for row in rows]
        assert received == [stored["received"] for stored in reversed(listed)]

    def test_it_has_the_columns_of_the_catalog(self, admin, services, sent):
        services.catalog.put(json.dumps(CATALOG).encode())
        _, file = admin.run_report({"format": "parquet", "layout": "columns"})
        table = pq.read_table(io.BytesIO(file))
        rest = ["customer", "product", "version", "sequence", "batch", "received"]
        filled_names = ["viewName", "timestamp_2", "Batch_2"]
        assert table.schema.names == ["timestamp", "type", *filled_names, *rest, "extra", "context"]
        rows = table.to_pylist()
        filled = [[row[name] for name in (*filled_names, "extra")] for row in rows]
        assert filled[0] == [None, "user-1", None, '[""]']
        extra = json.dumps(["two\nlines", "é🐎"], ensure_ascii=False, separators=(",", ":"))
        assert filled[2] == ["a|b", 'say "so"', None, extra]
        assert [(row["version"], row["batch"], row["context"]) for row in rows] == [
            (stored.get("version"), stored["batch"], stored["context"]) for stored in sent
        ]

    def test_the_whole_context_is_left_out_if_the_catalog_drops_items_or_has_taken_its_name(
        self, admin, services, sent
    ):
        product = {"code": "PORTFOLIO", "columns": ["Context", "viewName"]}
        for last, extra in (("context_2", "column"), ("received", "drop")):
            services.catalog.put(json.dumps(CATALOG | {"products": [product | {"extra": extra}]}).encode())
            _, file = admin.run_report({"format": "parquet"})
            assert pq.read_table(io.BytesIO(file)).schema.names[-1] == last

    def test_a_report_accepted_by_an_older_version_has_the_columns_of_that_version(self, admin, services, sent):
        services.catalog.put(json.dumps(CATALOG).encode())
        job = admin.start_report({"format": "parquet"})
        row = Report.get(Report.job == job["job"])
        assert row.layout.pop("has_context")
        row.save()
        services.runner.run(job["job"])
        table = pq.read_table(io.BytesIO(admin.download(job["source"])))
        assert (table.num_rows, table.schema.names[-1]) == (len(sent), "extra")

    def test_an_empty_file_is_valid(self, admin, sent):
        job, file = admin.run_report({"format": "parquet"}, start=FIRST + 1_000)
        assert (job["status"], pq.read_table(io.BytesIO(file)).num_rows) == ("COMPLETE", 0)


def test_formulas_are_escaped_on_request(admin, services, sent):
    output = {"layout": "positional", "spreadsheetSafe": True}
    _, file = admin.run_report(output)
    read = list(csv.reader(io.StringIO(file.decode(), newline=""), delimiter="|"))
    assert [read[3][2], read[5][2]] == ["'=1+1", "'@x"]
    services.catalog.put(json.dumps(CATALOG | {"products": [{"code": "PORTFOLIO", "columns": ["=run"]}]}).encode())
    _, file = admin.run_report({"header": True, "spreadsheetSafe": True})
    assert file.startswith(b"timestamp|type|'=run|extra\n")


def test_options_that_a_format_does_not_use_change_nothing(admin, sent):
    useless = {"delimiter": ";", "header": True, "layout": "positional", "spreadsheetSafe": True}
    for name in ("jsonl", "parquet"):
        assert admin.run_report({"format": name} | useless)[1] == admin.run_report({"format": name})[1]


@pytest.mark.parametrize(
    ("output", "name", "kind"),
    [
        ({}, "PORTFOLIO_2026-10-26_2026-10-26.csv", "text/csv"),
        ({"compression": "gzip"}, "PORTFOLIO_2026-10-26_2026-10-26.csv.gz", "application/gzip"),
        ({"format": "jsonl"}, "PORTFOLIO_2026-10-26_2026-10-26.jsonl", "application/x-ndjson"),
        ({"format": "jsonl", "compression": "zstd"}, "PORTFOLIO_2026-10-26_2026-10-26.jsonl.zst", "application/zstd"),
        ({"format": "parquet"}, "PORTFOLIO_2026-10-26_2026-10-26.parquet", "application/vnd.apache.parquet"),
    ],
)
def test_name_and_media_type_match_the_format(admin, nobody, sent, output, name, kind):
    job, _ = admin.run_report(output, start=FIRST, end=FIRST + 10)
    answer = nobody.get(fetch_link(admin, job["source"]))
    assert answer.headers["Content-Disposition"] == f"attachment; filename={name}"
    assert answer.mimetype == kind
    assert "Content-Encoding" not in answer.headers


def test_running_a_report_again_gives_the_same_bytes(admin, sent):
    for output in ({"format": "parquet"}, {"compression": "gzip"}, {"format": "jsonl", "compression": "zstd"}):
        assert admin.run_report(output)[1] == admin.run_report(output)[1]


COMPRESSIBLE = [(name, compression) for name in ("csv", "jsonl") for compression in ("none", "gzip", "zstd")]


@pytest.mark.parametrize(("name", "compression"), [*COMPRESSIBLE, ("parquet", "none")])
def test_the_number_of_parts_does_not_change_the_content(admin, sent, monkeypatch, name, compression):
    output = {"format": name, "compression": compression, "header": True}
    _, unsplit = admin.run_report(output)
    monkeypatch.setattr("app.services.reports.part_writer.WHOLE_ROWS", 1)
    monkeypatch.setattr("app.services.reports.part_writer.PART_ROWS", 2)
    _, joined = admin.run_report(output)
    assert unpack(joined, compression) == unpack(unsplit, compression)
    assert (joined == unsplit) == (compression == "none")  # each part is a separate member or frame


def test_json_lines_do_not_depend_on_columns_and_are_complete(admin, services, sent):
    job, file = admin.run_report({"format": "jsonl", "layout": "columns"})
    assert (job["output"], file.count(b"\n")) == ({"format": "jsonl", "layout": "columns"}, len(sent))
    services.catalog.put(
        json.dumps(CATALOG | {"products": [{"code": "PORTFOLIO", "columns": ["x"], "extra": "drop"}]}).encode()
    )
    job, again = admin.run_report({"format": "jsonl"})
    assert again == file
    assert "rows_with_extra_context" not in admin.get(f"/reports/{job['source']}/progress").get_json()


def test_parquet_is_rejected_if_pyarrow_is_missing(admin, sent, monkeypatch):
    monkeypatch.setattr("app.exports.parquet.is_installed", lambda: False)
    wanted = {"filter": {"customer": "BARCHART", "product": "PORTFOLIO"}, "output": {"format": "parquet"}}
    answer = admin.post("/reports", wanted)
    [(_, message)] = faults(answer)
    assert answer.status_code == 400
    assert message.startswith('output.format is "parquet"; it must be "csv" or "jsonl", as pyarrow is not installed')
