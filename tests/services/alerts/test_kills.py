"""Real processes of the scheduler are killed while they decide and send. Alerts are neither lost nor doubled."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from app.services.notifications import deliveries
from app.services.notifications.webhooks import Webhooks
from app.services.people.principal import SYSTEM
from app.store.alerts.evaluation import ABANDONED_MS
from app.store.models import Alert, AlertEvaluation, AlertMessage
from app.support.clock import DAY_MS, MINUTE_MS, now
from tests.support.receivers import receiver

ROOT = Path(__file__).parents[3]
# `tally scheduler`, which waits for its end at a moment
SCHEDULER = """
import sys
from app.cli.main import main
from app.services.notifications.deliveries import Deliveries
from app.store.alerts import evaluation
from app.store.models import AlertMessage

def wait(*args, **values):
    print("waiting", flush=True)
    sys.stdin.read()

def send(deliveries):
    if AlertMessage.select().exists():
        wait()

moment = sys.argv.pop()
if moment == "deciding":
    evaluation.add_message = wait
if moment == "decided":
    Deliveries.send = send
if moment == "sent":
    Deliveries._note = wait
main()
"""


@pytest.fixture
def kill_scheduler(settings, redis_url, tmp_path):
    """Return a function that runs a scheduler, and kills it at a moment."""

    def run(moment: str, hosts: str) -> None:
        environment = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(ROOT),
            "DATA_DIR": str(settings.data_dir.absolute()),
            "DATABASE_URL": settings.database_url,
            "REDIS_URL": redis_url,
            "WEBHOOK_HOSTS": hosts,
        }
        process = subprocess.Popen(
            [sys.executable, "-c", SCHEDULER, "scheduler", moment],
            env=environment,
            cwd=tmp_path,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        with process:
            assert any(line == b"waiting\n" for line in process.stdout)
            process.send_signal(signal.SIGKILL)
        assert process.returncode == -signal.SIGKILL

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
