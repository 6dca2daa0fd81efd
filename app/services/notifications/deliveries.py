"""The queue of notifications: each is sent at least once, even if processes die.

It serves webhooks, mail and alert channels. A `Sender` of each kind creates the deliveries of what has happened, and
makes a try. Each try is counted, and the next try scheduled, before it is made, because the process may die meanwhile.
Each try has a thread of its own, so that a server that does not respond holds up neither the other tasks of the
scheduler nor the end of its process.
"""

from __future__ import annotations

import random
import re
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack
from math import inf

import structlog

from app.exceptions import StoreUnavailable, WebhookUnknown
from app.services.notifications.sending import JITTER, Outcome, Sender
from app.services.notifications.webhook_sender import WebhookSender
from app.services.people import audit
from app.services.people.principal import Principal
from app.store.database import release, server_time, transaction
from app.store.models import Delivery, DeliveryTry, Webhook
from app.store.notifications import deliveries as store
from app.store.notifications import webhooks as webhooks_store
from app.support.clock import DAY_MS, now
from app.support.timed_call import start_call

LAST_TRY_SECONDS = 120  # time limit of the last try; after that, its process is considered dead
NOTIFIED_DAYS = 14  # older ends are not notified, for example after the schedulers were down for long
KEEP_DAYS = 60
MAX_RESPONSE_LENGTH = 500  # characters
# The signatures of the link and the request, which a response may repeat.
SIGNATURES = re.compile(r"(signature(?:=|%3D|\\u003d)|\bv1(?:=|%3D|\\u003d|,|%2C))[\w+/-]+", re.IGNORECASE)

log = structlog.get_logger(__name__)


class Deliveries:
    """Deliveries of a process."""

    def __init__(self, webhooks: WebhookSender, *others: Sender) -> None:
        self._webhooks = webhooks
        self._senders: list[Sender] = [webhooks, *others]
        self._busy: dict[int, Delivery] = {}
        self._lock = threading.Lock()

    def send(self) -> None:
        """Create deliveries of what has happened, and start tries that are due. An error of a kind stops no other."""
        with ExitStack() as stack:
            for sender in self._senders:
                stack.callback(self._send, sender)

    def flush(self, seconds: float = inf) -> None:
        """Wait until every started try has ended, or for some seconds."""
        until = time.monotonic() + seconds
        while self._busy and time.monotonic() < until:
            time.sleep(0.01)

    def test(self, by: Principal, webhook: Webhook) -> Delivery:
        """Send a test to a webhook now, once, and return its delivery, whose try has the answer."""
        with transaction():
            delivery = self._webhooks.add_test(webhook)
            audit.note(by, "webhook tested", f"webhook {webhook.id}: {webhook.name}")
        self._note(self._webhooks, delivery, 1, now(), self._webhooks.attempt(delivery, now()), is_last=True)
        return self.get(webhook, delivery.id)

    def newest(self, webhook: Webhook, limit: int) -> list[Delivery]:
        """Return the newest deliveries to a webhook."""
        return store.newest(limit, webhook=webhook.id)

    def get(self, webhook: Webhook, key: int) -> Delivery:
        """Return a delivery to a webhook. Raise WebhookUnknown if there is none."""
        found = store.by_id(key)
        if found is None or found.webhook != webhook.id:
            raise WebhookUnknown(f"{webhook.name} has no delivery {key}.")
        return found

    def send_again(self, by: Principal, webhook: Webhook, delivery: Delivery) -> None:
        """Schedule a delivery to be sent again, with the full number of tries."""
        with transaction():
            if not store.again(delivery.id, now()):
                raise WebhookUnknown(f"{webhook.name} has no delivery {delivery.id} any more.")
            audit.note(by, "webhook sent again", f"webhook {webhook.id}: {webhook.name}", {"id": delivery.key})

    def tries(self, deliveries: Sequence[Delivery]) -> dict[int, list[DeliveryTry]]:
        """Return the tries of some deliveries by delivery id, oldest first."""
        return store.tries([one.id for one in deliveries])

    def purge(self) -> None:
        """Purge deliveries after KEEP_DAYS, and expired secrets."""
        store.purge(server_time() - KEEP_DAYS * DAY_MS)
        webhooks_store.purge_secrets(server_time() - DAY_MS)

    def _send(self, sender: Sender) -> None:
        sender.announce(now() - NOTIFIED_DAYS * DAY_MS)
        kind = sender.kind
        with self._lock:
            busy = [one for one in self._busy.values() if getattr(one, kind.receiver) is not None]
            free, latest = kind.max_tries - len(busy), now() + kind.longest_ms
            for delivery in store.due(kind.receiver, now(), free, latest=latest, busy=busy, in_order=kind.in_order):
                self._busy[delivery.id] = delivery
                start_call(self._work, sender, delivery)

    def _work(self, sender: Sender, delivery: Delivery) -> None:
        try:
            self._deliver(sender, delivery)
        except StoreUnavailable as error:
            log.warning("delivery not tried, it will be", delivery=delivery.key, reason=str(error))
        except Exception:  # noqa: BLE001 - nobody waits for this thread, so log in full; the next try follows
            log.exception("delivery failed", delivery=delivery.key)
        finally:
            release()
            with self._lock:
                del self._busy[delivery.id]

    def _deliver(self, sender: Sender, delivery: Delivery) -> None:
        """Make a try if no other process has claimed it."""
        number, begun, pauses = delivery.tries + 1, now(), sender.kind.pauses_seconds
        if delivery.tries > len(pauses):
            store.give_up(delivery.id)
            return
        is_last = number > len(pauses)
        pause = LAST_TRY_SECONDS if is_last else pauses[number - 1] * (1 + JITTER * random.random())
        if store.claim(delivery, begun + round(pause * 1000)):
            self._note(sender, delivery, number, begun, sender.attempt(delivery, begun), is_last=is_last)

    def _note(
        self, sender: Sender, delivery: Delivery, number: int, begun: int, outcome: Outcome, *, is_last: bool
    ) -> None:
        """Record a try, and what follows from it."""
        is_over = is_last or outcome.is_final
        state = store.DELIVERED if outcome.is_good else store.GIVEN_UP if is_over else store.WAITING
        said = _clean(outcome.said)
        tried = {"code": outcome.code, "said": said}
        store.note(delivery.id, number, state, began_at=begun, took_ms=now() - begun, **tried)
        if state == store.WAITING and outcome.wait_ms:
            store.postpone(delivery.id, number, now() + outcome.wait_ms)
        known = {"delivery": delivery.key, "number": number} | tried
        (log.info if outcome.is_good else log.warning)(f"{sender.kind.name} tried", **known)


def _clean(text: str) -> str:
    """Return the beginning of a response in a form that the database can store and a page can show."""
    plain = "".join(character if character.isprintable() else " " for character in text).strip()
    return SIGNATURES.sub(r"\1…", plain)[:MAX_RESPONSE_LENGTH]
