"""Recurring reports: each run happens once and covers its own part of the events, even if a process dies."""

from __future__ import annotations

import threading
from datetime import UTC, datetime

import pytest
from structlog.testing import capture_logs

from app.exceptions import Forbidden, InputInvalid, ScheduleBusy, ScheduleUnknown
from app.services.notifications import webhooks
from app.services.notifications.webhook_sender import WebhookSender
from app.services.people.principal import SYSTEM
from app.services.reports import service as reports_module
from app.services.schedules import runs as schedule_runs
from app.services.schedules import service
from app.store.models import Account, AuditEntry, Report, Schedule
from app.store.notifications import deliveries
from app.store.reports import reports as report_store
from app.store.schedules import schedules as store
from tests.support.client import Client, event
from tests.support.threads import BackgroundThreads, at_once
from tests.support.webhooks import link_webhook

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
    """The time as seen by the services."""

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
def observed_codes(clock, nobody) -> None:
    """Send events of the customers and the product, so that their codes are known."""
    nobody.send(event(), event(customer="OTHER"))


@pytest.fixture
def run_due(services, clock):
    """Return a function that starts due reports as schedulers do every few seconds, optionally at another time."""

    def run(moment: str | None = None) -> None:
        if moment is not None:
            clock.set(moment)
        services.schedule_runs.run_due()

    return run


@pytest.fixture
def anna(services):
    return services.accounts.add("anna", "analyst", ["BARCHART"], "correct horse")


@pytest.fixture
def add(services, anna):
    """Return a function that adds a recurring report of anna, with changes."""
    return lambda **changes: services.schedules.add(anna, WANTED | changes).schedule


def reload(schedule: Schedule) -> Schedule:
    return store.by_id(schedule.id)


def reports_of(schedule: Schedule) -> list[Report]:
    """Return the reports of a schedule, oldest first."""
    return list(Report.select().where(Report.schedule == schedule.id).order_by(Report.id))


def first_items(services, report: Report) -> list[str]:
    """Run a report, and return the first context item of each row; the tests identify events by it."""
    services.runner.run(report.job)
    done = services.reports.get(SYSTEM, f"JOB-{report.job}")
    assert done.status == "COMPLETE", done.reason
    return [line.split("|")[2] for line in services.reports.path(done).read_text().splitlines()]


def test_a_new_schedule_runs_first_at_its_next_hour(add, clock, run_due):
    schedule = add()
    assert schedule.next_run_at == ms("2026-11-24T06:00")
    run_due("2026-11-24T05:59:59")
    assert reports_of(schedule) == []
    run_due("2026-11-24T06:00")
    run_due()
    (report,) = reports_of(schedule)
    assert (report.start, report.end) == (ms("2026-11-23"), ms("2026-11-24") - 1)
    assert (report.customer, report.product, report.account_name) == ("BARCHART", "PORTFOLIO", "anna")
    updated = reload(schedule)
    assert (updated.next_run_at, updated.last_run_at) == (ms("2026-11-25T06:00"), clock.moment)
    assert (updated.last_report, updated.last_snapshot_max_id, updated.claim) == (
        report.job,
        report.snapshot_max_id,
        None,
    )


def test_reports_have_the_filter_and_output_of_their_schedule(services, nobody, add):
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
def test_a_week_starts_on_monday_and_a_month_is_a_calendar_month(add, clock, recurrence, runs, first, last, run_due):
    schedule = add(recurrence=recurrence)
    assert schedule.next_run_at == ms(runs)
    clock.set(runs)
    run_due()
    (report,) = reports_of(schedule)
    assert (report.start, report.end) == (ms(first), ms(last) - 1)


def test_after_five_days_without_a_scheduler_one_report_covers_the_latest_run(add, run_due):
    schedule = add()
    run_due("2026-11-29T09:30")
    run_due()
    (report,) = reports_of(schedule)
    assert (report.start, report.end) == (ms("2026-11-28"), ms("2026-11-29") - 1)
    assert reload(schedule).next_run_at == ms("2026-11-30T06:00")


def test_a_late_run_covers_the_same_period_as_a_punctual_one(add, clock, run_due):
    """The run of 23:00 that starts after midnight must not cover the period of the next run."""
    schedule = add(hour=23)
    clock.set("2026-11-25T00:30")  # the run of the 24th was missed
    run_due()
    run_due("2026-11-25T23:00")
    assert [report.start for report in reports_of(schedule)] == [ms("2026-11-23"), ms("2026-11-24")]


