"""Recurring reports: each run once, covering its own part of the events and no other's, whatever dies meanwhile."""

from __future__ import annotations

import threading
from datetime import UTC, datetime

import pytest
from structlog.testing import capture_logs

from app.exceptions import Forbidden, InputInvalid, ScheduleBusy, ScheduleUnknown
from app.services.people.principal import SYSTEM
from app.services.reports import service as reports_module
from app.services.schedules import runs as schedule_runs
from app.services.schedules import service, webhooks
from app.store.models import Account, AuditEntry, Report, Schedule
from app.store.reports import reports as report_store
from app.store.schedules import deliveries
from app.store.schedules import schedules as store
from tests.support.client import Client, event
from tests.support.threads import Aside, at_once

HOUR, DAY = 3_600_000, 86_400_000
WANTED = {
    "name": "Every day",
    "filter": {"customer": "BARCHART", "product": "PORTFOLIO"},
    "recurrence": "daily",
    "hour": 6,
    "mode": "period",
}


def ms(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)


NOON = ms("2026-11-23T12:00")  # a Monday


class Clock:
    """The time, as the services see it."""

    def __init__(self) -> None:
        self.moment = NOON

    def __call__(self) -> int:
        return self.moment

    def set(self, text: str) -> None:
        self.moment = ms(text)


@pytest.fixture
def clock(monkeypatch) -> Clock:
    frozen = Clock()
    for module in (service, schedule_runs, webhooks, reports_module, report_store):
        monkeypatch.setattr(module, "now", frozen)
    return frozen


@pytest.fixture(autouse=True)
def known(clock, nobody) -> None:
    """A customer and a product of which one event was seen."""
    nobody.send(event(), event(customer="OTHER"))


@pytest.fixture
def run_due(services, clock):
    """Do at a time what schedulers do every few seconds."""

    def run(at: str | None = None) -> None:
        if at is not None:
            clock.set(at)
        services.schedule_runs.run_due()

    return run


@pytest.fixture
def anna(services):
    return services.accounts.add("anna", "analyst", ["BARCHART"], "correct horse")


@pytest.fixture
def add(services, anna):
    """Make a recurring report of anna's, with changes."""
    return lambda **changes: services.schedules.add(anna, WANTED | changes).schedule


def fresh(schedule: Schedule) -> Schedule:
    return store.by_id(schedule.id)


def started(schedule: Schedule) -> list[Report]:
    """Its reports, oldest first."""
    return list(Report.select().where(Report.schedule == schedule.id).order_by(Report.id))


def ids(services, report: Report) -> list[str]:
    """What stands in the first context item of each row of a report's file, which a worker's code writes here."""
    services.runner.run(report.job)
    done = services.reports.get(SYSTEM, f"JOB-{report.job}")
    assert done.status == "COMPLETE", done.reason
    return [line.split("|")[2] for line in services.reports.path(done).read_text().splitlines()]


def test_a_new_one_runs_at_the_next_hour_of_its_rhythm_and_not_before(add, clock, run_due):
    schedule = add()
    assert schedule.next_run == ms("2026-11-24T06:00")
    run_due("2026-11-24T05:59:59")
    assert started(schedule) == []
    run_due("2026-11-24T06:00")
    run_due()
    (report,) = started(schedule)
    assert (report.start, report.end) == (ms("2026-11-23"), ms("2026-11-24") - 1)
    assert (report.customer, report.product, report.account_name) == ("BARCHART", "PORTFOLIO", "anna")
    after = fresh(schedule)
    assert (after.next_run, after.last_run) == (ms("2026-11-25T06:00"), clock.moment)
    assert (after.last_report, after.last_snapshot_max_id, after.claim) == (report.job, report.snapshot_max_id, None)


def test_its_filter_and_output_are_those_of_its_reports(services, nobody, add):
    nobody.send(event(type="A"), event(type="B"))
    output = {"delimiter": ";", "header": True, "layout": "positional"}
    schedule = add(filter=WANTED["filter"] | {"types": ["A", "B"]}, output=output)
    report = services.schedule_runs.run(SYSTEM, schedule)
    assert (report.types, report.output) == (["A", "B"], output)


