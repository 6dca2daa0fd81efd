"""A report that is written in parts has the bytes that it would have in one piece, the same every time."""

from __future__ import annotations

import gzip
import hashlib
import io
import itertools
import random

import pytest
import zstandard

from app.services.reports import part_writer, planning
from app.store.models import ReportPart
from app.store.reports import parts
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


def named(output: dict) -> str:
    return "-".join(str(value) for value in output.values())


@pytest.fixture
def events(admin, sample_catalog) -> None:
    """A thousand, in an hour with most of them and in quiet ones, some at the same millisecond, in no order of time."""
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
    """What a report's file is, written in one piece."""

    def write(output: dict) -> bytes:
        with monkeypatch.context() as patch:
            patch.setattr(planning, "WHOLE_ROWS", ROWS)
            job = begin(output)
            services.runner.run(job)
        return content(job)

    return write


@pytest.mark.usefixtures("small_parts", "events")
@pytest.mark.parametrize("output", PLAIN, ids=named)
def test_parts_are_the_bytes_of_one_piece(services, begin, row, content, one_piece, written, output):
    whole = one_piece(output)
    assert not written
    job = begin(output)
    services.runner.run(job)
    report = row(job)
    assert len(written) > 9
    assert content(job) == whole
    assert (report.rows, report.bytes, report.sha256) == (ROWS, len(whole), hashlib.sha256(whole).hexdigest())


@pytest.mark.usefixtures("small_parts", "events")
@pytest.mark.parametrize("output", PACKED, ids=named)
def test_what_is_compressed_or_joined_has_the_same_bytes_each_time_in_whatever_order_it_is_written(
    services, begin, row, content, written, monkeypatch, output
):
    first = begin(output)
    services.runner.run(first)
    in_order = list(written)
    written.clear()
    monkeypatch.setattr(parts, "claim", claim_another_way)
    second = begin(output)
    services.runner.run(second)
    assert sorted(written) == in_order != written
    assert content(first) == content(second)
    assert row(first).sha256 == row(second).sha256 == hashlib.sha256(content(first)).hexdigest()
    assert row(first).rows == row(second).rows == ROWS


def claim_another_way(job: str, token: str, worker: str) -> ReportPart | None:
    """As if others had taken the parts in between: the last one first."""
    part = ReportPart.select().where(ReportPart.job == job, parts.OPEN).order_by(ReportPart.number.desc()).first()
    if part is not None:
        ReportPart.update(token=token, worker=worker, heartbeat_at=parts.clock()).where(
            ReportPart.id == part.id
        ).execute()
    return part


@pytest.mark.usefixtures("small_parts", "events")
@pytest.mark.parametrize("output", PACKED[:2], ids=named)
def test_parts_that_are_compressed_each_are_one_file_of_all_rows(services, begin, content, one_piece, output):
    job = begin(output)
    services.runner.run(job)
    unpacked = UNPACK[output["compression"]](content(job))
    assert unpacked == one_piece({**output, "compression": "none"})


@pytest.mark.usefixtures("small_parts", "events")
def test_a_parquet_file_tells_nothing_of_its_parts(services, begin, content, monkeypatch):
    files = []
    for rows in (100, 333, ROWS):
        monkeypatch.setattr(planning, "PART_ROWS", rows)
        job = begin({"format": "parquet"})
        services.runner.run(job)
        files.append(content(job))
    assert files[0] == files[1] == files[2]


@pytest.mark.usefixtures("small_parts", "events")
def test_only_the_report_s_file_is_left_when_it_is_complete(services, begin, row, files):
    job = begin()
    services.runner.run(job)
    assert files() == [row(job).file]
    assert parts.of(job) == []


@pytest.mark.usefixtures("small_parts")
def test_a_report_that_is_little_more_than_a_part_is_not_cut(services, admin, begin, row, written):
    admin.send(*[event(timestamp=FIRST + number) for number in range(125)])
    services.runner.run(begin())
    assert written == []
    admin.send(event())
    services.runner.run(begin())
    assert written == [0, 1]


@pytest.mark.usefixtures("small_parts", "events")
def test_a_sign_of_life_that_comes_with_a_part_s_last_word_does_not_end_the_attempt(services, begin, row, monkeypatch):
    """The pulse beats at every moment, also between the part's last word and the writer's taking note of it."""
    note, writers = part_writer.PartWriter.note, []
    monkeypatch.setattr(part_writer.PartWriter, "note", lambda writer: writers.append(writer) or note(writer))
    monkeypatch.setattr("app.services.reports.part_writer.HEARTBEAT_SECONDS", 0.0005)
    job = begin()
    services.runner.run(job)
    assert (row(job).status, row(job).attempt) == ("COMPLETE", 1)
    assert len(writers) > 5


@pytest.mark.usefixtures("small_parts")
def test_a_report_s_parts_follow_one_another_without_gap(services, begin, events, along, monkeypatch):
    """Told by the parts themselves, while the report is being written."""
    seen, are_done = [], parts.are_done
    monkeypatch.setattr(parts, "are_done", lambda job: are_done(job) if seen else seen.extend(parts.of(job)))
    services.runner.run(begin())
    assert [part.number for part in seen] == list(range(len(seen)))
    assert all(one.end < two.start for one, two in itertools.pairwise(seen))
