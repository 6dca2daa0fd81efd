"""Parts that are compressed separately and concatenated decompress as one file."""

from __future__ import annotations

import gzip
import io
import shutil
import subprocess
from pathlib import Path

import duckdb
import pytest
import zstandard

from app.exports.file import compressor
from app.storage.reading import content

LINES = [f"{number}|LOADED|user-{number * number % 9973}\n".encode() for number in range(30_000)]
PARTS = [LINES[:9_000], [], LINES[9_000:9_001], LINES[9_001:]]
ENDS = {"none": "", "gzip": ".gz", "zstd": ".zst"}


def compress(name: str, lines: list[bytes], step: int = 100) -> bytes:
    form = compressor(name)
    pieces = [b"".join(lines[begin : begin + step]) for begin in range(0, len(lines), step)]
    return b"".join([*(form.compress(piece) for piece in pieces), form.flush()])


@pytest.fixture(params=ENDS)
def file(request, tmp_path: Path) -> Path:
    """Write four concatenated parts, one of them empty."""
    path = tmp_path / f"report.csv{ENDS[request.param]}"
    path.write_bytes(b"".join(compress(request.param, part) for part in PARTS))
    return path


def test_duckdb_reads_it(file):
    with duckdb.connect() as connection:
        query = "SELECT count(*), sum(column0) FROM read_csv(?, delim='|', header=false)"
        assert connection.execute(query, [str(file)]).fetchall() == [(30_000, sum(range(30_000)))]


def test_pandas_reads_it(file):
    import pandas  # imported here because it takes a second

    frame = pandas.read_csv(file, sep="|", header=None)
    assert frame[0].tolist() == list(range(30_000))


def test_the_import_command_reads_it(file):
    assert b"".join(content(file.open("rb"))) == b"".join(LINES)


def test_python_and_command_line_tools_read_it(file):
    data = file.read_bytes()
    program = {".gz": "gzip", ".zst": "zstd"}.get(file.suffix)
    if program is None:
        assert data == b"".join(LINES)
        return
    readers = {"gzip": gzip.decompress, "zstd": read_frames}
    assert readers[program](data) == b"".join(LINES)
    if shutil.which(program):
        assert subprocess.run([program, "-dc", file], check=True, capture_output=True).stdout == b"".join(LINES)


def read_frames(data: bytes) -> bytes:
    return zstandard.ZstdDecompressor().stream_reader(io.BytesIO(data), read_across_frames=True).read()


@pytest.mark.parametrize("name", ENDS)
def test_the_bytes_do_not_depend_on_the_pieces_or_the_time(name, monkeypatch):
    monkeypatch.setattr("time.time", lambda: 4_000_000_000.0)
    assert len({compress(name, LINES, step) for step in (1, 7, 500, 30_000)}) == 1


def test_gzip_headers_have_no_file_name_and_no_time():
    flags, time = compress("gzip", LINES)[3], compress("gzip", LINES)[4:8]
    assert (flags, time) == (0, bytes(4))


@pytest.mark.parametrize("name", ["gzip", "zstd"])
def test_a_damaged_file_is_detected(name):
    data = bytearray(compress(name, LINES))
    data[-1] ^= 1  # a byte of the checksum, or of the length after it
    with pytest.raises((gzip.BadGzipFile, zstandard.ZstdError)):
        gzip.decompress(bytes(data)) if name == "gzip" else read_frames(bytes(data))
