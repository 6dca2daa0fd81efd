"""A world with hourly counts of the past, a clock that the test moves, and evaluations of the alert rules."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest

from app.services import Services
from app.services.alerts import learning
from app.services.alerts.evaluation import Evaluation
from app.services.people.principal import SYSTEM
from app.store.alerts import evaluation as store
from app.store.models import Alert, AlertMessage, AlertRule, HourlyCount, ObservedCode
from app.support.clock import DAY_MS, HOUR_MS, MINUTE_MS

NOON = 1_790_596_800_000  # 2026-09-28T12:00:00Z, a Monday
WEEKS = 4


class World:
    """Counts, clock and evaluations. `now` is the time of the next evaluation."""

    def __init__(self, services: Services) -> None:
        self.now = NOON
        self.problems: list[tuple[str, str | None]] = []
        self.announced: list[tuple[str, Mapping[str, object]]] = []
        self.spooled = 0
        self.services = services
        self.evaluation = self.scheduler()

    def scheduler(self) -> Evaluation:
        """Return the evaluation of another scheduler."""
        return Evaluation(
            lambda: self.problems,
            lambda: self.spooled,
            lambda event, data, *, customer: self.announced.append((event, {"customer": customer, **data})),
            4,
            "https://tally.example/admin/alerts",
        )

    def past(self, product: str, number: Callable[[int], int] | int, *, days: int = 28, customer: str = "ACME") -> None:
        """Count events in each hour of the days before noon: their first and last at its ends."""
        rows = []
        for hour in range(NOON - days * DAY_MS, NOON, HOUR_MS):
            events = number(hour) if callable(number) else number
            if events:
                rows.append(self._row(product, hour, events, hour + 1, hour + HOUR_MS - 1, customer))
        for place in range(0, len(rows), 100):
            HourlyCount.insert_many(rows[place : place + 100]).execute()
        self.observe(product, customer)

    def observe(self, product: str, customer: str = "ACME") -> None:
        """Record that a code was observed."""
        values = {"customer": customer, "product": product, "type": "USE", "first_observed_at": 0, "width": 0}
        ObservedCode.insert(values).on_conflict_ignore().execute()

    def count(self, product: str, at: int, number: int = 1, customer: str = "ACME") -> None:
        """Count events at a time."""
        hour = at // HOUR_MS * HOUR_MS
        same = (HourlyCount.customer == customer) & (HourlyCount.product == product) & (HourlyCount.hour == hour)
        changed = HourlyCount.update(number=HourlyCount.number + number, last_at=at).where(same).execute()
        if not changed:
            HourlyCount.insert(self._row(product, hour, number, at, at, customer)).execute()

    def evaluate(self, minutes: int = 1, *busy: str) -> None:
        """Let minutes pass with an evaluation in each, and with events of the busy products, 50 an hour or more."""
        for _ in range(minutes):
            self.now += MINUTE_MS
            for product in busy:
                self.count(product, self.now - 1)
            self.evaluation.evaluate()

    def rule(self, kind: str, **values: object) -> AlertRule:
        """Add the only rule."""
        AlertRule.delete().execute()
        return self.services.alert_rules.add(SYSTEM, {"name": "Watch", "kind": kind, "per": "product"} | values)

    def alerts(self) -> list[tuple[str, str, str]]:
        """Return the product or health check, title and state of all alerts, the oldest first."""
        found = Alert.select().order_by(Alert.id)
        return [(one.product or one.subject, one.title, one.state) for one in found]

    def messages(self) -> list[str]:
        """Return the subjects of all messages, the oldest first."""
        return [one.subject for one in AlertMessage.select().order_by(AlertMessage.id)]

    def _row(self, product: str, hour: int, number: int, first: int, last: int, customer: str) -> dict[str, object]:
        values = {"customer": customer, "product": product, "type": "USE", "hour": hour, "number": number}
        return values | {"first_at": first, "last_at": last}


@pytest.fixture
def world(services, monkeypatch) -> World:
    made = World(services)
    monkeypatch.setattr(store, "server_time", lambda: made.now)
    monkeypatch.setattr("app.services.alerts.rules.now", lambda: made.now)
    monkeypatch.setattr(learning, "BUDGET_SECONDS", 60.0)
    return made
