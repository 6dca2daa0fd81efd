"""Resuming: a long report that loses its worker continues after its written parts, with identical bytes."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from app.exports import parquet
from app.exports.layout import POSITIONAL, Layout
from app.services.reports import fair_queue, part_writer, runner
from app.store.models import Report, ReportAttempt, ReportPart
from app.store.reports import reports as store
from app.support.clock import now
from tests.services.conftest import LONG_ROWS as ROWS

pytestmark = [pytest.mark.both_databases, pytest.mark.usefixtures("small_parts")]
Ending = Callable[[], BaseException | None]


class Killed(BaseException):
    """Simulates SIGKILL, so no error handling runs."""


@pytest.fixture
def job(long_job) -> str:
    return long_job


@pytest.fixture
def ends_in_part(monkeypatch) -> Callable[[int, Ending], None]:
    """Return a function that ends attempts in the middle of a part whenever `ending()` returns an error."""

    def plan(number: int, ending: Ending) -> None:
        unchanged_blocks = part_writer.blocks

        def blocks(report: Report, rows: object) -> Iterator[tuple[bytes, int]]:
            part = store.parts(report.job)[number]
            with_end = rows.start == part.start and rows.end == part.end
            for data, count in unchanged_blocks(report, rows):
                lines = data.splitlines(keepends=True)
                middle = len(lines) // 2
                yield b"".join(lines[:middle]), middle
                if with_end and (error := ending()):
                    raise error
                yield b"".join(lines[middle:]), count - middle

        monkeypatch.setattr(part_writer, "blocks", blocks)

    return plan


def once(error: type[BaseException]) -> Ending:
    remaining = iter([error("in the middle")])
    return lambda: next(remaining, None)


@pytest.fixture
def die_in_part(services, ends_in_part, monkeypatch) -> Callable[..., None]:
    """Return a function that kills an attempt of the worker `mortal` in the middle of a part."""

    def die(job: str, number: int) -> None:
        ends_in_part(number, once(Killed))
        with monkeypatch.context() as patch:
            patch.setattr(store, "give_back_part", lambda part, token: None)
            with pytest.raises(Killed):
                services.runner.run(job, "mortal")

    return die


def test_the_report_of_a_killed_worker_resumes_after_its_parts(
    services, job, row, die_in_part, content, expected_content, written_parts, files
):
    die_in_part(job, 3)
    assert written_parts == [0, 1, 2, 3]
    assert row(job).token
    services.runner.worker_died("mortal")
    assert (row(job).token, row(job).stalled_attempts) == (None, 0)
    assert [part.done for part in store.parts(job)] == [True] * 3 + [False] * 7
    services.runner.run(job, "next")
    report = row(job)
    assert (report.status, report.attempt, report.rows) == ("COMPLETE", 2, ROWS)
    assert written_parts == [0, 1, 2, 3, 3, 4, 5, 6, 7, 8, 9], "what was written is not written again"
    assert content(job) == expected_content
    assert files() == [report.file]
    recorded = [
        (attempt_row.number, attempt_row.outcome, attempt_row.rows) for attempt_row in services.reports.attempts(report)
    ]
    assert recorded[0][:2] == (1, "lost")
    assert recorded[1] == (2, "complete", ROWS)


def test_the_report_of_a_silent_worker_resumes_after_its_parts(
    services, job, row, die_in_part, content, expected_content, written_parts
):
    die_in_part(job, 3)
    services.reports.cleanup.clean_up()
    assert row(job).token, "it may still be heard from"
    long_ago = store.clock() - part_writer.SILENT_MS - 1
    Report.update(heartbeat_at=long_ago).where(Report.job == job).execute()
    ReportPart.update(heartbeat_at=long_ago).where(ReportPart.job == job).execute()
    services.reports.cleanup.clean_up()
    assert (row(job).token, row(job).stalled_attempts) == (None, 0)
    services.runner.run(job, "next")
    assert (row(job).status, row(job).attempt) == ("COMPLETE", 2)
    assert written_parts == [0, 1, 2, 3, *range(4, 10), 3], (
        "the silent one's part last: it could have gone on until then"
    )
    assert content(job) == expected_content


def test_a_failed_attempt_releases_its_part_immediately(
    services, job, row, ends_in_part, content, expected_content, written_parts
):
    ends_in_part(3, once(OSError))
    services.runner.run(job)
    assert (row(job).status, row(job).token, row(job).stalled_attempts) == ("RUNNING", None, 0)
    assert [part.token for part in store.parts(job)[3:]] == [None] * 7
    services.runner.run(job)
    assert (row(job).status, row(job).attempt) == ("COMPLETE", 2)
    assert written_parts == [0, 1, 2, 3, 3, *range(4, 10)]
    assert content(job) == expected_content


def test_a_released_attempt_that_wakes_up_changes_nothing(
    services, job, row, release, content, expected_content, written_parts, files, monkeypatch
):
    """The attempt freezes in part 3. Another attempt completes the report before it continues."""
    monkeypatch.setattr(part_writer, "HEARTBEAT_SECONDS", 60)
    write, frozen_state = part_writer.PartWriter.write_part, []

    def freeze(writer: part_writer.PartWriter, part: ReportPart, *args: object) -> None:
        if part.number == 3 and not frozen_state:
            frozen_state.append(part)
            release(job)
            store.release_parts_of("frozen")
            services.runner.run(job, "next")
            frozen_state.append(row(job))
        write(writer, part, *args)

    monkeypatch.setattr(part_writer.PartWriter, "write_part", freeze)
    services.runner.run(job, "frozen")
    complete = frozen_state[1]
    assert (complete.status, complete.attempt) == ("COMPLETE", 2)
    assert row(job).__data__ == complete.__data__
    assert content(job) == expected_content
    assert files() == [complete.file]
    assert [attempt_row.outcome for attempt_row in services.reports.attempts(complete)] == ["lost", "complete"]


def delete(file: Path) -> None:
    file.unlink()


def truncate(file: Path) -> None:
    os.truncate(file, file.stat().st_size // 2)


def remove_rows(file: Path) -> None:
    file.write_bytes(b"".join(data for data, _ in parquet.blocks(iter([]), Layout(POSITIONAL))))


@pytest.mark.parametrize(
    ("spoil", "output", "reason"),
    [
        (delete, {}, "FileMissing: "),
        (truncate, {}, "FileDamaged: A part of the report has 2350 bytes, not the 4700 that were written."),
        (truncate, {"format": "parquet"}, "FileDamaged: A part of the report cannot be read: "),
        (remove_rows, {"format": "parquet"}, "FileDamaged: The report's parts have 975 rows, not the 1000 that"),
    ],
)
def test_a_missing_or_damaged_part_is_written_again(
    services, job, begin, row, content, written_parts, monkeypatch, spoil, output, reason
):
    services.runner.run(job)
    services.runner.run(undamaged := begin(output))
    written_parts.clear()
    write_file, parts_of = runner.write_file, []

    def damage_then_join(*args: object) -> part_writer.Written:
        parts_of.append(store.parts(job))
        if row(job).attempt == 1:
            spoil(services.runner.context.destinations.own.path(parts_of[0][4].file))
        return write_file(*args)

    monkeypatch.setattr(runner, "write_file", damage_then_join)
    job = begin(output)
    services.runner.run(job)
    assert row(job).status == "RUNNING"
    assert services.reports.attempts(row(job))[0].reason.startswith(reason)
    services.runner.run(job)
    assert written_parts == [*range(len(parts_of[0])), 4]
    assert (row(job).status, content(job)) == ("COMPLETE", content(undamaged))


def test_parts_of_a_worker_that_writes_other_columns_are_written_again(
    services, long_job, begin, row, content, sample_catalog, monkeypatch
):
    """A worker of version 1.0 beside a new one writes Parquet without the column of the whole context."""
    output = {"format": "parquet", "layout": "columns"}
    services.runner.run(expected := begin(output))
    blocks, numbers = parquet.blocks, itertools.count()

    def write(rows: object, layout: Layout) -> Iterator[tuple[bytes, int]]:
        return blocks(rows, replace(layout, has_context=False) if next(numbers) == 4 else layout)

    monkeypatch.setattr(parquet, "blocks", write)
    services.runner.run(job := begin(output))
    reason = services.reports.attempts(row(job))[0].reason
    assert reason.startswith("FileDamaged: A part of the report cannot be read: part 5 has the columns")
    services.runner.run(job)
    assert (row(job).status, content(job)) == ("COMPLETE", content(expected))


def test_progress_never_decreases_within_an_attempt_and_never_exceeds_the_total(
    services, job, row, die_in_part, monkeypatch
):
    monkeypatch.setattr(part_writer, "HEARTBEAT_SECONDS", 0.001)
    progress: dict[str, list[tuple[int, int]]] = {}
    note = store.note

    def spy(job: str, token: str, **values: object) -> bool:
        has_lease = note(job, token, **values)
        report = row(job)
        if report.total is not None:
            progress.setdefault(token, []).append((report.rows, report.total))
        return has_lease

    monkeypatch.setattr(store, "note", spy)
    monkeypatch.setattr(runner, "STEADY_SECONDS", 0)
    monkeypatch.setattr(fair_queue, "is_huge", lambda report: time.sleep(0.05))  # time for a heartbeat or two per part
    die_in_part(job, 6)
    services.runner.worker_died("mortal")
    services.runner.run(job, "next")
    first, second = progress.values()
    for numbers in (first, second):
        assert sorted(numbers) == numbers
        assert all(rows <= total == ROWS for rows, total in numbers)
    assert len(set(first)) > 3
    assert 600 <= second[0][0] < ROWS, "the next one begins with what is kept"
    assert first[-1][0] >= second[0][0]


@pytest.mark.settings(report_attempts=2)
def test_attempts_that_make_progress_are_not_limited(
    services, job, row, content, expected_content, written_parts, monkeypatch
):
    """Each attempt writes one part and fails in the next."""
    write, begun_by = part_writer.PartWriter.write_part, []

    def fail_in_second_part(writer: part_writer.PartWriter, *args: object) -> None:
        begun_by.append(writer)
        if begun_by.count(writer) > 1:
            raise OSError("no more than one")
        write(writer, *args)

    monkeypatch.setattr(part_writer.PartWriter, "write_part", fail_in_second_part)
    for number in range(1, 10):
        services.runner.run(job)
        assert (row(job).status, row(job).attempt, row(job).stalled_attempts) == ("RUNNING", number, 0)
    services.runner.run(job)
    assert (row(job).status, row(job).attempt) == ("COMPLETE", 10)
    assert content(job) == expected_content


def test_a_heartbeat_after_a_part_was_released_does_not_take_the_report_for_lost(
    services, job, row, ends_in_part, monkeypatch
):
    writers, beats, give_back = [], [], store.give_back_part
    write_next = part_writer.PartWriter.write_next

    def watched(writer: part_writer.PartWriter, *args: object) -> bool:
        writers.append(writer)
        return write_next(writer, *args)

    def give_back_and_beat(*args: object) -> None:
        give_back(*args)
        beats.append(writers[-1].note())

    monkeypatch.setattr(part_writer.PartWriter, "write_next", watched)
    monkeypatch.setattr(store, "give_back_part", give_back_and_beat)
    ends_in_part(0, lambda: ValueError("failed"))
    services.runner.run(job)
    assert beats == [True]
    assert [attempt.outcome for attempt in services.reports.attempts(row(job))] == ["failed"]


@pytest.mark.settings(report_attempts=3)
def test_a_report_fails_after_several_attempts_without_progress_and_records_each_reason(
    services, job, row, ends_in_part
):
    reasons = iter(["first", "second", "third", "fourth"])
    ends_in_part(3, lambda: ValueError(next(reasons)))
    services.runner.run(job)
    assert row(job).stalled_attempts == 0, "it wrote three parts"
    for stalled in (1, 2):
        services.runner.run(job)
        assert (row(job).status, row(job).stalled_attempts) == ("RUNNING", stalled)
    services.runner.run(job)
    assert row(job).status == "FAILED"
    assert row(job).reason == "3 attempts in a row got no further. The last one: ValueError: fourth"
    recorded = [
        (attempt_row.number, attempt_row.outcome, attempt_row.reason)
        for attempt_row in services.reports.attempts(row(job))
    ]
    names = ["first", "second", "third", "fourth"]
    assert recorded == [(number, "failed", f"ValueError: {name}") for number, name in enumerate(names, 1)]
    assert store.parts(job) == []


@pytest.mark.settings(report_attempts=2)
def test_attempts_of_killed_workers_count_like_failed_ones(services, job, row, ends_in_part, monkeypatch):
    monkeypatch.setattr(store, "give_back_part", lambda part, token: None)
    ends_in_part(0, lambda: Killed("again"))
    for number in (1, 2):
        assert row(job).status == "RUNNING"
        with pytest.raises(Killed):
            services.runner.run(job, "mortal")
        services.runner.worker_died("mortal")
        assert row(job).attempt == number
    assert row(job).status == "FAILED"
    assert "2 attempts in a row got no further" in row(job).reason
    assert [attempt_row.outcome for attempt_row in services.reports.attempts(row(job))] == ["lost", "lost"]


def test_a_report_retried_from_the_start_discards_its_old_parts(
    services, job, row, die_in_part, written_parts, content, expected_content
):
    die_in_part(job, 3)
    store.end(job, "FAILED", "It was cancelled.", now(), cancelled=True)
    services.reports.cleanup.clean_up()
    assert ReportPart.select().count() == 0, "the sweep forgets parts of reports that have ended"
    store.run_again(job)
    written_parts.clear()
    services.runner.run(job, "next")
    assert written_parts == list(range(10))
    assert (row(job).status, content(job)) == ("COMPLETE", expected_content)
    assert ReportAttempt.select().where(ReportAttempt.job == job).count() == 2
