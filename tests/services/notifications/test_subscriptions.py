"""Webhooks that want event types: they get what their owner may see, from the moment at which they want it."""

from __future__ import annotations

import json
import threading
import uuid

import pytest
import standardwebhooks

from app.exceptions import Forbidden, InputInvalid, WebhookUnknown
from app.services.notifications import webhook_sender, webhooks
from app.services.people.principal import SYSTEM
from app.store.database import database, transaction
from app.store.models import AuditEntry, Delivery, DeliveryTry, Report, Webhook
from app.store.notifications import deliveries as store
from app.store.notifications import recipients
from tests.support.client import event

FIRING = {"rule": "Events stopped", "since": 1_793_000_000_000}
HOUR, DAY = 3_600_000, 86_400_000


@pytest.fixture(autouse=True)
def stored_events(nobody) -> None:
    nobody.send(event(), event(customer="OTHER"))


@pytest.fixture
def subscribe(services, endpoint, allow_hosts):
    """Return a function that adds a webhook for event types, to a path of `endpoint`."""
    allow_hosts(endpoint.url)

    def add(*types: str, owner=SYSTEM, name: str = "hook", path: str = ""):
        return services.webhooks.add(
            owner, {"name": name, "url": f"{endpoint.url}/{path or name}", "types": list(types)}
        )

    return add


@pytest.fixture
def anna(services):
    return services.accounts.add("anna", "analyst", ["BARCHART"], "correct horse")


def start(services, who=SYSTEM, customer: str = "BARCHART") -> Report:
    return services.reports.start(who, {"customer": customer, "product": "PORTFOLIO"}, None)


def fail(report: Report) -> None:
    ended = {"status": "FAILED", "ended_at": report.started_at + 60_000, "reason": "The disk is full."}
    Report.update(ended).where(Report.id == report.id).execute()


def queue(services, type: str, customer: str | None = None) -> int:
    with transaction():
        return services.webhook_sender.queue(type, FIRING, customer=customer)


def bodies(endpoint) -> list[dict[str, object]]:
    return [json.loads(request.body) for request in endpoint.got]


def test_a_webhook_gets_the_reports_of_any_origin_in_the_types_that_it_wants(services, subscribe, deliver, endpoint):
    added = subscribe("report.completed", name="complete")
    subscribe("report.failed", name="failed")
    subscribe(name="nothing")
    report = start(services)
    services.runner.run(report.job)
    fail(start(services))
    deliver()
    got = {request.path: (request, json.loads(request.body)) for request in endpoint.got}
    assert set(got) == {"/complete", "/failed"}
    request, body = got["/complete"]
    assert standardwebhooks.Webhook(added.secret).verify(request.body, request.headers) == body
    assert (body["type"], body["data"]["source"], body["data"]["rows"]) == ("report.completed", f"JOB-{report.job}", 1)
    assert (got["/failed"][1]["type"], got["/failed"][1]["data"]["reason"]) == ("report.failed", "The disk is full.")
    assert "schedule" not in body
    deliver()
    assert len(endpoint.got) == 2


def test_the_time_of_an_event_is_that_of_the_end_and_not_of_the_try(services, subscribe, deliver, endpoint):
    subscribe("report.completed")
    report = start(services)
    services.runner.run(report.job)
    Report.update(ended_at=4_000_000_000_123).where(Report.id == report.id).execute()
    deliver()
    assert bodies(endpoint)[0]["timestamp"] == "2096-10-02T07:06:40.123Z"


def test_a_webhook_that_is_named_and_subscribed_is_notified_once(services, subscribe, deliver, endpoint):
    webhook = subscribe("report.completed").webhook
    wanted = {"name": "Daily", "recurrence": "daily", "hour": 6, "mode": "since_last", "webhooks": [webhook.id]}
    wanted["filter"] = {"customer": "BARCHART", "product": "PORTFOLIO"}
    schedule = services.schedules.add(SYSTEM, wanted).schedule
    services.runner.run(services.schedule_runs.run(SYSTEM, schedule).job)
    deliver()
    deliver()
    assert [body["schedule"] for body in bodies(endpoint)] == ["Daily"]


def test_reports_that_ended_before_the_subscription_or_while_disabled_are_not_announced(
    services, subscribe, deliver, endpoint, clock
):
    services.runner.run(start(services).job)
    clock.ahead += 60_000
    webhook = subscribe().webhook
    services.webhooks.change(
        SYSTEM, webhook, {"name": "hook", "url": webhook.url, "types": ["report.completed", "alert.firing"]}
    )
    services.webhooks.disable(SYSTEM, Webhook.get())
    assert queue(services, "alert.firing") == 0
    clock.ahead += 60_000
    services.webhooks.enable(SYSTEM, Webhook.get())
    deliver()
    assert endpoint.got == []


