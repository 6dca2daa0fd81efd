"""The schedulers evaluate the alert rules: when an alert is pending, fires and is resolved, and who is notified."""

from __future__ import annotations

import threading

import pytest

from app.exceptions import AlertUnknown
from app.services.alerts import evaluation
from app.services.alerts.alerts import Watched
from app.services.alerts.normal import hour_of_week
from app.services.people.principal import SYSTEM, Principal
from app.store.alerts import evaluation as store
from app.store.database import release
from app.store.models import Alert, AlertMessage, AlertNormal, AlertRule, Event, HourlyCount, ObservedCode
from app.support.clock import DAY_MS, HOUR_MS, MINUTE_MS
from tests.services.alerts.conftest import NOON
from tests.support.client import event

STOPPED = "Events stopped"
ANNA = Principal(7, "anna", "operator", ("ACME",), "")


@pytest.mark.both_databases
def test_events_that_stop_are_pending_then_firing_then_resolved_when_they_come_back(world):
    world.rule("stopped")
    world.past("APP", 60)
    world.evaluate(2)
    assert world.alerts() == []
    world.evaluate(14)  # 16 minutes without one of the 60 events an hour
    assert world.alerts() == [("APP", STOPPED, "pending")]
    world.evaluate(1)
    assert world.alerts() == [("APP", STOPPED, "firing")]
    assert world.messages() == ["Firing: Watch, product APP"]
    alert = Alert.get()
    assert alert.seen == "No event since 2026-09-28 11:59 UTC, for 17 min."
    assert alert.expected.startswith("About 17 events are normal in that time.")
    world.evaluate(5, "APP")
    assert world.alerts() == [("APP", STOPPED, "firing")]  # only a few minutes
    world.evaluate(2, "APP")
    assert world.alerts() == [("APP", STOPPED, "resolved")]
    assert world.messages()[1:] == ["Resolved: Watch, product APP"]
    world.evaluate(30, "APP")
    assert len(world.messages()) == len(world.alerts()) + 1


def test_the_first_rules_watch_products_everything_and_the_service(world):
    assert [(rule.name, rule.kind, rule.per, rule.active) for rule in AlertRule.select().order_by(AlertRule.id)] == [
        ("Events stopped", "stopped", "product", True),
        ("All events stopped", "stopped", "everything", True),
        ("Volume far from normal", "volume", "product", True),
        ("Many rejected events", "rejected", "product", True),
        ("Service health", "health", "everything", True),
    ]
    world.past("APP", 60)
    world.problems = [("disk", "The disk is full.")]
    world.evaluate(20)
    assert {(one.rule_name, one.product, one.subject) for one in Alert.select()} == {
        ("Events stopped", "APP", ""),
        ("All events stopped", "", ""),
        ("Service health", "", "disk"),
    }


@pytest.mark.both_databases
def test_of_two_schedulers_exactly_one_evaluates(world):
    world.rule("health", per="everything")
    world.problems = [("disk", "The disk is full.")]
    other = world.scheduler()
    for _ in range(8):
        world.now += MINUTE_MS
        world.evaluation.evaluate()
        other.evaluate()
    assert world.alerts() == [("disk", "Problem with disk", "firing")]
    assert len(world.messages()) == 1
    assert [event for event, _ in world.announced] == ["alert.firing"]