@pytest.mark.parametrize(
    ("recurrence", "runs", "first", "last"),
    [
        ("weekly", "2026-11-30T06:00", "2026-11-23", "2026-11-30"),
        ("monthly", "2026-12-01T06:00", "2026-11-01", "2026-12-01"),
    ],
)
def test_a_week_is_from_monday_to_sunday_and_a_month_the_calendar_s(add, clock, recurrence, runs, first, last, run_due):
    schedule = add(recurrence=recurrence)
    assert schedule.next_run == ms(runs)
    clock.set(runs)
    run_due()
    (report,) = started(schedule)
    assert (report.start, report.end) == (ms(first), ms(last) - 1)


def test_after_five_days_without_a_scheduler_one_report_makes_up_for_the_latest_run(add, run_due):
    schedule = add()
    run_due("2026-11-29T09:30")
    run_due()
    (report,) = started(schedule)
    assert (report.start, report.end) == (ms("2026-11-28"), ms("2026-11-29") - 1)
    assert fresh(schedule).next_run == ms("2026-11-30T06:00")


def test_a_late_run_covers_the_period_that_it_would_have_covered_in_time(add, clock, run_due):
    """Made up for after midnight, the run of 23 o'clock must not take the next run's day."""
    schedule = add(hour=23)
    clock.set("2026-11-25T00:30")  # the run of the 24th was missed
    run_due()
    run_due("2026-11-25T23:00")
    assert [report.start for report in started(schedule)] == [ms("2026-11-23"), ms("2026-11-24")]


def test_since_the_last_one_takes_up_where_that_ended_late_events_included(services, add, nobody, run_due):
    schedule = add(mode="since_last")
    nobody.send(event(context=["one"]), event(context=["two"], timestamp=1))
    first = services.schedule_runs.run(SYSTEM, schedule)
    nobody.send(event(context=["late"], timestamp=2), event(customer="OTHER", context=["not ours"]))
    second = services.schedule_runs.run(SYSTEM, schedule)
    third = services.schedule_runs.run(SYSTEM, schedule)
    nobody.send(event(context=["last"]))
    run_due("2026-11-24T06:00")
    fourth = started(schedule)[-1]
    assert ids(services, first) == ["two", "user-1", "one"]
    assert ids(services, second) == ["late"]
    assert ids(services, third) == []
    assert ids(services, fourth) == ["last"]
    assert [report.snapshot_min_id for report in (first, second, third, fourth)] == [
        None,
        first.snapshot_max_id,
        second.snapshot_max_id,
        third.snapshot_max_id,
    ]


def test_one_that_failed_leaves_its_part_to_its_retry_and_no_other_report_has_it(services, add, nobody):
    schedule = add(mode="since_last")
    failed = services.schedule_runs.run(SYSTEM, schedule)
    services.reports.cancel(SYSTEM, failed)
    nobody.send(event(context=["after it"]))
    following = services.schedule_runs.run(SYSTEM, schedule)
    assert ids(services, following) == ["after it"]
    services.reports.retry(SYSTEM, Report.get_by_id(failed.id))
    assert ids(services, failed) == ["user-1"]


def test_under_concurrent_writers_every_event_is_in_exactly_one_of_the_reports(services, app, add, nobody):
    schedule = add(mode="since_last")
    stop, sent = threading.Event(), []

    def write(number: int) -> None:
        client = Client(app, None)
        for count in range(10_000):
            if stop.is_set():
                return
            names = [f"{number}-{count}-{place}" for place in range(5)]
            # Their own time says nothing of when they came: some are years late.
            client.send(*[event(context=[name], timestamp=count * 7 % 1000) for name in names])
            sent.extend(names)

    with Aside() as aside:
        writers = [aside.start(write, number) for number in range(6)]
        try:
            reports = [services.schedule_runs.run(SYSTEM, schedule) for _ in range(15)]
        finally:
            stop.set()
        for writer in writers:
            writer.result()
    reports.append(services.schedule_runs.run(SYSTEM, schedule))
    found = [name for report in reports for name in ids(services, report)]
    assert len(sent) > 50
    assert sorted(found) == sorted([*sent, "user-1"])
    assert (
        sum(report.snapshot_max_id > (report.snapshot_min_id or 0) for report in reports) > 3
    )  # there was something between them


