"""Deliveries to webhooks: which webhook gets which event, and the request that announces it.

Reports are found when they have ended, by the rows of their table, so none is lost. Other events are queued in the
transaction of what happened. A webhook gets

- the ends of reports of each recurring report that names it, and
- each event of the types in its list: of reports, all that its owner may see, regardless of who started them.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from contextlib import suppress

import orjson

from app.exceptions import Forbidden, InputInvalid, ReportError, StorageFailed, WebhookFailed
from app.schemas.reports import job
from app.schemas.webhooks import EVENT_TYPES, TEST
from app.services.notifications import signatures
from app.services.notifications.sending import PAUSES_SECONDS, Kind, Outcome
from app.services.notifications.webhook_client import post
from app.services.notifications.webhooks import Webhooks
from app.services.people.accounts import owner
from app.services.people.principal import SYSTEM, Principal
from app.services.reports.service import Reports
from app.store.database import release
from app.store.models import Delivery, Report, Webhook
from app.store.notifications import deliveries as store
from app.store.notifications import webhooks as webhooks_store
from app.store.reports import reports as reports_store
from app.support.clock import DAY_MS, HOUR_MS, iso, now
from app.version import VERSION

GONE = 410  # a receiver's answer that it wants nothing more
BUSY = (429, 502, 503, 504)  # answers whose Retry-After counts
MAX_RETRY_AFTER_MS = DAY_MS
LATE_MS = HOUR_MS  # an end is visible sooner after its time, also if the clocks of machines differ
ANSWERED_GONE = "The server answered 410 Gone, so it accepts no more. Enable the webhook when the server is ready."
ENDED = {store.REPORT_COMPLETED: ("COMPLETE",), store.REPORT_FAILED: ("FAILED", "TIMEOUT")}  # status by event type


class WebhookSender:
    """Maker of what webhooks get: a `Sender` of the queue."""

    kind = Kind("webhook", "webhook", PAUSES_SECONDS, max_tries=8)

    def __init__(self, webhooks: Webhooks, reports: Reports) -> None:
        self._webhooks = webhooks
        self._reports = reports
        self._announced_to = 0  # ends of all reports before this time are announced to those who want event types

    def queue(self, type: str, data: Mapping[str, object], *, customer: str | None = None) -> int:
        """Queue a delivery of an event to each webhook that wants its type, and return how many there are.

        Call it inside the transaction that makes the event happen. Then both are committed, or neither is.

        Args:
            type: a key of EVENT_TYPES; otherwise KeyError is raised.
            data: what is sent, as values of JSON.
            customer: the customer whose data it concerns. Without one, only users without a limit to customers get it.
        """
        EVENT_TYPES[type]
        found = [one for one in webhooks_store.enabled() if type in one.types and _may_get(one, type, customer)]
        for webhook in found:
            store.add(_new_key(), type, dict(data), now(), webhook=webhook.id, customer=customer)
        return len(found)

    def add_test(self, webhook: Webhook) -> Delivery:
        """Create a delivery that says that it is a test. The caller makes its only try."""
        data = {"message": "This is a test.", "webhook": webhook.name}
        return store.add(_new_key(), TEST, data, now(), is_test=True, webhook=webhook.id)

    def announce(self, since: int) -> None:
        """Create the deliveries of reports that have ended since a time."""
        store.adopt()
        self._webhooks.follow_owners()
        begun, since_last = now(), max(since, self._announced_to - LATE_MS)
        for report, key in store.unannounced(since):
            store.add_report(_new_key(), report, key, now())
        for webhook in webhooks_store.enabled():
            statuses = [status for type in webhook.types for status in ENDED.get(type, ())]
            if statuses and (who := _find_owner(webhook)):
                first = max(since_last, webhook.enabled_at, webhook.subscribed_at)
                account = None if who.sees_all_reports else who.id
                for report in store.unannounced_to(webhook.id, first, statuses, account, who.customers):
                    store.add_report(_new_key(), report, webhook.id, now())
        self._announced_to = begun

    def attempt(self, delivery: Delivery, moment: int) -> Outcome:
        """Send a delivery to its webhook, and return how its server responded."""
        webhook = None if delivery.webhook is None else webhooks_store.by_id(delivery.webhook)
        if webhook is None:
            return Outcome(None, "There is no webhook any more.", is_final=True)
        try:
            body = orjson.dumps(self._body(webhook, delivery))
            server, path = self._webhooks.check(webhook.url)
            secrets = self._webhooks.secrets(webhook)
            release()  # no connection is needed while the server responds
            headers = {"Content-Type": "application/json", "User-Agent": f"Tally/{VERSION}"}
            headers |= signatures.headers(secrets, delivery.key, moment // 1000, body)
            response = post(server, path, body, headers)
        except InputInvalid as error:
            return Outcome(None, error.field_errors[0].message)
        except (Forbidden, StorageFailed, WebhookFailed) as error:
            return Outcome(None, str(error))
        if response.status == GONE:
            self._webhooks.disable(SYSTEM, webhook, ANSWERED_GONE)
        wait = min(response.retry_after * 1000, MAX_RETRY_AFTER_MS) if response.status in BUSY else 0
        is_good = 200 <= response.status < 300
        return Outcome(response.status, response.text, is_good, is_final=response.status == GONE, wait_ms=wait)

    def _body(self, webhook: Webhook, delivery: Delivery) -> dict[str, object]:
        """Return the body: type, timestamp and data; before them, for a report, its data as version 1.0 sent them.

        Raise Forbidden if the owner of the webhook may no longer see the data. Each try checks, because a report's
        link is a new one each time.
        """
        kind = delivery.type or ""
        if delivery.report is None:
            if kind != TEST and not _may_get(webhook, kind, delivery.customer):
                raise Forbidden(f"Its owner, {webhook.owner_name}, may not see this.")
            return {"type": kind, "timestamp": iso(delivery.created_at), "data": delivery.data}
        report = reports_store.by_job(delivery.report)
        if report is None:
            raise Forbidden("There is no such report any more.")
        _check_rights(webhook, delivery, report)
        data = self._describe(delivery, report)
        return data | {"type": kind, "timestamp": iso(delivery.ended_at or 0), "data": data}

    def _describe(self, delivery: Delivery, report: Report) -> dict[str, object]:
        """Return the job as in the API, with the schedule's name and the available details of the file."""
        schedule = store.schedule(delivery)
        data = job(report) | ({"schedule": schedule.name} if schedule else {})
        if report.status != reports_store.COMPLETE:
            return data | ({"reason": report.reason} if report.reason else {})
        data |= {"rows": report.rows, "bytes": report.bytes, "sha256": report.sha256}
        with suppress(ReportError):  # its file was removed meanwhile
            data["link"] = self._reports.link(report)
        return data


