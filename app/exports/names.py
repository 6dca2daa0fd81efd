"""File name and media type of a report file for its download; both depend on its content."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

MEDIA_TYPES = {"csv": "text/csv", "jsonl": "application/x-ndjson", "parquet": "application/vnd.apache.parquet"}
# Control characters, characters with a meaning in paths or on Windows, and marks that reverse the text direction.
FORBIDDEN = re.compile(r'[\x00-\x1f\x7f-\x9f<>:"/\\|?*\u200e\u200f\u202a-\u202e\u2066-\u2069]+')
LONGEST = 180  # bytes of a product code, because a file name may have 255
COMPRESSED = {"gzip": (".gz", "application/gzip"), "zstd": (".zst", "application/zstd")}


def file_name(product: str, days: Sequence[str], output: Mapping | None) -> str:
    """Return a name such as `PORTFOLIO_2026-11-01_2026-11-30.csv.gz`, with characters replaced that no name may have.

    The name never looks like an option to a shell, and the file is not hidden.

    Args:
        days: the first and last day that the report covers (`YYYY-MM-DD`), as far as they are set.
        output: the `output` of the report's request. None means that the request had none.
    """
    plain = FORBIDDEN.sub("-", product).encode()[:LONGEST].decode(errors="ignore").strip()
    named = plain if plain and plain[0] not in "-." else f"_{plain}"
    return "_".join([named, *days]) + extension(output)


def extension(output: Mapping | None) -> str:
    """Return the extension of the name, such as `.csv.gz`."""
    return f".{_format(output)}" + COMPRESSED.get(_compression(output), ("", ""))[0]


def media_type(output: Mapping | None) -> str:
    """Return the file's media type, which is that of the compression if there is any."""
    compressed = COMPRESSED.get(_compression(output))
    return compressed[1] if compressed else MEDIA_TYPES[_format(output)]


def _format(output: Mapping | None) -> str:
    return (output or {}).get("format", "csv")


def _compression(output: Mapping | None) -> str:
    return (output or {}).get("compression", "none")
