"""A long report is cut by the hourly counts where its file does not show it, and by its rows alone where it does."""

from __future__ import annotations

import itertools

import pytest

from app.services.people.principal import SYSTEM
from app.services.reports import planning
from app.store.events import hourly_counts, select
from app.store.models import ReportPart
from tests.support.client import event
from tests.support.threads import at_once

HOUR = 3_600_000
FIRST = 1_793_000_000_000 // HOUR * HOUR
ROWS = 1_000
COUNTED = {"format": "csv"}, {"format": "jsonl"}
OURS = {"customer": "BARCHART", "product": "PORTFOLIO", "types": (), "start": None, "end": None}
SURVEYED = {"compression": "gzip"}, {"format": "jsonl", "compression": "zstd"}, {"format": "parquet"}

pytestmark = pytest.mark.usefixtures("small_parts")


@pytest.fixture
def surveyed(monkeypatch) -> list[select.Selection]:
    """The selections of which each row was looked at before any was written."""
    found = []
    for name in ("survey", "measure"):
        look = getattr(select, name)
        noted = lambda rows, layout, look=look: found.append(rows) or look(rows, layout)  # noqa: E731
        monkeypatch.setattr(select, name, noted)
    return found


@pytest.fixture
def planned(monkeypatch) -> list[planning.Plan]:
    """The plans that were made."""
    made, plan = [], planning.plan
    monkeypatch.setattr(planning, "plan", lambda *given, **more: made.append(plan(*given, **more)) or made[-1])
    return made


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
def test_a_plain_file_s_rows_are_not_looked_at_twice(services, admin, begin, row, written, surveyed, planned, output):
    send(admin)
    count()
    job = run(services, begin, output)
    assert surveyed == []
    assert planned[0].measure.total == row(job).rows == ROWS
    assert len(written) == len(planned[0].parts) >= ROWS / 100


@pytest.mark.parametrize("output", SURVEYED, ids=str)
def test_a_file_that_shows_its_parts_is_cut_by_its_rows_whatever_is_counted(
    services, admin, begin, surveyed, planned, output
):
    send(admin)
    count()
    send(admin, apart=1)  # behind the cut of the first report, and in its hours
    first = begin(output)
    count()
    second = begin(output)
    for job in (first, second):
        services.runner.run(job)
    assert len(surveyed) == 2
    assert planned[0] == planned[1]


@pytest.mark.parametrize("at", [0, FIRST - HOUR, FIRST + 7, FIRST + 5 * HOUR + 7, FIRST + 10**9])
def test_rows_that_are_not_counted_yet_are_in_the_file_wherever_they_are(
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


def test_where_many_rows_are_not_counted_they_are(services, admin, begin, content, surveyed):
    send(admin)
    count()
    send(admin, rows=200)
    job = run(services, begin, COUNTED[0])
    assert len(surveyed) == 1
    assert len(lines(content(job))) == ROWS + 200


def test_its_parts_follow_one_another_without_gap_from_the_first_row_to_the_last(admin, services, begin, planned):
    send(admin)
    count()
    run(services, begin, COUNTED[0])
    parts = planned[0].parts
    assert (parts[0][0], parts[-1][1]) == (None, None)
    assert all(one[1] + 1 == two[0] for one, two in itertools.pairwise(parts))


def test_a_part_is_looked_up_by_its_time_the_first_and_the_last_too():
    rows = select.Selection("C", "P")
    assert [rows.between(*ends).is_part for ends in [(None, 5), (6, 9), (10, None), (None, None)]] == [
        True,
        True,
        True,
        False,
    ]


@pytest.mark.parametrize("others", [0, 400], ids=["alone", "among others"])
def test_what_came_since_another_report_is_few_rows_of_many_and_not_cut(
    services, admin, content, row, written, planned, others
):
    """The hourly counts have all of the customer's, and those since then may be few of all that came."""
    send(admin)
    before = services.reports.start(SYSTEM, OURS, None)
    send(admin, rows=60)
    if others:
        admin.send(*[event(product="WATCHLIST", timestamp=FIRST) for _ in range(others)])
    count()
    job = services.reports.start(SYSTEM, OURS, None, after=before.snapshot_max_id).job
    services.runner.run(job)
    assert planned[0].measure.total == row(job).rows == len(lines(content(job))) == 60
    assert (planned[0].parts, written) == ([], [])


def test_many_rows_since_another_report_are_cut_by_them(services, admin, content, row, surveyed, planned):
    send(admin)
    before = services.reports.start(SYSTEM, OURS, None)
    send(admin, rows=400)
    count()
    job = services.reports.start(SYSTEM, OURS, None, after=before.snapshot_max_id).job
    services.runner.run(job)
    assert len(surveyed) == 1
    assert (planned[0].measure.total, row(job).rows, len(planned[0].parts)) == (400, 400, 4)


def test_an_hour_with_too_many_rows_is_cut_by_them(services, admin, begin, planned):
    send(admin, apart=1)
    count()
    run(services, begin, COUNTED[0])
    assert len(planned[0].parts) >= ROWS / 100


def test_what_is_counted_while_the_counts_are_read_is_not_told_twice(services, admin, begin, row, planned, monkeypatch):
    send(admin)
    count()
    send(admin, rows=90)
    number = hourly_counts.number
    job = begin(COUNTED[0])
    monkeypatch.setattr(hourly_counts, "number", lambda *asked: at_once(1, lambda _: count()) and number(*asked))
    services.runner.run(job)
    assert planned[0].measure.total == row(job).rows == ROWS + 90


def test_rows_are_no_longer_in_parts_when_it_is_complete(services, admin, begin):
    send(admin)
    count()
    run(services, begin, COUNTED[0])
    assert not ReportPart.select().exists()