@pytest.mark.parametrize(("owner", "count"), [("anna", 1), ("bea", 0), ("olga", 2)])
def test_a_webhook_gets_the_reports_that_its_owner_may_see(services, anna, subscribe, deliver, endpoint, owner, count):
    owners = {"anna": anna, "bea": services.accounts.add("bea", "analyst", ["BARCHART"], "correct horse")}
    owners["olga"] = services.accounts.add("olga", "operator", None, "correct horse")
    subscribe("report.completed", owner=owners[owner])
    for report in (start(services, anna), start(services, customer="OTHER")):
        services.runner.run(report.job)
    deliver()
    assert len(endpoint.got) == count


def test_an_event_is_queued_for_each_webhook_that_wants_it_and_whose_owner_may_see_it(
    services, anna, subscribe, deliver, endpoint
):
    subscribe("alert.firing", "alert.resolved", name="all")
    subscribe("alert.resolved", name="resolved")
    subscribe("alert.firing", owner=anna, name="anna")
    assert queue(services, "alert.firing", "BARCHART") == 2
    assert queue(services, "alert.firing", "OTHER") == 1
    assert queue(services, "alert.firing") == 1  # about all customers, which anna may not see
    deliver()
    assert sorted(request.path for request in endpoint.got) == ["/all", "/all", "/all", "/anna"]
    body = bodies(endpoint)[0]
    assert list(body) == ["type", "timestamp", "data"]
    assert (body["type"], body["data"]) == ("alert.firing", FIRING)


def test_an_event_of_a_transaction_that_fails_is_not_queued(services, subscribe):
    subscribe("alert.firing")
    with pytest.raises(ZeroDivisionError), transaction():
        services.webhook_sender.queue("alert.firing", FIRING)
        1 / 0  # noqa: B018
    assert Delivery.select().count() == 0


def test_an_unknown_event_type_is_a_fault_of_the_caller(services):
    with pytest.raises(KeyError):
        queue(services, "alert.burning")


def test_an_event_is_not_sent_after_the_owner_lost_access(services, anna, subscribe, deliver, endpoint):
    subscribe("alert.firing", owner=anna)
    queue(services, "alert.firing", "BARCHART")
    services.accounts.change(anna, "analyst", ["OTHER"])
    deliver()
    assert endpoint.got == []
    assert DeliveryTry.get().said == "Its owner, anna, may not see this."


def test_a_user_cannot_want_what_they_may_not_see(services, anna, subscribe):
    with pytest.raises(InputInvalid) as error:
        subscribe("rejects.rising", owner=anna)
    assert error.value.field_errors[0].message == 'types has "rejects.rising", which anna may not see.'


def test_a_server_that_answers_410_gone_gets_nothing_more_until_somebody_enables_it(
    services, subscribe, deliver, endpoint
):
    subscribe("alert.firing")
    queue(services, "alert.firing")
    queue(services, "alert.firing")
    endpoint.answers += [(410, {}, b"")] * 2
    deliver()
    webhook = Webhook.get()
    assert webhook.reason == webhook_sender.ANSWERED_GONE
    assert {one.state for one in Delivery.select()} == {"given_up"}
    (entry,) = AuditEntry.select().where(AuditEntry.action == "webhook disabled")
    assert (entry.who, entry.details) == ("system", {"reason": webhook.reason})
    count = len(endpoint.got)
    assert queue(services, "alert.firing") == 0
    services.webhooks.enable(SYSTEM, webhook)
    assert Webhook.get().reason is None
    assert queue(services, "alert.firing") == 1
    deliver()
    assert len(endpoint.got) == count + 1


def test_the_webhooks_of_a_deactivated_user_pause_until_the_user_is_active_again(
    services, anna, subscribe, deliver, endpoint
):
    webhook = subscribe("alert.firing", owner=anna).webhook
    endpoint.answers.append((500, {}, b""))
    queue(services, "alert.firing", "BARCHART")
    deliver()
    services.accounts.deactivate("anna")
    deliver(DAY)
    assert (Webhook.get().reason, Delivery.get().state, len(endpoint.got)) == (webhooks.PAUSED, "given_up", 1)
    with pytest.raises(Forbidden, match="is deactivated"):
        services.webhooks.enable(SYSTEM, webhook)
    services.accounts.activate("anna")
    deliver()
    assert (Webhook.get().reason, Webhook.get().disabled_at) == (None, None)
    queue(services, "alert.firing", "BARCHART")
    deliver()
    assert len(endpoint.got) == 2
    entries = AuditEntry.select().where(AuditEntry.action << ["webhook disabled", "webhook enabled"])
    assert [(one.who, one.action) for one in entries.order_by(AuditEntry.id)] == [
        ("system", "webhook disabled"),
        ("system", "webhook enabled"),
    ]


