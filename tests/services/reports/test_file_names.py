"""The file name and media type of a report."""

from __future__ import annotations

import pytest

from app.schemas.reports import FORMATS as ALLOWED
from app.services.reports import output as formats
from app.services.reports.output import FORMATS, format_of
from app.store.models import Report

NOVEMBER = {"start": 1_793_491_200_000, "end": 1_796_083_199_999}


def file_name(product: str, output: dict | None = None, **period: int) -> str:
    started = {"started_at": NOVEMBER["end"] + 1}
    return formats.file_name(Report(product=product, output=output, **started | period))


@pytest.mark.parametrize(
    ("output", "extension", "media_type"),
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
def test_the_output_determines_extension_and_media_type(output, extension, media_type):
    assert file_name("PORTFOLIO", output, **NOVEMBER) == f"PORTFOLIO_2026-11-01_2026-11-30{extension}"
    assert (format_of(output).extension, format_of(output).media_type) == (extension, media_type)


def test_every_format_allowed_in_a_request_can_be_written():
    assert tuple(FORMATS) == ALLOWED


def test_an_open_range_ends_on_the_day_on_which_the_report_started():
    assert file_name("PORTFOLIO") == "PORTFOLIO_until_2026-12-01.csv"
    assert file_name("PORTFOLIO", start=NOVEMBER["start"]) == "PORTFOLIO_2026-11-01_2026-12-01.csv"
    assert file_name("PORTFOLIO", end=NOVEMBER["end"]) == "PORTFOLIO_until_2026-11-30.csv"
    assert file_name("PORTFOLIO", snapshot_min_id=7) == "PORTFOLIO_new_2026-12-01.csv"


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
def test_a_name_has_the_product_without_unsafe_characters(product, name):
    assert file_name(product) == f"{name}_until_2026-12-01.csv"
    assert len(file_name(product, {"format": "parquet"}, **NOVEMBER).encode()) <= 255
