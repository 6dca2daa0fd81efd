"""A long report that loses its worker goes on behind the parts that are written, with the same bytes in the end."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from app.exports import parquet
from app.exports.layout import POSITIONAL, Layout
from app.services.reports import attempt, fair_queue, part_writer
from app.store.models import Report, ReportAttempt, ReportPart
from app.store.reports import parts
from app.store.reports import reports as store
from app.support.clock import now
from tests.services.conftest import LONG_ROWS as ROWS

pytestmark = [pytest.mark.both_databases, pytest.mark.usefixtures("small_parts")]
Ending = Callable[[], BaseException | None]


class Killed(BaseException):
    """As a SIGKILL is: nothing that the code does on errors is done for it."""


@pytest.fixture
def job(long_job) -> str:
    return long_job


@pytest.fixture
def ends_in_part(monkeypatch) -> Callable[[int, Ending], None]:
    """Let an attempt end in the middle of a part, as often as `ending()` gives an error."""

    def plan(number: int, ending: Ending) -> None:
        made = part_writer.blocks

        def blocks(report: Report, rows: object) -> Iterator[tuple[bytes, int]]:
            part = parts.of(report.job)[number]
            with_end = rows.start == part.start and rows.end == part.end
            for data, count in made(report, rows):
                lines = data.splitlines(keepends=True)
                middle = len(lines) // 2
                yield b"".join(lines[:middle]), middle
                if with_end and (error := ending()):
                    raise error
                yield b"".join(lines[middle:]), count - middle

        monkeypatch.setattr(part_writer, "blocks", blocks)

    return plan


def once(error: type[BaseException]) -> Ending:
    rest = iter([error("in the middle")])
    return lambda: next(rest, None)


@pytest.fixture
def dies(services, ends_in_part, monkeypatch) -> Callable[..., None]:
    """Let an attempt of the worker `mortal` die in the middle of a part, without a word to anybody."""

    def die(job: str, number: int) -> None:
        ends_in_part(number, once(Killed))
        with monkeypatch.context() as patch:
            patch.setattr(parts, "give_back", lambda part, token: None)
            with pytest.raises(Killed):
                services.runner.run(job, "mortal")

    return die


def test_a_killed_worker_s_report_goes_on_behind_its_parts(services, job, row, dies, content, whole, written, files):
    dies(job, 3)
    assert written == [0, 1, 2, 3]
    assert row(job).token
    services.runner.worker_died("mortal")
    assert (row(job).token, row(job).stalled_attempts) == (None, 0)
    assert [part.done for part in parts.of(job)] == [True] * 3 + [False] * 7
    services.runner.run(job, "next")
    report = row(job)
    assert (report.status, report.attempt, report.rows) == ("COMPLETE", 2, ROWS)
    assert written == [0, 1, 2, 3, 3, 4, 5, 6, 7, 8, 9], "what was written is not written again"
    assert content(job) == whole
    assert files() == [report.file]
    told = [(one.number, one.outcome, one.rows) for one in services.reports.attempts(report)]
    assert told[0][:2] == (1, "lost")
    assert told[1] == (2, "complete", ROWS)


def test_a_silent_worker_s_report_goes_on_behind_its_parts_too(services, job, row, dies, content, whole, written):
    dies(job, 3)
    services.reports.cleanup.clean_up()
    assert row(job).token, "it may still be heard from"
    long_ago = store.clock() - attempt.SILENT_MS - 1
    Report.update(heartbeat_at=long_ago).where(Report.job == job).execute()
    ReportPart.update(heartbeat_at=long_ago).where(ReportPart.job == job).execute()
    services.reports.cleanup.clean_up()
    assert (row(job).token, row(job).stalled_attempts) == (None, 0)
    services.runner.run(job, "next")
    assert (row(job).status, row(job).attempt) == ("COMPLETE", 2)
    assert written == [0, 1, 2, 3, *range(4, 10), 3], "the silent one's part last: it could have gone on until then"
    assert content(job) == whole


def test_an_attempt_that_fails_gives_its_part_back_at_once(services, job, row, ends_in_part, content, whole, written):
    ends_in_part(3, once(OSError))
    services.runner.run(job)
    assert (row(job).status, row(job).token, row(job).stalled_attempts) == ("RUNNING", None, 0)
    assert [part.token for part in parts.of(job)[3:]] == [None] * 7
    services.runner.run(job)
    assert (row(job).status, row(job).attempt) == ("COMPLETE", 2)
    assert written == [0, 1, 2, 3, 3, *range(4, 10)]
    assert content(job) == whole


def test_an_attempt_that_is_given_up_in_silence_and_wakes_spoils_nothing(
    services, job, row, release, content, whole, written, files, monkeypatch
):
    """It froze in part 3. Its report was taken, and is complete when it goes on."""
    monkeypatch.setattr(part_writer, "HEARTBEAT_SECONDS", 60)
    write, frozen = part_writer.PartWriter.write_part, []

    def freeze(writer: part_writer.PartWriter, part: ReportPart, *args: object) -> None:
        if part.number == 3 and not frozen:
            frozen.append(part)
            release(job)
            parts.release_of("frozen")
            services.runner.run(job, "next")
            frozen.append(row(job))
        write(writer, part, *args)

    monkeypatch.setattr(part_writer.PartWriter, "write_part", freeze)
    services.runner.run(job, "frozen")
    complete = frozen[1]
    assert (complete.status, complete.attempt) == ("COMPLETE", 2)
    assert row(job).__data__ == complete.__data__
    assert content(job) == whole
    assert files() == [complete.file]
    assert [one.outcome for one in services.reports.attempts(complete)] == ["lost", "complete"]


def gone(file: Path) -> None:
    file.unlink()


def cut_short(file: Path) -> None:
    os.truncate(file, file.stat().st_size // 2)


def without_its_rows(file: Path) -> None:
    file.write_bytes(b"".join(data for data, _ in parquet.blocks(iter([]), Layout(POSITIONAL))))


@pytest.mark.parametrize(
    ("spoil", "output", "reason"),
    [
        (gone, {}, "FileMissing: "),
        (cut_short, {}, "FileDamaged: A part of the report has 2350 bytes, not the 4700 that were written."),
        (cut_short, {"format": "parquet"}, "FileDamaged: A part of the report cannot be read: "),
        (without_its_rows, {"format": "parquet"}, "FileDamaged: The report's parts have 975 rows, not the 1000 that"),
    ],
)
def test_a_part_whose_file_is_gone_or_not_whole_is_written_again(
    services, job, begin, row, content, written, monkeypatch, spoil, output, reason
):
    services.runner.run(job)
    services.runner.run(whole := begin(output))
    written.clear()
    written_parts, parts_of = attempt.Attempt._write_parts, []

    def lose_one(self: attempt.Attempt) -> None:
        written_parts(self)
        parts_of.append(parts.of(self._report.job))
        if self._report.attempt == 1:
            spoil(services.runner.context.destinations.own.path(parts_of[0][4].file))

    monkeypatch.setattr(attempt.Attempt, "_write_parts", lose_one)
    services.runner.run(job := begin(output))
    assert row(job).status == "RUNNING"
    assert services.reports.attempts(row(job))[0].reason.startswith(reason)
    services.runner.run(job)
    assert written == [*range(len(parts_of[0])), 4]
    assert (row(job).status, content(job)) == ("COMPLETE", content(whole))


def test_progress_goes_never_back_within_an_attempt_and_never_past_the_total(services, job, row, dies, monkeypatch):
    monkeypatch.setattr(part_writer, "HEARTBEAT_SECONDS", 0.001)
    told: dict[str, list[tuple[int, int]]] = {}
    note = store.note

    def spy(job: str, token: str, **values: object) -> bool:
        kept = note(job, token, **values)
        report = row(job)
        if report.total is not None:
            told.setdefault(token, []).append((report.rows, report.total))
        return kept

    monkeypatch.setattr(store, "note", spy)
    monkeypatch.setattr(attempt, "STEADY_SECONDS", 0)
    monkeypatch.setattr(fair_queue, "is_huge", lambda report: time.sleep(0.05))  # for a heartbeat or two a part
    dies(job, 6)
    services.runner.worker_died("mortal")
    services.runner.run(job, "next")
    first, second = told.values()
    for numbers in (first, second):
        assert sorted(numbers) == numbers
        assert all(rows <= total == ROWS for rows, total in numbers)
    assert len(set(first)) > 3
    assert 600 <= second[0][0] < ROWS, "the next one begins with what is kept"
    assert first[-1][0] >= second[0][0]


@pytest.mark.settings(report_attempts=2)
def test_attempts_that_get_further_are_no_failure_however_many(
    services, job, row, content, whole, written, monkeypatch
):
    """Each writes one part, and fails in the next one."""
    write, begun = part_writer.PartWriter.write_part, []

    def fail_at_the_second(writer: part_writer.PartWriter, *args: object) -> None:
        begun.append(writer)
        if begun.count(writer) > 1:
            raise OSError("no more than one")
        write(writer, *args)

    monkeypatch.setattr(part_writer.PartWriter, "write_part", fail_at_the_second)
    for number in range(1, 10):
        services.runner.run(job)
        assert (row(job).status, row(job).attempt, row(job).stalled_attempts) == ("RUNNING", number, 0)
    services.runner.run(job)
    assert (row(job).status, row(job).attempt) == ("COMPLETE", 10)
    assert content(job) == whole


@pytest.mark.settings(report_attempts=3)
def test_so_many_in_a_row_that_get_no_further_are_and_each_one_s_reason_is_on_record(services, job, row, ends_in_part):
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
    told = [(one.number, one.outcome, one.reason) for one in services.reports.attempts(row(job))]
    names = ["first", "second", "third", "fourth"]
    assert told == [(number, "failed", f"ValueError: {name}") for number, name in enumerate(names, 1)]
    assert parts.of(job) == []


@pytest.mark.settings(report_attempts=2)
def test_workers_that_die_count_as_attempts_that_fail_do(services, job, row, ends_in_part, monkeypatch):
    monkeypatch.setattr(parts, "give_back", lambda part, token: None)
    ends_in_part(0, lambda: Killed("again"))
    for number in (1, 2):
        assert row(job).status == "RUNNING"
        with pytest.raises(Killed):
            services.runner.run(job, "mortal")
        services.runner.worker_died("mortal")
        assert row(job).attempt == number
    assert row(job).status == "FAILED"
    assert "2 attempts in a row got no further" in row(job).reason
    assert [one.outcome for one in services.reports.attempts(row(job))] == ["lost", "lost"]


def test_a_report_that_ran_again_from_the_start_forgets_the_parts_it_had(
    services, job, row, dies, written, content, whole
):
    dies(job, 3)
    store.end(job, "FAILED", "It was cancelled.", now(), cancelled=True)
    services.reports.cleanup.clean_up()
    assert ReportPart.select().count() == 0, "the sweep forgets parts of reports that have ended"
    store.run_again(job)
    written.clear()
    services.runner.run(job, "next")
    assert written == list(range(10))
    assert (row(job).status, content(job)) == ("COMPLETE", whole)
    assert ReportAttempt.select().where(ReportAttempt.job == job).count() == 2
