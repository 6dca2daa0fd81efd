"""Webhooks: notify servers that a report of a schedule has ended, at least once, even if processes die.

Deliveries are derived from the reports' rows, so none is lost. Each try is counted, and the next try scheduled, before
it is made, because the process may die meanwhile. The scheduler sends in separate threads, so that a server that does
not respond does not block other tasks.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import orjson
import structlog

from app.exceptions import (
    FieldError,
    Forbidden,
    InputInvalid,
    ReportError,
    StorageFailed,
    StoreUnavailable,
    WebhookFailed,
)
from app.schemas.reports import job
from app.services.notifications.webhook_client import post, signature
from app.services.people.accounts import owner
from app.services.reports.service import Reports
from app.store.database import release, server_time
from app.store.models import Delivery, DeliveryTry, Report, Schedule
from app.store.notifications import deliveries as store
from app.store.reports import reports as reports_store
from app.support.clock import SKEW_MS, now
from app.support.url_origin import Origin, named, split
from app.version import VERSION

SIGNATURE, DELIVERY = "X-Tally-Signature", "X-Tally-Delivery"
PREFIX = "tally_hook_"  # identifies a secret to people, and to tools that look for leaked secrets
MAX_CONCURRENT_TRIES = 4  # concurrent tries
PAUSES_SECONDS = (30, 120, 600, 1_800, 7_200, 21_600, 54_000)  # from each try to the next: eight within a day
LAST_TRY_SECONDS = 60  # time limit of the last try; after that, its process is considered dead
NOTIFIED_DAYS = 14  # older ends are not notified, for example after the schedulers were down for long
KEEP_DAYS = 60
MAX_RESPONSE_LENGTH = 500  # characters
# The signatures of the link and the request, which a response may repeat.
SIGNATURES = re.compile(r"(signature(?:=|%3D|\\u003d)|\bv1(?:=|%3D|\\u003d))[\w-]+", re.IGNORECASE)
DAY_MS = 86_400_000
LONGEST_MS = PAUSES_SECONDS[-1] * 1000 + SKEW_MS  # no retry is scheduled further ahead

log = structlog.get_logger(__name__)


class Webhooks:
    """Webhooks of a process.

    Args:
        allowed: the servers that the operator allows in WEBHOOK_HOSTS.
        secret: returns the installation's secret, from which each schedule's secret is derived.
    """

    def __init__(self, allowed: Sequence[str], secret: Callable[[], str], reports: Reports) -> None:
        self._allowed = frozenset(named(text) for text in allowed)
        self._secret = secret
        self._reports = reports
        self._pool = ThreadPoolExecutor(MAX_CONCURRENT_TRIES, thread_name_prefix="webhook")
        self._busy: set[int] = set()
        self._lock = threading.Lock()

    @property
    def allowed(self) -> list[str]:
        """Return the allowed servers, for people."""
        return sorted(map(str, self._allowed))

    def check(self, url: str) -> tuple[Origin, str]:
        """Return a webhook's server, and its path and query. Raise InputInvalid if the server is not allowed."""
        server, path = split(url)
        if server not in self._allowed:
            allowed = " or ".join(self.allowed) or "none"
            message = f"webhook goes to {server}, which WEBHOOK_HOSTS does not allow; it allows {allowed}."
            raise InputInvalid("The webhook may not go there.", [FieldError(message, field="webhook")])
        return server, path

    def secret(self, salt: str) -> str:
        """Return the secret that signs a schedule's webhooks. It is derived on each call; only the salt is stored."""
        digest = hmac.digest(self._secret().encode(), f"webhook:{salt}".encode(), hashlib.sha256)
        return PREFIX + base64.urlsafe_b64encode(digest).decode().rstrip("=")

    def send(self) -> None:
        """Create deliveries for reports that have ended, and start tries that are due, up to the number of threads."""
        for report in store.unannounced(now() - NOTIFIED_DAYS * DAY_MS):
            store.add(str(uuid.uuid4()), report, now())
        with self._lock:
            for delivery in store.due(now(), MAX_CONCURRENT_TRIES + len(self._busy), latest=now() + LONGEST_MS):
                if delivery.id not in self._busy and len(self._busy) < MAX_CONCURRENT_TRIES:
                    self._busy.add(delivery.id)
                    self._pool.submit(self._work, delivery)

    def flush(self) -> None:
        """Wait until every started try has ended."""
        while self._busy:
            time.sleep(0.01)

    def tries(self, deliveries: Sequence[Delivery]) -> dict[int, list[DeliveryTry]]:
        """Return the tries of some deliveries by delivery id, oldest first."""
        return store.tries([one.id for one in deliveries])

    def purge(self) -> None:
        """Purge deliveries after KEEP_DAYS."""
        store.purge(server_time() - KEEP_DAYS * DAY_MS)

    def _work(self, delivery: Delivery) -> None:
        try:
            self._deliver(delivery)
        except StoreUnavailable as error:
            log.warning("webhook not tried, it will be", delivery=delivery.key, reason=str(error))
        except Exception:  # noqa: BLE001 - nobody waits for this thread, so log in full; the next try follows
            log.exception("webhook failed", delivery=delivery.key)
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
        pause = LAST_TRY_SECONDS if is_last else PAUSES_SECONDS[number - 1]
        if not store.claim(delivery, begun + pause * 1000):
            return
        code, said = self._try(delivery, begun)
        good = code is not None and 200 <= code < 300
        state = store.DELIVERED if good else store.GIVEN_UP if is_last else store.WAITING
        store.note(delivery.id, number, state, began_at=begun, took_ms=now() - begun, code=code, said=said)
        (log.info if good else log.warning)("webhook tried", delivery=delivery.key, number=number, code=code, said=said)

    def _try(self, delivery: Delivery, moment: int) -> tuple[int | None, str]:
        """Return the response's status and beginning, or None and the reason if there is no response."""
        schedule = store.schedule(delivery)
        report = reports_store.by_job(delivery.report)
        if schedule is None or schedule.webhook is None or schedule.webhook_salt is None or report is None:
            return None, "There is no webhook any more."
        try:
            _check_rights(schedule, report)
            body = orjson.dumps(self._body(schedule, report))
            release()  # no connection is needed while the server responds
            server, path = self.check(schedule.webhook)
            headers = {
                "Content-Type": "application/json",
                "User-Agent": f"Tally/{VERSION}",
                DELIVERY: delivery.key,
                SIGNATURE: signature(self.secret(schedule.webhook_salt), moment // 1000, body),
            }
            response = post(server, path, body, headers)
        except InputInvalid as error:
            return None, error.field_errors[0].message
        except (Forbidden, StorageFailed, WebhookFailed) as error:
            return None, str(error)
        return response.status, _clean(response.text)

    def _body(self, schedule: Schedule, report: Report) -> dict[str, object]:
        """Return the job as in the API, with the schedule's name and the available details of the file."""
        body = job(report) | {"schedule": schedule.name}
        if report.status != reports_store.COMPLETE:
            return body | ({"reason": report.reason} if report.reason else {})
        body |= {"rows": report.rows, "bytes": report.bytes, "sha256": report.sha256}
        with suppress(ReportError):  # its file was removed meanwhile
            body["link"] = self._reports.link(report)
        return body


def _check_rights(schedule: Schedule, report: Report) -> None:
    """Raise Forbidden if the owner may no longer see the report. Each try sends a new link, so each try checks."""
    if report.customer != schedule.customer:
        raise Forbidden("The report is about another customer than the recurring report.")
    if not owner(schedule.owner, schedule.owner_name).sees(report.customer):
        raise Forbidden(f"Its owner, {schedule.owner_name}, may not see data of the customer {report.customer}.")


def new_salt() -> str:
    """Return a salt for a schedule's secret."""
    return secrets.token_urlsafe(16)


def _clean(text: str) -> str:
    """Return the beginning of a response in a form that the database can store and a page can show."""
    plain = "".join(character if character.isprintable() else " " for character in text).strip()
    return SIGNATURES.sub(r"\1…", plain)[:MAX_RESPONSE_LENGTH]
