"""Recurring reports: a filter and an output that become a report every day, week or month.

Each report covers the period that ended, or everything accepted since the previous report. `runs` starts the reports.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from app.exceptions import FieldError, Forbidden, InputInvalid, RateLimited, ScheduleUnknown, WebhookUnknown
from app.schemas.json import shown
from app.schemas.schedules import ScheduleSchema
from app.services.catalog.lookup import Catalog
from app.services.notifications.mail_sender import MailSender
from app.services.notifications.webhooks import Webhooks
from app.services.people.accounts import owner
from app.services.people.principal import Principal
from app.services.reports.service import ROOM_SECONDS
from app.services.schedules.recurrence import Recurrence
from app.services.schedules.runs import note, recurrence, without_suggestions
from app.services.schedules.runs import owner as owner_of
from app.store.database import transaction
from app.store.models import Delivery, Report, Schedule, ScheduleRecipient, Webhook
from app.store.notifications import deliveries, recipients
from app.store.notifications import webhooks as webhooks_store
from app.store.reports import reports
from app.store.schedules import schedules as store
from app.support.clock import now


@dataclass(frozen=True)
class Saved:
    """Schedule as saved, and the secret of the webhook that was added for it, if any. It is not available again."""

    schedule: Schedule
    secret: str | None


class Schedules:
    """Service for recurring reports, of which each user may have `most`."""

    def __init__(self, catalog: Catalog, webhooks: Webhooks, mail: MailSender, most: int) -> None:
        self._catalog = catalog
        self._webhooks = webhooks
        self._mail = mail
        self._most = most

    def visible(self, who: Principal) -> list[Schedule]:
        """Return the schedules that the caller may see, by name."""
        return store.every(None if who.sees_all_reports else who.id, who.customers)

    def get(self, who: Principal, key: int) -> Schedule:
        """Return a schedule. Raise ScheduleUnknown if it does not exist, or the caller may not see it."""
        found = self.origin(who, key)
        if found is None:
            raise ScheduleUnknown(f"There is no recurring report {key}, or it is not yours.")
        return found

    def origin(self, who: Principal, key: int | None) -> Schedule | None:
        """Return the schedule with an id, or None if it does not exist or the caller may not see it."""
        found = None if key is None else store.by_id(key)
        if found is None or not who.sees(found.customer):
            return None
        return found if found.owner == who.id or who.sees_all_reports else None

    def add(self, owner: Principal, wanted: Mapping[str, object], *, by: Principal | None = None) -> Saved:
        """Create a recurring report of an owner from unvalidated input, by another user if given.

        Raises:
            InputInvalid: a field is invalid, a code is unknown, or a webhook's server is not allowed.
            Forbidden: the owner may not see the customer.
            RateLimited: the owner has the maximum number of recurring reports.
        """
        if owner.id and store.number(owner.id) >= self._most:
            raise RateLimited(
                f"The user has {self._most:,} recurring reports, the most allowed (SCHEDULES_MAX). Remove one first.",
                ROOM_SECONDS,
            )
        request = self._check(owner, wanted)
        values, moment = _columns(request), now()
        values |= {"owner": owner.id, "owner_name": owner.name, "active": True, "created_at": moment}
        with transaction():
            added = store.add(next_run_at=Recurrence(values["recurrence"], values["hour"]).next_run(moment), **values)
            if added is None:
                raise _name_taken(values["name"])
            secret = self._set_webhooks(by or owner, owner, added, request)
            self._set_recipients(added, request)
            note(by or owner, "added", added, self._describe(added))
        return Saved(added, secret)

    def change(self, by: Principal, schedule: Schedule, wanted: Mapping[str, object]) -> Saved:
        """Change a recurring report from its next report on.

        Raises:
            InputInvalid: see `add`; or the customer differs from that of the schedule.
            Forbidden: the caller may not see the customer, the owner no longer may, or the owner no longer exists.
            ScheduleUnknown: the schedule was removed in the meantime.
        """
        # The caller's rights determine which codes an error may name, because the owner may see more customers.
        request = self._check(by, wanted, schedule)
        values, owner = _columns(request), owner_of(schedule)
        _check_sees(owner, values["customer"])
        try:
            self._catalog.check_known(owner, values["customer"], values["product"])
        except InputInvalid as error:
            raise without_suggestions(error) from None
        moment, changed = now(), Recurrence(values["recurrence"], values["hour"])
        if schedule.active and changed != recurrence(schedule):  # otherwise a run that is just due would be lost
            values["next_run_at"] = changed.next_run(moment)
        with transaction():
            changed_rows = store.change(schedule.id, **values)
            if changed_rows is None:
                raise _name_taken(values["name"])
            current = store.by_id(schedule.id)
            if not changed_rows or current is None:
                raise _removed(schedule.id)
            secret = self._set_webhooks(by, owner, current, request)
            self._set_recipients(current, request)
            note(by, "changed", current, self._describe(current))
        return Saved(current, secret)

    def pause(self, by: Principal, schedule: Schedule) -> None:
        """Pause a recurring report. This and the methods below raise ScheduleUnknown if it was removed."""
        with transaction():
            _update(schedule, active=False, next_run_at=None, reason=None)
            note(by, "paused", schedule)

    def resume(self, by: Principal, schedule: Schedule) -> None:
        """Resume a recurring report with the next run, or raise Forbidden; see `change`. Missed runs are skipped."""
        _check_sees(owner_of(schedule), schedule.customer)
        with transaction():
            _update(schedule, active=True, next_run_at=recurrence(schedule).next_run(now()), reason=None)
            note(by, "resumed", schedule)

    def remove(self, by: Principal, schedule: Schedule) -> None:
        """Remove a recurring report with its webhook deliveries. Its reports stay."""
        with transaction():
            if not store.remove(schedule.id):
                raise _removed(schedule.id)
            note(by, "removed", schedule)

    def webhooks(self, schedule: Schedule) -> list[Webhook]:
        """Return the webhooks that a schedule names."""
        return webhooks_store.of_schedule(schedule.id)

    def send_again(self, by: Principal, schedule: Schedule, delivery: Delivery) -> None:
        """Schedule a webhook to be sent again, with the full number of tries."""
        with transaction():
            if not deliveries.again(delivery.id, now()):
                raise _removed(schedule.id)
            note(by, "changed", schedule, {"webhook": "sent again", "report": f"JOB-{delivery.report}"})

    def recipients(self, schedule: Schedule) -> list[ScheduleRecipient]:
        """Return the users who get mail about a schedule's reports, and those who were removed by themselves."""
        return recipients.of_schedule(schedule.id)

    def reports(self, who: Principal, schedule: Schedule, limit: int) -> list[Report]:
        """Return the newest reports of the schedule that the caller may see."""
        return store.reports(schedule.id, limit, who.customers)

    def count_reports(self, who: Principal, schedule: Schedule) -> int:
        """Return the number of the schedule's reports that the caller may see."""
        return store.count_reports(schedule.id, who.customers)

    def deliveries(self, who: Principal, schedule: Schedule, limit: int) -> list[Delivery]:
        """Return the newest webhooks of the schedule about reports that the caller may see."""
        return deliveries.newest(limit, schedule=schedule.id, customers=who.customers)

    def delivery(self, who: Principal, schedule: Schedule, key: int) -> Delivery:
        """Return a webhook of the schedule. Raise ScheduleUnknown if the caller may not see its report."""
        found = deliveries.by_id(key)
        report = reports.by_job(found.report or "") if found and found.schedule == schedule.id else None
        if found is None or report is None or not who.sees(*report.all_customers):
            raise ScheduleUnknown(f"{schedule.name} has no webhook {key}.")
        return found

    def _check(self, who: Principal, wanted: Mapping[str, object], before: Schedule | None = None) -> dict[str, Any]:
        """Return a request after validating it."""
        request: dict[str, Any] = ScheduleSchema().check(wanted)
        filter, output = request["filter"], request.get("output")
        customer, product = filter["customer"], filter["product"]
        _check_sees(who, customer)
        if before is not None and customer != before.customer:
            raise _other_customer(customer, before.customer)
        self._catalog.check_known(who, customer, product, filter.get("types"))
        self._catalog.layout(product, (output or {}).get("layout"))
        if "webhook" in request:
            self._webhooks.check(request["webhook"], "webhook")
        return request

    def _set_webhooks(
        self, by: Principal, owner: Principal, schedule: Schedule, request: Mapping[str, Any]
    ) -> str | None:
        """Set the webhooks that a schedule names: those chosen, and a new one for a URL, whose secret is returned.

        Those that the caller may not see stay. A URL without a choice replaces that of the schedule's only webhook, as
        in version 1.0, where a schedule had one, unless others use it as well.
        """
        before, url = webhooks_store.of_schedule(schedule.id), request.get("webhook")
        if url and "webhooks" not in request and len(before) == 1:
            (only,) = before
            if not only.types and len(webhooks_store.schedules_of(only.id)) == 1:
                self._webhooks.change(by, only, {"name": only.name, "url": url, "types": only.types})
                return None
        wanted = [one for one in before if not self._webhooks.is_visible(by, one)]
        wanted += [self._choose(by, key, schedule.customer) for key in request.get("webhooks", ())]
        added = self._webhooks.add_for(owner, schedule.name, url, by=by) if url else None
        wanted += [added.webhook] if added else []
        webhooks_store.link(schedule.id, [one.id for one in wanted], now())
        return added.secret if added else None

    def _set_recipients(self, schedule: Schedule, request: Mapping[str, Any]) -> None:
        found = self._mail.find_recipients(request.get("recipients", ()), schedule.customer)
        recipients.set_all(schedule.id, {one.id: one.name for one in found}, now())

    def _choose(self, by: Principal, key: int, customer: str) -> Webhook:
        """Return the webhook with an id. Raise InputInvalid if the caller may not see it, or it the customer."""
        try:
            chosen = self._webhooks.get(by, key)
            _check_sees(owner(chosen.owner, chosen.owner_name), customer)
        except (WebhookUnknown, Forbidden) as error:
            message = f"webhooks cannot have {key}. {error}"
            raise InputInvalid("The recurring report cannot be saved.", [FieldError(message)]) from None
        return chosen

    def _describe(self, schedule: Schedule) -> dict[str, object]:
        """Return the audit details of a schedule."""
        names = ("product", "types", "recurrence", "hour", "mode")
        details = {"owner": schedule.owner_name} | {name: getattr(schedule, name) for name in names}
        details["recipients"] = [one.name for one in self.recipients(schedule) if one.removed_at is None]
        return details | {"webhooks": [f"{one.id}: {one.name}" for one in self.webhooks(schedule)]}


