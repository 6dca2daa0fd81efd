"""Learning from the counts in the database: which series are due, how far the past goes, and how late events arrive."""

from __future__ import annotations

import pytest

from app.services.alerts.judging import kind_of
from app.services.alerts.learning import RENEWED_MS, learn_due, learn_series
from app.services.alerts.normal import WINDOWS, Statistics
from app.store.alerts import counts
from app.store.alerts.counts import Kind, Series
from app.store.database import database
from app.store.models import AlertNormal, Event
from app.support.clock import DAY_MS, HOUR_MS
from tests.services.alerts.conftest import NOON
from tests.support.client import event

PRODUCTS = Kind(("product",), {})


def statistics(product: str) -> Statistics:
    return Statistics(**counts.normal(Series("", product, "")).statistics)


def test_new_series_are_learnt_at_once_and_others_again_after_half_a_day(world):
    world.past("OLD", 1, days=8)
    assert learn_due([PRODUCTS], NOON) == 0
    world.past("NEW", 1, days=8)
    assert learn_due([PRODUCTS], NOON, budget_seconds=-1) == 1
    assert learn_due([PRODUCTS], NOON) == 0
    assert learn_due([PRODUCTS], NOON + RENEWED_MS + 1, budget_seconds=-1) == 2


def test_a_series_of_several_customers_and_types_is_learnt_as_their_sum(world):
    world.past("APP", 20, days=8, customer="ACME")
    world.past("APP", 30, days=8, customer="OTHER")
    learn_series(Series("", "APP", ""), NOON)
    learn_series(Series("OTHER", "APP", ""), NOON)
    assert statistics("APP").weekly == 50 * 168
    assert counts.normal(Series("OTHER", "APP", "")).statistics["weekly"] == 30 * 168


def test_a_rule_about_a_customer_watches_its_products_apart(world):
    for customer in ("ACME", "OTHER"):
        world.observe("APP", customer)
    rule = world.rule("stopped", customer="ACME")
    assert counts.of_kind(kind_of(rule)) == [Series("ACME", "APP", "")]
    assert counts.of_kind(PRODUCTS) == [Series("", "APP", "")]


def test_events_with_times_in_the_future_are_no_last_event(world):
    world.past("APP", 20, days=8)
    world.count("APP", NOON + DAY_MS)
    learn_series(Series("", "APP", ""), NOON)
    assert AlertNormal.get().last_event_at == NOON - 1


@pytest.mark.both_databases
def test_events_that_arrive_late_are_waited_for(world, nobody):
    world.past("LATE", 20, days=8)
    hours = range(NOON - 8 * HOUR_MS, NOON, HOUR_MS)
    nobody.send(*[event(customer="ACME", product="LATE", type="USE", timestamp=hour + 1) for hour in hours])
    Event.update(received=Event.timestamp + 3 * HOUR_MS).execute()
    learn_series(Series("", "LATE", ""), NOON)
    assert statistics("LATE").lag_ms == 6 * HOUR_MS


def test_a_few_late_events_are_not_waited_for(world, nobody):
    world.past("APP", 20, days=8)
    hours = range(NOON - 8 * HOUR_MS, NOON, HOUR_MS)
    nobody.send(*[event(customer="ACME", product="APP", type="USE", timestamp=hour + 1) for hour in hours])
    Event.update(received=Event.timestamp + 1000).execute()
    Event.update(received=Event.timestamp + DAY_MS).where(Event.timestamp < NOON - 6 * HOUR_MS).execute()
    learn_series(Series("", "APP", ""), NOON)
    assert statistics("APP").lag_ms == 0


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
@pytest.mark.parametrize("kind", [PRODUCTS, Kind((), {})], ids=["products", "everything"])
def test_the_counts_of_the_last_day_are_read_without_those_of_the_weeks_before(world, monkeypatch, kind):
    for number in range(10):
        world.past(f"P{number}", 20)
    database.execute_sql("ANALYZE hourly_count")
    database.execute_sql("ANALYZE observed_code")
    run, queries = database.obj.execute_sql, []
    with monkeypatch.context() as patch:
        patch.setattr(database.obj, "execute_sql", lambda *query: queries.append(query) or run(*query))
        found = counts.recent(kind, NOON, WINDOWS)
    assert sum(seen.sums[-1] for seen in found.values()) == 10 * 24 * 20
    (query, values) = next(query for query in queries if "hourly_count" in query[0])
    plan = str(database.execute_sql(f"EXPLAIN {query}", values).fetchall())
    assert "hourly_count_pkey" in plan
    assert "Seq Scan on hourly_count" not in plan
