"""Webhooks to a server of the tests, and a scheduler that delivers when a test says so."""

from __future__ import annotations

import pytest

from app.services.notifications import deliveries, webhook_sender, webhooks
from app.services.notifications.webhooks import Webhooks
from tests.support.receivers import receiver


class Clock:
    """The time as seen by the deliveries."""

    def __init__(self) -> None:
        self.ahead = 0
        self.now = deliveries.now

    def __call__(self) -> int:
        return self.now() + self.ahead


@pytest.fixture
def clock(monkeypatch) -> Clock:
    clock = Clock()
    for module in (deliveries, webhook_sender, webhooks):
        monkeypatch.setattr(module, "now", clock)
    monkeypatch.setattr(deliveries, "server_time", clock)
    monkeypatch.setattr(deliveries, "JITTER", 0)
    return clock


@pytest.fixture
def endpoint():
    with receiver() as running:
        yield running


@pytest.fixture
def allow_hosts(services, settings, monkeypatch):
    """Return a function that changes the hosts that WEBHOOK_HOSTS allows."""

    def allow(*hosts: str) -> None:
        monkeypatch.setattr(services.webhooks, "check", Webhooks(hosts, settings.secret).check)

    return allow


@pytest.fixture
def deliver(services, clock):
    """Return a function that advances the clock and delivers what is due, as a scheduler does every few seconds."""

    def send(after_ms: int = 0) -> None:
        clock.ahead += after_ms
        services.deliveries.send()
        services.deliveries.flush()

    return send
