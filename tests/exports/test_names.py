"""A file's name and media type say what is inside."""

from __future__ import annotations

import pytest

from app.exports.names import extension, file_name, media_type

DAYS = ["2026-11-01", "2026-11-30"]


@pytest.mark.parametrize(
    ("output", "end", "kind"),
    [
        (None, ".csv", "text/csv"),
        ({}, ".csv", "text/csv"),
        ({"compression": "none"}, ".csv", "text/csv"),
        ({"format": "csv", "compression": "gzip"}, ".csv.gz", "application/gzip"),
        ({"format": "jsonl"}, ".jsonl", "application/x-ndjson"),
        ({"format": "jsonl", "compression": "zstd"}, ".jsonl.zst", "application/zstd"),
        ({"format": "parquet", "compression": "none"}, ".parquet", "application/vnd.apache.parquet"),
    ],
)
def test_the_output_decides(output, end, kind):
    assert file_name("PORTFOLIO", DAYS, output) == f"PORTFOLIO_2026-11-01_2026-11-30{end}"
    assert (extension(output), media_type(output)) == (end, kind)


def test_a_range_that_is_open_names_the_day_it_has():
    assert file_name("PORTFOLIO", [], None) == "PORTFOLIO.csv"
    assert file_name("PORTFOLIO", DAYS[:1], None) == "PORTFOLIO_2026-11-01.csv"


@pytest.mark.parametrize(("product", "plain"), [("../../etc", "..-..-etc"), ('a"b\n', "a-b-"), ("Ä🐎", "-")])
def test_what_a_file_s_name_cannot_have_is_replaced(product, plain):
    assert file_name(product, [], None) == f"{plain}.csv"