def test_runs_at_once_of_one_schedule_never_overlap(services, add, nobody):
    schedule = add(mode="since_last")

    def run(number: int) -> Report | None:
        nobody.send(event(context=[f"event-{number}"]))
        try:
            return services.schedule_runs.run(SYSTEM, schedule)
        except ScheduleBusy:
            return None

    reports = [report for report in at_once(8, run) if report]
    reports.append(services.schedule_runs.run(SYSTEM, schedule))
    found = [name for report in reports for name in ids(services, report)]
    assert sorted(found) == sorted([*(f"event-{number}" for number in range(8)), "user-1"])


def test_of_schedulers_that_race_for_a_run_one_starts_it(add, clock, run_due):
    several = [add(name=f"Number {number}") for number in range(5)]
    clock.set("2026-11-24T06:00")
    at_once(6, lambda number: run_due())
    assert [len(started(schedule)) for schedule in several] == [1] * 5
    assert {fresh(schedule).next_run for schedule in several} == {ms("2026-11-25T06:00")}


def test_a_scheduler_that_read_before_another_ran_comes_too_late(services, add, clock, run_due):
    schedule = add()
    clock.set("2026-11-24T06:00")
    seen = store.due(clock())
    run_due()
    services.schedule_runs._run_due(seen[0], clock())
    assert len(started(schedule)) == 1


class Killed(BaseException):
    """What ends a process in the middle."""


def test_a_scheduler_that_died_before_it_started_the_report_loses_no_run(add, clock, run_due):
    schedule = add()
    clock.set("2026-11-24T06:00")
    store.claim(schedule.id, "dead", clock(), ms("2026-11-25T06:00"), due=schedule.next_run)
    run_due()
    assert started(schedule) == []  # somebody may be at it
    clock.moment += schedule_runs.ABANDONED_MS + 1
    run_due()
    run_due()
    assert len(started(schedule)) == 1
    assert fresh(schedule).next_run == ms("2026-11-25T06:00")


def test_a_scheduler_that_died_after_it_started_the_report_starts_no_second_one(
    services, add, clock, monkeypatch, nobody, run_due
):
    schedule = add(mode="since_last")
    clock.set("2026-11-24T06:00")

    def die(*args: object, **kwargs: object) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(store, "settle", die)
        with pytest.raises(Killed):
            run_due()
    nobody.send(event(context=["later"]))
    clock.moment += schedule_runs.ABANDONED_MS + 1
    run_due()
    (report,) = started(schedule)
    after = fresh(schedule)
    assert (after.last_report, after.last_snapshot_max_id, after.claim) == (report.job, report.snapshot_max_id, None)
    assert after.next_run == ms("2026-11-25T06:00")
    assert ids(services, services.schedule_runs.run(SYSTEM, schedule)) == ["later"]


def test_a_scheduler_that_was_so_slow_that_another_took_over_leaves_no_second_report(
    services, add, clock, monkeypatch, run_due
):
    schedule = add(mode="since_last")
    clock.set("2026-11-24T06:00")
    start = services.reports.start

    def slowly(*args: object, **kwargs: object) -> Report:
        """Meanwhile another scheduler takes this one for dead."""
        monkeypatch.undo()
        later = clock.moment + schedule_runs.ABANDONED_MS + 1
        monkeypatch.setattr(schedule_runs, "now", lambda: later)
        run_due()
        run_due()
        return start(*args, **kwargs)

    monkeypatch.setattr(services.reports, "start", slowly)
    run_due()
    made, too_late = started(schedule)
    assert (made.status, too_late.status, too_late.cancelled) == ("RUNNING", "FAILED", True)
    assert fresh(schedule).last_report == made.job
    assert fresh(schedule).next_run == ms("2026-11-25T06:00")