def _check_rights(webhook: Webhook, delivery: Delivery, report: Report) -> None:
    """Raise Forbidden if the owner of a webhook may not see a report, or its schedule has another customer."""
    who, schedule = owner(webhook.owner, webhook.owner_name), store.schedule(delivery)
    if schedule is not None and report.customer != schedule.customer:
        raise Forbidden("The report is about another customer than the recurring report.")
    if not who.sees(*report.all_customers):
        raise Forbidden(f"Its owner, {who.name}, may not see data of the customer {report.customer}.")
    is_named = webhooks_store.is_linked(delivery.schedule, webhook.id)
    if not (is_named or who.sees_all_reports or report.account == who.id):
        raise Forbidden(f"Its owner, {who.name}, may not see reports of others.")


def _may_get(webhook: Webhook, type: str, customer: str | None) -> bool:
    """Return whether the owner of a webhook may see an event about a customer, or about all of them."""
    who = _find_owner(webhook)
    if who is None or not who.may(EVENT_TYPES[type][1]):
        return False
    return who.customers is None if customer is None else who.sees(customer)


def _find_owner(webhook: Webhook) -> Principal | None:
    try:
        return owner(webhook.owner, webhook.owner_name)
    except Forbidden:
        return None


def _new_key() -> str:
    return str(uuid.uuid4())