def _columns(request: Mapping[str, Any]) -> dict[str, Any]:
    """Return the columns for a validated request."""
    columns = {name: request[name] for name in ("name", "recurrence", "hour", "mode")}
    filter = request["filter"]
    columns |= {"customer": filter["customer"], "product": filter["product"], "types": filter.get("types")}
    return columns | {"output": request.get("output"), "reason": None}


def _check_sees(owner: Principal, customer: str) -> None:
    if not owner.sees(customer):
        raise Forbidden(f"{owner.name} may not see data of the customer {customer}.")


def _update(schedule: Schedule, **values: object) -> None:
    if not store.change(schedule.id, **values):
        raise _removed(schedule.id)


def _removed(key: int) -> ScheduleUnknown:
    return ScheduleUnknown(f"There is no recurring report {key} any more: somebody removed it.")


def _other_customer(wanted: str, customer: str) -> InputInvalid:
    """Return the error for another customer, whose users would see reports and webhooks of the previous customer."""
    message = f"filter.customer is {shown(wanted)}, but this recurring report is about {shown(customer)} for good. "
    message += "Add another recurring report for another customer."
    return InputInvalid("The recurring report cannot be saved.", [FieldError(message, field="customer")])


def _name_taken(name: str) -> InputInvalid:
    message = f"name is {shown(name)}, and its owner has another recurring report of that name."
    return InputInvalid("The recurring report cannot be saved.", [FieldError(message, field="name")])