def test_while_a_report_is_being_started_nobody_else_starts_one(services, add, clock):
    schedule = add()
    store.claim(schedule.id, "somebody", clock(), None, due=None)
    with pytest.raises(ScheduleBusy, match="being started"):
        services.schedule_runs.run(SYSTEM, schedule)


def test_a_failure_to_start_is_tried_again_and_stops_no_other(services, add, clock, monkeypatch, run_due):
    broken, good = add(name="A"), add(name="B")
    clock.set("2026-11-24T06:00")
    start = services.reports.start

    def fail(who, filter, output, **kwargs: object) -> Report:
        if kwargs["origin"] == broken.id:
            raise RuntimeError("out of order")
        return start(who, filter, output, **kwargs)

    with monkeypatch.context() as patch, capture_logs() as log:
        patch.setattr(services.reports, "start", fail)
        run_due()
    assert (len(started(broken)), len(started(good))) == (0, 1)
    assert "recurring report not started, it will be tried again" in [line["event"] for line in log]
    run_due()
    assert (len(started(broken)), len(started(good))) == (1, 1)


def test_running_one_now_leaves_the_next_run_where_it_is(services, add):
    schedule = add()
    report = services.schedule_runs.run(SYSTEM, schedule)
    assert (report.start, report.end) == (ms("2026-11-22"), ms("2026-11-23") - 1)
    assert fresh(schedule).next_run == schedule.next_run


def test_a_paused_one_does_not_run_and_when_resumed_goes_on_with_the_next(services, add, run_due):
    schedule = add()
    services.schedules.pause(SYSTEM, schedule)
    run_due("2026-11-27T10:00")
    assert started(schedule) == []
    services.schedules.resume(SYSTEM, fresh(schedule))
    assert (fresh(schedule).active, fresh(schedule).next_run) == (True, ms("2026-11-28T06:00"))
    run_due()
    assert started(schedule) == []


def test_what_came_while_it_was_paused_is_in_the_next_since_the_last_one(services, add, nobody):
    schedule = add(mode="since_last")
    services.schedule_runs.run(SYSTEM, schedule)
    services.schedules.pause(SYSTEM, schedule)
    nobody.send(event(context=["meanwhile"]))
    services.schedules.resume(SYSTEM, fresh(schedule))
    assert ids(services, services.schedule_runs.run(SYSTEM, schedule)) == ["meanwhile"]


def test_a_paused_one_can_be_run_by_hand_and_stays_paused(services, add):
    schedule = add()
    services.schedules.pause(SYSTEM, schedule)
    services.schedule_runs.run(SYSTEM, schedule)
    assert (fresh(schedule).active, fresh(schedule).next_run) == (False, None)


def test_who_paused_it_while_it_was_being_started_is_not_overruled(services, add, clock):
    schedule = add()
    clock.set("2026-11-24T06:00")
    taken = store.claim(schedule.id, "token", clock(), ms("2026-11-25T06:00"), due=schedule.next_run)
    services.schedules.pause(SYSTEM, schedule)
    assert store.settle(taken.id, "token", ran=True, reason=None)
    assert (fresh(schedule).active, fresh(schedule).next_run) == (False, None)


def test_an_owner_who_lost_the_customer_gets_no_more_reports_and_the_reason_is_shown(services, add, anna, run_due):
    schedule = add()
    Account.update(customers=["OTHER"]).where(Account.id == anna.id).execute()
    run_due("2026-11-24T06:00")
    assert started(schedule) == []
    after = fresh(schedule)
    assert (after.active, after.next_run, after.claim) == (False, None, None)
    assert "customer BARCHART" in after.reason
    with pytest.raises(Forbidden):
        services.schedules.resume(SYSTEM, after)


def test_an_owner_who_is_gone_gets_no_more_reports_and_the_reason_is_shown(services, add, anna, run_due):
    schedule = add()
    services.accounts.remove("anna")
    services.accounts.add("anna", "analyst", ["BARCHART"], "correct horse")  # the same name is not the same user
    run_due("2026-11-24T06:00")
    assert started(schedule) == []
    assert (fresh(schedule).active, fresh(schedule).reason) == (False, "Its owner, anna, is no user any more.")
    with pytest.raises(Forbidden, match="no user any more"):
        services.schedule_runs.run(SYSTEM, fresh(schedule))