def test_the_webhooks_of_a_removed_user_end(services, anna, subscribe, deliver, endpoint):
    subscribe("alert.firing", owner=anna)
    own = subscribe("alert.firing").webhook
    services.accounts.deactivate("anna")
    deliver()
    services.accounts.remove("anna")
    deliver()
    reasons = {one.owner_name: (one.reason, one.disabled_at is None) for one in Webhook.select()}
    assert reasons == {"anna": (webhooks.GONE, False), own.owner_name: (None, True)}
    with pytest.raises(Forbidden, match="is no user any more"):
        services.webhooks.enable(SYSTEM, Webhook.get(Webhook.owner_name == "anna"))


def test_a_webhook_that_was_disabled_by_hand_stays_so_when_its_owner_is_activated(services, anna, subscribe, deliver):
    webhook = subscribe("alert.firing", owner=anna).webhook
    services.webhooks.disable(anna, webhook)
    services.accounts.deactivate("anna")
    deliver()
    services.accounts.activate("anna")
    deliver()
    assert (Webhook.get().disabled_at is None, Webhook.get().reason) == (False, None)


@pytest.mark.parametrize(
    ("code", "asked", "wait"), [(503, "3600", HOUR), (429, "9" * 9, DAY), (503, "soon", 30_000), (500, "3600", 30_000)]
)
def test_a_busy_server_is_given_the_time_that_it_asks_for(
    services, subscribe, deliver, endpoint, clock, code, asked, wait
):
    subscribe("alert.firing")
    queue(services, "alert.firing")
    endpoint.answers.append((code, {"Retry-After": asked}, b""))
    deliver()
    assert abs(Delivery.get().due_at - clock() - wait) < 20_000


def test_a_try_is_up_to_a_tenth_later_than_its_pause(services, subscribe, deliver, endpoint, clock, monkeypatch):
    monkeypatch.setattr("app.services.notifications.deliveries.JITTER", 0.1)
    monkeypatch.setattr("random.random", lambda: 1)
    subscribe("alert.firing")
    queue(services, "alert.firing")
    endpoint.answers.append((500, {}, b""))
    deliver()
    assert 31_000 < Delivery.get().due_at - clock() <= 33_000


def test_a_test_is_sent_once_and_has_the_answer(services, subscribe, deliver, endpoint):
    added = subscribe()
    endpoint.answers.append((500, {}, b"out of order"))
    for state, answer in (("given_up", (500, "out of order")), ("delivered", (200, "thank you"))):
        delivery = services.deliveries.test(SYSTEM, added.webhook)
        (tried,) = services.deliveries.tries([delivery])[delivery.id]
        assert (delivery.type, delivery.state, delivery.due_at) == ("webhook.test", state, None)
        assert (tried.code, tried.said) == answer
    deliver(DAY)
    assert len(endpoint.got) == 2
    body = standardwebhooks.Webhook(added.secret).verify(endpoint.got[0].body, endpoint.got[0].headers)
    assert body["data"] == {"message": "This is a test.", "webhook": "hook"}


def test_a_row_of_a_process_of_version_1_0_is_delivered(services, subscribe, deliver, endpoint):
    """Such a process may run for minutes beside this version."""
    webhook = subscribe().webhook
    wanted = {"name": "Daily", "recurrence": "daily", "hour": 6, "mode": "since_last", "webhooks": [webhook.id]}
    wanted["filter"] = {"customer": "BARCHART", "product": "PORTFOLIO"}
    schedule = services.schedules.add(SYSTEM, wanted).schedule
    report = services.schedule_runs.run(SYSTEM, schedule)
    services.runner.run(report.job)
    report = Report.get_by_id(report.id)
    old = {"key": "old", "schedule": schedule.id, "report": report.job, "ended_at": report.ended_at}
    Delivery.create(**old, status="COMPLETE", state="waiting", next_try_at=1, created_at=1)
    assert store.unannounced(0) == []
    deliver()
    assert [request.headers["webhook-id"] for request in endpoint.got] == ["old"]
    delivery = Delivery.get()
    assert (delivery.type, delivery.webhook, delivery.next_try_at) == ("report.completed", webhook.id, None)