def test_a_since_last_report_starts_where_the_previous_ended_and_includes_late_events(services, add, nobody, run_due):
    schedule = add(mode="since_last")
    nobody.send(event(context=["one"]), event(context=["two"], timestamp=1))
    first = services.schedule_runs.run(SYSTEM, schedule)
    nobody.send(event(context=["late"], timestamp=2), event(customer="OTHER", context=["not ours"]))
    second = services.schedule_runs.run(SYSTEM, schedule)
    third = services.schedule_runs.run(SYSTEM, schedule)
    nobody.send(event(context=["last"]))
    run_due("2026-11-24T06:00")
    fourth = reports_of(schedule)[-1]
    assert first_items(services, first) == ["two", "user-1", "one"]
    assert first_items(services, second) == ["late"]
    assert first_items(services, third) == []
    assert first_items(services, fourth) == ["last"]
    assert [report.snapshot_min_id for report in (first, second, third, fourth)] == [
        None,
        first.snapshot_max_id,
        second.snapshot_max_id,
        third.snapshot_max_id,
    ]


def test_the_events_of_a_failed_report_are_in_its_retry_and_in_no_other_report(services, add, nobody):
    schedule = add(mode="since_last")
    cancelled = services.schedule_runs.run(SYSTEM, schedule)
    services.reports.cancel(SYSTEM, cancelled)
    nobody.send(event(context=["after it"]))
    following = services.schedule_runs.run(SYSTEM, schedule)
    assert first_items(services, following) == ["after it"]
    services.reports.retry(SYSTEM, Report.get_by_id(cancelled.id))
    assert first_items(services, cancelled) == ["user-1"]


def number_with_events(reports: list[Report]) -> int:
    return sum(report.snapshot_max_id > (report.snapshot_min_id or 0) for report in reports)


def test_under_concurrent_writers_every_event_is_in_exactly_one_of_the_reports(services, app, add, nobody):
    schedule = add(mode="since_last")
    stop, sent = threading.Event(), []

    def write(number: int) -> None:
        client = Client(app, None)
        for count in range(10_000):
            if stop.is_set():
                return
            names = [f"{number}-{count}-{place}" for place in range(5)]
            # timestamps are independent of the order of acceptance
            client.send(*[event(context=[name], timestamp=count * 7 % 1000) for name in names])
            sent.extend(names)

    with BackgroundThreads() as background:
        writers = [background.start(write, number) for number in range(6)]
        try:
            reports: list[Report] = []
            while len(reports) < 15 or number_with_events(reports) < 4:
                reports.append(services.schedule_runs.run(SYSTEM, schedule))
        finally:
            stop.set()
        for writer in writers:
            writer.result()
    reports.append(services.schedule_runs.run(SYSTEM, schedule))
    contents = [name for report in reports for name in first_items(services, report)]
    assert len(sent) > 50
    assert sorted(contents) == sorted([*sent, "user-1"])


def test_concurrent_runs_of_a_schedule_never_overlap(services, add, nobody):
    schedule = add(mode="since_last")

    def run(number: int) -> Report | None:
        nobody.send(event(context=[f"event-{number}"]))
        try:
            return services.schedule_runs.run(SYSTEM, schedule)
        except ScheduleBusy:
            return None

    reports = [report for report in at_once(8, run) if report]
    reports.append(services.schedule_runs.run(SYSTEM, schedule))
    contents = [name for report in reports for name in first_items(services, report)]
    assert sorted(contents) == sorted([*(f"event-{number}" for number in range(8)), "user-1"])


def test_a_run_is_started_by_one_of_several_racing_schedulers(add, clock, run_due):
    several = [add(name=f"Number {number}") for number in range(5)]
    clock.set("2026-11-24T06:00")
    at_once(6, lambda number: run_due())
    assert [len(reports_of(schedule)) for schedule in several] == [1] * 5
    assert {reload(schedule).next_run_at for schedule in several} == {ms("2026-11-25T06:00")}


def test_a_scheduler_with_an_outdated_list_starts_no_second_report(add, clock, run_due, monkeypatch):
    schedule = add()
    clock.set("2026-11-24T06:00")
    due = store.due(clock())
    run_due()
    monkeypatch.setattr(store, "due", lambda moment: due)
    run_due()
    assert len(reports_of(schedule)) == 1


