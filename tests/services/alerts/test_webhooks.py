"""Webhooks about alerts: an endpoint gets each change of an alert once, signed, with what docs/webhooks.md says."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import standardwebhooks

from app.services.notifications.webhooks import Webhooks
from app.services.people.principal import SYSTEM
from app.store.models import Alert, Event
from tests.support.client import event
from tests.support.receivers import receiver

DOCS = Path(__file__).parents[3] / "docs" / "webhooks.md"


@pytest.mark.both_databases
def test_an_endpoint_gets_signed_webhooks_exactly_when_alerts_fire_and_are_resolved(
    world, services, nobody, settings, monkeypatch
):
    world.evaluation = services.alert_evaluation
    world.rule("rejected", parameters={"percent": 50, "minimum": 3})
    with receiver() as endpoint:
        monkeypatch.setattr(services.webhooks, "check", Webhooks([endpoint.url], settings.secret).check)
        types = ["alert.firing", "alert.resolved", "rejects.rising"]
        added = services.webhooks.add(SYSTEM, {"name": "alerts", "url": endpoint.url, "types": types})

        def arrived(minutes: int) -> list[dict[str, object]]:
            endpoint.got.clear()
            world.evaluate(minutes)
            services.deliveries.send()
            services.deliveries.flush()
            verify = standardwebhooks.Webhook(added.secret).verify
            return sorted((verify(one.body, one.headers) for one in endpoint.got), key=lambda body: body["type"])

        good = event(product="APP")
        nobody.send(good)
        services.scheduler.count()
        for _ in range(4):
            nobody.post("/events", {"events": [good | {"timestamp": "soon"}]})
        services.rejected.flush()
        world.now = Event.get().received
        assert arrived(1) == []  # pending
        firing, rejects = arrived(1)
        assert arrived(3) == []  # still firing
        nobody.send(*[good] * 20)
        assert arrived(4) == []  # not resolved yet
        (resolved,) = arrived(4)
        assert arrived(2) == []
    alert = Alert.get()
    assert [one["type"] for one in (firing, rejects, resolved)] == types[:1] + types[2:] + types[1:2]
    shown = {"id": alert.id, "product": "APP", "title": "Many rejected events", "since": alert.since_at}
    shown |= {"seen": firing["data"]["alerts"][0]["seen"], "expected": "The rule allows 50 %."}
    link = f"{settings.base_url}/admin/alerts"
    assert firing["data"] == {"rule": "Watch", "number": 1, "alerts": [shown], "link": link}
    assert shown["seen"].startswith("4 of 5 events rejected since ")
    assert rejects["data"] == firing["data"]
    assert resolved["data"]["alerts"][0]["resolved"] == alert.resolved_at
    example = json.loads(re.search(r'```json\n(\{"rule":.*?)```', DOCS.read_text(), re.DOTALL)[1])
    assert list(example) == list(resolved["data"])
    assert list(example["alerts"][0]) == list(resolved["data"]["alerts"][0])
