"""Recurring reports: a filter and an output that become a report every day, week or month.

Each report covers the period that ended, or everything accepted since the previous report. `runs` starts the reports.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from app.exceptions import FieldError, Forbidden, InputInvalid, RateLimited, ScheduleUnknown
from app.schemas.json import shown
from app.schemas.schedules import ScheduleSchema
from app.services.catalog.lookup import Catalog
from app.services.notifications.webhooks import Webhooks, new_salt
from app.services.people.principal import Principal
from app.services.reports.service import ROOM_SECONDS
from app.services.schedules.recurrence import Recurrence
from app.services.schedules.runs import note, recurrence, without_suggestions
from app.services.schedules.runs import owner as owner_of
from app.store.database import transaction
from app.store.models import Delivery, Report, Schedule
from app.store.notifications import deliveries
from app.store.reports import reports
from app.store.schedules import schedules as store
from app.support.clock import now
from app.support.url_origin import split


@dataclass(frozen=True)
class Saved:
    """Schedule as saved, and the new secret that signs its webhooks, if any. It is not available again."""

    schedule: Schedule
    secret: str | None


class Schedules:
    """Service for recurring reports, of which each user may have `most`."""

    def __init__(self, catalog: Catalog, webhooks: Webhooks, most: int) -> None:
        self._catalog = catalog
        self._webhooks = webhooks
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
            InputInvalid: a field is invalid, a code is unknown, or the webhook's server is not allowed.
            Forbidden: the owner may not see the customer.
            RateLimited: the owner has the maximum number of recurring reports.
        """
        if owner.id and store.number(owner.id) >= self._most:
            raise RateLimited(
                f"The user has {self._most:,} recurring reports, the most allowed (SCHEDULES_MAX). Remove one first.",
                ROOM_SECONDS,
            )
        values = self._check(owner, wanted)
        moment = now()
        values |= _webhook_columns(values["webhook"], None, moment)
        values |= {"owner": owner.id, "owner_name": owner.name, "active": True, "created_at": moment}
        with transaction():
            added = store.add(next_run_at=Recurrence(values["recurrence"], values["hour"]).next_run(moment), **values)
            if added is None:
                raise _name_taken(values["name"])
            note(by or owner, "added", added, _describe(added))
        return Saved(added, self._secret(added) if added.webhook else None)

    def change(self, by: Principal, schedule: Schedule, wanted: Mapping[str, object]) -> Saved:
        """Change a recurring report from its next report on.

        Raises:
            InputInvalid: see `add`; or the customer differs from that of the schedule.
            Forbidden: the caller may not see the customer, the owner no longer may, or the owner no longer exists.
            ScheduleUnknown: the schedule was removed in the meantime.
        """
        # The caller's rights determine which codes an error may name, because the owner may see more customers.
        values = self._check(by, wanted, schedule)
        owner = owner_of(schedule)
        _check_sees(owner, values["customer"])
        try:
            self._catalog.check_known(owner, values["customer"], values["product"])
        except InputInvalid as error:
            raise without_suggestions(error) from None
        moment, changed = now(), Recurrence(values["recurrence"], values["hour"])
        values |= _webhook_columns(values["webhook"], schedule, moment)
        if schedule.active and changed != recurrence(schedule):  # otherwise a run that is just due would be lost
            values["next_run_at"] = changed.next_run(moment)
        with transaction():
            changed_rows = store.change(schedule.id, **values)
            if changed_rows is None:
                raise _name_taken(values["name"])
            current = store.by_id(schedule.id)
            if not changed_rows or current is None:
                raise _removed(schedule.id)
            if values["webhook"] is None:
                deliveries.give_up_all(schedule.id)
            note(by, "changed", current, _describe(current))
        return Saved(current, self._secret(current) if current.webhook and not schedule.webhook else None)

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

    def new_secret(self, by: Principal, schedule: Schedule) -> str:
        """Replace the secret that signs the webhooks, and return the new secret, which is not available again."""
        salt = new_salt()
        with transaction():
            _update(schedule, webhook_salt=salt)
            note(by, "changed", schedule, {"webhook": "new secret"})
        return self._webhooks.secret(salt)

    def send_again(self, by: Principal, schedule: Schedule, delivery: Delivery) -> None:
        """Schedule a webhook to be sent again, with the full number of tries."""
        with transaction():
            if not deliveries.again(delivery.id, now()):
                raise _removed(schedule.id)
            note(by, "changed", schedule, {"webhook": "sent again", "report": f"JOB-{delivery.report}"})

    def reports(self, who: Principal, schedule: Schedule, limit: int) -> list[Report]:
        """Return the newest reports of the schedule that the caller may see."""
        return store.reports(schedule.id, limit, who.customers)

    def count_reports(self, who: Principal, schedule: Schedule) -> int:
        """Return the number of the schedule's reports that the caller may see."""
        return store.count_reports(schedule.id, who.customers)

    def deliveries(self, who: Principal, schedule: Schedule, limit: int) -> list[Delivery]:
        """Return the newest webhooks of the schedule about reports that the caller may see."""
        return deliveries.newest(schedule.id, limit, who.customers)

    def delivery(self, who: Principal, schedule: Schedule, key: int) -> Delivery:
        """Return a webhook of the schedule. Raise ScheduleUnknown if the caller may not see its report."""
        found = deliveries.by_id(key)
        report = reports.by_job(found.report) if found and found.schedule == schedule.id else None
        if found is None or report is None or not who.sees(report.customer):
            raise ScheduleUnknown(f"{schedule.name} has no webhook {key}.")
        return found

    def _check(self, who: Principal, wanted: Mapping[str, object], before: Schedule | None = None) -> dict[str, Any]:
        """Return the columns for a request after validating it."""
        request: dict[str, Any] = ScheduleSchema().check(wanted)
        filter, output, webhook = request["filter"], request.get("output"), request.get("webhook")
        customer, product = filter["customer"], filter["product"]
        _check_sees(who, customer)
        if before is not None and customer != before.customer:
            raise _other_customer(customer, before.customer)
        self._catalog.check_known(who, customer, product, filter.get("types"))
        self._catalog.layout(product, (output or {}).get("layout"))
        if webhook is not None:
            self._webhooks.check(webhook)
        columns = {name: request[name] for name in ("name", "recurrence", "hour", "mode")}
        columns |= {"customer": customer, "product": product, "types": filter.get("types")}
        return columns | {"output": output, "webhook": webhook, "reason": None}

    def _secret(self, schedule: Schedule) -> str:
        return self._webhooks.secret(schedule.webhook_salt or "")


def _check_sees(owner: Principal, customer: str) -> None:
    if not owner.sees(customer):
        raise Forbidden(f"{owner.name} may not see data of the customer {customer}.")


def _webhook_columns(url: str | None, before: Schedule | None, moment: int) -> dict[str, object]:
    """Return the webhook columns. A new webhook has a new secret, and covers only reports that end from now on."""
    if url is None:
        return {"webhook_set_at": None, "webhook_salt": None}
    if before is not None and before.webhook:
        return {}
    return {"webhook_set_at": moment, "webhook_salt": new_salt()}


def _describe(schedule: Schedule) -> dict[str, object]:
    """Return the audit details of a schedule. They omit a webhook's path, which may contain a secret."""
    names = ("product", "types", "recurrence", "hour", "mode")
    server = str(split(schedule.webhook)[0]) if schedule.webhook else "none"
    return {"owner": schedule.owner_name} | {name: getattr(schedule, name) for name in names} | {"webhook": server}


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
