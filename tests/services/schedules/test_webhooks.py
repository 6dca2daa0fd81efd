"""Webhooks: whoever wants to know of a report's end is told until they answer, and can tell who it was."""

from __future__ import annotations

import hashlib
import hmac
import json
import threading

import pytest

from app.config import Settings
from app.exceptions import InputInvalid, StorageFailed
from app.services.people.principal import SYSTEM
from app.services.schedules import webhook_client as room
from app.services.schedules import webhooks as module
from app.services.schedules.webhooks import Webhooks
from app.store.models import AuditEntry, Delivery, DeliveryTry, Report, Schedule
from app.store.schedules import deliveries as store
from tests.support.client import event
from tests.support.pace import slack
from tests.support.receivers import hang, listener, receiver
from tests.support.threads import at_once

WANTED = {
    "name": "Every day",
    "filter": {"customer": "BARCHART", "product": "PORTFOLIO"},
    "recurrence": "daily",
    "hour": 6,
    "mode": "since_last",
}
SERVER_ERROR = (500, {}, b"out of order")
DAY = 86_400_000


class Clock:
    """The time, as the deliveries see it: what is due, and when next."""

    def __init__(self) -> None:
        self.ahead = 0
        self.now = module.now

    def __call__(self) -> int:
        return self.now() + self.ahead


