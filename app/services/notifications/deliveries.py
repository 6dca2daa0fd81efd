"""Deliveries: notifications are sent at least once, even if processes die.

Each try is counted, and the next try scheduled, before it is made, because the process may die meanwhile. The scheduler
sends in separate threads, so that a server that does not respond does not block other tasks.
"""

from __future__ import annotations

import random
import re
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import structlog

from app.exceptions import StoreUnavailable, WebhookUnknown
from app.services.notifications.mail_sender import MailSender
from app.services.notifications.outcome import Outcome
from app.services.notifications.webhook_sender import WebhookSender
from app.services.people import audit
from app.services.people.principal import Principal
from app.store.database import release, server_time, transaction
from app.store.models import Delivery, DeliveryTry, Webhook
from app.store.notifications import deliveries as store
from app.store.notifications import webhooks as webhooks_store
from app.support.clock import DAY_MS, SKEW_MS, now

MAX_CONCURRENT_TRIES = 8
# From each try to the next: ten within three days. Up to a tenth more, so that many do not return at the same moment.
PAUSES_SECONDS = (30, 120, 600, 1_800, 7_200, 21_600, 54_000, 72_000, 86_400)
JITTER = 0.1
LAST_TRY_SECONDS = 120  # time limit of the last try; after that, its process is considered dead
NOTIFIED_DAYS = 14  # older ends are not notified, for example after the schedulers were down for long
KEEP_DAYS = 60
MAX_RESPONSE_LENGTH = 500  # characters
# The signatures of the link and the request, which a response may repeat.
SIGNATURES = re.compile(r"(signature(?:=|%3D|\\u003d)|\bv1(?:=|%3D|\\u003d|,|%2C))[\w+/-]+", re.IGNORECASE)
LONGEST_MS = round(PAUSES_SECONDS[-1] * 1000 * (1 + JITTER)) + SKEW_MS  # no retry is scheduled further ahead

log = structlog.get_logger(__name__)


class Deliveries:
    """Deliveries of a process."""

    def __init__(self, webhooks: WebhookSender, mail: MailSender) -> None:
        self._webhooks = webhooks
        self._mail = mail
        self._pool = ThreadPoolExecutor(MAX_CONCURRENT_TRIES, thread_name_prefix="delivery")
        self._busy: set[int] = set()
        self._lock = threading.Lock()

    def send(self) -> None:
        """Create deliveries for reports that have ended, and start tries that are due, up to the number of threads."""
        store.adopt()
        for sender in (self._webhooks, self._mail):
            sender.announce(now() - NOTIFIED_DAYS * DAY_MS)
        with self._lock:
            for delivery in store.due(now(), MAX_CONCURRENT_TRIES + len(self._busy), latest=now() + LONGEST_MS):
                if delivery.id not in self._busy and len(self._busy) < MAX_CONCURRENT_TRIES:
                    self._busy.add(delivery.id)
                    self._pool.submit(self._work, delivery)

    def flush(self) -> None:
        """Wait until every started try has ended."""
        while self._busy:
            time.sleep(0.01)

    def test(self, by: Principal, webhook: Webhook) -> Delivery:
        """Send a test to a webhook now, once, and return its delivery, whose try has the answer."""
        with transaction():
            delivery = self._webhooks.add_test(webhook)
            audit.note(by, "webhook tested", f"webhook {webhook.id}: {webhook.name}")
        self._note(delivery, 1, now(), self._webhooks.attempt(delivery, now()), is_last=True)
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

    def _work(self, delivery: Delivery) -> None:
        try:
            self._deliver(delivery)
        except StoreUnavailable as error:
            log.warning("delivery not tried, it will be", delivery=delivery.key, reason=str(error))
        except Exception:  # noqa: BLE001 - nobody waits for this thread, so log in full; the next try follows
            log.exception("delivery failed", delivery=delivery.key)
        finally:
            release()
            with self._lock:
                self._busy.discard(delivery.id)

    def _deliver(self, delivery: Delivery) -> None:
        """Make a try if no other process has claimed it."""
        number, begun = delivery.tries + 1, now()
        if delivery.tries > len(PAUSES_SECONDS):
            store.give_up(delivery.id)
            return
        is_last = number > len(PAUSES_SECONDS)
        pause = LAST_TRY_SECONDS if is_last else PAUSES_SECONDS[number - 1] * (1 + JITTER * random.random())
        if not store.claim(delivery, begun + round(pause * 1000)):
            return
        sender = self._webhooks if delivery.recipient is None else self._mail
        self._note(delivery, number, begun, sender.attempt(delivery, begun), is_last=is_last)

    def _note(self, delivery: Delivery, number: int, begun: int, outcome: Outcome, *, is_last: bool) -> None:
        """Record a try, and what follows from it."""
        is_over = is_last or outcome.is_final
        state = store.DELIVERED if outcome.is_good else store.GIVEN_UP if is_over else store.WAITING
        said = _clean(outcome.said)
        tried = {"code": outcome.code, "said": said}
        store.note(delivery.id, number, state, began_at=begun, took_ms=now() - begun, **tried)
        if state == store.WAITING and outcome.wait_ms:
            store.postpone(delivery.id, number, now() + outcome.wait_ms)
        known = {"delivery": delivery.key, "number": number} | tried
        if delivery.recipient is None:
            (log.info if outcome.is_good else log.warning)("webhook tried", **known)
        else:
            (log.info if outcome.is_good else log.warning)("mail tried", **known)


def _clean(text: str) -> str:
    """Return the beginning of a response in a form that the database can store and a page can show."""
    plain = "".join(character if character.isprintable() else " " for character in text).strip()
    return SIGNATURES.sub(r"\1…", plain)[:MAX_RESPONSE_LENGTH]
