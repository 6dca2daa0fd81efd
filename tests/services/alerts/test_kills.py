"""Real processes of the scheduler are killed while they decide and send. Alerts are neither lost nor doubled."""

from __future__ import annotations

import os
import signal

import pytest

from app.services.notifications import deliveries
from app.services.notifications.deliveries import Deliveries
from app.services.notifications.webhooks import Webhooks
from app.services.people.principal import SYSTEM
from app.store.alerts import evaluation
from app.store.alerts.evaluation import ABANDONED_MS
from app.store.database import release
from app.store.models import Alert, AlertEvaluation, AlertMessage
from app.support.clock import DAY_MS, MINUTE_MS, now
from tests.support import forked
from tests.support.receivers import receiver
from tests.support.running import wait_until

WAIT_SECONDS = 60


def wait_at(moment: str) -> None:
    """Let a scheduler say so and wait for its end at a moment."""

    def wait(*args: object, **values: object) -> None:
        os.write(1, b"waiting")
        signal.pause()

    def send(deliveries: Deliveries) -> None:
        if AlertMessage.select().exists():
            wait()

    if moment == "deciding":
        evaluation.add_message = wait
    if moment == "decided":
        Deliveries.send = send
    if moment == "sent":
        Deliveries._note = wait


@pytest.fixture
def kill_scheduler(settings, redis_url, tmp_path, monkeypatch):
    """Return a function that runs a scheduler, and kills it at a moment."""

    def prepare(moment: str) -> None:
        monkeypatch.undo()  # in the fork; the time is the real one there
        wait_at(moment)

    def run(moment: str, hosts: str) -> None:
        environment = {
            "PATH": os.environ["PATH"],
            "DATA_DIR": str(settings.data_dir.absolute()),
            "DATABASE_URL": settings.database_url,
            "REDIS_URL": redis_url,
            "WEBHOOK_HOSTS": hosts,
        }
        release()
        with forked.Command(
            "scheduler", folder=tmp_path, environment=environment, prepare=lambda: prepare(moment)
        ) as scheduler:
            wait_until(lambda: scheduler.said() == "waiting" or scheduler.poll() is not None, WAIT_SECONDS)
            scheduler.kill()
            assert scheduler.wait() == -signal.SIGKILL, scheduler.said(errors=True)

    return run


def test_an_alert_survives_kills_of_schedulers_between_its_decision_and_its_sending(
    world, services, settings, monkeypatch, kill_scheduler
):
    world.rule("threshold", parameters={"direction": "fewer", "events": 100, "period": "hour"})
    world.observe("APP")
    world.now = now() - 3 * MINUTE_MS
    world.evaluate(1)
    assert world.alerts() == [("APP", "Fewer events than 100 per hour", "pending")]
    with receiver() as endpoint:
        monkeypatch.setattr(services.webhooks, "check", Webhooks([endpoint.url], settings.secret).check)
        services.webhooks.add(SYSTEM, {"name": "alerts", "url": endpoint.url, "types": ["alert.firing"]})
        kill_scheduler("deciding", endpoint.url)
        assert (Alert.get().state, AlertMessage.select().count()) == ("pending", 0)
        AlertEvaluation.update(claimed_at=AlertEvaluation.claimed_at - ABANDONED_MS - 1).execute()  # time passes
        kill_scheduler("decided", endpoint.url)
        assert (Alert.get().state, AlertMessage.select().count(), endpoint.got) == ("firing", 1, [])
        kill_scheduler("sent", endpoint.url)
        assert len(endpoint.got) == 1
        monkeypatch.setattr(deliveries, "now", lambda: now() + DAY_MS)
        for _ in range(2):
            services.deliveries.send()
            services.deliveries.flush()
    assert [one.headers["webhook-id"] for one in endpoint.got] == [endpoint.got[0].headers["webhook-id"]] * 2
    assert [(one.state, one.notified_at is not None) for one in Alert.select()] == [("firing", True)]
    assert [one.dispatched_at for one in AlertMessage.select()] != [None]  # the channels get it, too