@pytest.mark.both_databases
def test_two_schedulers_at_the_same_moment_send_one_message(world):
    world.rule("health", per="everything")
    world.problems = [("disk", "The disk is full.")]
    both = threading.Barrier(2)

    def evaluate(scheduler):
        both.wait()
        scheduler.evaluate()
        release()

    for _ in range(8):
        world.now += MINUTE_MS
        threads = [threading.Thread(target=evaluate, args=(world.scheduler(),)) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert world.alerts() == [("disk", "Problem with disk", "firing")]
    assert world.messages() == ["Firing: Watch, disk"]
    assert len(world.announced) == 1


def test_a_scheduler_that_was_overtaken_writes_nothing(world):
    world.rule("health", per="everything")
    world.problems = [("disk", "The disk is full.")]
    slow = store.claim("slow", evaluation.INTERVAL_MS)
    assert store.claim("other", evaluation.INTERVAL_MS) is None
    world.now += store.ABANDONED_MS + 1
    fast = store.claim("fast", evaluation.INTERVAL_MS)
    world.scheduler().run(fast)
    world.problems = [("worker", "No worker.")]
    world.evaluation.run(slow)
    assert world.alerts() == [("disk", "Problem with disk", "pending")]


def test_a_kill_between_deciding_and_committing_loses_and_doubles_nothing(world, monkeypatch):
    world.rule("health", per="everything")
    world.problems = [("disk", "The disk is full.")]
    world.evaluate(5)
    with monkeypatch.context() as killed:
        killed.setattr(store, "add_message", lambda **values: (_ for _ in ()).throw(SystemExit))
        killed.setattr(store, "abandon", lambda claim: None)  # a killed process gives up nothing
        world.now += MINUTE_MS
        with pytest.raises(SystemExit):
            world.evaluation.evaluate()
    assert world.alerts() == [("disk", "Problem with disk", "pending")]
    assert world.messages() == []
    world.evaluate(4)  # until the claim of the dead process is over
    assert world.alerts() == [("disk", "Problem with disk", "firing")]
    assert world.messages() == ["Firing: Watch, disk"]
    assert [event for event, _ in world.announced] == ["alert.firing"]


def test_counts_that_lag_are_no_silence(world, nobody):
    world.rule("stopped")
    world.past("APP", 60)
    world.evaluate(1)
    nobody.send(event(customer="ACME", product="APP", type="USE", timestamp=world.now))
    Event.update(received=world.now).execute()  # and nobody counts it
    world.evaluate(60)
    assert world.alerts() == []


def test_events_in_the_spool_are_no_silence(world):
    world.rule("stopped")
    world.past("APP", 60)
    world.evaluate(1)
    world.spooled = 3
    world.evaluate(60)
    assert world.alerts() == []


@pytest.mark.parametrize("jump", [3 * HOUR_MS, 3 * DAY_MS], ids=["hours", "days"])
def test_time_in_which_no_scheduler_ran_is_no_silence(world, jump):
    world.rule("stopped")
    world.past("APP", 60)
    world.evaluate(1)
    world.now += jump  # the service was down, or the clock jumped
    world.evaluate(10)
    assert world.alerts() == []
    world.evaluate(20)
    assert world.alerts() == [("APP", STOPPED, "firing")]


def test_a_clock_that_goes_back_does_not_stop_the_evaluation(world):
    world.rule("health", per="everything")
    world.now += DAY_MS
    world.evaluate(1)
    world.now -= DAY_MS
    world.problems = [("disk", "The disk is full.")]
    world.evaluate(7)
    assert world.alerts() == [("disk", "Problem with disk", "firing")]


def test_downtime_does_not_resolve_a_silence_that_continues(world):
    world.rule("stopped")
    world.past("APP", 60)
    world.evaluate(20)
    world.now += 3 * HOUR_MS
    world.evaluate(20)
    assert world.alerts() == [("APP", STOPPED, "firing")]


def test_a_new_product_is_learnt_first(world):
    rule = world.rule("stopped")
    world.past("NEW", 60, days=6)
    world.past("OLD", 60, days=8)
    world.evaluate(30)
    assert world.alerts() == [("OLD", STOPPED, "firing")]
    assert world.services.alerts.watched(rule) == Watched(series=2, learning=1)


def test_events_removed_by_age_leave_a_shorter_past(world):
    world.rule("stopped")
    world.past("APP", 60)
    HourlyCount.delete().where(HourlyCount.hour < NOON - 10 * DAY_MS).execute()
    world.evaluate(30)
    assert AlertNormal.get().statistics["weeks"] == 1
    assert world.alerts() == [("APP", STOPPED, "firing")]


def test_erased_events_are_no_silence(world):
    world.rule("stopped")
    world.past("APP", 60)
    world.evaluate(1)
    HourlyCount.delete().where(HourlyCount.hour >= NOON - DAY_MS).execute()
    world.evaluate(5)
    assert world.alerts() == []


def test_a_product_whose_events_were_all_erased_is_forgotten(world):
    world.rule("stopped")
    world.past("APP", 60)
    world.evaluate(20)
    HourlyCount.delete().execute()
    ObservedCode.update(is_erased=True).execute()
    AlertNormal.update(learnt_at=0).execute()
    world.evaluate(8)
    assert world.alerts() == [("APP", STOPPED, "resolved")]


def test_a_night_counts_as_little_as_it_should(world):
    world.rule("stopped")
    world.past("DAY", lambda hour: 60 if 6 <= hour // HOUR_MS % 24 < 12 else 0)
    world.evaluate(1)
    for _ in range(17):
        world.evaluate(1)
        world.now += 58 * MINUTE_MS
        store.AlertEvaluation.update(evaluated_at=world.now).execute()  # it ran meanwhile
    assert world.alerts() == []
    world.evaluate(120)
    assert world.alerts() == [("DAY", STOPPED, "firing")]


def test_on_a_holiday_a_product_is_expected_to_have_as_few_events_as_on_its_quietest_day(world):
    world.rule("stopped")
    world.past("OFFICE", lambda hour: 60 if hour_of_week(hour) < 120 and hour < NOON - 12 * HOUR_MS else 0)
    for product in "ABC":
        world.past(product, 600)
    world.evaluate(60, *"ABC")  # a tenth of normal
    assert world.alerts() == []


def test_if_all_products_stop_each_is_an_alert_in_one_message(world):
    world.rule("stopped")
    for product in "ABCDE":
        world.past(product, 60)
    world.evaluate(60)
    assert len(world.alerts()) == 5
    assert world.messages() == ["Firing: Watch, 5 alerts"]


def test_many_alerts_of_a_rule_are_one_message(world):
    world.rule("threshold", parameters={"direction": "fewer", "events": 100, "period": "hour"})
    for number in range(30):
        world.past(f"P{number:02}", 1, days=1)
    world.evaluate(3)
    assert len(world.alerts()) == 30
    assert world.messages() == ["Firing: Watch, 30 alerts"]
    text = AlertMessage.get().text
    assert text.startswith("product P00: Fewer events than 100 per hour. 1 event in the last complete hour.")
    assert text.endswith("… and 10 more.\n\nhttps://tally.example/admin/alerts")
    assert world.announced[0][1]["number"] == 30


@pytest.mark.both_databases
@pytest.mark.parametrize(("customer", "number"), [(None, 18), ("ACME", 12)])
def test_a_rule_about_everything_adds_up_all_products(world, customer, number):
    parameters = {"direction": "more", "events": 10, "period": "hour"}
    world.rule("threshold", per="everything", customer=customer, parameters=parameters)
    for product, owner in (("A", "ACME"), ("B", "ACME"), ("B", "OTHER")):
        world.observe(product, owner)
        world.count(product, world.now, 6, owner)
    world.evaluate(2)
    assert [one.seen for one in Alert.select()] == [f"{number} events in this hour."]


def test_alerts_beyond_what_one_transaction_may_write_follow_a_minute_later(world, monkeypatch):
    monkeypatch.setattr(evaluation, "MAX_ADDED", 2)
    world.rule("threshold", parameters={"direction": "fewer", "events": 100, "period": "hour"})
    other = {"name": "Other", "kind": "threshold", "per": "product"}
    other |= {"parameters": {"direction": "fewer", "events": 50, "period": "hour"}}
    world.services.alert_rules.add(SYSTEM, other)
    for product in "ABC":
        world.observe(product)
    numbers = []
    for _ in range(4):
        world.evaluate(1)
        numbers.append(Alert.select().count())
    assert numbers == [2, 4, 6, 6]


def test_a_rule_sends_no_second_message_within_minutes(world):
    world.rule("threshold", parameters={"direction": "more", "events": 5, "period": "hour"})
    for number in range(20):
        world.observe(f"P{number:02}")
    for number in range(20):  # another product each minute
        world.count(f"P{number:02}", world.now, 6)
        world.evaluate(1)
    assert len(world.alerts()) == 20
    assert len(world.messages()) == 4


def test_a_message_is_repeated_while_the_alert_fires(world):
    world.rule("health", per="everything")
    world.problems = [("disk", "The disk is full.")]
    world.evaluate(7)
    for _ in range(30):
        world.now += 29 * MINUTE_MS
        store.AlertEvaluation.update(evaluated_at=world.now).execute()
        world.evaluate(1)
    assert world.messages() == ["Firing: Watch, disk", *["Still firing: Watch, disk"] * 3]  # within 15 hours
    assert [event for event, _ in world.announced] == ["alert.firing"]


def test_a_silenced_alert_fires_without_a_message_until_the_silence_ends(world):
    rule = world.rule("health", per="everything")
    world.problems = [("disk", "The disk is full.")]
    silence = world.services.alert_silences.add(SYSTEM, {"rule": rule.id, "hours": 2, "reason": "Moving the disk."})
    world.evaluate(20)
    assert world.alerts() == [("disk", "Problem with disk", "firing")]
    assert world.messages() == []
    world.services.alert_silences.end(SYSTEM, silence)
    world.evaluate(1)
    assert world.messages() == ["Firing: Watch, disk"]


def test_a_silence_of_one_product_leaves_the_others_loud(world):
    world.rule("threshold", parameters={"direction": "more", "events": 5, "period": "hour"})
    world.services.alert_silences.add(SYSTEM, {"product": "A", "hours": 1, "reason": "A test."})
    for product in "AB":
        world.observe(product)
        world.count(product, world.now, 6)
    world.evaluate(3)
    assert world.messages() == ["Firing: Watch, product B"]


def test_a_problem_that_passes_at_once_is_no_alert(world):
    world.rule("health", per="everything")
    world.problems = [("worker", "No worker.")]
    world.evaluate(3)
    world.problems = []
    world.evaluate(3)
    assert world.alerts() == []


def test_a_problem_that_comes_and_goes_is_one_alert(world):
    world.rule("health", per="everything")
    for minute in range(40):
        world.problems = [("worker", "No worker.")] if minute < 8 or minute % 4 else []
        world.evaluate(1)
    assert world.alerts() == [("worker", "Problem with worker", "firing")]
    assert len(world.messages()) == 1


def test_what_only_redis_knows_is_not_judged_without_it(world):
    world.rule("health", per="everything", parameters={"checks": ["worker"]})
    world.problems = [("worker", "No worker.")]
    world.evaluate(7)
    world.problems = [("redis", "Redis is away."), ("worker", "Unknown without Redis.")]
    world.evaluate(20)
    assert world.alerts() == [("worker", "Problem with worker", "firing")]


@pytest.mark.both_databases
def test_a_volume_between_the_thresholds_neither_starts_nor_ends_an_alert(world):
    world.rule("volume", parameters={"factor": 5, "direction": "rise"})
    world.past("APP", 100)
    world.evaluate(1)
    world.count("APP", NOON + 1, 450)
    world.now = NOON + HOUR_MS
    store.AlertEvaluation.update(evaluated_at=world.now).execute()
    world.evaluate(10)
    assert world.alerts() == []
    world.count("APP", NOON + 2, 100)
    world.evaluate(3)
    assert world.alerts() == [("APP", "Volume far above normal", "firing")]
    assert Alert.get().seen == "550 events in the last complete hour."
    HourlyCount.update(number=450).where(HourlyCount.hour == NOON).execute()
    world.evaluate(20)
    assert world.alerts() == [("APP", "Volume far above normal", "firing")]
    HourlyCount.update(number=300).where(HourlyCount.hour == NOON).execute()
    world.evaluate(7)
    assert world.alerts() == [("APP", "Volume far above normal", "resolved")]


@pytest.mark.both_databases
def test_rejected_events_beyond_the_share_alert_per_product(world, nobody, services):
    world.rule("rejected", parameters={"percent": 50, "minimum": 3})
    good, bad = event(product="APP"), event(product="APP") | {"timestamp": "soon"}
    nobody.send(good)
    services.scheduler.count()
    for _ in range(4):
        nobody.post("/events", {"events": [bad]})
    services.rejected.flush()
    world.now = Event.get().received
    world.evaluate(3)
    assert world.alerts() == [("APP", "Many rejected events", "firing")]
    assert Alert.get().details == {"rejected": 4, "accepted": 1, "percent": 80.0}
    assert [event for event, _ in world.announced] == ["alert.firing", "rejects.rising"]
    nobody.send(*[good] * 20)
    world.evaluate(8)
    assert world.alerts() == [("APP", "Many rejected events", "resolved")]


def test_an_alert_of_a_rule_that_is_turned_off_is_resolved(world):
    rule = world.rule("health", per="everything")
    world.problems = [("disk", "The disk is full.")]
    world.evaluate(7)
    off = {"name": "Watch", "kind": "health", "per": "everything", "active": False}
    world.services.alert_rules.change(SYSTEM, rule, off)
    world.evaluate(1)
    assert world.alerts() == [("disk", "Problem with disk", "resolved")]
    assert world.messages()[-1] == "Resolved: Watch, disk"


def test_a_user_with_customers_sees_only_alerts_about_them(world):
    world.rule("threshold", per="customer", parameters={"direction": "more", "events": 5, "period": "hour"})
    for customer in ("ACME", "OTHER"):
        world.observe("APP", customer)
        world.count("APP", world.now, 6, customer)
    world.evaluate(3)
    assert {one.customer for one in world.services.alerts.current(SYSTEM)} == {"ACME", "OTHER"}
    assert [one.customer for one in world.services.alerts.current(ANNA)] == ["ACME"]
    assert [data["customer"] for _, data in world.announced] == ["ACME", "OTHER"]
    assert [alert["customer"] for _, data in world.announced for alert in data["alerts"]] == ["ACME", "OTHER"]
    assert [one.customer for one in world.services.alerts.history(ANNA, 10)] == ["ACME"]
    assert (world.services.alerts.firing(ANNA), world.services.alerts.firing(SYSTEM)) == (1, 2)
    hidden = Alert.get(Alert.customer == "OTHER")
    with pytest.raises(AlertUnknown):
        world.services.alerts.get(ANNA, hidden.id)


def test_the_chart_of_an_alert_shows_what_was_seen_and_what_was_expected(world, monkeypatch):
    world.rule("stopped")
    world.past("APP", 60)
    world.evaluate(20)
    monkeypatch.setattr("app.services.alerts.alerts.now", lambda: world.now)
    chart = world.services.alerts.chart(Alert.get())
    assert chart.hours[-1] == NOON
    assert chart.seen[-2:] == (60, 0)
    assert chart.expected[-2:] == (60.0, 60.0)