def test_one_that_can_no_longer_be_laid_out_says_why_and_is_tried_at_the_next_hour(
    add, sample_catalog, monkeypatch, run_due
):
    schedule = add(output={"layout": "columns"})
    monkeypatch.setattr("app.store.catalog.catalog.product", lambda code: None)
    run_due("2026-11-24T06:00")
    after = fresh(schedule)
    assert started(schedule) == []
    assert 'output.layout is "columns", but the catalog has no columns' in after.reason
    assert (after.active, after.next_run) == (True, ms("2026-11-25T06:00"))
    monkeypatch.undo()


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"name": ""}, "name has 0 characters"),
        ({"name": "a\nb"}, "name has a control character"),
        ({"recurrence": "hourly"}, 'recurrence is "hourly"; it must be "daily" or "weekly" or "monthly"'),
        ({"hour": 24}, "hour is 24; it must be a whole number from 0 to 23"),
        ({"hour": "6"}, 'hour is "6"'),
        ({"hour": True}, "hour is true"),
        ({"mode": "all"}, 'mode is "all"'),
        ({"filter": {"customer": "BARCHART"}}, "filter.product is missing"),
        ({"filter": {"customer": "BARCHART", "product": "PORTFOLI"}}, "the nearest known: PORTFOLIO"),
        ({"output": {"delimiter": "||"}}, 'output.delimiter is "||"'),
        ({"output": {"layout": "columns"}}, "the catalog has no columns for PORTFOLIO"),
    ],
)
def test_what_is_wrong_is_named(services, anna, wrong, told):
    with pytest.raises(InputInvalid) as refused:
        services.schedules.add(anna, WANTED | wrong)
    assert told in " ".join(fault.message for fault in refused.value.field_errors)
    assert Schedule.select().count() == 0


def test_a_period_is_not_mixed_with_times_of_one_s_own(services, anna):
    made = services.schedules.add(anna, WANTED | {"filter": WANTED["filter"] | {"start": 1, "end": 2}}).schedule
    report = services.schedule_runs.run(SYSTEM, made)
    assert (report.start, report.end) == (ms("2026-11-22"), ms("2026-11-23") - 1)


def test_somebody_s_names_are_each_taken_once_and_others_names_are_free(services, add, admin, anna):
    add()
    with pytest.raises(InputInvalid) as refused:
        add()
    assert refused.value.field_errors[0].message.startswith('name is "Every day", and its owner has another')
    second = add(name="Another")
    with pytest.raises(InputInvalid):
        services.schedules.change(anna, second, WANTED)
    assert services.schedules.add(SYSTEM, WANTED).schedule.name == "Every day"


def test_nobody_makes_one_about_another_s_customer(services, add, anna):
    with pytest.raises(Forbidden, match="customer OTHER"):
        add(filter={"customer": "OTHER", "product": "PORTFOLIO"})
    with pytest.raises(Forbidden, match="customer OTHER"):
        services.schedules.change(anna, add(), WANTED | {"filter": {"customer": "OTHER", "product": "PORTFOLIO"}})


def test_whoever_changes_another_s_may_not_see_more_by_it(services, anna):
    both = services.accounts.add("bea", "analyst", ["BARCHART", "OTHER"], "correct horse")
    limited = services.accounts.add("olga", "operator", ["BARCHART"], "correct horse")
    schedule = services.schedules.add(both, WANTED).schedule
    with pytest.raises(Forbidden, match="olga may not see"):
        services.schedules.change(limited, schedule, WANTED | {"filter": {"customer": "OTHER", "product": "PORTFOLIO"}})


