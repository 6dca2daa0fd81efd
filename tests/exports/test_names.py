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


@pytest.mark.parametrize(
    ("product", "name"),
    [
        ("Zürich 🐎", "Zürich 🐎"),
        ("../../etc", "_..-..-etc"),
        ("-rf", "_-rf"),
        (".profile", "_.profile"),
        (" .profile ", "_.profile"),
        ("/x", "_-x"),
        (" ", "_"),
        ('a"b\n', "a-b-"),
        ("a\u202egpj", "a-gpj"),
        ("🐎" * 128, "🐎" * 45),
    ],
)
def test_it_has_the_product_s_real_name_and_nothing_that_no_file_s_name_can_begin_with_or_have(product, name):
    assert file_name(product, [], None) == f"{name}.csv"
    assert len(file_name(product, DAYS, {"format": "parquet"}).encode()) <= 255
