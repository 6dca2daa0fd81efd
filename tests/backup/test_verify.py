"""`verify` compares the running database with its hourly counts, and reports with their files."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.store import database as store
from app.store.models import Counted, DailyCount, DailyCustomerCount, Event, HourlyCount, Report
from app.store.step_size import Pace
from tests.backup.conftest import count, installation
from tests.support.client import Client, event
from tests.support.rows import numbered

HOURLY = """INSERT INTO event (customer, product, type, timestamp, context, sequence, batch, received)
    SELECT 'BARCHART', 'PORTFOLIO', 'T', n * 3600000, '[]', 1, 'b', 0"""


def test_a_sound_installation_has_no_problems_and_one_group_per_customer_product_and_day(services, content):
    found = services.verifier.database()
    assert found.problems == []
    assert found.events == sum(day.events for day in found.days) == services.ingest.count()
    assert len({day[:3] for day in found.days}) == len(found.days) == 3
    assert ("back\\slash", "[x]") in {day[:2] for day in found.days}


@pytest.mark.both_databases
def test_a_changed_event_changes_the_hash_of_its_day_alone(services, content):
    before = services.verifier.database()
    Event.update(version="other").where(Event.id == Event.select(Event.id).order_by(Event.id).limit(1)).execute()
    store.release()
    after = services.verifier.database()
    assert after.hash != before.hash
    assert len(set(before.days) - set(after.days)) == 1


@pytest.mark.both_databases
def test_an_hour_whose_count_differs_is_named(services, content):
    hour = HourlyCount.select().order_by(HourlyCount.hour).first()
    same = (HourlyCount.hour == hour.hour) & (HourlyCount.customer == hour.customer)
    HourlyCount.update(number=HourlyCount.number + 1).where(same).execute()
    store.release()
    problem, *of_days = services.verifier.database().problems
    assert f"{hour.customer} {hour.product} {hour.type}, the hour from 20" in problem
    assert f"{hour.number + 1} events counted, {hour.number} stored" in problem
    assert [problem.split(": the ")[1] for problem in of_days] == [
        "daily count differs from the hourly counts.",
        "daily customer count differs from the hourly counts.",
    ]


@pytest.mark.both_databases
def test_a_daily_count_that_differs_from_its_hourly_counts_is_named(services, content):
    day = DailyCount.select().first()
    same = (DailyCount.product == day.product) & (DailyCount.type == day.type) & (DailyCount.day == day.day)
    assert DailyCount.update(hour_3=DailyCount.hour_3 + 1, hour_4=DailyCount.hour_4 - 1).where(same).execute() == 1
    store.release()
    (problem,) = services.verifier.database().problems
    assert f"{day.product} {day.type}, 20" in problem
    assert problem.endswith("the daily count differs from the hourly counts.")


@pytest.mark.both_databases
@pytest.mark.parametrize("table", [DailyCount, DailyCustomerCount])
def test_missing_daily_counts_are_named(services, content, table):
    missing = table.delete().execute()
    store.release()
    problems = services.verifier.database().problems
    assert len(problems) == missing > 0


@pytest.mark.both_databases
def test_a_daily_customer_count_that_differs_is_named_if_it_should_be_complete(services, content):
    day = DailyCustomerCount.select().first()
    same = (DailyCustomerCount.product == day.product) & (DailyCustomerCount.day == day.day)
    moved = {DailyCustomerCount.hour_3: DailyCustomerCount.hour_3 + 1, DailyCustomerCount.hour_4: -1}
    assert DailyCustomerCount.update(moved).where(same, DailyCustomerCount.customer == day.customer).execute() == 1
    store.release()
    found = services.verifier.database()
    (problem,) = found.problems
    assert problem.startswith(f"{day.customer} {day.product}, 20")
    assert problem.endswith("the daily customer count differs from the hourly counts.")
    assert "daily customer counts against hourly counts" in found.checked
    Counted.update(daily_customer_total=Counted.total - 1).execute()
    store.release()
    found = services.verifier.database()
    assert found.problems == []
    assert "daily customer counts against hourly counts" not in found.checked


@pytest.mark.both_databases
def test_events_that_are_not_counted_yet_are_no_problem(app, services, content):
    Client(app, None).send(event(context=["not counted"]))
    assert services.verifier.database().problems == []


def test_a_slice_that_is_being_counted_is_no_problem(sqlite_url, redis_url, tmp_path, monkeypatch):
    def stop(began: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("app.store.events.count_slices.STEPS", [Pace(1, 1)] * 3)
    monkeypatch.setattr("app.store.events.count_slices.pause", stop)
    with installation(tmp_path, sqlite_url, redis_url) as (_, services):
        numbered(HOURLY, 20)
        with pytest.raises(KeyboardInterrupt):
            count()
        assert HourlyCount.select().count() == 1
        store.release()
        assert services.verifier.database().problems == []


@pytest.fixture
def finished(services, content, settings) -> Path:
    """The file of a finished report."""
    report = Report.select().first()
    services.runner.run(report.job)
    file = Report.get(Report.job == report.job).file
    store.release()
    return settings.data_dir / "reports" / file


def test_a_missing_report_file_is_named(services, finished):
    assert services.verifier.database().problems == []
    finished.unlink()
    (problem,) = services.verifier.database().problems
    assert problem == f"Report JOB-{finished.name[:36]}: its file {finished.name} is missing."


def test_a_report_file_of_another_size_is_named(services, finished):
    with finished.open("ab") as file:
        file.write(b"more")
    (problem,) = services.verifier.database().problems
    assert "bytes instead of" in problem


def test_a_report_file_with_another_content_is_named_if_files_are_read(services, finished):
    data = finished.read_bytes()
    finished.write_bytes(data[:-2] + b"x\n")
    assert services.verifier.database().problems == []
    (problem,) = services.verifier.database(read_files=True).problems
    assert "SHA-256" in problem