def test_its_customer_stays_and_another_one_is_another_recurring_report(services, add):
    schedule = add()
    with pytest.raises(InputInvalid) as refused:
        services.schedules.change(SYSTEM, schedule, WANTED | {"filter": {"customer": "OTHER", "product": "PORTFOLIO"}})
    (fault,) = refused.value.field_errors
    assert fault.message.startswith('filter.customer is "OTHER", but this recurring report is about "BARCHART"')
    assert fresh(schedule).customer == "BARCHART"


def test_whoever_changes_another_s_is_told_no_names_of_customers_or_products_that_they_may_not_see(services, nobody):
    nobody.send(event(customer="SECRET", product="SECRET-PRODUCT"))
    limited = services.accounts.add("olga", "operator", ["BARCHART"], "correct horse")
    schedule = services.schedules.add(SYSTEM, WANTED).schedule
    told = ""
    for filter in ({"product": "SECRET-PRODUC"}, {"customer": "SECRE"}, {"customer": "SECRET"}):
        with pytest.raises((InputInvalid, Forbidden)) as refused:
            services.schedules.change(limited, schedule, WANTED | {"filter": WANTED["filter"] | filter})
        told += f"{refused.value} {getattr(refused.value, 'field_errors', '')}"
    assert "the nearest known: PORTFOLIO." in told
    assert "SECRET-PRODUCT" not in told


def test_it_cannot_be_changed_into_what_its_owner_could_not_start(services, add, nobody):
    nobody.send(event(customer="OTHER", product="OTHERS"))
    with pytest.raises(InputInvalid) as refused:
        services.schedules.change(SYSTEM, add(), WANTED | {"filter": {"customer": "BARCHART", "product": "OTHERS"}})
    assert refused.value.field_errors[0].message == 'filter.product is "OTHERS", which is not known.'


@pytest.mark.parametrize("by_hand", [True, False])
def test_why_it_was_not_started_names_nothing_that_only_its_owner_may_see(services, nobody, by_hand, run_due):
    nobody.send(event(customer="SECRET", product="SECRET-PRODUCT"))
    schedule = services.schedules.add(SYSTEM, WANTED).schedule
    Schedule.update(product="SECRET-PRODUC").execute()
    limited = services.accounts.add("olga", "operator", ["BARCHART"], "correct horse")
    if by_hand:
        with pytest.raises(InputInvalid) as refused:
            services.schedule_runs.run(limited, fresh(schedule))
        told = refused.value.field_errors[0].message
    else:
        run_due("2026-11-24T06:00")
        told = fresh(schedule).reason
    assert told == 'filter.product is "SECRET-PRODUC", which is not known.'


@pytest.fixture
def was_changed(services, add, nobody):
    """A schedule about BARCHART that earlier versions let change to OTHER; the report before it is BARCHART's."""
    schedule = add()
    report = services.schedule_runs.run(SYSTEM, schedule)
    deliveries.add("key", report_ended(services, report), NOON)
    Schedule.update(customer="OTHER", webhook="https://hooks.example.com/").execute()
    return fresh(schedule)


def report_ended(services, report: Report) -> Report:
    services.reports.cancel(SYSTEM, report)
    return Report.get_by_id(report.id)


def test_a_report_of_another_customer_than_its_own_is_shown_and_sent_again_only_to_whom_that_one_is_visible(
    services, was_changed
):
    otto = services.accounts.add("otto", "operator", ["OTHER"], "correct horse")
    (delivery,) = services.schedules.deliveries(SYSTEM, was_changed, 10)
    assert services.schedules.count_reports(SYSTEM, was_changed) == 1
    assert services.schedules.reports(otto, was_changed, 10) == []
    assert services.schedules.count_reports(otto, was_changed) == 0
    assert services.schedules.deliveries(otto, was_changed, 10) == []
    with pytest.raises(ScheduleUnknown):
        services.schedules.delivery(otto, was_changed, delivery.id)