class Killed(BaseException):
    """Simulates the death of the process."""


def test_no_run_is_lost_if_a_scheduler_dies_before_it_starts_the_report(add, clock, run_due):
    schedule = add()
    clock.set("2026-11-24T06:00")
    store.claim(schedule.id, "dead", clock(), ms("2026-11-25T06:00"), due=schedule.next_run_at)
    run_due()
    assert reports_of(schedule) == []  # another scheduler may be starting it
    clock.moment += schedule_runs.ABANDONED_MS + 1
    run_due()
    run_due()
    assert len(reports_of(schedule)) == 1
    assert reload(schedule).next_run_at == ms("2026-11-25T06:00")


def test_no_second_report_is_started_if_a_scheduler_dies_after_starting_it(
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
    (report,) = reports_of(schedule)
    updated = reload(schedule)
    assert (updated.last_report, updated.last_snapshot_max_id, updated.claim) == (
        report.job,
        report.snapshot_max_id,
        None,
    )
    assert updated.next_run_at == ms("2026-11-25T06:00")
    assert first_items(services, services.schedule_runs.run(SYSTEM, schedule)) == ["later"]


def test_a_slow_scheduler_whose_claim_expired_leaves_no_second_report(services, add, clock, monkeypatch, run_due):
    schedule = add(mode="since_last")
    clock.set("2026-11-24T06:00")
    start = services.reports.start

    def start_late(*args: object, **kwargs: object) -> Report:
        """Let another scheduler take over the claim before the report starts."""
        monkeypatch.undo()
        later = clock.moment + schedule_runs.ABANDONED_MS + 1
        monkeypatch.setattr(schedule_runs, "now", lambda: later)
        run_due()
        run_due()
        return start(*args, **kwargs)

    monkeypatch.setattr(services.reports, "start", start_late)
    run_due()
    started, duplicate = reports_of(schedule)
    assert (started.status, duplicate.status, duplicate.cancelled) == ("RUNNING", "FAILED", True)
    assert reload(schedule).last_report == started.job
    assert reload(schedule).next_run_at == ms("2026-11-25T06:00")


def test_a_schedule_cannot_be_run_while_its_report_is_being_started(services, add, clock):
    schedule = add()
    store.claim(schedule.id, "somebody", clock(), None, due=None)
    with pytest.raises(ScheduleBusy, match="being started"):
        services.schedule_runs.run(SYSTEM, schedule)


def test_a_failed_start_is_retried_and_does_not_affect_other_schedules(services, add, clock, monkeypatch, run_due):
    broken, good = add(name="A"), add(name="B")
    clock.set("2026-11-24T06:00")
    start = services.reports.start

    def fail(principal, filter, output, **kwargs: object) -> Report:
        if kwargs["origin"] == broken.id:
            raise RuntimeError("out of order")
        return start(principal, filter, output, **kwargs)

    with monkeypatch.context() as patch, capture_logs() as log:
        patch.setattr(services.reports, "start", fail)
        run_due()
    assert (len(reports_of(broken)), len(reports_of(good))) == (0, 1)
    assert "recurring report not started, it will be tried again" in [line["event"] for line in log]
    run_due()
    assert (len(reports_of(broken)), len(reports_of(good))) == (1, 1)


def test_running_a_schedule_now_does_not_change_its_next_run(services, add):
    schedule = add()
    report = services.schedule_runs.run(SYSTEM, schedule)
    assert (report.start, report.end) == (ms("2026-11-22"), ms("2026-11-23") - 1)
    assert reload(schedule).next_run_at == schedule.next_run_at


def test_a_paused_schedule_does_not_run_and_resumes_with_the_next_run(services, add, run_due):
    schedule = add()
    services.schedules.pause(SYSTEM, schedule)
    run_due("2026-11-27T10:00")
    assert reports_of(schedule) == []
    services.schedules.resume(SYSTEM, reload(schedule))
    assert (reload(schedule).active, reload(schedule).next_run_at) == (True, ms("2026-11-28T06:00"))
    run_due()
    assert reports_of(schedule) == []


def test_events_that_arrive_during_a_pause_are_in_the_next_since_last_report(services, add, nobody):
    schedule = add(mode="since_last")
    services.schedule_runs.run(SYSTEM, schedule)
    services.schedules.pause(SYSTEM, schedule)
    nobody.send(event(context=["meanwhile"]))
    services.schedules.resume(SYSTEM, reload(schedule))
    assert first_items(services, services.schedule_runs.run(SYSTEM, schedule)) == ["meanwhile"]


def test_a_paused_schedule_can_be_run_manually_and_stays_paused(services, add):
    schedule = add()
    services.schedules.pause(SYSTEM, schedule)
    services.schedule_runs.run(SYSTEM, schedule)
    assert (reload(schedule).active, reload(schedule).next_run_at) == (False, None)


def test_a_schedule_that_is_paused_while_its_report_starts_stays_paused(services, add, clock):
    schedule = add()
    clock.set("2026-11-24T06:00")
    claimed = store.claim(schedule.id, "token", clock(), ms("2026-11-25T06:00"), due=schedule.next_run_at)
    services.schedules.pause(SYSTEM, schedule)
    assert store.settle(claimed.id, "token", ran=True, reason=None)
    assert (reload(schedule).active, reload(schedule).next_run_at) == (False, None)


def test_a_schedule_is_deactivated_with_a_reason_if_its_owner_lost_the_customer(services, add, anna, run_due):
    schedule = add()
    Account.update(customers=["OTHER"]).where(Account.id == anna.id).execute()
    run_due("2026-11-24T06:00")
    assert reports_of(schedule) == []
    updated = reload(schedule)
    assert (updated.active, updated.next_run_at, updated.claim) == (False, None, None)
    assert "customer BARCHART" in updated.reason
    with pytest.raises(Forbidden):
        services.schedules.resume(SYSTEM, updated)


def test_a_schedule_is_deactivated_with_a_reason_if_its_owner_was_removed(services, add, anna, run_due):
    schedule = add()
    services.accounts.remove("anna")
    services.accounts.add("anna", "analyst", ["BARCHART"], "correct horse")  # a user with the same name is another user
    run_due("2026-11-24T06:00")
    assert reports_of(schedule) == []
    assert (reload(schedule).active, reload(schedule).reason) == (False, "Its owner, anna, is no user any more.")
    with pytest.raises(Forbidden, match="no user any more"):
        services.schedule_runs.run(SYSTEM, reload(schedule))


def test_a_schedule_whose_layout_became_invalid_shows_why_and_is_retried_at_the_next_run(
    add, sample_catalog, monkeypatch, run_due
):
    schedule = add(output={"layout": "columns"})
    monkeypatch.setattr("app.store.catalog.catalog.product", lambda code: None)
    run_due("2026-11-24T06:00")
    updated = reload(schedule)
    assert reports_of(schedule) == []
    assert 'output.layout is "columns", but the catalog has no columns' in updated.reason
    assert (updated.active, updated.next_run_at) == (True, ms("2026-11-25T06:00"))
    monkeypatch.undo()


@pytest.mark.parametrize(
    ("wrong", "expected"),
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
def test_an_invalid_field_is_named(services, anna, wrong, expected):
    with pytest.raises(InputInvalid) as error:
        services.schedules.add(anna, WANTED | wrong)
    assert expected in " ".join(field_error.message for field_error in error.value.field_errors)
    assert Schedule.select().count() == 0


def test_the_period_replaces_the_times_of_the_filter(services, anna):
    schedule = services.schedules.add(anna, WANTED | {"filter": WANTED["filter"] | {"start": 1, "end": 2}}).schedule
    report = services.schedule_runs.run(SYSTEM, schedule)
    assert (report.start, report.end) == (ms("2026-11-22"), ms("2026-11-23") - 1)


def test_a_name_is_unique_per_owner(services, add, admin, anna):
    add()
    with pytest.raises(InputInvalid) as error:
        add()
    assert error.value.field_errors[0].message.startswith('name is "Every day", and its owner has another')
    second = add(name="Another")
    with pytest.raises(InputInvalid):
        services.schedules.change(anna, second, WANTED)
    assert services.schedules.add(SYSTEM, WANTED).schedule.name == "Every day"


def test_a_schedule_needs_access_to_its_customer(services, add, anna):
    with pytest.raises(Forbidden, match="customer OTHER"):
        add(filter={"customer": "OTHER", "product": "PORTFOLIO"})
    with pytest.raises(Forbidden, match="customer OTHER"):
        services.schedules.change(anna, add(), WANTED | {"filter": {"customer": "OTHER", "product": "PORTFOLIO"}})


def test_changing_another_user_s_schedule_does_not_widen_access(services, anna):
    both = services.accounts.add("bea", "analyst", ["BARCHART", "OTHER"], "correct horse")
    limited = services.accounts.add("olga", "operator", ["BARCHART"], "correct horse")
    schedule = services.schedules.add(both, WANTED).schedule
    with pytest.raises(Forbidden, match="olga may not see"):
        services.schedules.change(limited, schedule, WANTED | {"filter": {"customer": "OTHER", "product": "PORTFOLIO"}})


def test_the_customer_of_a_schedule_cannot_be_changed(services, add):
    schedule = add()
    with pytest.raises(InputInvalid) as error:
        services.schedules.change(SYSTEM, schedule, WANTED | {"filter": {"customer": "OTHER", "product": "PORTFOLIO"}})
    (field_error,) = error.value.field_errors
    assert field_error.message.startswith('filter.customer is "OTHER", but this recurring report is about "BARCHART"')
    assert reload(schedule).customer == "BARCHART"


def test_errors_of_a_change_suggest_only_codes_visible_to_the_editor(services, nobody):
    nobody.send(event(customer="SECRET", product="SECRET-PRODUCT"))
    limited = services.accounts.add("olga", "operator", ["BARCHART"], "correct horse")
    schedule = services.schedules.add(SYSTEM, WANTED).schedule
    messages = ""
    for filter in ({"product": "SECRET-PRODUC"}, {"customer": "SECRE"}, {"customer": "SECRET"}):
        with pytest.raises((InputInvalid, Forbidden)) as error:
            services.schedules.change(limited, schedule, WANTED | {"filter": WANTED["filter"] | filter})
        messages += f"{error.value} {getattr(error.value, 'field_errors', '')}"
    assert "the nearest known: PORTFOLIO." in messages
    assert "SECRET-PRODUCT" not in messages


def test_a_schedule_cannot_be_changed_to_what_its_owner_may_not_start(services, add, nobody):
    nobody.send(event(customer="OTHER", product="OTHERS"))
    with pytest.raises(InputInvalid) as error:
        services.schedules.change(SYSTEM, add(), WANTED | {"filter": {"customer": "BARCHART", "product": "OTHERS"}})
    assert error.value.field_errors[0].message == 'filter.product is "OTHERS", which is not known.'


@pytest.mark.parametrize("by_hand", [True, False])
def test_the_reason_of_a_failed_start_suggests_no_codes_visible_only_to_the_owner(services, nobody, by_hand, run_due):
    nobody.send(event(customer="SECRET", product="SECRET-PRODUCT"))
    schedule = services.schedules.add(SYSTEM, WANTED).schedule
    Schedule.update(product="SECRET-PRODUC").execute()
    limited = services.accounts.add("olga", "operator", ["BARCHART"], "correct horse")
    if by_hand:
        with pytest.raises(InputInvalid) as error:
            services.schedule_runs.run(limited, reload(schedule))
        message = error.value.field_errors[0].message
    else:
        run_due("2026-11-24T06:00")
        message = reload(schedule).reason
    assert message == 'filter.product is "SECRET-PRODUC", which is not known.'


@pytest.fixture
def changed_schedule(services, add, nobody):
    """A schedule about BARCHART that an earlier version allowed to change to OTHER. Its report is about BARCHART."""
    schedule = add()
    report = services.schedule_runs.run(SYSTEM, schedule)
    deliveries.add_report("key", report_ended(services, report), link_webhook(schedule).id, NOON)
    Schedule.update(customer="OTHER").execute()
    return reload(schedule)


def report_ended(services, report: Report) -> Report:
    services.reports.cancel(SYSTEM, report)
    return Report.get_by_id(report.id)


def test_reports_and_deliveries_of_a_schedule_are_visible_by_the_customer_of_the_report(services, changed_schedule):
    otto = services.accounts.add("otto", "operator", ["OTHER"], "correct horse")
    (delivery,) = services.schedules.deliveries(SYSTEM, changed_schedule, 10)
    assert services.schedules.count_reports(SYSTEM, changed_schedule) == 1
    assert services.schedules.reports(otto, changed_schedule, 10) == []
    assert services.schedules.count_reports(otto, changed_schedule) == 0
    assert services.schedules.deliveries(otto, changed_schedule, 10) == []
    with pytest.raises(ScheduleUnknown):
        services.schedules.delivery(otto, changed_schedule, delivery.id)


@pytest.mark.parametrize("action", ["change", "pause", "resume", "run", "remove", "send_again"])
def test_an_action_on_a_removed_schedule_is_answered_not_found(services, changed_schedule, action):
    (delivery,) = services.schedules.deliveries(SYSTEM, changed_schedule, 10)
    Schedule.update(owner=SYSTEM.id, customer="BARCHART").execute()
    schedule = reload(changed_schedule)
    services.schedules.remove(SYSTEM, schedule)
    actions = {
        "change": lambda: services.schedules.change(SYSTEM, schedule, WANTED),
        "run": lambda: services.schedule_runs.run(SYSTEM, schedule),
        "send_again": lambda: services.schedules.send_again(SYSTEM, schedule, delivery),
    }
    audit_count = AuditEntry.select().count()
    with pytest.raises(ScheduleUnknown):
        actions.get(action, lambda: getattr(services.schedules, action)(SYSTEM, schedule))()
    assert AuditEntry.select().count() == audit_count


def test_analysts_see_their_own_schedules_and_operators_all_of_their_customers(services, add, anna):
    bea = services.accounts.add("bea", "analyst", ["BARCHART"], "correct horse")
    olga = services.accounts.add("olga", "operator", None, "correct horse")
    otto = services.accounts.add("otto", "operator", ["OTHER"], "correct horse")
    schedule = add()
    assert [services.schedules.visible(principal) for principal in (bea, otto)] == [[], []]
    assert [services.schedules.visible(principal) for principal in (anna, olga, SYSTEM)] == [[schedule]] * 3
    for principal in (bea, otto):
        with pytest.raises(ScheduleUnknown):
            services.schedules.get(principal, schedule.id)


def test_only_a_change_of_the_hour_changes_the_next_run(services, add, clock, anna):
    schedule = add()
    clock.set("2026-11-24T06:00")  # it is due, and no scheduler has started it yet
    services.schedules.change(anna, reload(schedule), WANTED | {"name": "Renamed"})
    assert reload(schedule).next_run_at == ms("2026-11-24T06:00")
    services.schedules.change(anna, reload(schedule), WANTED | {"hour": 7})
    assert reload(schedule).next_run_at == ms("2026-11-24T07:00")


def test_removing_a_schedule_keeps_its_reports(services, add, anna):
    schedule = add()
    report = services.schedule_runs.run(SYSTEM, schedule)
    services.schedules.remove(SYSTEM, schedule)
    assert services.schedules.visible(anna) == []
    assert services.reports.get(anna, f"JOB-{report.job}").job == report.job


def test_the_scheduler_starts_due_reports(services, add, clock):
    schedule = add()
    clock.set("2026-11-24T06:00")
    services.scheduler.run_all()
    assert len(reports_of(schedule)) == 1


@pytest.mark.parametrize("recurrence", ["daily", "weekly", "monthly"])
def test_a_schedule_runs_on_time_after_a_scheduler_had_its_clock_ahead(add, clock, recurrence, run_due):
    schedule = add(recurrence=recurrence)
    expected = reload(schedule).next_run_at
    clock.set("2027-01-02T12:00")  # 40 days ahead
    run_due()
    assert reload(schedule).next_run_at > clock.moment
    clock.moment = NOON
    run_due()
    assert reload(schedule).next_run_at == expected
    assert len(reports_of(schedule)) == 1


def test_a_clock_slightly_behind_starts_no_run_twice(add, run_due):
    schedule = add()
    run_due("2026-11-24T06:00:00")
    run_due("2026-11-24T05:59:00")
    run_due("2026-11-24T06:00:30")
    assert len(reports_of(schedule)) == 1


def test_a_claim_made_with_a_clock_ahead_is_released(add, run_due):
    schedule = add()
    store.claim(schedule.id, "dead", NOON + 40 * DAY, None, due=None)
    run_due()
    assert reload(schedule).claim is None


def test_a_webhook_attempt_scheduled_by_a_clock_too_far_ahead_is_due():
    deliveries.Delivery.create(
        key="k",
        schedule=1,
        report="r",
        ended_at=1,
        status="COMPLETE",
        state="waiting",
        webhook=1,
        due_at=NOON + 40 * DAY,
        created_at=1,
    )
    assert deliveries.due("webhook", NOON, 10, latest=NOON + 41 * DAY) == []
    assert len(deliveries.due("webhook", NOON, 10, latest=NOON + WebhookSender.kind.longest_ms)) == 1
