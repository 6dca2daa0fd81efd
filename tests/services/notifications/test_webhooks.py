"""Webhooks of recurring reports: a signed notification, retried until the server accepts it."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import threading

import pytest
import standardwebhooks

from app.config import Settings
from app.exceptions import InputInvalid, StorageFailed
from app.services.notifications import deliveries as module
from app.services.notifications import signatures
from app.services.notifications import webhook_client as room
from app.services.notifications.deliveries import Deliveries
from app.services.notifications.sending import PAUSES_SECONDS
from app.services.notifications.webhook_sender import WebhookSender
from app.services.notifications.webhooks import Webhooks
from app.services.people.principal import SYSTEM
from app.store.models import AuditEntry, Delivery, DeliveryTry, Report, Schedule, Webhook, WebhookSecret
from app.store.notifications import deliveries as store
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


@pytest.fixture(autouse=True)
def stored_events(nobody) -> None:
    nobody.send(event(context=["one"]), event(context=["two"]))


@pytest.fixture
def saved(services, endpoint, allow_hosts):
    """A recurring report with a webhook to `endpoint`, and its secret."""
    allow_hosts(endpoint.url)
    return services.schedules.add(SYSTEM, WANTED | {"webhook": f"{endpoint.url}/reports?from=tally"})


@pytest.fixture
def schedule(saved) -> Schedule:
    return saved.schedule


@pytest.fixture
def complete(services):
    """Return a function that runs a recurring report to its end."""

    def run(schedule: Schedule) -> Report:
        report = services.schedule_runs.run(SYSTEM, schedule)
        services.runner.run(report.job)
        return Report.get(Report.job == report.job)

    return run


def delivery() -> Delivery:
    """Return the only delivery."""
    (delivery,) = Delivery.select()
    return delivery


def tries() -> list[tuple[int | None, str]]:
    return [(attempt.code, attempt.said) for attempt in DeliveryTry.select().order_by(DeliveryTry.id)]


def test_a_webhook_of_a_complete_report_has_what_is_needed_to_fetch_and_verify_the_file(
    nobody, schedule, complete, deliver, endpoint
):
    report = complete(schedule)
    deliver()
    (request,) = endpoint.got
    payload = json.loads(request.body)
    assert request.path == "/reports?from=tally"
    data = ["job", "source", "status", "filter", "timing", "schedule", "rows", "bytes", "sha256", "link"]
    assert list(payload) == [*data, "type", "timestamp", "data"]
    assert payload["data"] == {name: payload[name] for name in data}
    assert (payload["source"], payload["status"], payload["schedule"]) == (f"JOB-{report.job}", "COMPLETE", "Every day")
    assert payload["filter"] == {"customer": "BARCHART", "product": "PORTFOLIO"}
    assert payload["link"].startswith("https://tally.example/files/JOB-")
    answer = nobody.get(payload["link"].removeprefix("https://tally.example"))
    data = answer.get_data()
    assert (len(data), hashlib.sha256(data).hexdigest()) == (payload["bytes"], payload["sha256"])
    assert data.count(b"\n") == payload["rows"] == 2


def test_a_webhook_is_signed_as_standard_webhooks_and_version_1_0_have_it(saved, complete, deliver, endpoint):
    complete(saved.schedule)
    deliver()
    (request,) = endpoint.got
    assert standardwebhooks.Webhook(saved.secret).verify(request.body, request.headers) == json.loads(request.body)
    with pytest.raises(standardwebhooks.WebhookVerificationError):
        standardwebhooks.Webhook(saved.secret).verify(request.body + b" ", request.headers)
    parts = dict(part.split("=") for part in request.headers["X-Tally-Signature"].split(","))
    signed = parts["t"].encode() + b"." + request.body
    assert parts["v1"] == hmac.new(saved.secret.encode(), signed, "sha256").hexdigest()
    assert parts["t"] == request.headers["webhook-timestamp"]
    assert request.headers["X-Tally-Delivery"] == request.headers["webhook-id"] == delivery().key
    assert request.headers["Content-Type"] == "application/json"
    assert request.headers["User-Agent"].startswith("Tally/")


def test_a_secret_is_32_bytes_and_not_stored(services, saved):
    assert len(base64.b64decode(saved.secret.removeprefix("whsec_"))) == 32
    other = services.webhooks.rotate(SYSTEM, Webhook.get())
    rows = [row for table in (Webhook, WebhookSecret, AuditEntry) for row in table.select().dicts()]
    assert not [row for row in rows for secret in (saved.secret, other) if secret.removeprefix("whsec_") in str(row)]


def test_after_a_rotation_both_secrets_sign_for_a_day(services, saved, complete, deliver, endpoint):
    secret = services.webhooks.rotate(SYSTEM, Webhook.get())
    complete(saved.schedule)
    deliver()
    (request,) = endpoint.got
    for one in (secret, saved.secret):
        standardwebhooks.Webhook(one).verify(request.body, request.headers)
    number, time = request.headers["webhook-id"], int(request.headers["webhook-timestamp"])
    assert request.headers["X-Tally-Signature"] == signatures.old_signature(secret, time, request.body)
    deliver(DAY)
    assert services.webhooks.secrets(Webhook.get()) == [secret]
    headers = signatures.headers(services.webhooks.secrets(Webhook.get()), number, time, request.body)
    with pytest.raises(standardwebhooks.WebhookVerificationError):
        standardwebhooks.Webhook(saved.secret).verify(request.body, headers)


def test_a_secret_that_somebody_may_know_stops_signing_at_once(services, saved):
    services.webhooks.rotate(SYSTEM, Webhook.get())
    secret = services.webhooks.rotate(SYSTEM, Webhook.get(), at_once=True)
    assert services.webhooks.secrets(Webhook.get()) == [secret]


def test_a_failed_delivery_is_retried_with_growing_pauses_a_fresh_link_and_the_same_id(
    schedule, complete, deliver, endpoint
):
    endpoint.answers += [SERVER_ERROR] * 2
    complete(schedule)
    deliver()
    deliver()
    assert len(endpoint.got) == 1  # the pause is not over
    deliver(30_000)
    deliver(119_000)
    assert len(endpoint.got) == 2
    deliver(1_100)
    assert tries() == [(500, "out of order"), (500, "out of order"), (200, "thank you")]
    assert (delivery().state, delivery().tries, delivery().due_at) == ("delivered", 3, None)
    assert {request.headers["webhook-id"] for request in endpoint.got} == {delivery().key}
    assert len({json.loads(request.body)["link"] for request in endpoint.got}) == 3
    deliver(3 * DAY)
    assert len(endpoint.got) == 3


def test_a_delivery_is_given_up_after_ten_recorded_attempts_within_three_days(schedule, complete, deliver, endpoint):
    endpoint.answers += [SERVER_ERROR] * 20
    complete(schedule)
    for pause in (0, *PAUSES_SECONDS, 100_000, 100_000):
        deliver(pause * 1000 + 100)
    assert len(endpoint.got) == 10
    assert 2 * DAY < sum(PAUSES_SECONDS) * 1000 < 3 * DAY
    assert (delivery().state, delivery().tries, delivery().due_at) == ("given_up", 10, None)
    assert tries() == [(500, "out of order")] * 10


def test_a_delivery_that_is_sent_again_starts_with_all_its_attempts(services, schedule, complete, deliver, endpoint):
    endpoint.answers += [SERVER_ERROR] * 10
    complete(schedule)
    for pause in (0, *PAUSES_SECONDS):
        deliver(pause * 1000 + 100)
    services.schedules.send_again(SYSTEM, schedule, delivery())
    deliver(1_000)
    assert (delivery().state, delivery().tries) == ("delivered", 1)
    assert len(tries()) == 11


@pytest.mark.parametrize(
    ("lose", "why"),
    [
        (lambda services, anna: services.accounts.remove("anna"), "Its owner is no user any more"),
        (lambda services, anna: services.accounts.change(anna, "analyst", ["OTHER"]), "customer BARCHART"),
        (lambda services, anna: services.accounts.change(anna, "analyst", None), "customer BARCHART"),
        (lambda services, anna: Schedule.update(customer="OTHER").execute(), "another customer"),
    ],
    ids=["removed", "limited", "demoted", "changed"],
)
def test_no_new_link_is_sent_after_the_owner_lost_access_to_the_report(
    services, endpoint, allow_hosts, complete, deliver, lose, why
):
    allow_hosts(endpoint.url)
    anna = services.accounts.add("anna", "operator", None, "correct horse")
    schedule = services.schedules.add(anna, WANTED | {"webhook": endpoint.url}).schedule
    endpoint.answers.append(SERVER_ERROR)
    complete(schedule)
    deliver()
    lose(services, anna)
    deliver(31_000)
    assert len(endpoint.got) == 1
    reason = Webhook.get().reason
    code, response = (None, reason) if reason else tries()[-1]
    assert code is None and why in response


def test_a_redirect_is_a_failure_and_not_followed(schedule, complete, deliver, endpoint):
    with receiver() as target:
        endpoint.answers.append((302, {"Location": target.url}, b""))
        complete(schedule)
        deliver()
        assert target.got == []
    assert tries() == [(302, "")]
    assert delivery().state == "waiting"


def test_a_delivery_to_a_silent_server_times_out_and_is_retried(services, complete, deliver, allow_hosts, monkeypatch):
    monkeypatch.setattr(room, "TIMEOUT_SECONDS", 0.2)
    with listener(hang) as url:
        allow_hosts(url)
        complete(services.schedules.add(SYSTEM, WANTED | {"webhook": url}).schedule)
        deliver()
    assert tries() == [(None, f"{url} did not answer within 0.2 seconds.")]
    assert (delivery().state, delivery().tries) == ("waiting", 1)


def test_silent_servers_do_not_block_the_scheduler(services, complete, allow_hosts, monkeypatch, endpoint):
    monkeypatch.setattr(room, "TIMEOUT_SECONDS", 1.5)
    with listener(hang) as url:
        allow_hosts(url, endpoint.url)
        for number in range(WebhookSender.kind.max_tries - 1):
            silent = WANTED | {"name": f"Number {number}", "webhook": url}
            complete(services.schedules.add(SYSTEM, silent).schedule)
        complete(services.schedules.add(SYSTEM, WANTED | {"webhook": endpoint.url}).schedule)
        began = module.time.monotonic()
        services.deliveries.send()
        assert module.time.monotonic() - began < slack(1)
        while not endpoint.got:
            assert module.time.monotonic() - began < slack(1.4)
            module.time.sleep(0.01)
        services.deliveries.flush()


def test_the_number_of_concurrent_attempts_is_limited(services, complete, allow_hosts, monkeypatch):
    monkeypatch.setattr(room, "TIMEOUT_SECONDS", 0.3)
    connections, counts, lock = set(), [], threading.Lock()

    def count(connection) -> None:
        with lock:
            connections.add(connection)
            counts.append(len(connections))
        hang(connection)
        with lock:
            connections.discard(connection)

    with listener(count) as url:
        allow_hosts(url)
        for number in range(WebhookSender.kind.max_tries + 3):
            complete(services.schedules.add(SYSTEM, WANTED | {"name": str(number), "webhook": url}).schedule)
        for _ in range(3):
            services.deliveries.send()
            services.deliveries.flush()
    assert len(tries()) == WebhookSender.kind.max_tries + 3
    assert max(counts) <= WebhookSender.kind.max_tries


def test_a_host_that_is_not_allowed_is_rejected_when_the_schedule_is_saved(services, allow_hosts, endpoint):
    allow_hosts("hooks.example.com", "http://10.0.0.7:8080")
    for url in (endpoint.url, "http://hooks.example.com/", "https://hooks.example.com:8443/", "https://10.0.0.7:8080/"):
        with pytest.raises(InputInvalid) as error:
            services.schedules.add(SYSTEM, WANTED | {"webhook": url})
        (field_error,) = error.value.field_errors
        assert field_error.message.endswith(
            "which WEBHOOK_HOSTS does not allow; it allows http://10.0.0.7:8080 or https://hooks.example.com."
        )
    for url in ("https://hooks.example.com/x", "http://10.0.0.7:8080/x"):
        services.schedules.add(SYSTEM, WANTED | {"name": url, "webhook": url})


def test_webhooks_are_disabled_without_allowed_hosts(services):
    assert Settings().webhook_hosts == ()
    with pytest.raises(InputInvalid) as error:
        services.schedules.add(SYSTEM, WANTED | {"webhook": "https://hooks.example.com/"})
    assert error.value.field_errors[0].message.endswith("WEBHOOK_HOSTS does not allow; it allows none.")


@pytest.mark.parametrize(
    "url", ["hooks.example.com", "https://user:word@hooks.example.com/", "https://hooks.example.com/#x", "x" * 3000, 7]
)
def test_an_invalid_webhook_url_is_rejected_by_the_field_s_name(services, allow_hosts, url):
    allow_hosts("hooks.example.com")
    with pytest.raises(InputInvalid) as error:
        services.schedules.add(SYSTEM, WANTED | {"webhook": url})
    assert error.value.field_errors[0].message.startswith("webhook ")


def test_a_host_that_is_no_longer_allowed_gets_nothing_and_the_attempt_is_recorded(
    schedule, complete, deliver, endpoint, allow_hosts
):
    complete(schedule)
    allow_hosts("hooks.example.com")
    deliver()
    assert endpoint.got == []
    assert tries()[0][0] is None
    assert "which WEBHOOK_HOSTS does not allow" in tries()[0][1]
    allow_hosts(endpoint.url)
    deliver(31_000)
    assert delivery().state == "delivered"


def test_a_failed_report_and_the_end_of_its_retry_are_both_announced(services, schedule, deliver, endpoint):
    report = services.schedule_runs.run(SYSTEM, schedule)
    Report.update(status="FAILED", ended_at=module.now(), reason="The disk is full.").where(
        Report.job == report.job
    ).execute()
    deliver()
    payload = json.loads(endpoint.got[0].body)
    assert (payload["status"], payload["reason"]) == ("FAILED", "The disk is full.")
    assert not {"rows", "link", "sha256"} & set(payload)
    services.reports.retry(SYSTEM, Report.get(Report.job == report.job))
    deliver()
    assert len(endpoint.got) == 1
    services.runner.run(report.job)
    deliver()
    assert json.loads(endpoint.got[1].body)["status"] == "COMPLETE"
    assert len({request.headers["X-Tally-Delivery"] for request in endpoint.got}) == 2


def test_the_webhook_of_a_cancelled_report_names_the_user_who_cancelled_it(services, schedule, deliver, endpoint):
    services.reports.cancel(SYSTEM, services.schedule_runs.run(SYSTEM, schedule))
    deliver()
    payload = json.loads(endpoint.got[0].body)
    assert (payload["status"], payload["reason"]) == ("FAILED", "Cancelled by system.")


def test_unavailable_storage_is_recorded_and_the_webhook_retried(
    services, schedule, complete, deliver, endpoint, monkeypatch
):
    complete(schedule)

    def away(report: Report) -> str:
        raise StorageFailed("The bucket cannot be reached.")

    with monkeypatch.context() as patch:
        patch.setattr(services.reports, "link", away)
        deliver()
    assert (endpoint.got, tries()) == ([], [(None, "The bucket cannot be reached.")])
    deliver(31_000)
    assert "link" in json.loads(endpoint.got[0].body)


def test_the_webhook_of_a_report_whose_file_was_removed_has_no_link(schedule, complete, deliver, endpoint):
    report = complete(schedule)
    Report.update(removed=True).where(Report.job == report.job).execute()
    deliver()
    payload = json.loads(endpoint.got[0].body)
    assert "link" not in payload
    assert payload["rows"] == 2


def test_only_reports_that_end_after_the_webhook_was_set_are_announced(
    services, complete, deliver, endpoint, allow_hosts
):
    allow_hosts(endpoint.url)
    schedule = services.schedules.add(SYSTEM, WANTED).schedule
    complete(schedule)
    saved = services.schedules.change(SYSTEM, schedule, WANTED | {"webhook": endpoint.url})
    assert saved.secret
    deliver()
    assert endpoint.got == []
    complete(saved.schedule)
    deliver()
    assert len(endpoint.got) == 1


def test_a_changed_url_keeps_the_secret_and_gets_pending_deliveries(
    services, saved, complete, deliver, endpoint, allow_hosts
):
    endpoint.answers.append(SERVER_ERROR)
    complete(saved.schedule)
    deliver()
    with receiver() as other:
        allow_hosts(other.url)
        changed = services.schedules.change(SYSTEM, saved.schedule, WANTED | {"webhook": other.url})
        deliver(31_000)
    assert changed.secret is None
    assert len(other.got) == 1
    assert services.webhooks.secrets(Webhook.get()) == [saved.secret]


def test_pending_deliveries_are_given_up_when_the_webhook_is_removed(services, schedule, complete, deliver, endpoint):
    endpoint.answers.append(SERVER_ERROR)
    complete(schedule)
    deliver()
    services.schedules.change(SYSTEM, schedule, WANTED)
    deliver(31_000)
    assert len(endpoint.got) == 1
    assert delivery().state == "given_up"


def test_removing_a_schedule_removes_its_deliveries(services, schedule, complete, deliver, endpoint):
    endpoint.answers.append(SERVER_ERROR)
    complete(schedule)
    deliver()
    services.schedules.remove(SYSTEM, schedule)
    assert (Delivery.select().count(), DeliveryTry.select().count()) == (0, 0)
    deliver()
    assert len(endpoint.got) == 1


def test_reports_without_a_schedule_are_not_announced(services, schedule, admin, deliver, endpoint):
    services.runner.run(admin.start_report()["job"])
    deliver()
    assert (endpoint.got, Delivery.select().count()) == ([], 0)


def test_a_delivery_is_sent_by_one_of_several_racing_schedulers(settings, services, schedule, complete, endpoint):
    for _ in range(4):
        complete(schedule)
    sender = WebhookSender(Webhooks([endpoint.url], settings.secret), services.reports)
    schedulers = [Deliveries(sender, services.mail) for _ in range(5)]
    at_once(5, lambda number: schedulers[number].send())
    for deliveries in schedulers:
        deliveries.flush()
    for _ in range(3):
        services.deliveries.send()
        services.deliveries.flush()
    assert len(endpoint.got) == 4
    assert len({request.headers["X-Tally-Delivery"] for request in endpoint.got}) == 4


def test_another_scheduler_retries_a_delivery_if_the_first_dies_during_an_attempt(
    schedule, complete, deliver, endpoint, clock
):
    complete(schedule)
    for report, webhook in store.unannounced(0):
        store.add_report("key", report, webhook, clock())
    assert store.claim(delivery(), clock() + 30_000)  # and then this scheduler dies
    deliver()
    assert endpoint.got == []
    deliver(31_000)
    assert (delivery().state, delivery().tries) == ("delivered", 2)


def test_a_delivery_is_given_up_if_a_scheduler_dies_during_the_last_attempt(
    schedule, complete, deliver, endpoint, clock
):
    complete(schedule)
    for report, webhook in store.unannounced(0):
        store.add_report("key", report, webhook, clock())
    Delivery.update(tries=len(PAUSES_SECONDS)).execute()
    assert store.claim(delivery(), clock() + 60_000)
    deliver(61_000)
    assert (delivery().state, delivery().due_at) == ("given_up", None)
    assert endpoint.got == []


def test_the_recorded_response_is_cut_and_has_no_control_characters(schedule, complete, deliver, endpoint):
    endpoint.answers.append((400, {}, b"no\0thing\x1b[31m " + "naïve ".encode() + b"\xff" + b"x" * 9000))
    complete(schedule)
    deliver()
    ((code, response),) = tries()
    assert (code, len(response)) == (400, module.MAX_RESPONSE_LENGTH)
    assert response.startswith("no thing [31m naïve")


def test_a_response_that_echoes_the_request_is_recorded_without_signatures(
    schedule, complete, deliver, endpoint, capsys
):
    echo = b'"link":"https://tally.example/files/JOB-1?expires=1&nonce=n&signature=OPEN-sesame_1","u":"signature\\u003dOPEN"'
    endpoint.answers.append(
        (
            500,
            {},
            echo
            + b" signature%3dOPEN X-Tally-Signature: t=1,v1=OPEN0123 webhook-signature: v1,OPEN/+0= v1,OPEN and more",
        )
    )
    complete(schedule)
    deliver()
    ((_, response),) = tries()
    assert "OPEN" not in response
    assert response.endswith("t=1,v1=… webhook-signature: v1,…= v1,… and more")
    assert "OPEN" not in capsys.readouterr().err


def test_old_deliveries_are_purged_and_not_sent_again(services, schedule, complete, deliver, endpoint, clock):
    complete(schedule)
    deliver()
    clock.ahead += (module.KEEP_DAYS + 1) * DAY
    services.deliveries.purge()
    assert (Delivery.select().count(), DeliveryTry.select().count()) == (0, 0)
    deliver()
    assert len(endpoint.got) == 1


def test_the_scheduler_sends_webhooks(services, schedule, complete, endpoint):
    complete(schedule)
    services.scheduler.run_all()
    services.deliveries.flush()
    assert len(endpoint.got) == 1


def test_the_audit_log_has_the_webhook_s_server_but_neither_its_path_nor_its_secret(services, saved, endpoint):
    secret = services.webhooks.rotate(SYSTEM, Webhook.get())
    entries = str(list(AuditEntry.select().dicts()))
    assert endpoint.url in entries
    assert "from=tally" not in entries
    assert saved.secret not in entries and secret not in entries