@pytest.mark.parametrize("act", ["change", "pause", "resume", "new_secret", "run", "remove", "send_again"])
def test_what_somebody_removed_meanwhile_is_answered_as_not_there(services, was_changed, act):
    (delivery,) = services.schedules.deliveries(SYSTEM, was_changed, 10)
    Schedule.update(owner=SYSTEM.id, customer="BARCHART").execute()
    schedule = fresh(was_changed)
    services.schedules.remove(SYSTEM, schedule)
    acts = {
        "change": lambda: services.schedules.change(SYSTEM, schedule, WANTED),
        "run": lambda: services.schedule_runs.run(SYSTEM, schedule),
        "send_again": lambda: services.schedules.send_again(SYSTEM, schedule, delivery),
    }
    noted = AuditEntry.select().count()
    with pytest.raises(ScheduleUnknown):
        acts.get(act, lambda: getattr(services.schedules, act)(SYSTEM, schedule))()
    assert AuditEntry.select().count() == noted


def test_an_analyst_sees_their_own_and_operators_all_within_their_customers(services, add, anna):
    bea = services.accounts.add("bea", "analyst", ["BARCHART"], "correct horse")
    olga = services.accounts.add("olga", "operator", None, "correct horse")
    elsewhere = services.accounts.add("otto", "operator", ["OTHER"], "correct horse")
    schedule = add()
    assert [services.schedules.visible(who) for who in (bea, elsewhere)] == [[], []]
    assert [services.schedules.visible(who) for who in (anna, olga, SYSTEM)] == [[schedule]] * 3
    for who in (bea, elsewhere):
        with pytest.raises(ScheduleUnknown):
            services.schedules.get(who, schedule.id)


def test_a_change_of_the_hour_changes_the_next_run_and_any_other_does_not(services, add, clock, anna):
    schedule = add()
    clock.set("2026-11-24T06:00")  # it is due, and nobody has started it yet
    services.schedules.change(anna, fresh(schedule), WANTED | {"name": "Renamed"})
    assert fresh(schedule).next_run == ms("2026-11-24T06:00")
    services.schedules.change(anna, fresh(schedule), WANTED | {"hour": 7})
    assert fresh(schedule).next_run == ms("2026-11-24T07:00")


def test_a_removed_one_is_gone_and_its_reports_stay(services, add, anna):
    schedule = add()
    report = services.schedule_runs.run(SYSTEM, schedule)
    services.schedules.remove(SYSTEM, schedule)
    assert services.schedules.visible(anna) == []
    assert services.reports.get(anna, f"JOB-{report.job}").job == report.job


def test_the_scheduler_starts_what_is_due(services, add, clock):
    schedule = add()
    clock.set("2026-11-24T06:00")
    services.scheduler.run_all()
    assert len(started(schedule)) == 1


@pytest.mark.parametrize("recurrence", ["daily", "weekly", "monthly"])
def test_a_scheduler_whose_clock_was_ahead_leaves_no_report_asleep(add, clock, recurrence, run_due):
    schedule = add(recurrence=recurrence)
    expected = fresh(schedule).next_run
    clock.set("2027-01-02T12:00")  # 40 days ahead
    run_due()
    assert fresh(schedule).next_run > clock.moment
    clock.moment = NOON
    run_due()
    assert fresh(schedule).next_run == expected
    assert len(started(schedule)) == 1


def test_a_clock_that_is_a_little_behind_makes_no_run_twice(add, run_due):
    schedule = add()
    run_due("2026-11-24T06:00:00")
    run_due("2026-11-24T05:59:00")
    run_due("2026-11-24T06:00:30")
    assert len(started(schedule)) == 1


def test_a_claim_of_a_clock_that_was_ahead_is_let_go(add, run_due):
    schedule = add()
    store.claim(schedule.id, "dead", NOON + 40 * DAY, None, due=None)
    run_due()
    assert fresh(schedule).claim is None


def test_a_webhook_s_try_that_a_clock_set_too_far_ahead_is_due():
    deliveries.Delivery.create(
        key="k",
        schedule=1,
        report="r",
        ended=1,
        status="COMPLETE",
        state="waiting",
        next_try=NOON + 40 * DAY,
        created=1,
    )
    assert deliveries.due(NOON, 10, latest=NOON + 41 * DAY) == []
    assert len(deliveries.due(NOON, 10, latest=NOON + webhooks.LONGEST_MS)) == 1