def test_a_row_of_version_1_0_whose_webhook_was_removed_is_given_up(deliver):
    old = {"key": "old", "schedule": 1, "report": "r", "ended_at": 1, "status": "COMPLETE", "created_at": 1}
    Delivery.create(**old, state="waiting", next_try_at=1)
    deliver()
    assert (Delivery.get().state, Delivery.get().due_at) == ("given_up", None)


def test_a_scheduler_that_runs_once_ends_after_its_deliveries(app, services, subscribe, endpoint, monkeypatch):
    subscribe("alert.firing")
    queue(services, "alert.firing")
    release, attempt = threading.Event(), services.webhook_sender.attempt
    threading.Timer(0.3, release.set).start()
    monkeypatch.setattr(services.webhook_sender, "attempt", lambda *args: release.wait(10) and attempt(*args))
    assert app.test_cli_runner().invoke(args=["scheduler", "--once"]).exit_code == 0
    assert len(endpoint.got) == 1


@pytest.mark.both_databases
def test_a_process_of_version_1_0_takes_nothing_that_this_version_queues(services, subscribe, deliver, endpoint, clock):
    """Its scheduler would send a mail or an alert message to a webhook."""
    subscribe("alert.firing")
    endpoint.answers.append((503, {"Retry-After": "3600"}, b""))
    queue(services, "alert.firing")
    store.add("message", "alert.firing", {}, clock(), channel=1)
    report = Report(job=str(uuid.uuid4()), schedule=1, ended_at=clock(), status="COMPLETE")
    recipients.add_delivery("mail", report, 1, clock())
    store.add_report("webhook", report, 1, clock())
    assert (taken_by_version_1_0(clock()), Delivery.select().where(Delivery.state == "waiting").count()) == ([], 4)
    deliver()  # the first is postponed
    (tried,) = Delivery.select().where(Delivery.due_at > clock() + HOUR // 2)
    store.again(tried.id, clock())
    assert store.claim(Delivery.get_by_id(tried.id), clock() + HOUR)
    assert taken_by_version_1_0(clock() + 30 * DAY) == []


def taken_by_version_1_0(moment: int) -> list[object]:
    """Return what the statement of version 1.0 finds due (`due` of its `app/store/schedules/deliveries.py`)."""
    statement = """
        SELECT "t1"."id", "t1"."key", "t1"."schedule", "t1"."report", "t1"."ended_at", "t1"."status", "t1"."state",
            "t1"."tries", "t1"."next_try_at", "t1"."created_at" FROM "delivery" AS "t1"
        WHERE (("t1"."next_try_at" <= {now}) OR ("t1"."next_try_at" > {latest})) ORDER BY "t1"."next_try_at" LIMIT 4"""
    latest = moment + 54_000_000 + 300_000
    return database.execute_sql(statement.format(now=moment, latest=latest)).fetchall()


def test_webhooks_are_visible_to_their_owner_and_to_operators_of_all_customers(services, anna, subscribe):
    webhook = subscribe(owner=anna).webhook
    bea = services.accounts.add("bea", "analyst", ["BARCHART"], "correct horse")
    otto = services.accounts.add("otto", "operator", ["BARCHART"], "correct horse")
    olga = services.accounts.add("olga", "operator", None, "correct horse")
    assert [services.webhooks.visible(who) for who in (bea, otto)] == [[], []]
    assert [services.webhooks.visible(who) for who in (anna, olga, SYSTEM)] == [[webhook]] * 3
    for who in (bea, otto):
        with pytest.raises(WebhookUnknown):
            services.webhooks.get(who, webhook.id)


def test_removing_a_webhook_removes_its_deliveries_and_recurring_reports_stay(services, subscribe):
    webhook = subscribe("alert.firing").webhook
    queue(services, "alert.firing")
    services.webhooks.remove(SYSTEM, webhook)
    assert (Webhook.select().count(), Delivery.select().count()) == (0, 0)
    with pytest.raises(WebhookUnknown):
        services.webhooks.rotate(SYSTEM, webhook)


def test_names_are_unique_among_a_users_webhooks(services, anna, subscribe):
    subscribe()
    subscribe(owner=anna)
    with pytest.raises(InputInvalid) as error:
        subscribe()
    assert error.value.field_errors[0].message == 'name is "hook", and its owner has another webhook of that name.'
