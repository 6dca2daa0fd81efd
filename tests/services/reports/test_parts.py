"""A report written in parts has the same bytes as in one piece, every time."""

from __future__ import annotations

import gzip
import hashlib
import io
import itertools
import random

import pytest
import zstandard

from app.services.reports import part_writer
from app.store.models import ReportPart
from app.store.reports import reports as store
from tests.support.client import FIRST, event

ROWS = 1_000
HOUR = 3_600_000
TYPES = ["PORTFOLIO-APPLICATION-LOADED", "PORTFOLIO-VIEW-CHANGED", "PORTFOLIO-CREATED"]
TEXTS = [None, "", "plain", 'say "so"', "a|b", "two\nlines", "🐎", "=1+1"]
PLAIN = [
    {"format": "csv", "layout": "positional"},
    {"format": "csv", "layout": "positional", "header": True, "delimiter": ";"},
    {"format": "csv", "layout": "columns"},
    {"format": "csv", "layout": "columns", "header": True, "spreadsheetSafe": True},
    {"format": "jsonl"},
]
PACKED = [{"format": "csv", "compression": "gzip"}, {"format": "jsonl", "compression": "zstd"}, {"format": "parquet"}]
UNPACK = {
    "gzip": gzip.decompress,
    "zstd": lambda data: zstandard.ZstdDecompressor().stream_reader(io.BytesIO(data), read_across_frames=True).read(),
}


def output_id(output: dict) -> str:
    return "-".join(str(value) for value in output.values())


@pytest.fixture
def events(admin, sample_catalog) -> None:
    """A thousand events in random order: most in one hour, some in quiet hours, some in the same millisecond."""
    chance = random.Random(4)
    times = [FIRST + chance.randrange(20_000) for _ in range(ROWS * 3 // 4)]
    times += [FIRST + chance.randrange(-40, 40) * HOUR + chance.randrange(9) for _ in range(ROWS - len(times))]
    chance.shuffle(times)
    admin.send(
        *[
            event(timestamp=time, type=chance.choice(TYPES), context=chance.choices(TEXTS, k=chance.randrange(4)))
            for time in times
        ]
    )


@pytest.fixture
def one_piece(services, begin, content, row, monkeypatch):
    """Return a function that writes a report in one piece and returns its content."""

    def write(output: dict) -> bytes:
        with monkeypatch.context() as patch:
            patch.setattr(part_writer, "WHOLE_ROWS", ROWS)
            job = begin(output)
            services.runner.run(job)
        return content(job)

    return write


@pytest.mark.usefixtures("small_parts", "events")
@pytest.mark.parametrize("output", PLAIN, ids=output_id)
def test_a_report_in_parts_equals_the_report_in_one_piece(
    services, begin, row, content, one_piece, written_parts, output
):
    expected = one_piece(output)
    assert not written_parts
    job = begin(output)
    services.runner.run(job)
    report = row(job)
    assert len(written_parts) > 9
    assert content(job) == expected
    assert (report.rows, report.bytes, report.sha256) == (ROWS, len(expected), hashlib.sha256(expected).hexdigest())


@pytest.mark.usefixtures("small_parts", "events")
@pytest.mark.parametrize("output", PACKED, ids=output_id)
def test_compressed_and_joined_files_do_not_depend_on_the_order_of_writing(
    services, begin, row, content, written_parts, monkeypatch, output
):
    first = begin(output)
    services.runner.run(first)
    in_order = list(written_parts)
    written_parts.clear()
    monkeypatch.setattr(store, "claim_part", claim_in_reverse)
    second = begin(output)
    services.runner.run(second)
    assert sorted(written_parts) == in_order != written_parts
    assert content(first) == content(second)
    assert row(first).sha256 == row(second).sha256 == hashlib.sha256(content(first)).hexdigest()
    assert row(first).rows == row(second).rows == ROWS


def claim_in_reverse(job: str, token: str, worker: str) -> ReportPart | None:
    """Claim parts in reverse order, as if others had claimed those before."""
    part = ReportPart.select().where(ReportPart.job == job, store.OPEN).order_by(ReportPart.number.desc()).first()
    if part is not None:
        ReportPart.update(token=token, worker=worker, heartbeat_at=store.clock()).where(
            ReportPart.id == part.id
        ).execute()
    return part


@pytest.mark.usefixtures("small_parts", "events")
@pytest.mark.parametrize("output", PACKED[:2], ids=output_id)
def test_compressed_parts_form_one_valid_file(services, begin, content, one_piece, output):
    job = begin(output)
    services.runner.run(job)
    unpacked = UNPACK[output["compression"]](content(job))
    assert unpacked == one_piece({**output, "compression": "none"})


@pytest.mark.usefixtures("small_parts", "events")
def test_a_parquet_file_does_not_depend_on_its_parts(services, begin, content, monkeypatch):
    files = []
    for rows in (100, 333, ROWS):
        monkeypatch.setattr(part_writer, "PART_ROWS", rows)
        job = begin({"format": "parquet"})
        services.runner.run(job)
        files.append(content(job))
    assert files[0] == files[1] == files[2]


@pytest.mark.usefixtures("small_parts", "events")
def test_only_the_report_s_file_is_left_after_completion(services, begin, row, files):
    job = begin()
    services.runner.run(job)
    assert files() == [row(job).file]
    assert store.parts(job) == []


@pytest.mark.usefixtures("small_parts")
def test_a_report_slightly_larger_than_a_part_is_not_split(services, admin, begin, row, written_parts):
    admin.send(*[event(timestamp=FIRST + number) for number in range(125)])
    services.runner.run(begin())
    assert written_parts == []
    admin.send(event())
    services.runner.run(begin())
    assert written_parts == [0, 1]


@pytest.mark.usefixtures("small_parts", "events")
def test_a_heartbeat_during_the_end_of_a_part_does_not_end_the_attempt(services, begin, row, monkeypatch):
    """With a very short interval, heartbeats also come between the end of a part and its acknowledgement."""
    note, heartbeats = part_writer.PartWriter.note, []
    monkeypatch.setattr(part_writer.PartWriter, "note", lambda writer: heartbeats.append(writer) or note(writer))
    monkeypatch.setattr("app.services.reports.part_writer.HEARTBEAT_SECONDS", 0.0005)
    job = begin()
    services.runner.run(job)
    assert (row(job).status, row(job).attempt) == ("COMPLETE", 1)
    assert len(heartbeats) > 5


@pytest.mark.usefixtures("small_parts")
def test_consecutive_parts_of_a_report_have_no_gap(services, begin, events, wrap_lines, monkeypatch):
    """Reads the parts from the database while the report is being written."""
    recorded, are_done = [], store.parts_are_done
    monkeypatch.setattr(
        store, "parts_are_done", lambda job: are_done(job) if recorded else recorded.extend(store.parts(job))
    )
    services.runner.run(begin())
    assert [part.number for part in recorded] == list(range(len(recorded)))
    assert all(part.end < following.start for part, following in itertools.pairwise(recorded))
