"""A report file's name and media type say what is inside."""

from __future__ import annotations

import pytest

from app.schemas.reports import FORMATS as ALLOWED
from app.services.reports import output as formats
from app.services.reports.output import FORMATS, format_of
from app.store.models import Report

NOVEMBER = {"start": 1_793_491_200_000, "end": 1_796_083_199_999}


def file_name(product: str, output: dict | None = None, **period: int) -> str:
    return formats.file_name(Report(product=product, output=output, **period))


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
    assert file_name("PORTFOLIO", output, **NOVEMBER) == f"PORTFOLIO_2026-11-01_2026-11-30{end}"
    assert (format_of(output).extension, format_of(output).media_type) == (end, kind)


def test_each_format_that_a_request_may_name_can_be_written():
    assert tuple(FORMATS) == ALLOWED


def test_a_range_that_is_open_names_the_day_it_has():
    assert file_name("PORTFOLIO") == "PORTFOLIO.csv"
    assert file_name("PORTFOLIO", start=NOVEMBER["start"]) == "PORTFOLIO_2026-11-01.csv"


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
    assert file_name(product) == f"{name}.csv"
    assert len(file_name(product, {"format": "parquet"}, **NOVEMBER).encode()) <= 255