@pytest.fixture
def clock(monkeypatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(module, "now", clock)
    monkeypatch.setattr(module, "server_time", clock)
    return clock


@pytest.fixture
def there():
    with receiver() as receives:
        yield receives


@pytest.fixture(autouse=True)
def known(nobody) -> None:
    nobody.send(event(context=["one"]), event(context=["two"]))


@pytest.fixture
def allowing(services, settings, monkeypatch):
    """Change what WEBHOOK_HOSTS allows."""

    def allow(*hosts: str) -> None:
        fresh = Webhooks(hosts, settings.secret, services.reports)
        monkeypatch.setattr(services.webhooks, "_allowed", fresh._allowed)

    return allow


@pytest.fixture
def saved(services, there, allowing):
    """A recurring report with a webhook to `there`, and its secret."""
    allowing(there.url)
    return services.schedules.add(SYSTEM, WANTED | {"webhook": f"{there.url}/reports?from=tally"})


@pytest.fixture
def schedule(saved) -> Schedule:
    return saved.schedule


@pytest.fixture
def tell(services, clock):
    """Do what a scheduler does every few seconds, after some milliseconds."""

    def send(after_ms: int = 0) -> None:
        clock.ahead += after_ms
        services.webhooks.send()
        services.webhooks.flush()

    return send


@pytest.fixture
def complete(services):
    """Run a recurring report to its end."""

    def run(schedule: Schedule) -> Report:
        report = services.schedule_runs.run(SYSTEM, schedule)
        services.runner.run(report.job)
        return Report.get(Report.job == report.job)

    return run


def delivery() -> Delivery:
    """The only one."""
    (found,) = Delivery.select()
    return found


def tries() -> list[tuple[int | None, str]]:
    return [(one.code, one.said) for one in DeliveryTry.select().order_by(DeliveryTry.id)]


def test_a_complete_report_is_told_with_what_is_needed_to_fetch_and_check_it(nobody, schedule, complete, tell, there):
    report = complete(schedule)
    tell()
    (got,) = there.got
    told = json.loads(got.body)
    assert got.path == "/reports?from=tally"
    assert list(told) == [
        "job", "source", "status", "filter", "timing", "schedule", "rows", "bytes", "sha256", "link",
    ]  # fmt: skip
    assert (told["source"], told["status"], told["schedule"]) == (f"JOB-{report.job}", "COMPLETE", "Every day")
    assert told["filter"] == {"customer": "BARCHART", "product": "PORTFOLIO"}
    assert told["link"].startswith("https://tally.example/files/JOB-")
    answer = nobody.get(told["link"].removeprefix("https://tally.example"))
    data = answer.get_data()
    assert (len(data), hashlib.sha256(data).hexdigest()) == (told["bytes"], told["sha256"])
    assert data.count(b"\n") == told["rows"] == 2


def test_it_is_signed_with_the_secret_that_was_told_once(saved, complete, tell, there):
    complete(saved.schedule)
    tell()
    (got,) = there.got
    assert saved.secret.startswith("tally_hook_")
    parts = dict(part.split("=") for part in got.headers["X-Tally-Signature"].split(","))
    signed = parts["t"].encode() + b"." + got.body
    assert parts["v1"] == hmac.new(saved.secret.encode(), signed, "sha256").hexdigest()
    assert got.headers["Content-Type"] == "application/json"
    assert got.headers["User-Agent"].startswith("Tally/")


def test_the_secret_is_kept_nowhere(saved):
    columns = Schedule.select().dicts().get().values()
    kept = saved.secret.removeprefix("tally_hook_")
    assert not [value for value in columns if isinstance(value, str) and kept in value]
    assert not [entry for entry in AuditEntry.select().dicts() if kept in str(entry)]


def test_another_secret_counts_at_once(services, saved, complete, tell, there):
    secret = services.schedules.new_secret(SYSTEM, saved.schedule)
    complete(saved.schedule)
    tell()
    time, mark = there.got[0].headers["X-Tally-Signature"].removeprefix("t=").split(",v1=")
    assert secret != saved.secret
    assert mark == hmac.new(secret.encode(), f"{time}.".encode() + there.got[0].body, "sha256").hexdigest()


def test_what_fails_is_tried_again_later_and_later_with_a_fresh_link_and_the_same_id(schedule, complete, tell, there):
    there.answers += [SERVER_ERROR] * 2
    complete(schedule)
    tell()
    tell()
    assert len(there.got) == 1  # not before its time
    tell(30_000)
    tell(119_000)
    assert len(there.got) == 2
    tell(1_100)
    assert tries() == [(500, "out of order"), (500, "out of order"), (200, "thank you")]
    assert (delivery().state, delivery().tries, delivery().next_try) == ("delivered", 3, None)
    assert {got.headers["X-Tally-Delivery"] for got in there.got} == {delivery().key}
    assert len({json.loads(got.body)["link"] for got in there.got}) == 3
    tell(3 * DAY)
    assert len(there.got) == 3


def test_after_eight_tries_within_a_day_it_is_given_up_and_each_is_on_record(schedule, complete, tell, there):
    there.answers += [SERVER_ERROR] * 20
    complete(schedule)
    for pause in (0, *module.PAUSES_SECONDS, 100_000, 100_000):
        tell(pause * 1000 + 100)
    assert len(there.got) == 8
    assert 23 * 3600 < sum(module.PAUSES_SECONDS) < 24 * 3600
    assert (delivery().state, delivery().tries, delivery().next_try) == ("given_up", 8, None)
    assert tries() == [(500, "out of order")] * 8


def test_whoever_asks_has_it_sent_again_with_all_its_tries(services, schedule, complete, tell, there):
    there.answers += [SERVER_ERROR] * 8
    complete(schedule)
    for pause in (0, *module.PAUSES_SECONDS):
        tell(pause * 1000 + 100)
    services.schedules.send_again(SYSTEM, schedule, delivery())
    tell(1_000)
    assert (delivery().state, delivery().tries) == ("delivered", 1)
    assert len(tries()) == 9


@pytest.mark.parametrize(
    ("lose", "why"),
    [
        (lambda services, anna: services.accounts.remove("anna"), "anna, is no user any more"),
        (lambda services, anna: services.accounts.change(anna, "analyst", ["OTHER"]), "customer BARCHART"),
        (lambda services, anna: services.accounts.change(anna, "analyst", None), "customer BARCHART"),
        (lambda services, anna: Schedule.update(customer="OTHER").execute(), "another customer"),
    ],
    ids=["removed", "limited", "demoted", "changed"],
)
def test_an_owner_who_may_not_see_the_report_any_more_sends_no_new_link(
    services, there, allowing, complete, tell, lose, why
):
    allowing(there.url)
    anna = services.accounts.add("anna", "operator", None, "correct horse")
    schedule = services.schedules.add(anna, WANTED | {"webhook": there.url}).schedule
    there.answers.append(SERVER_ERROR)
    complete(schedule)
    tell()
    lose(services, anna)
    tell(31_000)
    assert len(there.got) == 1
    code, said = tries()[-1]
    assert code is None and why in said


def test_a_redirect_is_a_failure_and_not_followed(schedule, complete, tell, there):
    with receiver() as elsewhere:
        there.answers.append((302, {"Location": elsewhere.url}, b""))
        complete(schedule)
        tell()
        assert elsewhere.got == []
    assert tries() == [(302, "")]
    assert delivery().state == "waiting"


def test_a_server_that_says_nothing_is_left_and_tried_again(services, complete, tell, allowing, monkeypatch):
    monkeypatch.setattr(room, "TIMEOUT_SECONDS", 0.2)
    with listener(hang) as url:
        allowing(url)
        complete(services.schedules.add(SYSTEM, WANTED | {"webhook": url}).schedule)
        tell()
    assert tries() == [(None, f"{url} did not answer within 0.2 seconds.")]
    assert (delivery().state, delivery().tries) == ("waiting", 1)


def test_servers_that_say_nothing_keep_the_scheduler_from_nothing(services, complete, allowing, monkeypatch, there):
    monkeypatch.setattr(room, "TIMEOUT_SECONDS", 1.5)
    with listener(hang) as url:
        allowing(url, there.url)
        for number in range(module.MAX_CONCURRENT_TRIES - 1):
            silent = WANTED | {"name": f"Number {number}", "webhook": url}
            complete(services.schedules.add(SYSTEM, silent).schedule)
        complete(services.schedules.add(SYSTEM, WANTED | {"webhook": there.url}).schedule)
        begun = module.time.monotonic()
        services.webhooks.send()
        assert module.time.monotonic() - begun < slack(1)
        while not there.got:
            assert module.time.monotonic() - begun < slack(1.4)
            module.time.sleep(0.01)
        services.webhooks.flush()


def test_no_more_are_under_way_than_there_are_threads(services, complete, allowing, monkeypatch):
    monkeypatch.setattr(room, "TIMEOUT_SECONDS", 0.3)
    held, most, lock = set(), [], threading.Lock()

    def count(connection) -> None:
        with lock:
            held.add(connection)
            most.append(len(held))
        hang(connection)
        with lock:
            held.discard(connection)

    with listener(count) as url:
        allowing(url)
        for number in range(module.MAX_CONCURRENT_TRIES + 3):
            complete(services.schedules.add(SYSTEM, WANTED | {"name": str(number), "webhook": url}).schedule)
        for _ in range(3):
            services.webhooks.send()
            services.webhooks.flush()
    assert len(tries()) == module.MAX_CONCURRENT_TRIES + 3
    assert max(most) <= module.MAX_CONCURRENT_TRIES


def test_a_host_that_is_not_allowed_is_refused_when_it_is_saved(services, allowing, there):
    allowing("hooks.example.com", "http://10.0.0.7:8080")
    for url in (there.url, "http://hooks.example.com/", "https://hooks.example.com:8443/", "https://10.0.0.7:8080/"):
        with pytest.raises(InputInvalid) as refused:
            services.schedules.add(SYSTEM, WANTED | {"webhook": url})
        (fault,) = refused.value.field_errors
        assert fault.message.endswith(
            "which WEBHOOK_HOSTS does not allow; it allows http://10.0.0.7:8080 or https://hooks.example.com."
        )
    for url in ("https://hooks.example.com/x", "http://10.0.0.7:8080/x"):
        services.schedules.add(SYSTEM, WANTED | {"name": url, "webhook": url})


def test_where_the_operator_names_no_host_there_are_no_webhooks(services):
    assert Settings().webhook_hosts == ()
    with pytest.raises(InputInvalid) as refused:
        services.schedules.add(SYSTEM, WANTED | {"webhook": "https://hooks.example.com/"})
    assert refused.value.field_errors[0].message.endswith("WEBHOOK_HOSTS does not allow; it allows none.")


@pytest.mark.parametrize(
    "url", ["hooks.example.com", "https://user:word@hooks.example.com/", "https://hooks.example.com/#x", "x" * 3000, 7]
)
def test_what_is_no_url_to_send_to_is_refused_by_name(services, allowing, url):
    allowing("hooks.example.com")
    with pytest.raises(InputInvalid) as refused:
        services.schedules.add(SYSTEM, WANTED | {"webhook": url})
    assert refused.value.field_errors[0].message.startswith("webhook ")


def test_a_host_that_is_allowed_no_more_gets_nothing_and_that_is_on_record(schedule, complete, tell, there, allowing):
    complete(schedule)
    allowing("hooks.example.com")
    tell()
    assert there.got == []
    assert tries()[0][0] is None
    assert "which WEBHOOK_HOSTS does not allow" in tries()[0][1]
    allowing(there.url)
    tell(31_000)
    assert delivery().state == "delivered"


def test_a_failed_report_is_told_too_and_so_is_its_end_when_it_is_run_again(services, schedule, tell, there):
    report = services.schedule_runs.run(SYSTEM, schedule)
    Report.update(status="FAILED", ended=module.now(), reason="The disk is full.").where(
        Report.job == report.job
    ).execute()
    tell()
    told = json.loads(there.got[0].body)
    assert (told["status"], told["reason"]) == ("FAILED", "The disk is full.")
    assert not {"rows", "link", "sha256"} & set(told)
    services.reports.retry(SYSTEM, Report.get(Report.job == report.job))
    tell()
    assert len(there.got) == 1
    services.runner.run(report.job)
    tell()
    assert json.loads(there.got[1].body)["status"] == "COMPLETE"
    assert len({got.headers["X-Tally-Delivery"] for got in there.got}) == 2


def test_a_cancelled_report_is_told_with_whoever_cancelled_it(services, schedule, tell, there):
    services.reports.cancel(SYSTEM, services.schedule_runs.run(SYSTEM, schedule))
    tell()
    told = json.loads(there.got[0].body)
    assert (told["status"], told["reason"]) == ("FAILED", "Cancelled by system.")


def test_a_storage_that_is_away_is_on_record_and_the_webhook_tried_again(
    services, schedule, complete, tell, there, monkeypatch
):
    complete(schedule)

    def away(report: Report) -> str:
        raise StorageFailed("The bucket cannot be reached.")

    with monkeypatch.context() as patch:
        patch.setattr(services.reports, "link", away)
        tell()
    assert (there.got, tries()) == ([], [(None, "The bucket cannot be reached.")])
    tell(31_000)
    assert "link" in json.loads(there.got[0].body)


def test_a_report_whose_file_is_gone_is_told_without_a_link(schedule, complete, tell, there):
    report = complete(schedule)
    Report.update(removed=True).where(Report.job == report.job).execute()
    tell()
    told = json.loads(there.got[0].body)
    assert "link" not in told
    assert told["rows"] == 2


def test_only_what_ends_after_a_webhook_was_set_is_told(services, complete, tell, there, allowing):
    allowing(there.url)
    schedule = services.schedules.add(SYSTEM, WANTED).schedule
    complete(schedule)
    saved = services.schedules.change(SYSTEM, schedule, WANTED | {"webhook": there.url})
    assert saved.secret
    tell()
    assert there.got == []
    complete(saved.schedule)
    tell()
    assert len(there.got) == 1


def test_a_changed_address_keeps_the_secret_and_gets_what_still_waits(services, saved, complete, tell, there, allowing):
    there.answers.append(SERVER_ERROR)
    complete(saved.schedule)
    tell()
    with receiver() as other:
        allowing(other.url)
        changed = services.schedules.change(SYSTEM, saved.schedule, WANTED | {"webhook": other.url})
        tell(31_000)
    assert changed.secret is None
    assert len(other.got) == 1
    assert changed.schedule.webhook_salt == saved.schedule.webhook_salt


def test_without_its_webhook_nothing_that_waits_is_sent(services, schedule, complete, tell, there):
    there.answers.append(SERVER_ERROR)
    complete(schedule)
    tell()
    services.schedules.change(SYSTEM, schedule, WANTED)
    tell(31_000)
    assert len(there.got) == 1
    assert delivery().state == "given_up"


def test_with_its_schedule_everything_about_its_webhooks_goes(services, schedule, complete, tell, there):
    there.answers.append(SERVER_ERROR)
    complete(schedule)
    tell()
    services.schedules.remove(SYSTEM, schedule)
    assert (Delivery.select().count(), DeliveryTry.select().count()) == (0, 0)
    tell()
    assert len(there.got) == 1


def test_reports_that_nobody_scheduled_are_told_to_nobody(services, schedule, admin, tell, there):
    services.runner.run(admin.start_report()["job"])
    tell()
    assert (there.got, Delivery.select().count()) == ([], 0)


def test_of_schedulers_that_race_one_sends(settings, services, schedule, complete, there):
    for _ in range(4):
        complete(schedule)
    several = [Webhooks([there.url], settings.secret, services.reports) for _ in range(5)]
    at_once(5, lambda number: several[number].send())
    for one in several:
        one.flush()
    for _ in range(3):
        services.webhooks.send()
        services.webhooks.flush()
    assert len(there.got) == 4
    assert len({got.headers["X-Tally-Delivery"] for got in there.got}) == 4


def test_a_scheduler_that_died_at_it_leaves_the_next_try_to_another(schedule, complete, tell, there, clock):
    complete(schedule)
    for report in store.unannounced(0):
        store.add("key", report, clock())
    assert store.claim(delivery(), clock() + 30_000)  # and then it dies
    tell()
    assert there.got == []
    tell(31_000)
    assert (delivery().state, delivery().tries) == ("delivered", 2)


def test_a_scheduler_that_died_at_the_last_try_leaves_nothing_that_waits_for_ever(
    schedule, complete, tell, there, clock
):
    complete(schedule)
    for report in store.unannounced(0):
        store.add("key", report, clock())
    Delivery.update(tries=len(module.PAUSES_SECONDS)).execute()
    assert store.claim(delivery(), clock() + 60_000)
    tell(61_000)
    assert (delivery().state, delivery().next_try) == ("given_up", None)
    assert there.got == []


def test_an_answer_is_kept_as_far_as_it_can_be_shown(schedule, complete, tell, there):
    there.answers.append((400, {}, b"no\0thing\x1b[31m " + "naïve ".encode() + b"\xff" + b"x" * 9000))
    complete(schedule)
    tell()
    ((code, said),) = tries()
    assert (code, len(said)) == (400, module.MAX_RESPONSE_LENGTH)
    assert said.startswith("no thing [31m naïve")


def test_an_answer_that_repeats_what_it_was_sent_keeps_no_signature(schedule, complete, tell, there, capsys):
    echo = b'"link":"https://tally.example/files/JOB-1?expires=1&nonce=n&signature=OPEN-sesame_1","u":"signature\\u003dOPEN"'
    there.answers.append((500, {}, echo + b" signature%3dOPEN X-Tally-Signature: t=1,v1=OPEN0123 and more"))
    complete(schedule)
    tell()
    ((_, said),) = tries()
    assert "OPEN" not in said
    assert said.endswith("X-Tally-Signature: t=1,v1=… and more")
    assert "OPEN" not in capsys.readouterr().err


def test_what_was_delivered_long_ago_is_forgotten_and_not_told_again(services, schedule, complete, tell, there, clock):
    complete(schedule)
    tell()
    clock.ahead += (module.KEEP_DAYS + 1) * DAY
    services.webhooks.purge()
    assert (Delivery.select().count(), DeliveryTry.select().count()) == (0, 0)
    tell()
    assert len(there.got) == 1


def test_the_scheduler_does_all_of_it(services, schedule, complete, there):
    complete(schedule)
    services.scheduler.run_all()
    services.webhooks.flush()
    assert len(there.got) == 1


def test_neither_address_nor_secret_is_in_the_audit_log_only_the_server(services, saved, there):
    services.schedules.new_secret(SYSTEM, saved.schedule)
    entries = str(list(AuditEntry.select().dicts()))
    assert there.url in entries
    assert "from=tally" not in entries
    assert "tally_hook_" not in entries
