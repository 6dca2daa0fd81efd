"""Planning: a plain file is split by hourly counts, and a file whose bytes depend on its parts by its rows."""

from __future__ import annotations

import itertools

import pytest

from app.services.people.principal import SYSTEM
from app.services.reports import part_writer, runner
from app.store.events import hourly_counts, select
from app.store.models import ReportPart
from tests.support.client import event
from tests.support.threads import at_once

HOUR = 3_600_000
FIRST = 1_793_000_000_000 // HOUR * HOUR
ROWS = 1_000
COUNTED = {"format": "csv"}, {"format": "jsonl"}
REPORT_FILTER = {"customer": "BARCHART", "product": "PORTFOLIO", "types": (), "start": None, "end": None}
SURVEYED = {"compression": "gzip"}, {"format": "jsonl", "compression": "zstd"}, {"format": "parquet"}

pytestmark = pytest.mark.usefixtures("small_parts")


@pytest.fixture
def surveyed(monkeypatch) -> list[select.Selection]:
    """Record the selections whose rows were all read before writing."""
    selections = []
    for name in ("survey", "measure"):
        original = getattr(select, name)
        record = lambda rows, layout, original=original: selections.append(rows) or original(rows, layout)  # noqa: E731
        monkeypatch.setattr(select, name, record)
    return selections


@pytest.fixture
def planned(monkeypatch) -> list[part_writer.Plan]:
    """Record the plans of reports."""
    plans, plan = [], runner.make_plan
    monkeypatch.setattr(runner, "make_plan", lambda *args, **kwargs: plans.append(plan(*args, **kwargs)) or plans[-1])
    return plans


def send(admin, *, at: int = FIRST, rows: int = ROWS, apart: int = HOUR // 50) -> None:
    admin.send(*[event(timestamp=at + number * apart, context=[str(number)]) for number in range(rows)])


def count() -> None:
    while hourly_counts.advance():
        pass


def run(services, begin, output) -> str:
    job = begin(output)
    services.runner.run(job)
    return job


def lines(content: bytes) -> list[str]:
    return [line.split("|")[0] for line in content.decode().splitlines()]


@pytest.mark.parametrize("output", COUNTED, ids=str)
def test_the_rows_of_a_plain_file_are_not_read_twice(
    services, admin, begin, row, written_parts, surveyed, planned, output
):
    send(admin)
    count()
    job = run(services, begin, output)
    assert surveyed == []
    assert planned[0].measure.total == row(job).rows == ROWS
    assert len(written_parts) == len(planned[0].parts) >= ROWS / 100


@pytest.mark.parametrize("output", SURVEYED, ids=str)
def test_the_parts_of_a_compressed_file_do_not_depend_on_the_hourly_counts(
    services, admin, begin, surveyed, planned, output
):
    send(admin)
    count()
    send(admin, apart=1)  # not in the first report's counts, but in the same hours
    first = begin(output)
    count()
    second = begin(output)
    for job in (first, second):
        services.runner.run(job)
    assert len(surveyed) == 2
    assert planned[0] == planned[1]


@pytest.mark.parametrize("at", [0, FIRST - HOUR, FIRST + 7, FIRST + 5 * HOUR + 7, FIRST + 10**9])
def test_rows_missing_in_the_hourly_counts_are_in_the_file_at_any_time(
    services, admin, begin, content, row, surveyed, at
):
    send(admin)
    count()
    send(admin, at=at, rows=90, apart=1)
    job = run(services, begin, COUNTED[0])
    times = lines(content(job))
    assert surveyed == []
    assert (row(job).rows, len(times)) == (ROWS + 90, ROWS + 90)
    assert times == sorted(times, key=int)


def test_rows_are_surveyed_if_many_are_missing_in_the_hourly_counts(services, admin, begin, content, surveyed):
    send(admin)
    count()
    send(admin, rows=200)
    job = run(services, begin, COUNTED[0])
    assert len(surveyed) == 1
    assert len(lines(content(job))) == ROWS + 200


def test_consecutive_parts_have_no_gap_from_the_first_row_to_the_last(admin, services, begin, planned):
    send(admin)
    count()
    run(services, begin, COUNTED[0])
    parts = planned[0].parts
    assert (parts[0][0], parts[-1][1]) == (None, None)
    assert all(part[1] + 1 == following[0] for part, following in itertools.pairwise(parts))


def test_a_part_is_selected_by_time_even_if_it_is_open_at_one_end():
    rows = select.Selection("C", "P")
    assert [rows.between(*ends).is_part for ends in [(None, 5), (6, 9), (10, None), (None, None)]] == [
        True,
        True,
        True,
        False,
    ]


@pytest.mark.parametrize("others", [0, 400], ids=["alone", "among others"])
def test_few_rows_since_the_previous_report_are_not_split(
    services, admin, content, row, written_parts, planned, others
):
    """The hourly counts include all rows of the customer, of which few may be newer than the previous report."""
    send(admin)
    before = services.reports.start(SYSTEM, REPORT_FILTER, None)
    send(admin, rows=60)
    if others:
        admin.send(*[event(product="WATCHLIST", timestamp=FIRST) for _ in range(others)])
    count()
    job = services.reports.start(SYSTEM, REPORT_FILTER, None, after=before.snapshot_max_id).job
    services.runner.run(job)
    assert planned[0].measure.total == row(job).rows == len(lines(content(job))) == 60
    assert (planned[0].parts, written_parts) == ([], [])


def test_many_rows_since_the_previous_report_are_split(services, admin, content, row, surveyed, planned):
    send(admin)
    before = services.reports.start(SYSTEM, REPORT_FILTER, None)
    send(admin, rows=400)
    count()
    job = services.reports.start(SYSTEM, REPORT_FILTER, None, after=before.snapshot_max_id).job
    services.runner.run(job)
    assert len(surveyed) == 1
    assert (planned[0].measure.total, row(job).rows, len(planned[0].parts)) == (400, 400, 4)


def test_an_hour_with_too_many_rows_is_split(services, admin, begin, planned):
    send(admin, apart=1)
    count()
    run(services, begin, COUNTED[0])
    assert len(planned[0].parts) >= ROWS / 100


def test_rows_counted_while_the_counts_are_read_are_not_counted_twice(
    services, admin, begin, row, planned, monkeypatch
):
    send(admin)
    count()
    send(admin, rows=90)
    number = hourly_counts.number
    job = begin(COUNTED[0])
    monkeypatch.setattr(hourly_counts, "number", lambda *args: at_once(1, lambda _: count()) and number(*args))
    services.runner.run(job)
    assert planned[0].measure.total == row(job).rows == ROWS + 90


def test_the_parts_of_a_complete_report_are_deleted(services, admin, begin):
    send(admin)
    count()
    run(services, begin, COUNTED[0])
    assert not ReportPart.select().exists()
