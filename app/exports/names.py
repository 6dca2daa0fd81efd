"""What a report file is called when it is downloaded, and of what media type it is: both say what is inside."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

MEDIA_TYPES = {"csv": "text/csv", "jsonl": "application/x-ndjson", "parquet": "application/vnd.apache.parquet"}
COMPRESSED = {"gzip": (".gz", "application/gzip"), "zstd": (".zst", "application/zstd")}


def file_name(product: str, days: Sequence[str], output: Mapping | None) -> str:
    """Such as `PORTFOLIO_2026-11-01_2026-11-30.csv.gz`.

    Args:
        days: the days it covers, `YYYY-MM-DD`: first and last, as far as they are set.
        output: of the report's request, None: not sent.
    """
    plain = re.sub(r"[^A-Za-z0-9.-]+", "-", product)
    return "_".join([plain, *days]) + extension(output)


def extension(output: Mapping | None) -> str:
    """How the name ends, such as `.csv.gz`."""
    return f".{_format(output)}" + COMPRESSED.get(_compression(output), ("", ""))[0]


def media_type(output: Mapping | None) -> str:
    """The file's media type: that of the compression, where it has one."""
    compressed = COMPRESSED.get(_compression(output))
    return compressed[1] if compressed else MEDIA_TYPES[_format(output)]


def _format(output: Mapping | None) -> str:
    return (output or {}).get("format", "csv")


def _compression(output: Mapping | None) -> str:
    return (output or {}).get("compression", "none")
